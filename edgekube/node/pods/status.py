"""A pod's status from what was observed: container statuses, phase, conditions. Pure.

`make_status` is given the last status too, because three things in it are memory: when conditions changed, when the pod
started, and that a finished pod never un-finishes.
Source: kubelet kubelet_pods.go (getPhase, convertStatusToAPIStatus) and status/generate.go (conditions), behaviour only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import msgspec

from edgekube.api.meta import Time, format_time
from edgekube.kinds.core.container import Container
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podstatus import (
    ContainerState,
    ContainerStateRunning,
    ContainerStateTerminated,
    ContainerStateWaiting,
    ContainerStatus,
    HostIP,
    PodCondition,
    PodIP,
    PodStatus,
    VolumeMountStatus,
)
from edgekube.node.pods.resources import qos_class
from edgekube.node.pods.restarts import should_restart
from edgekube.node.pods.seen import AnyContainer, Seen, is_sidecar, regular
from edgekube.node.runtime.cri import ContainerDetail

OWN_CONDITIONS = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
FINISHED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What status needs besides pod and runtime."""

    now: datetime
    host_ip: str
    runtime_name: str = "containerd"
    troubles: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # container -> why it does not run
    unstarted: frozenset[str] = frozenset()  # container ids whose postStart hook has not ended
    outcome: tuple[str, str] | None = None  # (reason, message) of a pod the node made fail: phase Failed
    terminal: bool = False  # the pod is past SYNC and nothing in it will start again
    stopped: bool = False  # nothing in it runs any more


def _time(nanoseconds: int) -> Time | None:
    return format_time(datetime.fromtimestamp(nanoseconds / 1e9, UTC)) if nanoseconds else None


def _terminated(detail: ContainerDetail, runtime: str) -> ContainerState:
    return ContainerState(
        terminated=ContainerStateTerminated(
            exit_code=detail.exit_code,
            reason=detail.reason or ("Completed" if detail.exit_code == 0 else "Error"),
            message=detail.message,
            started_at=_time(detail.started_at or detail.finished_at),
            finished_at=_time(detail.finished_at),
            container_id=f"{runtime}://{detail.id}",
        )
    )


def _lost(runtime: str, container_id: str) -> ContainerState:
    """A container the runtime does not know although the pod ended."""
    return ContainerState(
        terminated=ContainerStateTerminated(
            exit_code=137,
            reason="ContainerStatusUnknown",
            message="The container could not be located when the pod was terminated",
            container_id=container_id,
        )
    )


def _container(
    pod: Pod, spec: AnyContainer, seen: Seen, around: Circumstances, last: ContainerStatus | None, sort: str
) -> ContainerStatus:
    made = ContainerStatus(name=spec.name, image=spec.image, image_id="", started=False)
    found, before = seen.latest(spec.name), seen.previous(spec.name)
    trouble = around.troubles.get(spec.name)
    if found is None:
        if around.stopped and last is not None and last.state.running is not None:
            made.state, made.container_id, made.restart_count = (
                _lost("", last.container_id),
                last.container_id,
                last.restart_count,
            )
            made.image_id = last.image_id
            return made
        if last is not None and last.state.terminated is not None and last.container_id:
            return last  # the runtime forgot a container that had ended; what was told stays true
        reason, message = trouble or ("PodInitializing" if pod.spec.init_containers else "ContainerCreating", "")
        made.state = ContainerState(waiting=ContainerStateWaiting(reason=reason, message=message))
        return made
    made.restart_count = found.attempt
    made.container_id = f"{around.runtime_name}://{found.id}"
    made.image, made.image_id = found.image or spec.image, found.image_ref
    if before is not None and before.state == "EXITED":
        made.last_state = _terminated(before, around.runtime_name)
    if found.state == "RUNNING":
        made.state = ContainerState(running=ContainerStateRunning(started_at=_time(found.started_at)))
        _probed(made, spec, seen, found, around, sort)
    elif found.state == "EXITED":
        made.state = _terminated(found, around.runtime_name)
        made.ready = sort == "init" and found.exit_code == 0
        again = not around.terminal and should_restart(
            pod, spec, found.exit_code, sidecar=sort == "init" and is_sidecar(spec)
        )
        if trouble is not None and again:
            made.last_state = made.state
            made.state = ContainerState(waiting=ContainerStateWaiting(reason=trouble[0], message=trouble[1]))
            made.ready = False
    else:
        reason, message = trouble or ("ContainerCreating", "")
        made.state = ContainerState(waiting=ContainerStateWaiting(reason=reason, message=message))
    _extras(made, spec, found)
    return made


