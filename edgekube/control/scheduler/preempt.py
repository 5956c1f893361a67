"""Who has to go so that a more important pod can stay: the decision, as data. Pure; chance is an argument.

For every node where leaving pods could help, the pods less important than the newcomer are taken away in thought, then given back,
the most important first, as long as the newcomer still fits. What cannot be given back are the victims there. Of all such nodes
the one that hurts least is taken. Pods of a spent disruption budget are given back before others.
Source: k8s.io/kubernetes pkg/scheduler/framework/preemption and plugins/defaultpreemption.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from edgekube.api.meta import parse_time
from edgekube.api.selectors import from_label_selector
from edgekube.control import pods
from edgekube.control.scheduler.decide import Hopeless, Refused, Rule, Sieve, histogram
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.policy.poddisruptionbudget import PodDisruptionBudget

REASON = "PreemptionByScheduler"
FEWEST_CANDIDATES, PERCENT_OF_NODES = 100, 10
NEVER = "not eligible due to preemptionPolicy=Never."
TERMINATING = "not eligible due to a terminating pod on the nominated node."
NO_VICTIMS = "No preemption victims found for incoming pod"
NOT_HELPFUL = "Preemption is not helpful for scheduling"
PRIORITY_SHIFT = 1 << 31  # makes all priorities count, also negative ones, so that fewer victims are better


@dataclass(frozen=True, slots=True)
class Sacrifice:
    """These pods, the most important first, make room on this node. `violations`: how many a budget would have kept."""

    node: str
    victims: tuple[Pod, ...]
    violations: int


@dataclass(frozen=True, slots=True)
class Nothing:
    """Preemption does not help, in upstream's words. `forget_nomination`: a place promised earlier is no longer of use."""

    words: str
    forget_nomination: bool = False


