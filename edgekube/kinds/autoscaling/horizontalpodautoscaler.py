"""autoscaling/v2 HorizontalPodAutoscaler: its types and rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from edgekube.api.kind import Column, Kind
from edgekube.api.meta import Int32, LabelSelector, Object, Quantity, Struct, Time, list_atomic, list_map, zero
from edgekube.kinds.autoscaling.conversion import DEFAULT_CPU_PERCENT
from edgekube.kinds.columns import AGE, NAME, NONE, UNSET, described


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


SCALING_PERIOD_S = 15
SHOWN_METRICS = 2
UNKNOWN = "<unknown>"
AUTO = "<auto>"


def _scaling(given: HPAScalingRules | None, policies: list[HPAScalingPolicy], window_s: int | None) -> HPAScalingRules:
    """Rules for one direction with what they leave open filled in."""
    made = HPAScalingRules() if given is None else given
    if made.select_policy is None:
        made.select_policy = "Max"
    if made.stabilization_window_seconds is None:
        made.stabilization_window_seconds = window_s
    if not made.policies:
        made.policies = policies
    return made


def default(autoscaler: HorizontalPodAutoscaler) -> None:
    """One replica at least, 80 % of the CPU asked for; a behavior that is given is given in full."""
    spec = autoscaler.spec
    if spec.min_replicas is None:
        spec.min_replicas = 1
    if not spec.metrics:
        target = MetricTarget(type="Utilization", average_utilization=DEFAULT_CPU_PERCENT)
        spec.metrics = [MetricSpec(type="Resource", resource=ResourceMetricSource(name="cpu", target=target))]
    if (behavior := spec.behavior) is not None:
        double = HPAScalingPolicy(type="Percent", value=100, period_seconds=SCALING_PERIOD_S)
        four = HPAScalingPolicy(type="Pods", value=4, period_seconds=SCALING_PERIOD_S)
        behavior.scale_up = _scaling(behavior.scale_up, [four, double], 0)
        all_at_once = HPAScalingPolicy(type="Percent", value=100, period_seconds=SCALING_PERIOD_S)
        behavior.scale_down = _scaling(behavior.scale_down, [all_at_once], None)


def _measured(target: MetricTarget, current: MetricValueStatus | None) -> str:
    """ "now/wanted" for the metrics that have a name of their own."""
    if target.average_value is not None:
        return f"{(current and current.average_value) or UNKNOWN}/{target.average_value} (avg)"
    return f"{(current and current.value) or UNKNOWN}/{target.value or '<nil>'}"


def _used(name: str, target: MetricTarget, current: MetricValueStatus | None) -> str:
    """ "cpu: now/wanted" for metrics of resources."""
    if target.average_value is not None:
        return f"{name}: {(current and current.average_value) or UNKNOWN}/{target.average_value}"
    used = UNKNOWN if current is None or current.average_utilization is None else f"{current.average_utilization}%"
    wanted = AUTO if target.average_utilization is None else f"{target.average_utilization}%"
    return f"{name}: {used}/{wanted}"


def _metric(metric: MetricSpec, seen: MetricStatus) -> str:
    if metric.external is not None:
        return _measured(metric.external.target, seen.external.current if seen.external else None)
    if metric.object is not None:
        return _measured(metric.object.target, seen.object.current if seen.object else None)
    if metric.pods is not None:
        current = seen.pods and seen.pods.current.average_value
        return f"{current or UNKNOWN}/{metric.pods.target.average_value}"
    if metric.resource is not None:
        return _used(metric.resource.name, metric.resource.target, seen.resource.current if seen.resource else None)
    if metric.container_resource is not None:
        source, status = metric.container_resource, seen.container_resource
        return _used(source.name, source.target, status.current if status else None)
    return "<unknown type>"


def targets(autoscaler: HorizontalPodAutoscaler, _now: str) -> str:
    """The first metrics as "now/wanted"."""
    metrics, seen = autoscaler.spec.metrics, autoscaler.status.current_metrics or []
    if not metrics:
        return NONE
    padded = [*seen, *[MetricStatus()] * len(metrics)]
    texts = [_metric(metric, padded[at]) for at, metric in enumerate(metrics[:SHOWN_METRICS])]
    more = len(metrics) - SHOWN_METRICS
    return ", ".join(texts) + (f" + {more} more..." if more > 0 else "")


def columns_with(of_targets: Callable[[Any, str], str]) -> tuple[Column, ...]:
    """The columns of every version; what is measured is said differently in each."""
    return described(
        "horizontalpodautoscalers",
        NAME,
        Column("Reference", "string", lambda item, _: _reference(item.spec.scale_target_ref)),
        Column("Targets", "string", of_targets),
        Column("MinPods", "string", lambda item, _: _least(item.spec.min_replicas)),
        Column("MaxPods", "string", lambda item, _: item.spec.max_replicas),
        Column("Replicas", "string", lambda item, _: item.status.current_replicas),
        AGE,
    )


def _reference(target: Any) -> str:
    return f"{target.kind}/{target.name}"


def _least(replicas: int | None) -> str:
    return UNSET if replicas is None else str(replicas)


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
    default=default,
    generation=False,
    columns=columns_with(targets),
)
