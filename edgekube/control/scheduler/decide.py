"""The decision: filter nodes by rules, score what is left, pick the best. Pure; chance is an argument.

Source: k8s.io/kubernetes pkg/scheduler/schedule_one.go, framework/types.go (the words of a refusal).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.pod import Pod

BEST_SCORE = 100.0
FEW_NODES = 100  # up to so many all are looked at
LEAST_PERCENT = 5  # of a very large cluster's nodes


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a node does not suit. `helpless`: it would not even if every other pod left."""

    reasons: tuple[str, ...]
    helpless: bool = False


class Hopeless(Exception):
    """Raised by a rule's `prepare`: no node can suit, for this one reason."""

    def __init__(self, reason: str, rule: str = "") -> None:
        super().__init__(reason)
        self.reason, self.rule = reason, rule


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition on nodes. `prepare` looks once at pod and cluster and returns what `refuse` needs, or None when the rule
    does not concern the pod. `wakes`: plurals of kinds whose changes may turn a refusal around. `looks_around`: what `prepare`
    returns depends on the pods of all nodes, so that it is worked out again where other pods are tried on a node."""

    name: str
    prepare: Callable[[Pod, Snapshot], Any]
    refuse: Callable[[Any, NodeInfo], Refusal | None]
    wakes: frozenset[str] = frozenset({"nodes"})
    looks_around: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """One wish. `prepare` returns None when the pod has no such wish; `score` gives any number; `level` brings all to 0..100."""

    name: str
    weight: float
    prepare: Callable[[Pod, Snapshot, Sequence[NodeInfo]], Any]
    score: Callable[[Any, NodeInfo], float]
    level: Callable[[Sequence[float]], Sequence[float]]


@dataclass(frozen=True, slots=True)
class Chosen:
    """The pod goes to this node. `looked_at`: how many nodes were asked before enough suited."""

    node: str
    total: float
    looked_at: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """No node suits. `rules` are those that refused, `message` says it as upstream does, without what preemption adds.
    A node without an entry in `refusals` was not even asked: nothing would help there."""

    message: str
    rules: frozenset[str]
    refusals: Mapping[str, Refusal] = field(default_factory=dict)
    nodes: int = 0


class Sieve:
    """All rules prepared for one pod over one snapshot. Making one raises Hopeless."""

    def __init__(self, pod: Pod, snapshot: Snapshot, rules: Sequence[Rule]) -> None:
        self._pod, self._snapshot = pod, snapshot
        self._prepared: list[tuple[Rule, Any]] = []
        for rule in rules:
            try:
                state = rule.prepare(pod, snapshot)
            except Hopeless as hopeless:
                raise Hopeless(hopeless.reason, rule.name) from None
            if state is not None:
                self._prepared.append((rule, state))

    def refusal(self, info: NodeInfo) -> tuple[str, Refusal] | None:
        """The first rule that refuses this node of the snapshot, and its words."""
        for rule, state in self._prepared:
            refusal = rule.refuse(state, info)
            if refusal is not None:
                return rule.name, refusal
        return None

    def refusal_with(self, info: NodeInfo) -> tuple[str, Refusal] | None:
        """The same for a node that has other pods than in the snapshot."""
        snapshot: Snapshot | None = None
        for rule, known in self._prepared:
            state = known
            if rule.looks_around:
                snapshot = snapshot or self._snapshot.with_node(info)
                state = rule.prepare(self._pod, snapshot)
            refusal = None if state is None else rule.refuse(state, info)
            if refusal is not None:
                return rule.name, refusal
        return None

    def refusal_beside_nominated(self, info: NodeInfo) -> tuple[str, Refusal] | None:
        """The node must suit both with the pods that are promised a place on it and, lest they never come, without them."""
        promised = self._snapshot.promised_before(self._pod, info.name)
        if promised:
            found = self.refusal_with(self._snapshot.node_with(info, [*info.pods, *promised]))
            if found is not None:
                return found
        return self.refusal(info)


def enough_of(nodes: int) -> int:
    """How many suiting nodes are enough to choose among: the least upstream ever takes, a hundred or a twentieth of all."""
    return max(FEW_NODES, nodes * LEAST_PERCENT // 100)


def decide(
    pod: Pod,
    snapshot: Snapshot,
    rules: Sequence[Rule],
    scores: Sequence[Score],
    chance: Callable[[], float],
    *,
    start: int = 0,
) -> Chosen | Refused:
    """The node for a pod, or why there is none. `start`: where in the round of nodes to begin."""
    total = len(snapshot.nodes)
    if not total:
        return Refused("no nodes available to schedule pods", frozenset(rule.name for rule in rules))
    snapshot = snapshot.indexed()
    try:
        sieve = Sieve(pod, snapshot, rules)
    except Hopeless as hopeless:
        return Refused(f"0/{total} nodes are available: {hopeless.reason}.", frozenset({hopeless.rule}), nodes=total)
    nominated = snapshot.node(pod.status.nominated_node_name)
    if nominated is not None and sieve.refusal_beside_nominated(nominated) is None:
        return Chosen(nominated.name, 0.0)
    suiting: list[NodeInfo] = []
    refusals: dict[str, Refusal] = {}
    refusing: set[str] = set()
    enough, looked_at = enough_of(total), 0
    refusal_of = sieve.refusal_beside_nominated if snapshot.nominated else sieve.refusal
    for position in range(start, start + total):
        info = snapshot.nodes[position % total]
        looked_at += 1
        found = refusal_of(info)
        if found is None:
            suiting.append(info)
            if len(suiting) >= enough:
                break
        else:
            refusing.add(found[0])
            refusals[info.name] = found[1]
    if not suiting:
        words = histogram([reason for refusal in refusals.values() for reason in refusal.reasons])
        return Refused(f"0/{total} nodes are available:{words}", frozenset(refusing), refusals, total)
    return _best(pod, snapshot, suiting, scores, chance, looked_at)


def _best(
    pod: Pod,
    snapshot: Snapshot,
    suiting: Sequence[NodeInfo],
    scores: Sequence[Score],
    chance: Callable[[], float],
    looked_at: int,
) -> Chosen:
    totals = [0.0] * len(suiting)
    if len(suiting) > 1:
        for score in scores:
            state = score.prepare(pod, snapshot, suiting)
            if state is None:
                continue
            rate, weight = score.score, score.weight
            levelled = score.level([rate(state, info) for info in suiting])
            totals = [total + weight * value for total, value in zip(totals, levelled, strict=True)]
    best = max(totals)
    equals = [info for info, total in zip(suiting, totals, strict=True) if total == best]
    return Chosen(equals[min(int(chance() * len(equals)), len(equals) - 1)].name, best, looked_at)


def histogram(reasons: Sequence[str]) -> str:
    """Reasons with their counts, as the tail of a sentence."""
    counts: dict[str, int] = {}
    for reason in reasons:
        counts[reason] = counts.get(reason, 0) + 1
    return f" {', '.join(sorted(f'{count} {reason}' for reason, count in counts.items()))}."


def as_they_are(scores: Sequence[float]) -> Sequence[float]:
    """Scores that are 0..100 already."""
    return scores


def up_to_the_best(scores: Sequence[float]) -> Sequence[float]:
    """The best gets 100, the others in proportion."""
    most = max(scores)
    return [BEST_SCORE * value / most for value in scores] if most > 0 else scores


def fewest_is_best(scores: Sequence[float]) -> Sequence[float]:
    """None gets 100, the most gets 0."""
    most = max(scores)
    return [BEST_SCORE - BEST_SCORE * value / most for value in scores] if most > 0 else [BEST_SCORE] * len(scores)


def spread_out(scores: Sequence[float]) -> Sequence[float]:
    """From the least (0) to the most (100)."""
    least, most = min(scores), max(scores)
    return [BEST_SCORE * (value - least) / (most - least) for value in scores] if most > least else [0.0] * len(scores)