def _probed(
    made: ContainerStatus, spec: AnyContainer, seen: Seen, found: ContainerDetail, around: Circumstances, sort: str
) -> None:
    """`started` and `ready` of a running container."""
    verdict = seen.verdict(found)
    if found.id in around.unstarted:
        made.started = False
    else:
        made.started = True if spec.startup_probe is None else verdict.started is True
    if sort == "ephemeral":
        made.ready, made.started = False, None
        return
    if sort == "init" and not is_sidecar(spec):
        return
    made.ready = bool(made.started) and (True if spec.readiness_probe is None else verdict.ready is True)


def _extras(made: ContainerStatus, spec: AnyContainer, found: ContainerDetail) -> None:
    if found.user is not None:
        from edgekube.kinds.core.podstatus import ContainerUser, LinuxContainerUser

        uid, gid, groups = found.user
        made.user = ContainerUser(linux=LinuxContainerUser(uid=uid, gid=gid, supplemental_groups=list(groups)))
    made.volume_mounts = [
        VolumeMountStatus(
            name=mount.name,
            mount_path=mount.mount_path,
            read_only=mount.read_only,
            recursive_read_only="Disabled" if mount.read_only else None,
        )
        for mount in spec.volume_mounts
    ]
    if found.state == "RUNNING" and (spec.resources.requests or spec.resources.limits):
        made.allocated_resources = dict(spec.resources.requests)
        made.resources = msgspec.structs.replace(spec.resources, claims=[])


def container_statuses(
    pod: Pod,
    specs: Sequence[AnyContainer],
    seen: Seen,
    around: Circumstances,
    last: Sequence[ContainerStatus],
    sort: str,
) -> list[ContainerStatus]:
    """Statuses in the order of `specs`. `sort`: "init", "regular" or "ephemeral"."""
    by_name = {status.name: status for status in last}
    return [_container(pod, spec, seen, around, by_name.get(spec.name), sort) for spec in specs]


def phase(pod: Pod, init: Sequence[ContainerStatus], main: Sequence[ContainerStatus], *, terminal: bool) -> str:
    """Pending, Running, Succeeded or Failed."""
    if (early := _init_phase(pod, init, main)) is not None:
        return early
    running = waiting = stopped = succeeded = 0
    for status in main:
        state = status.state
        if state.running is not None:
            running += 1
        elif state.terminated is not None:
            stopped += 1
            succeeded += state.terminated.exit_code == 0
        elif status.last_state.terminated is not None:
            stopped += 1
        else:
            waiting += 1
    if waiting:
        return "Pending"
    if running:
        return "Running"
    if not stopped:
        return "Pending"
    if terminal:
        return "Succeeded" if stopped == succeeded else "Failed"
    if pod.spec.restart_policy == "Always":
        return "Running"
    if stopped == succeeded:
        return "Succeeded"
    by_name = {container.name: container for container in regular(pod)}
    return "Running" if any(_comes_back(pod, by_name[s.name], s) for s in main) else "Failed"


def _comes_back(pod: Pod, container: Container, status: ContainerStatus) -> bool:
    ended = status.state.terminated or status.last_state.terminated
    return ended is not None and should_restart(pod, container, ended.exit_code)


def _init_phase(pod: Pod, init: Sequence[ContainerStatus], main: Sequence[ContainerStatus]) -> str | None:
    """The phase as init containers decide it, or None when they have all done their part."""
    started = any(status.state.running or status.state.terminated or status.last_state.terminated for status in main)
    for spec, status in zip(pod.spec.init_containers, init, strict=True):
        if is_sidecar(spec):
            if not started and not (status.started and status.state.running is not None):
                return "Pending"
            continue
        ended = status.state.terminated or (status.last_state.terminated if status.state.waiting else None)
        if ended is not None and ended.exit_code == 0:
            continue
        if ended is not None and not should_restart(pod, spec, ended.exit_code):
            return "Failed"
        if not started:
            return "Pending"
    return None


def make_status(pod: Pod, seen: Seen, last: PodStatus, around: Circumstances) -> PodStatus:
    """The status to publish."""
    init = container_statuses(pod, pod.spec.init_containers, seen, around, last.init_container_statuses, "init")
    main = container_statuses(pod, regular(pod), seen, around, last.container_statuses, "regular")
    extra = container_statuses(
        pod, pod.spec.ephemeral_containers, seen, around, last.ephemeral_container_statuses, "ephemeral"
    )
    made = PodStatus(
        observed_generation=pod.metadata.generation,
        init_container_statuses=init,
        container_statuses=main,
        ephemeral_container_statuses=extra,
        qos_class=last.qos_class or qos_class(pod),
        host_ip=around.host_ip,
        host_ips=[HostIP(ip=around.host_ip)] if around.host_ip else [],
        start_time=last.start_time or format_time(around.now),
        nominated_node_name=last.nominated_node_name,
        resize=last.resize,
        resource_claim_statuses=last.resource_claim_statuses,
    )
    if around.outcome is not None:
        made.phase, (made.reason, made.message) = "Failed", around.outcome
    elif last.phase in FINISHED:
        made.phase, made.reason, made.message = last.phase, last.reason, last.message
    else:
        made.phase = phase(pod, init, main, terminal=around.terminal and around.stopped)
    _addresses(pod, seen, last, made)
    made.conditions = conditions(pod, seen, made, last.conditions, around)
    return made


