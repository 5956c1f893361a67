"""v1 Node: its types and rules."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from edgekube.api.kind import Kind, Scope, Subresource
from edgekube.api.meta import Int32, Object, Quantity, Struct, Time, list_atomic, list_map, list_set, zero


class ConfigMapNodeConfigSource(Struct):
    namespace: str = zero(str)
    name: str = zero(str)
    uid: str = ""
    resource_version: str = ""
    kubelet_config_key: str = zero(str)


class NodeConfigSource(Struct):
    config_map: ConfigMapNodeConfigSource | None = None


class Taint(Struct):
    key: str = zero(str)
    value: str = ""
    effect: str = zero(str)
    time_added: Time | None = None


class NodeSpec(Struct):
    pod_cidr: str = field(name="podCIDR", default="")
    pod_cidrs: Annotated[list[str], list_set()] = field(name="podCIDRs", default_factory=list)
    provider_id: str = field(name="providerID", default="")
    unschedulable: bool = False
    taints: Annotated[list[Taint], list_atomic()] = []
    config_source: NodeConfigSource | None = None
    external_id: str = field(name="externalID", default="")


class AttachedVolume(Struct):
    name: str = zero(str)
    device_path: str = zero(str)


class ContainerImage(Struct):
    names: Annotated[list[str] | None, list_atomic()] = None
    size_bytes: int = 0


class NodeAddress(Struct):
    type: str = zero(str)
    address: str = zero(str)


class NodeCondition(Struct):
    type: str = zero(str)
    status: str = zero(str)
    last_heartbeat_time: Time | None = None
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class NodeConfigStatus(Struct):
    assigned: NodeConfigSource | None = None
    active: NodeConfigSource | None = None
    last_known_good: NodeConfigSource | None = None
    error: str = ""


class DaemonEndpoint(Struct):
    port: Int32 = field(name="Port", default_factory=int)


class NodeDaemonEndpoints(Struct):
    kubelet_endpoint: DaemonEndpoint = zero(DaemonEndpoint)


class NodeFeatures(Struct):
    supplemental_groups_policy: bool | None = None


class NodeRuntimeHandlerFeatures(Struct):
    recursive_read_only_mounts: bool | None = None
    user_namespaces: bool | None = None


class NodeRuntimeHandler(Struct):
    name: str = zero(str)
    features: NodeRuntimeHandlerFeatures | None = None


class NodeSwapStatus(Struct):
    capacity: int | None = None


class NodeSystemInfo(Struct):
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
    spec: NodeSpec = zero(NodeSpec)
    status: NodeStatus = zero(NodeStatus)


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
)
