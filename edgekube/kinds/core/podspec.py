"""What a pod is asked to be, beside its containers and volumes: where it may run, as whom, and for how long."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from edgekube.api.meta import Int32, LabelSelector, Quantity, Struct, list_atomic, list_map, null, struct_atomic, zero
from edgekube.kinds.core.container import (
    AppArmorProfile,
    Container,
    EphemeralContainer,
    ResourceRequirements,
    SeccompProfile,
    SELinuxOptions,
    WindowsSecurityContextOptions,
)
from edgekube.kinds.core.references import LocalObjectReference, NodeSelector, NodeSelectorTerm
from edgekube.kinds.core.volume import Volume


class PreferredSchedulingTerm(Struct):
    """A selection of nodes and how much it weighs."""

    weight: Int32 = zero(int)
    preference: NodeSelectorTerm = zero(NodeSelectorTerm)


class NodeAffinity(Struct):
    """Which nodes a pod needs or prefers."""

    required_during_scheduling_ignored_during_execution: NodeSelector | None = None
    preferred_during_scheduling_ignored_during_execution: Annotated[list[PreferredSchedulingTerm], list_atomic()] = []


class PodAffinityTerm(Struct):
    """Pods to be near to (or away from), and what near means."""

    label_selector: LabelSelector | None = None
    namespaces: Annotated[list[str], list_atomic()] = []
    topology_key: str = zero(str)
    namespace_selector: LabelSelector | None = None
    match_label_keys: Annotated[list[str], list_atomic()] = []
    mismatch_label_keys: Annotated[list[str], list_atomic()] = []


class WeightedPodAffinityTerm(Struct):
    """A term and how much it weighs."""

    weight: Int32 = zero(int)
    pod_affinity_term: PodAffinityTerm = zero(PodAffinityTerm)


class PodAffinity(Struct):
    """Pods to be near to."""

    required_during_scheduling_ignored_during_execution: Annotated[list[PodAffinityTerm], list_atomic()] = []
    preferred_during_scheduling_ignored_during_execution: Annotated[list[WeightedPodAffinityTerm], list_atomic()] = []


class PodAntiAffinity(Struct):
    """Pods to be away from."""

    required_during_scheduling_ignored_during_execution: Annotated[list[PodAffinityTerm], list_atomic()] = []
    preferred_during_scheduling_ignored_during_execution: Annotated[list[WeightedPodAffinityTerm], list_atomic()] = []


class Affinity(Struct):
    """Everything that draws a pod to nodes or pods, or drives it away."""

    node_affinity: NodeAffinity | None = None
    pod_affinity: PodAffinity | None = None
    pod_anti_affinity: PodAntiAffinity | None = None


class HostAlias(Struct):
    """A line of the pod's hosts file."""

    ip: str = zero(str)
    hostnames: Annotated[list[str], list_atomic()] = []


class PodDNSConfigOption(Struct):
    """One resolver option."""

    name: str = ""
    value: str | None = None


class PodDNSConfig(Struct):
    """Resolver settings beside those of the DNS policy."""

    nameservers: Annotated[list[str], list_atomic()] = []
    searches: Annotated[list[str], list_atomic()] = []
    options: Annotated[list[PodDNSConfigOption], list_atomic()] = []


class PodOS(Struct):
    """The operating system a pod needs."""

    name: str = zero(str)


class PodReadinessGate(Struct):
    """A condition that must be true for the pod to be ready."""

    condition_type: str = zero(str)


class PodResourceClaim(Struct):
    """A claim of devices, by name or from a template."""

    name: str = zero(str)
    resource_claim_name: str | None = None
    resource_claim_template_name: str | None = None


class PodSchedulingGate(Struct):
    """A reason not to schedule the pod yet."""

    name: str = zero(str)


class PodSchedulingGroup(Struct):
    """The group of pods this one is scheduled with."""

    pod_group_name: str | None = None


class Sysctl(Struct):
    """A kernel setting of the pod."""

    name: str = zero(str)
    value: str = zero(str)


class PodSecurityContext(Struct):
    """As whom the pod's containers run unless they say otherwise, and who owns its volumes."""

    se_linux_options: SELinuxOptions | None = None
    windows_options: WindowsSecurityContextOptions | None = None
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    supplemental_groups: Annotated[list[int], list_atomic()] = []
    supplemental_groups_policy: str | None = None
    fs_group: int | None = None
    sysctls: Annotated[list[Sysctl], list_atomic()] = []
    fs_group_change_policy: str | None = None
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None
    se_linux_change_policy: str | None = None


class Toleration(Struct):
    """A taint the pod puts up with."""

    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class TopologySpreadConstraint(Struct):
    """How evenly pods are spread over zones, nodes or the like."""

    max_skew: Int32 = zero(int)
    topology_key: str = zero(str)
    when_unsatisfiable: str = zero(str)
    label_selector: LabelSelector | None = None
    min_domains: Int32 | None = None
    node_affinity_policy: str | None = None
    node_taints_policy: str | None = None
    match_label_keys: Annotated[list[str], list_atomic()] = []


class PodSpec(Struct):
    """Containers, volumes, and where and how they run."""

    volumes: Annotated[list[Volume], list_map("name", strategy="merge,retainKeys")] = []
    init_containers: Annotated[list[Container], list_map("name")] = []
    containers: Annotated[list[Container] | None, list_map("name")] = null()
    ephemeral_containers: Annotated[list[EphemeralContainer], list_map("name")] = []
    restart_policy: str = ""
    termination_grace_period_seconds: int | None = None
    active_deadline_seconds: int | None = None
    dns_policy: str = ""
    node_selector: Annotated[dict[str, str], struct_atomic()] = {}
    service_account_name: str = ""
    service_account: str = ""
    automount_service_account_token: bool | None = None
    node_name: str = ""
    host_network: bool = False
    host_pid: bool = field(name="hostPID", default=False)
    host_ipc: bool = field(name="hostIPC", default=False)
    share_process_namespace: bool | None = None
    security_context: PodSecurityContext | None = None
    image_pull_secrets: Annotated[list[LocalObjectReference], list_map("name")] = []
    hostname: str = ""
    subdomain: str = ""
    affinity: Affinity | None = None
    scheduler_name: str = ""
    tolerations: Annotated[list[Toleration], list_atomic()] = []
    host_aliases: Annotated[list[HostAlias], list_map("ip")] = []
    priority_class_name: str = ""
    priority: Int32 | None = None
    dns_config: PodDNSConfig | None = None
    readiness_gates: Annotated[list[PodReadinessGate], list_atomic()] = []
    runtime_class_name: str | None = None
    enable_service_links: bool | None = None
    preemption_policy: str | None = None
    overhead: dict[str, Quantity] = {}
    topology_spread_constraints: Annotated[
        list[TopologySpreadConstraint], list_map("topologyKey", "whenUnsatisfiable")
    ] = []
    set_hostname_as_fqdn: bool | None = field(name="setHostnameAsFQDN", default=None)
    os: PodOS | None = None
    host_users: bool | None = None
    scheduling_gates: Annotated[list[PodSchedulingGate], list_map("name")] = []
    resource_claims: Annotated[list[PodResourceClaim], list_map("name", strategy="merge,retainKeys")] = []
    resources: ResourceRequirements | None = None
    hostname_override: str | None = None
    scheduling_group: PodSchedulingGroup | None = None
