"""v1 Node: a machine that runs pods."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from edgekube.api import rules
from edgekube.api.kind import Column, FieldError, Kind, Scope, Subresource
from edgekube.api.meta import Int32, Object, Quantity, Struct, Time, list_atomic, list_map, list_set, null, zero
from edgekube.kinds.core import address_rules, resource_rules, scheduling_rules
from edgekube.kinds.core.printing import AGE, NAME, NONE, described
from edgekube.kinds.core.quantities import round_up_all


class ConfigMapNodeConfigSource(Struct):
    """A ConfigMap that once configured a kubelet; kept readable."""

    namespace: str = zero(str)
    name: str = zero(str)
    uid: str = ""
    resource_version: str = ""
    kubelet_config_key: str = zero(str)


class NodeConfigSource(Struct):
    """Where a kubelet's configuration once came from; kept readable."""

    config_map: ConfigMapNodeConfigSource | None = None


class Taint(Struct):
    """A mark that keeps pods away which do not tolerate it."""

    key: str = zero(str)
    value: str = ""
    effect: str = zero(str)
    time_added: Time | None = None


class NodeSpec(Struct):
    """What is decided about a node."""

    pod_cidr: str = field(name="podCIDR", default="")
    pod_cidrs: Annotated[list[str], list_set()] = field(name="podCIDRs", default_factory=list)
    provider_id: str = field(name="providerID", default="")
    unschedulable: bool = False
    taints: Annotated[list[Taint], list_atomic()] = []
    config_source: NodeConfigSource | None = None
    external_id: str = field(name="externalID", default="")


class AttachedVolume(Struct):
    """A volume attached to the node, and as which device."""

    name: str = zero(str)
    device_path: str = zero(str)


class ContainerImage(Struct):
    """An image the node has."""

    names: Annotated[list[str] | None, list_atomic()] = null()
    size_bytes: int = 0


class NodeAddress(Struct):
    """One address or name of the node."""

    type: str = zero(str)
    address: str = zero(str)


class NodeCondition(Struct):
    """One aspect of a node's state: Ready, MemoryPressure and others."""

    type: str = zero(str)
    status: str = zero(str)
    last_heartbeat_time: Time | None = null()
    last_transition_time: Time | None = null()
    reason: str = ""
    message: str = ""


class NodeConfigStatus(Struct):
    """Which configuration a kubelet once used; kept readable."""

    assigned: NodeConfigSource | None = None
    active: NodeConfigSource | None = None
    last_known_good: NodeConfigSource | None = None
    error: str = ""


class DaemonEndpoint(Struct):
    """A port of a daemon on the node."""

    port: Int32 = field(name="Port", default_factory=int)


class NodeDaemonEndpoints(Struct):
    """Where the kubelet listens."""

    kubelet_endpoint: DaemonEndpoint = zero(DaemonEndpoint)


class NodeFeatures(Struct):
    """What the container runtime can do."""

    supplemental_groups_policy: bool | None = None


class NodeRuntimeHandlerFeatures(Struct):
    """What one runtime handler can do."""

    recursive_read_only_mounts: bool | None = None
    user_namespaces: bool | None = None


class NodeRuntimeHandler(Struct):
    """One way the runtime starts containers."""

    name: str = zero(str)
    features: NodeRuntimeHandlerFeatures | None = None


class NodeSwapStatus(Struct):
    """How much swap there is."""

    capacity: int | None = None


class NodeSystemInfo(Struct):
    """Identity and versions of machine, system and agents."""

    machine_id: str = field(name="machineID", default_factory=str)
    system_uuid: str = field(name="systemUUID", default_factory=str)
    boot_id: str = field(name="bootID", default_factory=str)
    kernel_version: str = zero(str)
    os_image: str = zero(str)
    container_runtime_version: str = zero(str)
    kubelet_version: str = zero(str)
    kube_proxy_version: str = zero(str)
    operating_system: str = zero(str)
    architecture: str = zero(str)
    swap: NodeSwapStatus | None = None


class NodeStatus(Struct):
    """What a node reports of itself."""

    capacity: dict[str, Quantity] = {}
    allocatable: dict[str, Quantity] = {}
    phase: str = ""
    conditions: Annotated[list[NodeCondition], list_map("type")] = []
    addresses: Annotated[list[NodeAddress], list_map("type")] = []
    daemon_endpoints: NodeDaemonEndpoints = zero(NodeDaemonEndpoints)
    node_info: NodeSystemInfo = zero(NodeSystemInfo)
    images: Annotated[list[ContainerImage], list_atomic()] = []
    volumes_in_use: Annotated[list[str], list_atomic()] = []
    volumes_attached: Annotated[list[AttachedVolume], list_atomic()] = []
    config: NodeConfigStatus | None = None
    runtime_handlers: Annotated[list[NodeRuntimeHandler], list_atomic()] = []
    features: NodeFeatures | None = None
    declared_features: Annotated[list[str], list_atomic()] = []


class Node(Object):
    """A machine of the cluster."""

    spec: NodeSpec = zero(NodeSpec)
    status: NodeStatus = zero(NodeStatus)


ROLE_PREFIX = "node-role.kubernetes.io/"
ROLE_LABEL = "kubernetes.io/role"
UNKNOWN = "<unknown>"


