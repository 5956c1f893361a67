"""What every controller wants to know of a pod, and which pod goes first when there are too many.

Pure functions over API objects; `now` is an argument.
Source: k8s.io/kubernetes pkg/api/v1/pod, pkg/controller/controller_utils.go (ActivePodsWithRanks).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import cmp_to_key

from edgekube.api.meta import parse_time
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podstatus import PodCondition

DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def condition(pod: Pod, type_: str) -> PodCondition | None:
    """The condition of this type."""
    for found in pod.status.conditions:
        if found.type == type_:
            return found
    return None


def is_ready(pod: Pod) -> bool:
    """Whether the Ready condition is True."""
    found = condition(pod, "Ready")
    return found is not None and found.status == "True"


def is_terminal(pod: Pod) -> bool:
    """Whether the pod has finished for good."""
    return pod.status.phase in ("Succeeded", "Failed")


def is_active(pod: Pod) -> bool:
    """Whether the pod counts as a replica: neither finished nor being deleted."""
    return not is_terminal(pod) and pod.metadata.deletion_timestamp is None


def is_terminating(pod: Pod) -> bool:
    """Whether the pod is being deleted and still holds its resources."""
    return not is_terminal(pod) and pod.metadata.deletion_timestamp is not None


def available_in_s(pod: Pod, min_ready_seconds: int, now: datetime) -> float | None:
    """Seconds until a ready pod counts as available (0 = it does), None when it is not ready."""
    found = condition(pod, "Ready")
    if found is None or found.status != "True":
        return None
    if min_ready_seconds == 0:
        return 0.0
    if found.last_transition_time is None:
        return float(min_ready_seconds)
    left = parse_time(found.last_transition_time) + timedelta(seconds=min_ready_seconds) - now
    return max(0.0, left.total_seconds())


def is_available(pod: Pod, min_ready_seconds: int, now: datetime) -> bool:
    """Whether the pod has been ready for `min_ready_seconds`."""
    return available_in_s(pod, min_ready_seconds, now) == 0.0


def soonest_available_s(pods: Iterable[Pod], min_ready_seconds: int, now: datetime) -> float | None:
    """When to look again because a ready pod becomes available then; None when none will by itself."""
    waits = [wait for pod in pods if (wait := available_in_s(pod, min_ready_seconds, now))]
    return min(waits) + 0.01 if waits else None


def restarts(pod: Pod) -> int:
    """The highest restart count of its containers."""
    statuses = [*pod.status.init_container_statuses, *pod.status.container_statuses]
    return max((status.restart_count for status in statuses), default=0)


def deletion_cost(pod: Pod) -> int:
    """The pod-deletion-cost annotation, 0 when absent or not a number."""
    try:
        return int(pod.metadata.annotations.get(DELETION_COST, "0"))
    except ValueError:
        return 0


def pods_per_node(pods: Iterable[Pod]) -> Mapping[str, int]:
    """How many active pods each node carries."""
    counts: dict[str, int] = {}
    for pod in pods:
        if is_active(pod) and pod.spec.node_name:
            counts[pod.spec.node_name] = counts.get(pod.spec.node_name, 0) + 1
    return counts


def least_useful_first(pods: Sequence[Pod], related: Iterable[Pod], now: datetime) -> list[Pod]:
    """`pods` in the order in which they are to be deleted. `related` are all pods of the same workload (other revisions too)."""
    crowd = pods_per_node(related)

    def compare(one: Pod, other: Pod) -> int:
        for key in (_assigned, _phase, _ready, deletion_cost):
            if difference := key(one) - key(other):
                return difference
        if difference := crowd.get(other.spec.node_name, 0) - crowd.get(one.spec.node_name, 0):
            return difference
        if (
            is_ready(one)
            and is_ready(other)
            and (difference := _younger(_ready_since(one), _ready_since(other), one, other, now))
        ):
            return difference
        if difference := restarts(other) - restarts(one):
            return difference
        return _younger(_born(one), _born(other), one, other, now)

    return sorted(pods, key=cmp_to_key(compare))


def _assigned(pod: Pod) -> int:
    return 1 if pod.spec.node_name else 0


def _phase(pod: Pod) -> int:
    return {"Pending": 0, "Unknown": 1, "Running": 2}.get(pod.status.phase, 0)


def _ready(pod: Pod) -> int:
    return 1 if is_ready(pod) else 0


def _ready_since(pod: Pod) -> datetime | None:
    found = condition(pod, "Ready")
    return parse_time(found.last_transition_time) if found and found.last_transition_time else None


def _born(pod: Pod) -> datetime | None:
    return parse_time(pod.metadata.creation_timestamp) if pod.metadata.creation_timestamp else None


def _younger(one: datetime | None, other: datetime | None, pod: Pod, rival: Pod, now: datetime) -> int:
    """Negative when `one` is younger by more than its order of magnitude; ties of magnitude are broken by uid."""
    if one == other:
        return 0
    difference = _magnitude(one, now) - _magnitude(other, now)
    return difference if difference else (-1 if pod.metadata.uid < rival.metadata.uid else 1)


def _magnitude(moment: datetime | None, now: datetime) -> int:
    if moment is None:
        return -1
    age_ns = (now - moment).total_seconds() * 1e9
    return round(math.log2(age_ns)) if age_ns > 0 else -1
