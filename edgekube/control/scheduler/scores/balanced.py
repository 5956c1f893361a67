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
    parts = []
    for name in RESOURCES:
        has = info.allocatable.get(name, 0)
        if has > 0:
            parts.append(min(1.0, (info.requested.get(name, 0) + requests.get(name, 0)) / has))
    return BEST_SCORE * (1 - abs(parts[0] - parts[1]) / 2) if len(parts) == 2 else BEST_SCORE


SCORE = Score("NodeResourcesBalancedAllocation", 1, prepare, score, as_they_are)
