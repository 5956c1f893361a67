"""autoscaling/v2 HorizontalPodAutoscaler: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind
from edgekube.api.meta import Int32, LabelSelector, Object, Quantity, Struct, Time, list_atomic, list_map, zero


class CrossVersionObjectReference(Struct):
    kind: str = zero(str)
    name: str = zero(str)
    api_version: str = ""


class HPAScalingPolicy(Struct):
    type: str = zero(str)
    value: Int32 = zero(int)
    period_seconds: Int32 = zero(int)


class HPAScalingRules(Struct):
    stabilization_window_seconds: Int32 | None = None
    select_policy: str | None = None
    policies: Annotated[list[HPAScalingPolicy], list_atomic()] = []
    tolerance: Quantity | None = None


class HorizontalPodAutoscalerBehavior(Struct):
    scale_up: HPAScalingRules | None = None
    scale_down: HPAScalingRules | None = None


class MetricTarget(Struct):
    type: str = zero(str)
    value: Quantity | None = None
    average_value: Quantity | None = None
    average_utilization: Int32 | None = None


class ContainerResourceMetricSource(Struct):
    name: str = zero(str)
    target: MetricTarget = zero(MetricTarget)
    container: str = zero(str)


class MetricIdentifier(Struct):
    name: str = zero(str)
    selector: LabelSelector | None = None


class ExternalMetricSource(Struct):
    metric: MetricIdentifier = zero(MetricIdentifier)
    target: MetricTarget = zero(MetricTarget)


class ObjectMetricSource(Struct):
    described_object: CrossVersionObjectReference = zero(CrossVersionObjectReference)
    target: MetricTarget = zero(MetricTarget)
    metric: MetricIdentifier = zero(MetricIdentifier)


class PodsMetricSource(Struct):
    metric: MetricIdentifier = zero(MetricIdentifier)
    target: MetricTarget = zero(MetricTarget)


class ResourceMetricSource(Struct):
    name: str = zero(str)
    target: MetricTarget = zero(MetricTarget)


class MetricSpec(Struct):
    type: str = zero(str)
    object: ObjectMetricSource | None = None
    pods: PodsMetricSource | None = None
    resource: ResourceMetricSource | None = None
    container_resource: ContainerResourceMetricSource | None = None
    external: ExternalMetricSource | None = None


class HorizontalPodAutoscalerSpec(Struct):
    scale_target_ref: CrossVersionObjectReference = zero(CrossVersionObjectReference)
    min_replicas: Int32 | None = None
    max_replicas: Int32 = zero(int)
    metrics: Annotated[list[MetricSpec], list_atomic()] = []
    behavior: HorizontalPodAutoscalerBehavior | None = None


class HorizontalPodAutoscalerCondition(Struct):
    type: str = zero(str)
    status: str = zero(str)
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class MetricValueStatus(Struct):
    value: Quantity | None = None
    average_value: Quantity | None = None
    average_utilization: Int32 | None = None


class ContainerResourceMetricStatus(Struct):
    name: str = zero(str)
    current: MetricValueStatus = zero(MetricValueStatus)
    container: str = zero(str)


class ExternalMetricStatus(Struct):
    metric: MetricIdentifier = zero(MetricIdentifier)
    current: MetricValueStatus = zero(MetricValueStatus)


class ObjectMetricStatus(Struct):
    metric: MetricIdentifier = zero(MetricIdentifier)
    current: MetricValueStatus = zero(MetricValueStatus)
    described_object: CrossVersionObjectReference = zero(CrossVersionObjectReference)


class PodsMetricStatus(Struct):
    metric: MetricIdentifier = zero(MetricIdentifier)
    current: MetricValueStatus = zero(MetricValueStatus)


class ResourceMetricStatus(Struct):
    name: str = zero(str)
    current: MetricValueStatus = zero(MetricValueStatus)


class MetricStatus(Struct):
    type: str = zero(str)
    object: ObjectMetricStatus | None = None
    pods: PodsMetricStatus | None = None
    resource: ResourceMetricStatus | None = None
    container_resource: ContainerResourceMetricStatus | None = None
    external: ExternalMetricStatus | None = None


class HorizontalPodAutoscalerStatus(Struct):
    observed_generation: int | None = None
    last_scale_time: Time | None = None
    current_replicas: Int32 = 0
    desired_replicas: Int32 = zero(int)
    current_metrics: Annotated[list[MetricStatus] | None, list_atomic()] = None
    conditions: Annotated[list[HorizontalPodAutoscalerCondition], list_map("type")] = []


class HorizontalPodAutoscaler(Object):
    spec: HorizontalPodAutoscalerSpec = zero(HorizontalPodAutoscalerSpec)
    status: HorizontalPodAutoscalerStatus = zero(HorizontalPodAutoscalerStatus)


KIND = Kind(
    type=HorizontalPodAutoscaler,
    group="autoscaling",
    version="v2",
    name="HorizontalPodAutoscaler",
    plural="horizontalpodautoscalers",
    singular="horizontalpodautoscaler",
    short=("hpa",),
    categories=("all",),
    has_status=True,
)
