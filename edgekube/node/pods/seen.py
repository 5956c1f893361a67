"""What was observed of one pod: the runtime's sandboxes and containers, probes' verdicts. Frozen; decisions are made from it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from edgekube.kinds.core.container import Container, EphemeralContainer
from edgekube.kinds.core.pod import Pod
from edgekube.node.runtime.cri import ContainerDetail


@dataclass(frozen=True, slots=True)
class SandboxSeen:
    """A sandbox of the pod."""

    id: str
    attempt: int
    ready: bool
    created_at: int
    ips: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Health:
    """Probes' verdicts on one running container: None = no probe, or no verdict yet."""

    alive: bool | None = None
    ready: bool | None = None
    started: bool | None = None


UNKNOWN = Health()


@dataclass(frozen=True, slots=True)
class Seen:
    """The runtime's side of a pod. Both tuples are newest first. `health` is by container id."""

    sandboxes: tuple[SandboxSeen, ...] = ()
    containers: tuple[ContainerDetail, ...] = ()
    health: Mapping[str, Health] = field(default_factory=dict)
    owed: frozenset[str] = frozenset()  # containers we stopped ourselves in order to start them again
    given: Mapping[str, str] = field(default_factory=dict)  # container id -> resources it was given since it was made

    def latest(self, name: str) -> ContainerDetail | None:
        """The newest container of this name."""
        return next((c for c in self.containers if c.name == name), None)

    def previous(self, name: str) -> ContainerDetail | None:
        """The one before the newest."""
        of_name = [c for c in self.containers if c.name == name]
        return of_name[1] if len(of_name) > 1 else None

    @property
    def sandbox(self) -> SandboxSeen | None:
        """The newest sandbox, ready or not."""
        return self.sandboxes[0] if self.sandboxes else None

    def active(self, name: str) -> ContainerDetail | None:
        """The newest container of this name, if it lives in the newest sandbox."""
        found = self.latest(name)
        return found if found and self.sandbox and found.sandbox_id in ("", self.sandbox.id) else None

    @property
    def running(self) -> tuple[ContainerDetail, ...]:
        """Containers that run."""
        return tuple(c for c in self.containers if c.state == "RUNNING")

    def verdict(self, container: ContainerDetail | None) -> Health:
        """What probes say of a container."""
        return self.health.get(container.id, UNKNOWN) if container else UNKNOWN


AnyContainer = Container | EphemeralContainer


def regular(pod: Pod) -> list[Container]:
    """The main containers."""
    return pod.spec.containers or []


def is_sidecar(container: AnyContainer) -> bool:
    """An init container that keeps running beside the main ones (meaningful for init containers only)."""
    return container.restart_policy == "Always"


def every_container(pod: Pod) -> Iterator[AnyContainer]:
    """Init, main and ephemeral containers."""
    yield from pod.spec.init_containers
    yield from regular(pod)
    yield from pod.spec.ephemeral_containers


def find_container(pod: Pod, name: str) -> AnyContainer | None:
    """A container of any sort by name."""
    return next((c for c in every_container(pod) if c.name == name), None)


def format_pod(pod: Pod) -> str:
    """How the kubelet writes a pod in messages: name_namespace(uid)."""
    return f"{pod.metadata.name}_{pod.metadata.namespace}({pod.metadata.uid})"
