"""policy/v1 PodDisruptionBudget: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Column, Kind
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
)
