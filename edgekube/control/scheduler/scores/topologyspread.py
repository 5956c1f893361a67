"""Soft spreading: ScheduleAnyway constraints, or, without any, replicas of one owner over nodes and zones.

Source: k8s.io/kubernetes pkg/scheduler/framework/plugins/podtopologyspread/scoring.go (system default constraints).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from edgekube.control.owners import controller_uid
from edgekube.control.scheduler.decide import BEST_SCORE, Score
from edgekube.control.scheduler.matching import with_label_keys
from edgekube.control.scheduler.rules.topologyspread import eligible, matching
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.pod import Pod

HOSTNAME = "kubernetes.io/hostname"
DEFAULTS = ((HOSTNAME, 3), ("topology.kubernetes.io/zone", 5))


@dataclass(frozen=True, slots=True)
class Spread:
    """How many pods of the group each place has; `weight` makes few places count as much as many."""

    key: str
    max_skew: int
    counts: Mapping[str, int]
    weight: float


Defaults = Sequence[tuple[str, int]]  # topology key and greatest skew


def prepare(
    pod: Pod, snapshot: Snapshot, suiting: Sequence[NodeInfo], *, defaults: Defaults = DEFAULTS
) -> Sequence[Spread] | None:
    """Count for each soft constraint."""
    soft = [c for c in pod.spec.topology_spread_constraints if c.when_unsatisfiable == "ScheduleAnyway"]
    made: list[Spread] = []
    for constraint in soft:
        query = with_label_keys(constraint.label_selector, pod, constraint.match_label_keys)
        counts: dict[str, int] = {}
        for info in snapshot.nodes:
            place = info.labels.get(constraint.topology_key)
            if place is not None and eligible(pod, constraint, info):
                counts[place] = counts.get(place, 0) + matching(pod, query, info)
        made.append(_spread(constraint.topology_key, constraint.max_skew, counts, suiting))
    if not pod.spec.topology_spread_constraints and (owner := controller_uid(pod)):
        return [_siblings(owner, key, skew, snapshot, suiting) for key, skew in defaults]
    return [spread for spread in made if spread.counts] or None


def _siblings(owner: str, key: str, skew: int, snapshot: Snapshot, suiting: Sequence[NodeInfo]) -> Spread:
    """Places that have a sibling are counted; all others have none."""
    counts: dict[str, int] = {}
    for info in snapshot.index.owners.get(owner, {}).values():
        if (place := info.labels.get(key)) is not None:
            counts[place] = counts.get(place, 0) + info.by_owner[owner]
    return _spread(key, skew, counts, suiting)


def _spread(key: str, skew: int, counts: Mapping[str, int], suiting: Sequence[NodeInfo]) -> Spread:
    places = len(suiting) if key == HOSTNAME else len({info.labels[key] for info in suiting if key in info.labels})
    return Spread(key, skew, counts, math.log(places + 2))


def score(spreads: Sequence[Spread], info: NodeInfo) -> float:
    """The weighted number of pods already there; the fewer the better."""
    total, labels = 0.0, info.labels
    for spread in spreads:
        place = labels.get(spread.key)
        if place is not None:
            total += spread.counts.get(place, 0) * spread.weight + (spread.max_skew - 1)
    return float(round(total))


def level(scores: Sequence[float]) -> Sequence[float]:
    """The emptiest place gets 100."""
    least, most = min(scores), max(scores)
    return [BEST_SCORE * (most + least - value) / most if most > 0 else BEST_SCORE for value in scores]


SCORE = Score("PodTopologySpread", 2, prepare, score, level)


def configured(arguments: Mapping[str, Any]) -> Score:
    """The score for PodTopologySpreadArgs. Raises ValueError."""
    kind = arguments.get("defaultingType") or "System"
    given = arguments.get("defaultConstraints") or ()
    if kind not in ("System", "List"):
        raise ValueError(f"no defaultingType {kind!r}")
    if kind == "System":
        if given:
            raise ValueError("defaultConstraints need defaultingType List")
        return SCORE
    if any(one.get("whenUnsatisfiable") != "ScheduleAnyway" for one in given):
        raise ValueError("defaultConstraints here can only be ScheduleAnyway")
    defaults = [(str(one["topologyKey"]), int(one["maxSkew"])) for one in given]
    return Score("PodTopologySpread", 2, partial(prepare, defaults=defaults), score, level)
