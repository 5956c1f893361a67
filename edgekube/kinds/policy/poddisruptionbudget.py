"""policy/v1 PodDisruptionBudget: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind
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


KIND = Kind(
    type=PodDisruptionBudget,
    group="policy",
    version="v1",
    name="PodDisruptionBudget",
    plural="poddisruptionbudgets",
    singular="poddisruptionbudget",
    short=("pdb",),
    has_status=True,
)
