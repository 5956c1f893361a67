"""Preferred pod affinity and anti-affinity, of the pod and of those already running. Source: plugins/interpodaffinity/scoring.go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekube.control.scheduler.decide import Score, spread_out
from edgekube.control.scheduler.matching import preferred, required_affinity
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.pod import Pod

HARD_AFFINITY_WEIGHT = 1  # what a running pod's required affinity for the newcomer counts

Place = tuple[str, str]


def prepare(pod: Pod, snapshot: Snapshot, _: Sequence[NodeInfo]) -> Mapping[Place, float] | None:
    """The weight of each place."""
    wishes = preferred(pod)
    places: dict[Place, float] = {}
    for info in snapshot.nodes:
        for other in info.pods:
            found = [(weight, term) for weight, term in wishes if term.matches(other, snapshot)]
            if other.spec.affinity is not None:
                theirs = [*preferred(other), *((HARD_AFFINITY_WEIGHT, term) for term in required_affinity(other))]
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
