"""autoscaling/v1 HorizontalPodAutoscaler: its types and rules."""

from __future__ import annotations

from typing import ClassVar

from msgspec import field

from edgekube.api.kind import FieldError, Kind
from edgekube.api.meta import Int32, Object, Struct, Time, zero
from edgekube.kinds.autoscaling.conversion import to_v1, to_v2
from edgekube.kinds.autoscaling.horizontalpodautoscaler import KIND as STORED
from edgekube.kinds.autoscaling.horizontalpodautoscaler import autoscaler_rules, columns_with, targets


class CrossVersionObjectReference(Struct):
    ATOMIC: ClassVar[bool] = True
    kind: str = zero(str)
    name: str = zero(str)
    api_version: str = ""


class HorizontalPodAutoscalerSpec(Struct):
    scale_target_ref: CrossVersionObjectReference = zero(CrossVersionObjectReference)
    min_replicas: Int32 | None = None
    max_replicas: Int32 = zero(int)
    target_cpu_utilization_percentage: Int32 | None = field(name="targetCPUUtilizationPercentage", default=None)


class HorizontalPodAutoscalerStatus(Struct):
    observed_generation: int | None = None
    last_scale_time: Time | None = None
    current_replicas: Int32 = zero(int)
    desired_replicas: Int32 = zero(int)
    current_cpu_utilization_percentage: Int32 | None = field(name="currentCPUUtilizationPercentage", default=None)


class HorizontalPodAutoscaler(Object):
    spec: HorizontalPodAutoscalerSpec = zero(HorizontalPodAutoscalerSpec)
    status: HorizontalPodAutoscalerStatus = zero(HorizontalPodAutoscalerStatus)


def default(autoscaler: HorizontalPodAutoscaler) -> None:
    """One replica at least."""
    if autoscaler.spec.min_replicas is None:
        autoscaler.spec.min_replicas = 1


def _targets(autoscaler: HorizontalPodAutoscaler, now: str) -> str:
    """As v2 shows them: the other metrics are in the annotations."""
    return targets(STORED.from_dict(to_v2(KIND.to_dict(autoscaler))), now)


def v1_rules(autoscaler: HorizontalPodAutoscaler) -> list[FieldError]:
    """As of the stored form, annotations included."""
    return autoscaler_rules(STORED.from_dict(to_v2(KIND.to_dict(autoscaler))))


KIND = Kind(
    type=HorizontalPodAutoscaler,
    group="autoscaling",
    version="v1",
    name="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    singular="horizontalpodautoscaler",
    short=("hpa",),
    categories=("all",),
    has_status=True,
    generation=False,
    stored_as=("autoscaling", "v2"),
    to_stored=to_v2,
    from_stored=to_v1,
    default=default,
    columns=columns_with(_targets),
    rules=v1_rules,
)
