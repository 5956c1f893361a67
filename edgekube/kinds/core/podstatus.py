"""What is reported of a pod and its containers."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from edgekube.api.meta import Int32, Quantity, Struct, Time, list_atomic, list_map, list_set, null, zero
from edgekube.kinds.core.container import ResourceRequirements


class ContainerStateRunning(Struct):
    """Running, since when."""

    started_at: Time | None = null()


class ContainerStateTerminated(Struct):
    """Ended, how and when."""

    exit_code: Int32 = zero(int)
    signal: Int32 = 0
    reason: str = ""
    message: str = ""
    started_at: Time | None = null()
    finished_at: Time | None = null()
    container_id: str = field(name="containerID", default="")


class ContainerStateWaiting(Struct):
    """Not running yet, or not again, and why."""

    reason: str = ""
    message: str = ""


class ContainerState(Struct):
    """Exactly one of its members; waiting when none is told."""

    waiting: ContainerStateWaiting | None = None
    running: ContainerStateRunning | None = None
    terminated: ContainerStateTerminated | None = None


class LinuxContainerUser(Struct):
    """The identity the first process got."""

    uid: int = zero(int)
    gid: int = zero(int)
    supplemental_groups: Annotated[list[int], list_atomic()] = []


class ContainerUser(Struct):
    """The identity the first process got, by system."""

    linux: LinuxContainerUser | None = None


class ResourceHealth(Struct):
    """Whether one device is healthy."""

    resource_id: str = field(name="resourceID", default_factory=str)
    health: str = ""
    message: str | None = None


class ResourceStatus(Struct):
    """The health of devices of one kind."""

    name: str = zero(str)
    resources: Annotated[list[ResourceHealth], list_map("resourceID", strategy="")] = []


class ImageVolumeStatus(Struct):
    """Which image a volume shows."""

    image_ref: str = ""


class VolumeStatus(Struct):
    """What is known of a mounted volume."""

    image: ImageVolumeStatus | None = None


class VolumeMountStatus(Struct):
    """How a volume was mounted in the end."""

    name: str = zero(str)
    mount_path: str = zero(str)
    read_only: bool = False
    recursive_read_only: str | None = None
    volume_status: VolumeStatus | None = None


class ContainerStatus(Struct):
    """What one container does."""

    name: str = zero(str)
    state: ContainerState = zero(ContainerState)
    last_state: ContainerState = zero(ContainerState)
    ready: bool = zero(bool)
    restart_count: Int32 = zero(int)
    image: str = zero(str)
    image_id: str = field(name="imageID", default_factory=str)
    container_id: str = field(name="containerID", default="")
    started: bool | None = None
    allocated_resources: dict[str, Quantity] = {}
    resources: ResourceRequirements | None = None
    volume_mounts: Annotated[list[VolumeMountStatus], list_map("mountPath")] = []
    user: ContainerUser | None = None
    allocated_resources_status: Annotated[list[ResourceStatus], list_map("name")] = []
    stop_signal: str | None = None


class HostIP(Struct):
    """One address of the node."""

    ip: str = zero(str)


class NodeAllocatableResourceClaimStatus(Struct):
    """What a device claim takes from the node's own resources."""

    resource_claim_name: str = zero(str)
    containers: Annotated[list[str], list_set(strategy="")] = []
    resources: dict[str, Quantity] | None = None


class PodCondition(Struct):
    """One aspect of a pod's state: PodScheduled, Initialized, ContainersReady, Ready and others."""

    type: str = zero(str)
    observed_generation: int = 0
    status: str = zero(str)
    last_probe_time: Time | None = null()
    last_transition_time: Time | None = null()
    reason: str = ""
    message: str = ""


class ContainerExtendedResourceRequest(Struct):
    """Which request of a claim serves which container's extended resource."""

    container_name: str = zero(str)
    resource_name: str = zero(str)
    request_name: str = zero(str)


class PodExtendedResourceClaimStatus(Struct):
    """The claim made for a pod's extended resources."""

    request_mappings: Annotated[list[ContainerExtendedResourceRequest] | None, list_atomic()] = null()
    resource_claim_name: str = zero(str)


class PodIP(Struct):
    """One address of the pod."""

    ip: str = zero(str)


class PodResourceClaimStatus(Struct):
    """The claim made from a template."""

    name: str = zero(str)
    resource_claim_name: str | None = None


class PodStatus(Struct):
    """What is reported of a pod."""

    observed_generation: int = 0
    phase: str = ""
    conditions: Annotated[list[PodCondition], list_map("type")] = []
    message: str = ""
    reason: str = ""
    nominated_node_name: str = ""
    host_ip: str = field(name="hostIP", default="")
    host_ips: Annotated[list[HostIP], list_atomic(patch_key="ip", strategy="merge")] = field(
        name="hostIPs", default_factory=list
    )
    pod_ip: str = field(name="podIP", default="")
    pod_ips: Annotated[list[PodIP], list_map("ip")] = field(name="podIPs", default_factory=list)
    start_time: Time | None = None
    init_container_statuses: Annotated[list[ContainerStatus], list_atomic()] = []
    container_statuses: Annotated[list[ContainerStatus], list_atomic()] = []
    qos_class: str = ""
    ephemeral_container_statuses: Annotated[list[ContainerStatus], list_atomic()] = []
    resize: str = ""
    resource_claim_statuses: Annotated[list[PodResourceClaimStatus], list_map("name", strategy="merge,retainKeys")] = []
    extended_resource_claim_status: PodExtendedResourceClaimStatus | None = None
    allocated_resources: dict[str, Quantity] = {}
    resources: ResourceRequirements | None = None
    node_allocatable_resource_claim_statuses: Annotated[list[NodeAllocatableResourceClaimStatus], list_atomic()] = []
