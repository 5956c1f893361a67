"""The cells of a pod in a table: what its one-word status is, how many containers are ready, how often they restarted.

Source: printPod in upstream's pkg/printers/internalversion/printers.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgekube.api.durations import age
from edgekube.api.kind import Column
from edgekube.kinds.core.podobject import Pod
from edgekube.kinds.core.podspec import PodSpec
from edgekube.kinds.core.podstatus import ContainerStateTerminated, ContainerStatus, PodStatus
from edgekube.kinds.core.printing import AGE, NAME, NONE, described

FINISHED = ("Succeeded", "Failed")
NODE_LOST = "NodeLost"
_ROW_CONDITIONS = {
    "Succeeded": {
        "type": "Completed",
        "status": "True",
        "reason": "Succeeded",
        "message": "The pod has completed successfully.",
    },
    "Failed": {"type": "Completed", "status": "True", "reason": "Failed", "message": "The pod failed."},
}


@dataclass(frozen=True, slots=True)
class Summary:
    """A pod in four figures and a word; `last_restart` is RFC 3339 text, or "" when unknown."""

    ready: int
    total: int
    reason: str
    restarts: int
    last_restart: str


def summary(pod: Pod) -> Summary:
    """What a table says about a pod."""
    spec, status = pod.spec, pod.status
    sidecars = {one.name for one in spec.init_containers if one.restart_policy == "Always"}
    reason = status.reason or status.phase
    if any(one.type == "PodScheduled" and one.reason == "SchedulingGated" for one in status.conditions):
        reason = "SchedulingGated"
    waiting_for, ready = _initialisation(spec, status, sidecars)
    counted: list[ContainerStatus] = list(status.init_container_statuses)
    if waiting_for:
        reason = waiting_for
    if not waiting_for or _is_true(status, "Initialized"):
        counted = [one for one in counted if one.name in sidecars] + list(status.container_statuses)
        reason, running = _running(status, reason)
        ready += running
    if pod.metadata.deletion_timestamp is not None:
        if status.reason == NODE_LOST:
            reason = "Unknown"
        elif status.phase not in FINISHED:
            reason = "Terminating"
    return Summary(
        ready=ready,
        total=len(spec.containers or ()) + len(sidecars),
        reason=reason,
        restarts=sum(one.restart_count for one in counted),
        last_restart=_last_restart(counted),
    )


def _initialisation(spec: PodSpec, status: PodStatus, sidecars: set[str]) -> tuple[str, int]:
    """("" or what the init containers are stuck at, how many sidecars are ready)."""
    ready = 0
    for position, one in enumerate(status.init_container_statuses):
        state = one.state
        if state.terminated is not None and state.terminated.exit_code == 0:
            continue
        if one.name in sidecars and one.started:
            ready += one.ready
            continue
        if state.terminated is not None:
            return f"Init:{_ended(state.terminated)}", ready
        if state.waiting is not None and state.waiting.reason not in ("", "PodInitializing"):
            return f"Init:{state.waiting.reason}", ready
        return f"Init:{position}/{len(spec.init_containers)}", ready
    return "", ready


def _running(status: PodStatus, reason: str) -> tuple[str, int]:
    """(the reason the first troubled container gives, how many containers run and are ready)."""
    ready = 0
    for one in reversed(status.container_statuses):
        state = one.state
        if state.waiting is not None and state.waiting.reason:
            reason = state.waiting.reason
        elif state.terminated is not None:
            reason = _ended(state.terminated)
        elif one.ready and state.running is not None:
            ready += 1
    if reason == "Completed" and ready:
        reason = "Running" if _is_true(status, "Ready") else "NotReady"
    return reason, ready


def _ended(state: ContainerStateTerminated) -> str:
    if state.reason:
        return state.reason
    return f"Signal:{state.signal}" if state.signal else f"ExitCode:{state.exit_code}"


def _is_true(status: PodStatus, type_: str) -> bool:
    return any(one.type == type_ and one.status == "True" for one in status.conditions)


def _last_restart(statuses: Iterable[ContainerStatus]) -> str:
    ends = [one.last_state.terminated for one in statuses]
    return max((end.finished_at for end in ends if end is not None and end.finished_at), default="")


def _restarts(pod: Pod, now: str) -> str:
    seen = summary(pod)
    if seen.restarts and seen.last_restart:
        return f"{seen.restarts} ({age(seen.last_restart, now)} ago)"
    return str(seen.restarts)


def _ready(pod: Pod, _now: str) -> str:
    seen = summary(pod)
    return f"{seen.ready}/{seen.total}"


def _gates(pod: Pod, _now: str) -> str:
    gates = pod.spec.readiness_gates
    if not gates:
        return NONE
    return f"{sum(_is_true(pod.status, gate.condition_type) for gate in gates)}/{len(gates)}"


def pod_ip(pod: Pod) -> str:
    """The pod's first address, "" before it has one."""
    return pod.status.pod_ips[0].ip if pod.status.pod_ips else pod.status.pod_ip


def row_conditions(pod: Pod) -> list[dict[str, str]]:
    """Finished pods are marked, so that clients can leave them out."""
    found = _ROW_CONDITIONS.get(pod.status.phase)
    return [dict(found)] if found else []


COLUMNS = described(
    "pods",
    NAME,
    Column("Ready", "string", _ready),
    Column("Status", "string", lambda pod, _: summary(pod).reason),
    Column("Restarts", "string", _restarts),
    AGE,
    Column("IP", "string", lambda pod, _: pod_ip(pod) or NONE, priority=1),
    Column("Node", "string", lambda pod, _: pod.spec.node_name or NONE, priority=1),
    Column("Nominated Node", "string", lambda pod, _: pod.status.nominated_node_name or NONE, priority=1),
    Column("Readiness Gates", "string", _gates, priority=1),
)