def _addresses(pod: Pod, seen: Seen, last: PodStatus, made: PodStatus) -> None:
    ips: Sequence[str] = ()
    if pod.spec.host_network:
        ips = (made.host_ip,) if made.host_ip and seen.sandbox else ()
    elif seen.sandbox is not None:
        ips = seen.sandbox.ips
    if not ips and last.pod_ip and (made.phase in FINISHED or seen.sandbox is None or not seen.sandbox.ready):
        ips = [entry.ip for entry in last.pod_ips] or [last.pod_ip]
    if ips:
        made.pod_ip, made.pod_ips = ips[0], [PodIP(ip=ip) for ip in ips]


def conditions(
    pod: Pod, seen: Seen, made: PodStatus, last: Sequence[PodCondition], around: Circumstances
) -> list[PodCondition]:
    """The kubelet's conditions in its order, then those of others, untouched."""
    before = {condition.type: condition for condition in last}
    now = format_time(around.now)
    found = [
        _sandbox_ready(pod, seen, made),
        _initialised(pod, made),
        _ready(pod, made, before),
        _containers_ready(pod, made),
        PodCondition(type="PodScheduled", status="True"),
    ]
    for condition in found:
        condition.observed_generation = pod.metadata.generation
        old = before.get(condition.type)
        same = old is not None and old.status == condition.status
        condition.last_transition_time = old.last_transition_time if old is not None and same else now
    return found + [condition for condition in last if condition.type not in OWN_CONDITIONS]


def _sandbox_ready(pod: Pod, seen: Seen, made: PodStatus) -> PodCondition:
    up = seen.sandbox is not None and seen.sandbox.ready and (bool(seen.sandbox.ips) or pod.spec.host_network)
    return PodCondition(type="PodReadyToStartContainers", status="True" if up else "False")


def _initialised(pod: Pod, made: PodStatus) -> PodCondition:
    condition = PodCondition(type="Initialized", status="True")
    if made.phase == "Succeeded":
        condition.reason = "PodCompleted"
        return condition
    started = any(s.state.running or s.state.terminated or s.last_state.terminated for s in made.container_statuses)
    left = []
    for spec, status in zip(pod.spec.init_containers, made.init_container_statuses, strict=True):
        done = bool(status.started) if is_sidecar(spec) else status.ready
        if not done and not (started and is_sidecar(spec)):
            left.append(spec.name)
    if left:
        condition.status, condition.reason = "False", "ContainersNotInitialized"
        condition.message = f"containers with incomplete status: [{' '.join(left)}]"
    return condition


def _unready(pod: Pod, made: PodStatus) -> list[str]:
    sidecars = [
        status.name
        for spec, status in zip(pod.spec.init_containers, made.init_container_statuses, strict=True)
        if is_sidecar(spec) and not status.ready
    ]
    return sidecars + [status.name for status in made.container_statuses if not status.ready]


def _containers_ready(pod: Pod, made: PodStatus) -> PodCondition:
    condition = PodCondition(type="ContainersReady", status="True")
    if made.phase == "Succeeded":
        condition.status, condition.reason = "False", "PodCompleted"
    elif made.phase == "Failed":
        condition.status, condition.reason = "False", "PodFailed"
    elif unready := _unready(pod, made):
        condition.status, condition.reason = "False", "ContainersNotReady"
        condition.message = f"containers with unready status: [{' '.join(unready)}]"
    return condition


def _ready(pod: Pod, made: PodStatus, before: Mapping[str, PodCondition]) -> PodCondition:
    containers = _containers_ready(pod, made)
    condition = PodCondition(
        type="Ready", status=containers.status, reason=containers.reason, message=containers.message
    )
    if condition.status == "False":
        return condition
    words = []
    for gate in pod.spec.readiness_gates:
        name, found = gate.condition_type, before.get(gate.condition_type)
        if found is None:
            words.append(f'corresponding condition of pod readiness gate "{name}" does not exist.')
        elif found.status != "True":
            words.append(f'the status of pod readiness gate "{name}" is not "True", but {found.status}')
    if words:
        condition.status, condition.reason, condition.message = "False", "ReadinessGatesNotReady", ", ".join(words)
    return condition
