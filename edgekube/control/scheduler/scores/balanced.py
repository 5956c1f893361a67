"""Prefer nodes on which CPU and memory would be used to the same part. Source: noderesources/balanced_allocation.go."""

from __future__ import annotations

from collections.abc import Sequence

from edgekube.control.scheduler import amounts
from edgekube.control.scheduler.amounts import Amounts
from edgekube.control.scheduler.decide import BEST_SCORE, Score, as_they_are
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.pod import Pod

RESOURCES = ("cpu", "memory")


def prepare(pod: Pod, _: Snapshot, __: Sequence[NodeInfo]) -> Amounts | None:
    """Pods that request nothing do not care."""
    requests = amounts.of_pod(pod)
    return requests if any(requests.get(name) for name in RESOURCES) else None


def score(requests: Amounts, info: NodeInfo) -> float:
    """100 less how far the two parts are from each other."""
    has, taken = info.allocatable, info.requested
    cpus, memory = has.get("cpu", 0), has.get("memory", 0)
    if cpus <= 0 or memory <= 0:
        return BEST_SCORE
    one = (taken.get("cpu", 0) + requests.get("cpu", 0)) / cpus
    other = (taken.get("memory", 0) + requests.get("memory", 0)) / memory
    return BEST_SCORE * (1 - abs((one if one < 1 else 1.0) - (other if other < 1 else 1.0)) / 2)


SCORE = Score("NodeResourcesBalancedAllocation", 1, prepare, score, as_they_are)
