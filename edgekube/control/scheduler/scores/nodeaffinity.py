"""Preferred node affinity: the weights of all terms that match. Source: plugins/nodeaffinity."""

from __future__ import annotations

from collections.abc import Sequence

from edgekube.control.scheduler.decide import Score, up_to_the_best
from edgekube.control.scheduler.matching import term_matches
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podspec import PreferredSchedulingTerm


def prepare(pod: Pod, _: Snapshot, __: Sequence[NodeInfo]) -> Sequence[PreferredSchedulingTerm] | None:
    """The preferences."""
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity is not None else None
    return (affinity.preferred_during_scheduling_ignored_during_execution or None) if affinity is not None else None


def score(terms: Sequence[PreferredSchedulingTerm], info: NodeInfo) -> float:
    """The sum of weights."""
    return float(sum(term.weight for term in terms if term_matches(term.preference, info.node)))


SCORE = Score("NodeAffinity", 2, prepare, score, up_to_the_best)
