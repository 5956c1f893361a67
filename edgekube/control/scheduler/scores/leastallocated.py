"""Prefer nodes with much CPU and memory left. Source: noderesources/least_allocated.go."""

from __future__ import annotations

from collections.abc import Sequence

from edgekube.control.scheduler.amounts import Amounts
from edgekube.control.scheduler.decide import BEST_SCORE, Score, as_they_are
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot, summarise
from edgekube.kinds.core.pod import Pod

RESOURCES = ("cpu", "memory")


def prepare(pod: Pod, _: Snapshot, __: Sequence[NodeInfo]) -> Amounts:
    """What it requests, with defaults where it says nothing."""
    return summarise(pod).weights


def score(weights: Amounts, info: NodeInfo) -> float:
    """The part that would be left, over both resources."""
    parts = []
    for name in RESOURCES:
        has = info.allocatable.get(name, 0)
        if has > 0:
            left = has - info.weighted.get(name, 0) - weights.get(name, 0)
            parts.append(max(0, left) * BEST_SCORE / has)
    return sum(parts) / len(parts) if parts else 0.0


SCORE = Score("NodeResourcesFit", 1, prepare, score, as_they_are)
