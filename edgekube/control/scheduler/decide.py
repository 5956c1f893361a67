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


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a node does not suit. `helpless`: it would not even if every other pod left."""

    reasons: tuple[str, ...]
    helpless: bool = False


class Hopeless(Exception):
    """Raised by a rule's `prepare`: no node can suit, for this one reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Rule:
    """One condition on nodes. `prepare` looks once at pod and cluster and returns what `refuse` needs, or None when the rule
    does not concern the pod. `wakes`: plurals of kinds whose changes may turn a refusal around."""

    name: str
    prepare: Callable[[Pod, Snapshot], Any]
    refuse: Callable[[Any, NodeInfo], Refusal | None]
    wakes: frozenset[str] = frozenset({"nodes"})


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
    """The pod goes to this node. `scores` per rule, for whoever asks why."""

    node: str
    total: float


@dataclass(frozen=True, slots=True)
class Refused:
    """No node suits. `rules` are those that refused, `message` says it as upstream does."""

    message: str
    rules: frozenset[str]
    refusals: Mapping[str, Refusal] = field(default_factory=dict)


def decide(
    pod: Pod, snapshot: Snapshot, rules: Sequence[Rule], scores: Sequence[Score], chance: Callable[[], float]
) -> Chosen | Refused:
    """The node for a pod, or why there is none."""
    if not snapshot.nodes:
        return Refused("no nodes available to schedule pods", frozenset(rule.name for rule in rules))
    prepared: list[tuple[Rule, Any]] = []
    for rule in rules:
        try:
            state = rule.prepare(pod, snapshot)
        except Hopeless as hopeless:
            return Refused(_words(pod, snapshot, {}, hopeless.reason), frozenset({rule.name}))
        if state is not None:
            prepared.append((rule, state))
    suiting: list[NodeInfo] = []
    refusals: dict[str, Refusal] = {}
    refusing: set[str] = set()
    for info in snapshot.nodes:
        for rule, state in prepared:
            refusal = rule.refuse(state, info)
            if refusal is not None:
                refusals[info.name] = refusal
                refusing.add(rule.name)
                break
        else:
            suiting.append(info)
    if not suiting:
        return Refused(_words(pod, snapshot, refusals, ""), frozenset(refusing), refusals)
    return _best(pod, snapshot, suiting, scores, chance)


def _best(
    pod: Pod,
    snapshot: Snapshot,
    suiting: Sequence[NodeInfo],
    scores: Sequence[Score],
    chance: Callable[[], float],
) -> Chosen:
    totals = [0.0] * len(suiting)
    if len(suiting) > 1:
        for score in scores:
            state = score.prepare(pod, snapshot, suiting)
            if state is None:
                continue
            levelled = score.level([score.score(state, info) for info in suiting])
            for position, value in enumerate(levelled):
                totals[position] += score.weight * value
    best = max(totals)
    equals = [info for info, total in zip(suiting, totals, strict=True) if total == best]
    return Chosen(equals[min(int(chance() * len(equals)), len(equals) - 1)].name, best)


def _words(pod: Pod, snapshot: Snapshot, refusals: Mapping[str, Refusal], hopeless: str) -> str:
    total = len(snapshot.nodes)
    message = f"0/{total} nodes are available:"
    message += (
        f" {hopeless}." if hopeless else _histogram([r for refusal in refusals.values() for r in refusal.reasons])
    )
    if hopeless:
        helpless, hopeful = total, 0
    else:
        helpless = sum(1 for refusal in refusals.values() if refusal.helpless)
        hopeful = len(refusals) - helpless
    if pod.spec.preemption_policy == "Never":
        return f"{message} preemption: not eligible due to preemptionPolicy=Never."
    reasons = ["Preemption is not helpful for scheduling"] * helpless
    reasons += ["No preemption victims found for incoming pod"] * hopeful
    return f"{message} preemption: 0/{total} nodes are available:{_histogram(reasons)}"


def _histogram(reasons: Sequence[str]) -> str:
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
