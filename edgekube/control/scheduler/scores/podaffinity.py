"""Preferred pod affinity and anti-affinity, of the pod and of those already running. Source: plugins/interpodaffinity/scoring.go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from edgekube.control.scheduler.decide import Score, spread_out
from edgekube.control.scheduler.matching import preferred, required_affinity
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.pod import Pod

HARD_AFFINITY_WEIGHT = 1  # what a running pod's required affinity for the newcomer counts

Place = tuple[str, str]


def prepare(
    pod: Pod,
    snapshot: Snapshot,
    _: Sequence[NodeInfo],
    *,
    hard_weight: int = HARD_AFFINITY_WEIGHT,
    theirs_too: bool = True,
) -> Mapping[Place, float] | None:
    """The weight of each place. `theirs_too`: whether mere wishes of running pods count for a pod that has none itself."""
    wishes = preferred(pod)
    everything = theirs_too or bool(wishes)
    places: dict[Place, float] = {}
    for info in snapshot.nodes if wishes else snapshot.index.choosy.values():
        for other in info.pods if wishes else info.with_affinity:
            found = [(weight, term) for weight, term in wishes if term.matches(other, snapshot)]
            if other.spec.affinity is not None:
                theirs = [*(preferred(other) if everything else ())]
                theirs += [(hard_weight, term) for term in required_affinity(other)]
                found += [(weight, term) for weight, term in theirs if term.matches(pod, snapshot)]
            for weight, term in found:
                value = info.labels.get(term.topology_key)
                if value is not None:
                    place = (term.topology_key, value)
                    places[place] = places.get(place, 0) + weight
    return places or None


def score(places: Mapping[Place, float], info: NodeInfo) -> float:
    """The sum over all places the node is in."""
    return sum(weight for (key, value), weight in places.items() if info.labels.get(key) == value)


SCORE = Score("InterPodAffinity", 2, prepare, score, spread_out)


def configured(arguments: Mapping[str, Any]) -> Score:
    """The score for InterPodAffinityArgs. Raises ValueError."""
    weight = arguments.get("hardPodAffinityWeight", HARD_AFFINITY_WEIGHT)
    if not isinstance(weight, int) or not 0 <= weight <= 100:
        raise ValueError("hardPodAffinityWeight must be from 0 to 100")
    theirs_too = not arguments.get("ignorePreferredTermsOfExistingPods", False)
    made = partial(prepare, hard_weight=weight, theirs_too=theirs_too)
    return Score("InterPodAffinity", 2, made, score, spread_out)