def preempt(
    pod: Pod, snapshot: Snapshot, rules: Sequence[Rule], refused: Refused, chance: Callable[[], float]
) -> Sacrifice | Nothing:
    """Where room can be made for a refused pod, and at whose cost."""
    if pod.spec.preemption_policy == "Never":
        return Nothing(NEVER)
    if _waits_for_victims(pod, snapshot, refused):
        return Nothing(TERMINATING)
    snapshot = snapshot.indexed()
    hopeful = [
        info for info in snapshot.nodes if (why := refused.refusals.get(info.name)) is not None and not why.helpless
    ]
    reasons: dict[str, tuple[str, ...]] = {}
    candidates: list[Sacrifice] = []
    if hopeful:
        try:
            sieve = Sieve(pod, snapshot, rules)
        except Hopeless:
            hopeful = []
    wanted = min(max(len(hopeful) * PERCENT_OF_NODES // 100, FEWEST_CANDIDATES), len(hopeful))
    first = int(chance() * len(hopeful)) if hopeful else 0
    for position in range(first, first + len(hopeful)):
        info = hopeful[position % len(hopeful)]
        found = victims_on(pod, info, snapshot, sieve)
        if isinstance(found, Sacrifice):
            candidates.append(found)
            if len(candidates) >= wanted:
                break
        else:
            reasons[info.name] = found
    if candidates:
        return least_harm(candidates)
    told = [reason for words in reasons.values() for reason in words]
    told += [NOT_HELPFUL] * (len(snapshot.nodes) - len(reasons))
    total = len(snapshot.nodes)
    return Nothing(f"0/{total} nodes are available:{histogram(told)}", forget_nomination=True)


def _waits_for_victims(pod: Pod, snapshot: Snapshot, refused: Refused) -> bool:
    """Whether pods this one has preempted are still on their way out: no more may suffer until they are gone."""
    info = snapshot.node(pod.status.nominated_node_name)
    if info is None:
        return False
    why = refused.refusals.get(info.name)
    if why is None or why.helpless:
        return False
    return any(_less_important(other, pod) and _is_leaving_for_another(other) for other in info.pods)


def _is_leaving_for_another(pod: Pod) -> bool:
    if pod.metadata.deletion_timestamp is None:
        return False
    disrupted = pods.condition(pod, "DisruptionTarget")
    return disrupted is not None and disrupted.status == "True" and disrupted.reason == REASON


def priority(pod: Pod) -> int:
    """0 where nothing is said."""
    return pod.spec.priority or 0


def _less_important(one: Pod, other: Pod) -> bool:
    return priority(one) < priority(other)


def most_important_first(pod: Pod) -> tuple[Any, ...]:
    """A sort key: by priority, then who has run longest; a pod that has not started is the least important of its priority."""
    started = parse_time(pod.status.start_time) if pod.status.start_time else None
    return (-priority(pod), started is None, started or 0, pod.metadata.namespace, pod.metadata.name)


def victims_on(pod: Pod, info: NodeInfo, snapshot: Snapshot, sieve: Sieve) -> Sacrifice | tuple[str, ...]:
    """The fewest and least important pods of a node that must go, or why even all of them would not help."""
    possible = sorted((other for other in info.pods if _less_important(other, pod)), key=most_important_first)
    if not possible:
        return (NO_VICTIMS,)
    promised = snapshot.promised_before(pod, info.name)

    def refusal_with(running: Sequence[Pod]) -> tuple[str, Any] | None:
        if promised:
            found = sieve.refusal_with(snapshot.node_with(info, [*running, *promised]))
            if found is not None:
                return found
        return sieve.refusal_with(snapshot.node_with(info, running))

    leaving = {id(other) for other in possible}
    kept = [other for other in info.pods if id(other) not in leaving]
    without = refusal_with(kept)
    if without is not None:
        reasons: tuple[str, ...] = without[1].reasons
        return reasons
    protected, others = by_budget(possible, snapshot.budgets)
    victims: list[Pod] = []
    violations = 0
    for other, is_protected in [*((one, True) for one in protected), *((one, False) for one in others)]:
        if refusal_with([*kept, other]) is None:
            kept.append(other)
        else:
            victims.append(other)
            violations += is_protected
    return Sacrifice(info.name, tuple(sorted(victims, key=most_important_first)), violations)


def by_budget(candidates: Iterable[Pod], budgets: Sequence[PodDisruptionBudget]) -> tuple[list[Pod], list[Pod]]:
    """Pods whose going a budget does not allow, and the others; the order stays. A budget is used up as pods are counted."""
    queries = [(budget, from_label_selector(budget.spec.selector)) for budget in budgets]
    left = [budget.status.disruptions_allowed for budget in budgets]
    protected: list[Pod] = []
    others: list[Pod] = []
    for pod in candidates:
        violated = False
        for position, (budget, query) in enumerate(queries):
            if (
                budget.metadata.namespace != pod.metadata.namespace
                or not pod.metadata.labels
                or query.everything
                or not query.matches(pod.metadata.labels)
                or pod.metadata.name in (budget.status.disrupted_pods or {})
            ):
                continue
            left[position] -= 1
            violated = violated or left[position] < 0
        (protected if violated else others).append(pod)
    return protected, others


def least_harm(candidates: Sequence[Sacrifice]) -> Sacrifice:
    """The fewest broken budgets, then the least important top victim, the smallest sum, the fewest, the youngest; else the first.

    Where no pod of a node has to go, that node is taken: something has left since it refused.
    """
    return min(candidates, key=_harm)


def _harm(candidate: Sacrifice) -> tuple[float, ...]:
    victims = candidate.victims
    if not victims:
        return (0.0, float("-inf"))
    top = priority(victims[0])
    started = [
        parse_time(victim.status.start_time).timestamp()
        for victim in victims
        if priority(victim) == top and victim.status.start_time
    ]
    total = sum(priority(victim) + PRIORITY_SHIFT for victim in victims)
    return (candidate.violations, top, total, len(victims), -min(started, default=float("inf")))
