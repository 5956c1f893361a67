"""policy/v1 PodDisruptionBudget: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind
from edgekube.api.meta import (
    Condition,
    Int32,
    IntOrString,
    LabelSelector,
    Object,
    Struct,
    Time,
    list_map,
    patched_by,
    zero,
)
from edgekube.kinds.columns import AGE, NAME, described
from edgekube.kinds.core.meta_rules import label_selector


class PodDisruptionBudgetSpec(Struct):
    min_available: IntOrString | None = None
    selector: Annotated[LabelSelector | None, patched_by("replace")] = None
    max_unavailable: IntOrString | None = None
    unhealthy_pod_eviction_policy: str | None = None


class PodDisruptionBudgetStatus(Struct):
    observed_generation: int = 0
    disrupted_pods: dict[str, Time | None] = {}
    disruptions_allowed: Int32 = zero(int)
    current_healthy: Int32 = zero(int)
    desired_healthy: Int32 = zero(int)
    expected_pods: Int32 = zero(int)
    conditions: Annotated[list[Condition], list_map("type")] = []


class PodDisruptionBudget(Object):
    spec: PodDisruptionBudgetSpec = zero(PodDisruptionBudgetSpec)
    status: PodDisruptionBudgetStatus = zero(PodDisruptionBudgetStatus)


def _bound(value: IntOrString | None) -> str:
    return "N/A" if value is None else str(value)


UNHEALTHY_POLICIES = ("AlwaysAllow", "IfHealthyBudget")


def _amount_rules(path: str, value: IntOrString) -> list[FieldError]:
    """A count, or a share of at most 100 %."""
    if isinstance(value, int):
        return rules.not_negative(path, value)
    broken = rules.each(path, value, names.percent(value))
    if not broken and int(value[:-1]) > 100:
        broken.append(rules.invalid(path, value, "must not be greater than 100%"))
    return broken


def budget_rules(budget: PodDisruptionBudget) -> list[FieldError]:
    """One bound, and whom it protects."""
    spec = budget.spec
    broken: list[FieldError] = []
    if spec.min_available is not None and spec.max_unavailable is not None:
        broken.append(rules.invalid("spec", spec, "minAvailable and maxUnavailable cannot be both set"))
    if spec.min_available is not None:
        broken += _amount_rules("spec.minAvailable", spec.min_available)
    if spec.max_unavailable is not None:
        broken += _amount_rules("spec.maxUnavailable", spec.max_unavailable)
    broken += label_selector("spec.selector", spec.selector)
    policy = spec.unhealthy_pod_eviction_policy
    if policy is not None:
        broken += rules.one_of("spec.unhealthyPodEvictionPolicy", policy, UNHEALTHY_POLICIES, empty="unsupported")
    return broken


def budget_status_rules(new: PodDisruptionBudget, _old: PodDisruptionBudget) -> list[FieldError]:
    """Counts are not negative."""
    status = new.status
    counts = {
        "disruptionsAllowed": status.disruptions_allowed,
        "currentHealthy": status.current_healthy,
        "desiredHealthy": status.desired_healthy,
        "expectedPods": status.expected_pods,
    }
    return [error for name, count in counts.items() for error in rules.not_negative(f"status.{name}", count)]


KIND = Kind(
    type=PodDisruptionBudget,
    group="policy",
    version="v1",
    name="PodDisruptionBudget",
    plural="poddisruptionbudgets",
    singular="poddisruptionbudget",
    short=("pdb",),
    has_status=True,
    allow_unconditional_update=False,
    columns=described(
        "poddisruptionbudgets",
        NAME,
        Column("Min Available", "string", lambda item, _: _bound(item.spec.min_available)),
        Column("Max Unavailable", "string", lambda item, _: _bound(item.spec.max_unavailable)),
        Column("Allowed Disruptions", "integer", lambda item, _: item.status.disruptions_allowed),
        AGE,
    ),
    rules=budget_rules,
    status_rules=budget_status_rules,
)
