"""Prefer nodes with much left, or, where configured so, nodes that are full already or used to a wished-for part.

Source: plugins/noderesources (least_allocated.go, most_allocated.go, requested_to_capacity_ratio.go).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from edgekube.control.scheduler.amounts import Amounts
from edgekube.control.scheduler.decide import BEST_SCORE, Score, as_they_are
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot, summarise
from edgekube.kinds.core.pod import Pod

NAME = "NodeResourcesFit"
RESOURCES: Mapping[str, float] = {"cpu": 1, "memory": 1}
WITH_DEFAULTS = ("cpu", "memory")  # pods that say nothing of these count as asking for a little
SHAPE_TOP = 10.0  # the best a point of a wished-for shape can give

Part = Callable[[float, float], float]  # (used with the pod, all there is) -> 0..100


def prepare(pod: Pod, snapshot: Snapshot, __: Sequence[NodeInfo]) -> Amounts:
    """What it requests, with defaults where it says nothing."""
    summary = snapshot.summaries.of(pod) if pod.metadata.uid else summarise(pod)
    return {**summary.requests, **summary.weights}


def score(weights: Amounts, info: NodeInfo) -> float:
    """The part that would be left, over both resources."""
    total, count, has, used = 0.0, 0, info.allocatable, info.weighted
    for name in WITH_DEFAULTS:
        there = has.get(name, 0)
        if there > 0:
            left = there - used.get(name, 0) - weights.get(name, 0)
            if left > 0:
                total += left * BEST_SCORE / there
            count += 1
    return total / count if count else 0.0


SCORE = Score(NAME, 1, prepare, score, as_they_are)


def _least(used: float, there: float) -> float:
    return max(0.0, there - used) * BEST_SCORE / there


def _most(used: float, there: float) -> float:
    return min(used, there) * BEST_SCORE / there


def _shaped(shape: Sequence[tuple[float, float]], used: float, there: float) -> float:
    """Between the points of a shape in a straight line; outside as its ends."""
    percent = min(100.0, used * 100 / there)
    below = [point for point in shape if point[0] <= percent]
    above = [point for point in shape if point[0] >= percent]
    if not below or not above:
        return (above[0] if above else below[-1])[1] * BEST_SCORE / SHAPE_TOP
    (x0, y0), (x1, y1) = below[-1], above[0]
    value = y0 if x1 == x0 else y0 + (y1 - y0) * (percent - x0) / (x1 - x0)
    return value * BEST_SCORE / SHAPE_TOP


def _weighed(part: Part, resources: Mapping[str, float], asked: Amounts, info: NodeInfo) -> float:
    total = weights = 0.0
    for name, weight in resources.items():
        there = info.allocatable.get(name, 0)
        if there <= 0 or (name not in WITH_DEFAULTS and not asked.get(name)):
            continue
        taken = info.weighted if name in WITH_DEFAULTS else info.requested
        total += weight * part(taken.get(name, 0) + asked.get(name, 0), there)
        weights += weight
    return total / weights if weights else 0.0


def configured(arguments: Mapping[str, Any]) -> Score:
    """The score for NodeResourcesFitArgs. Raises ValueError."""
    strategy = arguments.get("scoringStrategy") or {}
    kind = strategy.get("type") or "LeastAllocated"
    resources = {str(one["name"]): float(one.get("weight") or 1) for one in strategy.get("resources") or ()}
    part: Part
    if kind == "LeastAllocated":
        part = _least
    elif kind == "MostAllocated":
        part = _most
    elif kind == "RequestedToCapacityRatio":
        points = (strategy.get("requestedToCapacityRatio") or {}).get("shape") or ()
        shape = sorted((float(point.get("utilization") or 0), float(point.get("score") or 0)) for point in points)
        if not shape:
            raise ValueError("requestedToCapacityRatio needs a shape")
        part = partial(_shaped, shape)
    else:
        raise ValueError(f"no scoring strategy {kind!r}")
    return Score(NAME, 1, prepare, partial(_weighed, part, resources or RESOURCES), as_they_are)
