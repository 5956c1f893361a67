"""What pod workers share: the runtime, images, objects, time, and the node they run on. Nothing here decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from edgekube.client.interface import Client
from edgekube.clock import Clock
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.service import Service
from edgekube.node.cgroups import PodCgroups
from edgekube.node.config import NodeConfig
from edgekube.node.images import ImageKeeper
from edgekube.node.objects import ReferredObjects
from edgekube.node.pods.health import Ask
from edgekube.node.pods.names import Dns
from edgekube.node.pods.seen import AnyContainer
from edgekube.node.pods.statuses import StatusWriter
from edgekube.node.runtime.cri import Runtime
from edgekube.node.tokens import TokenKeeper
from edgekube.reconcile.events import Recorder, Speaker
from edgekube.reconcile.plan import Note, about


@dataclass
class Tools:
    """One per node."""

    config: NodeConfig
    client: Client
    clock: Clock
    runtime: Runtime
    images: ImageKeeper
    objects: ReferredObjects
    tokens: TokenKeeper
    recorder: Recorder
    statuses: StatusWriter
    ask: Ask
    services: Callable[[], Sequence[Service]]
    host_dns: Callable[[], Dns]
    allocatable: Mapping[str, str] = field(default_factory=dict)
    memory_capacity: int = 0
    cgroup_v2: bool = False
    cgroups: PodCgroups = field(default_factory=PodCgroups)

    def tell(self, pod: Pod, type_: str, reason: str, message: str, field_path: str = "") -> None:
        """Write an event about a pod (or one of its containers)."""
        speaker = Speaker("kubelet", self.config.node_name)
        self.recorder.tell(speaker, Note(about(pod_kind.KIND, pod, field_path), type_, reason, message))

    def tell_container(self, pod: Pod, container: AnyContainer, type_: str, reason: str, message: str) -> None:
        """Write an event about a container of a pod."""
        self.tell(pod, type_, reason, message, container_path(pod, container.name))


def container_path(pod: Pod, name: str) -> str:
    """The fieldPath of a container in events."""
    for member, containers in (
        ("containers", pod.spec.containers or []),
        ("initContainers", pod.spec.init_containers),
        ("ephemeralContainers", pod.spec.ephemeral_containers),
    ):
        if any(container.name == name for container in containers):
            return f"spec.{member}{{{name}}}"
    return ""
