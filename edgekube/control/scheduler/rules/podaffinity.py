"""Near some pods, away from others; and what pods already running demand of newcomers.

Source: k8s.io/kubernetes pkg/scheduler/framework/plugins/interpodaffinity/filtering.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekube.control.scheduler.decide import Refusal, Rule
from edgekube.control.scheduler.matching import Term, required_affinity, required_anti_affinity
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.pod import Pod

NOT_NEAR = Refusal(("node(s) didn't match pod affinity rules",), helpless=True)
TOO_NEAR = Refusal(("node(s) didn't match pod anti-affinity rules",))
UNWANTED = Refusal(("node(s) didn't satisfy existing pods anti-affinity rules",))

Place = tuple[str, str]  # a topology key and its value


@dataclass(frozen=True, slots=True)
class State:
    """Places where the pod must be, must not be, and is not wanted."""

    near: Sequence[Term]
    wanted: frozenset[Place]
    away: Sequence[Term]
    taken: frozenset[Place]
    forbidden: frozenset[Place]
    first_of_its_kind: bool  # nothing matches anywhere, and the pod itself would: it may start the group


def prepare(pod: Pod, snapshot: Snapshot) -> State | None:
    """Look at every running pod once."""
    near, away = required_affinity(pod), required_anti_affinity(pod)
    wanted: set[Place] = set()
    taken: set[Place] = set()
    forbidden: set[Place] = set()
    for info in snapshot.nodes if near or away else snapshot.index.choosy.values():
        for other in info.pods if near or away else info.with_affinity:
            if near and all(term.matches(other, snapshot) for term in near):
                wanted |= _places(near, info)
            for term in away:
                if term.matches(other, snapshot):
                    taken |= _places([term], info)
            if other.spec.affinity is not None and other.spec.affinity.pod_anti_affinity is not None:
                for term in required_anti_affinity(other):
                    if term.matches(pod, snapshot):
                        forbidden |= _places([term], info)
    if not near and not away and not forbidden:
        return None
    first = not wanted and all(term.matches(pod, snapshot) for term in near)
    return State(near, frozenset(wanted), away, frozenset(taken), frozenset(forbidden), first)


def _places(terms: Sequence[Term], info: NodeInfo) -> set[Place]:
    return {(term.topology_key, info.labels[term.topology_key]) for term in terms if term.topology_key in info.labels}


def refuse(state: State, info: NodeInfo) -> Refusal | None:
    """Nodes in the wrong place."""
    if not _is_near(state, info):
        return NOT_NEAR
    if any(place in state.taken for place in _places(state.away, info)):
        return TOO_NEAR
    if any(info.labels.get(key) == value for key, value in state.forbidden):
        return UNWANTED
    return None


def _is_near(state: State, info: NodeInfo) -> bool:
    for term in state.near:
        value = info.labels.get(term.topology_key)
        if value is None:
            return False
        if (term.topology_key, value) not in state.wanted and not state.first_of_its_kind:
            return False
    return True


RULE = Rule("InterPodAffinity", prepare, refuse, frozenset({"nodes", "pods", "namespaces"}), looks_around=True)