def default(node: Node) -> None:
    """Everything is allocatable unless the node says less; `podCIDR` is the first of `podCIDRs`."""
    round_up_all(node.status.capacity)
    round_up_all(node.status.allocatable)
    if not node.status.allocatable and node.status.capacity:
        node.status.allocatable = dict(node.status.capacity)
    if node.spec.pod_cidr and not node.spec.pod_cidrs:
        node.spec.pod_cidrs = [node.spec.pod_cidr]
    node.spec.pod_cidr = node.spec.pod_cidrs[0] if node.spec.pod_cidrs else ""


def prepare_update(node: Node, old: Node) -> None:
    """Status is the kubelet's, through its subresource; the old dynamic configuration is gone."""
    node.status = old.status
    if old.spec.config_source is None:
        node.spec.config_source = None


def _status(node: Node, _now: str) -> str:
    ready = next((condition.status for condition in node.status.conditions if condition.type == "Ready"), None)
    text = "Unknown" if ready is None else "Ready" if ready == "True" else "NotReady"
    return f"{text},SchedulingDisabled" if node.spec.unschedulable else text


def _roles(node: Node, _now: str) -> str:
    roles = set()
    for key, value in node.metadata.labels.items():
        if key.startswith(ROLE_PREFIX):
            roles.add(key.removeprefix(ROLE_PREFIX))
        elif key == ROLE_LABEL:
            roles.add(value)
    return ",".join(sorted(roles - {""})) or NONE


def _address(node: Node, type_: str) -> str:
    return next((address.address for address in node.status.addresses if address.type == type_), NONE)


def _kernel(node: Node, _now: str) -> str:
    info = node.status.node_info
    if not info.kernel_version:
        return UNKNOWN
    return f"{info.kernel_version} ({info.architecture})" if info.architecture else info.kernel_version


PODCIDR_WORDS = 'node updates may not change podCIDR except from "" to valid'
PROVIDER_WORDS = 'node updates may not change providerID except from "" to valid'


def broken_rules(node: Node) -> list[FieldError]:
    """Taints, resources and pod networks."""
    broken = scheduling_rules.taints("metadata.taints", node.spec.taints)  # upstream's path
    broken += _resources(node)
    given = node.spec.pod_cidrs
    for position, text in enumerate(given):
        broken += address_rules.cidr(f"spec.podCIDRs[{position}]", text)
    if len(given) > 1:
        if not address_rules.one_per_family(given):
            words = "may specify no more than one CIDR for each IP family"
            broken.append(rules.invalid("spec.podCIDRs", given, words))
        broken += [
            rules.duplicate(f"spec.podCIDRs[{position}]", text)
            for position, text in enumerate(given)
            if text in given[:position]
        ]
    return broken


def _resources(node: Node) -> list[FieldError]:
    broken: list[FieldError] = []
    for member, amounts in (("capacity", node.status.capacity), ("allocatable", node.status.allocatable)):
        for name, value in amounts.items():
            broken += resource_rules.resource_amount(f"status.{member}.{name}", name, value)
    return broken


def update_rules(new: Node, old: Node) -> list[FieldError]:
    """A node keeps its pod network and its identity at the provider."""
    broken: list[FieldError] = []
    ours, theirs = new.spec.pod_cidrs, old.spec.pod_cidrs
    if theirs:
        changed = sum(now != before for now, before in zip(ours, theirs, strict=False))
        times = 1 if len(ours) != len(theirs) else changed
        broken += [rules.forbidden("spec.podCIDRs", PODCIDR_WORDS)] * times
    if old.spec.provider_id and old.spec.provider_id != new.spec.provider_id:
        broken.append(rules.forbidden("spec.providerID", PROVIDER_WORDS))
    if new.spec.external_id != old.spec.external_id:
        broken.append(rules.forbidden("spec.externalID", "may not be updated"))
    return broken


def status_rules(new: Node, _old: Node) -> list[FieldError]:
    """Amounts are not negative, addresses are listed once."""
    broken = _resources(new)
    for position, address in enumerate(new.status.addresses):
        if address in new.status.addresses[:position]:
            broken.append(rules.duplicate(f"status.addresses[{position}]", address))
    return broken


KIND = Kind(
    type=Node,
    group="",
    version="v1",
    name="Node",
    plural="nodes",
    singular="node",
    short=("no",),
    scope=Scope.CLUSTER,
    has_status=True,
    subresources=(Subresource("proxy", "NodeProxyOptions", ("create", "delete", "get", "patch", "update")),),
    generation=False,
    keeps_status_on_create=True,
    default=default,
    prepare_update=prepare_update,
    selectable={"spec.unschedulable": lambda node: "true" if node.spec.unschedulable else "false"},
    columns=described(
        "nodes",
        NAME,
        Column("Status", "string", _status),
        Column("Roles", "string", _roles),
        AGE,
        Column("Version", "string", lambda item, _: item.status.node_info.kubelet_version),
        Column("Internal-IP", "string", lambda item, _: _address(item, "InternalIP"), priority=1),
        Column("External-IP", "string", lambda item, _: _address(item, "ExternalIP"), priority=1),
        Column("OS-Image", "string", lambda item, _: item.status.node_info.os_image or UNKNOWN, priority=1),
        Column("Kernel-Version", "string", _kernel, priority=1),
        Column(
            "Container-Runtime",
            "string",
            lambda item, _: item.status.node_info.container_runtime_version or UNKNOWN,
            priority=1,
        ),
    ),
    rules=broken_rules,
    update_rules=update_rules,
    status_rules=status_rules,
)
