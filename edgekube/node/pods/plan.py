"""What to do next for one pod: a pure decision from its spec, what was observed, and the time.

Nothing is called and nothing waits here; `pods.worker` carries plans out, one after another, and asks again after each.
Source: kubelet kuberuntime computePodActions and computeInitContainerActions (behaviour, sidecars included).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum

from edgekube.kinds.core.container import Container
from edgekube.kinds.core.pod import Pod
from edgekube.node.pods.marks import HASH, RESOURCES, resources_text
from edgekube.node.pods.restarts import BackOffs, go_duration, should_restart, waiting_s
from edgekube.node.pods.seen import AnyContainer, Seen, format_pod, is_sidecar, regular
from edgekube.node.runtime.cri import ContainerDetail


class Sort(Enum):
    """Which list of the pod a container stands in."""

    INIT = "init"
    REGULAR = "regular"
    EPHEMERAL = "ephemeral"


@dataclass(frozen=True, slots=True)
class Start:
    """Create and start a container."""

    name: str
    sort: Sort
    restart_count: int


@dataclass(frozen=True, slots=True)
class Kill:
    """Stop a container; `message` is the Killing event's. `grace_s` None: the pod's grace period. `again`: to restart it."""

    container_id: str
    name: str
    message: str
    grace_s: int | None = None
    again: bool = False


@dataclass(frozen=True, slots=True)
class Resize:
    """Give a running container other bounds."""

    container_id: str
    name: str


@dataclass(frozen=True, slots=True)
class PodPlan:
    """In this order: kill the pod's sandboxes, kill containers, resize containers, make a sandbox, start containers.

    `held` names containers in back-off: (reason, message) to show; `look_again_s` says when the first may start.
    """

    kill_pod: bool = False
    create_sandbox: bool = False
    attempt: int = 0
    kill: tuple[Kill, ...] = ()
    resize: tuple[Resize, ...] = ()
    start: tuple[Start, ...] = ()
    held: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    look_again_s: float | None = None

    @property
    def idle(self) -> bool:
        """Whether nothing is to be done."""
        return not (self.kill_pod or self.create_sandbox or self.kill or self.resize or self.start)


def container_hash(container: AnyContainer) -> str:
    """Changes when the container must be replaced: its name or image differs."""
    return hashlib.sha256(f"{container.name}\0{container.image}".encode()).hexdigest()[:8]


def plan(pod: Pod, seen: Seen, back_offs: BackOffs, now: float) -> PodPlan:
    """The next step. `now` is seconds since the epoch."""
    if pod.metadata.deletion_timestamp is not None:
        return PodPlan(kill_pod=bool(seen.running or any(s.ready for s in seen.sandboxes)))
    if _needs_sandbox(pod, seen):
        return _new_sandbox(pod, seen, back_offs, now)
    draft = _Draft(pod, seen, back_offs, now)
    draft.ephemeral()
    if draft.init() and not draft.kill_pod:
        draft.regular()
    return draft.done()


def _needs_sandbox(pod: Pod, seen: Seen) -> bool:
    newest = seen.sandbox
    if newest is None or not newest.ready or sum(s.ready for s in seen.sandboxes) > 1:
        return True
    return not pod.spec.host_network and not newest.ips


def _new_sandbox(pod: Pod, seen: Seen, back_offs: BackOffs, now: float) -> PodPlan:
    attempt = seen.sandbox.attempt + 1 if seen.sandbox else 0
    kill = bool(seen.sandboxes)
    nothing = PodPlan(kill_pod=bool(seen.running or any(s.ready for s in seen.sandboxes)), attempt=attempt)
    wanted = [c for c in regular(pod) if _wants_start(pod, c, seen.latest(c.name))]
    if not wanted:
        return nothing  # all that should run has run
    if pod.spec.restart_policy == "Never" and attempt and seen.containers:
        return nothing  # the pod ran and lost its sandbox: it has failed, it does not run again
    made = PodPlan(kill_pod=kill, create_sandbox=True, attempt=attempt)
    first = pod.spec.init_containers[:1] or wanted
    sort = Sort.INIT if pod.spec.init_containers else Sort.REGULAR
    draft = _Draft(pod, seen, back_offs, now)
    for container in first:
        draft.begin(container, sort, seen.latest(container.name))
    return replace(made, start=tuple(draft.start), held=draft.held, look_again_s=draft.look_again_s)


def _wants_start(pod: Pod, container: Container, latest: ContainerDetail | None) -> bool:
    if latest is None or latest.state in ("CREATED", "UNKNOWN"):
        return True
    if latest.state == "RUNNING":
        return True  # it runs in a sandbox that is going away
    return should_restart(pod, container, latest.exit_code)


def _restart_to_resize(container: AnyContainer, given: str) -> bool:
    """Whether one of the amounts that differ may only change with a restart."""
    wanted, had = set(resources_text(container).split()), set(given.split())
    differing = {word.partition("=")[0].partition(".")[2] for word in wanted ^ had}
    return any(p.resource_name in differing and p.restart_policy == "RestartContainer" for p in container.resize_policy)


class _Draft:
    """A plan being written down, for a pod whose sandbox stays."""

    def __init__(self, pod: Pod, seen: Seen, back_offs: BackOffs, now: float) -> None:
        self.pod, self.seen, self.back_offs, self.now = pod, seen, back_offs, now
        self.kill_pod = False
        self.kill: list[Kill] = []
        self.resize: list[Resize] = []
        self.start: list[Start] = []
        self.held: dict[str, tuple[str, str]] = {}
        self.look_again_s: float | None = None
        self.kept = 0

    def done(self) -> PodPlan:
        if self.kill_pod:
            return PodPlan(kill_pod=True)
        return PodPlan(
            kill=tuple(self.kill),
            resize=tuple(self.resize),
            start=tuple(self.start),
            held=self.held,
            look_again_s=self.look_again_s,
        )

    def begin(self, container: AnyContainer, sort: Sort, latest: ContainerDetail | None) -> None:
        """Start now, or note that the back-off is not over."""
        if latest is not None and latest.state == "EXITED":
            back_off = self.back_offs.get(container.name)
            wait_s = waiting_s(back_off, latest, self.now)
            if back_off is not None and wait_s > 0:
                self.held[container.name] = (
                    "CrashLoopBackOff",
                    f"back-off {go_duration(back_off.pause_s)} restarting failed container={container.name} "
                    f"pod={format_pod(self.pod)}",
                )
                self.look_again_s = min(wait_s, self.look_again_s if self.look_again_s is not None else wait_s)
                return
        self.start.append(Start(container.name, sort, latest.attempt + 1 if latest else 0))

    def ephemeral(self) -> None:
        for container in self.pod.spec.ephemeral_containers:
            if self.seen.latest(container.name) is None:
                self.begin(container, Sort.EPHEMERAL, None)

    def _fault(self, container: AnyContainer, found: ContainerDetail) -> Kill | None:
        """Why a running container must be stopped, if it must."""
        health = self.seen.verdict(found)
        probe = None
        if (was := found.annotations.get(HASH)) and was != container_hash(container):
            message = f"Container {container.name} definition changed"
        elif health.alive is False:
            message, probe = f"Container {container.name} failed liveness probe", container.liveness_probe
        elif health.started is False:
            message, probe = f"Container {container.name} failed startup probe", container.startup_probe
        elif self._resized(container, found) and _restart_to_resize(container, self._given(found)):
            message = f"Container {container.name} resize requires restart"
        else:
            return None
        return Kill(found.id, container.name, message, probe.termination_grace_period_seconds if probe else None)

    def _given(self, found: ContainerDetail) -> str:
        return self.seen.given.get(found.id, found.annotations.get(RESOURCES, ""))

    def _resized(self, container: AnyContainer, found: ContainerDetail) -> bool:
        """Whether a running container has other bounds than it should; one that was not made by us is left alone."""
        return RESOURCES in found.annotations and self._given(found) != resources_text(container)

    def _replace(self, fault: Kill, *, again: bool) -> None:
        message = f"{fault.message}, will be restarted" if again else fault.message
        self.kill.append(replace(fault, message=message, again=again))
        # Its restart is decided when it has ended: then its exit counts for the back-off.

    def init(self) -> bool:
        """Init containers, in order. Whether the main containers may be looked at."""
        initialised = any(self.seen.active(c.name) for c in regular(self.pod))
        for container in self.pod.spec.init_containers:
            found = self.seen.active(container.name)
            go_on = (
                self._sidecar(container, found)
                if is_sidecar(container)
                else initialised or self._step(container, found)
            )
            if not go_on and not initialised:
                return False
        return True

    def _sidecar(self, container: Container, found: ContainerDetail | None) -> bool:
        if found is None or found.state in ("EXITED", "CREATED", "UNKNOWN"):
            if self._all_main_done():
                return True
            self.begin(container, Sort.INIT, found or self.seen.latest(container.name))
            return False
        if fault := self._fault(container, found):
            self._replace(fault, again=True)
            return False
        if self._resized(container, found):
            self.resize.append(Resize(found.id, container.name))
        return container.startup_probe is None or self.seen.verdict(found).started is True

    def _step(self, container: Container, found: ContainerDetail | None) -> bool:
        """One ordinary init container. Whether it has done its work."""
        if found is None or found.state in ("CREATED", "UNKNOWN"):
            self.begin(container, Sort.INIT, found or self.seen.latest(container.name))
            return False
        if found.state == "RUNNING":
            if fault := self._fault(container, found):
                self._replace(fault, again=True)
            return False
        if found.exit_code == 0:
            return True
        policy = self.pod.spec.restart_policy
        if policy == "Never" and not should_restart(self.pod, container, found.exit_code):
            self.kill_pod = True
        else:
            self.begin(container, Sort.INIT, found)
        return False

    def _all_main_done(self) -> bool:
        """Whether no main container runs or will run again; sidecars then stay down."""
        for container in regular(self.pod):
            found = self.seen.active(container.name)
            if found is None or found.state != "EXITED" or should_restart(self.pod, container, found.exit_code):
                return False
        return True

    def _again(self, container: Container, found: ContainerDetail) -> bool:
        return found.id in self.seen.owed or should_restart(self.pod, container, found.exit_code)

    def regular(self) -> None:
        """The main containers; when none is left to run, the pod's sandbox goes too."""
        for container in regular(self.pod):
            found = self.seen.active(container.name)
            if found is not None and found.state == "RUNNING":
                if fault := self._fault(container, found):
                    again = (
                        should_restart(self.pod, container, 1)
                        or "definition changed" in fault.message
                        or "resize" in fault.message
                    )
                    self._replace(fault, again=again)
                elif self._resized(container, found):
                    self.resize.append(Resize(found.id, container.name))
                self.kept += 1
                continue
            if found is None:
                found = self.seen.latest(container.name)
            if found is None or found.state in ("CREATED", "UNKNOWN") or self._again(container, found):
                self.begin(container, Sort.REGULAR, found)
                self.kept += 1
        self.kill_pod = self.kept == 0
