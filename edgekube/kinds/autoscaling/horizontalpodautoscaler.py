"""autoscaling/v2 HorizontalPodAutoscaler: its types and rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind
from edgekube.api.meta import Int32, LabelSelector, Object, Quantity, Struct, Time, list_atomic, list_map, null, zero
from edgekube.api.quantity import amount
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
    last_transition_time: Time | None = null()
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
    current_metrics: Annotated[list[MetricStatus] | None, list_atomic()] = null()
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


METRIC_TYPES = ("ContainerResource", "External", "Object", "Pods", "Resource")
TARGET_TYPES = ("Utilization", "Value", "AverageValue")
SELECT_POLICIES = ("Disabled", "Max", "Min")
POLICY_TYPES = ("Percent", "Pods")
WINDOW_MOST_S, PERIOD_MOST_S = 3600, 1800
RAW_OR_SHARE = "must set either a target raw value or a target utilization"
NOT_RAW_AND_SHARE = "may not set both a target raw value and a target utilization"


def _reference_rules(path: str, reference: CrossVersionObjectReference) -> list[FieldError]:
    broken: list[FieldError] = []
    for member in ("kind", "name"):
        value = getattr(reference, member)
        problems = rules.each(f"{path}.{member}", value, names.path_segment(value))
        broken += problems if value else [rules.required(f"{path}.{member}")]
    return broken


def _metric_name_rules(path: str, metric: MetricIdentifier) -> list[FieldError]:
    if not metric.name:
        return [rules.required(f"{path}.name", "must specify a metric name")]
    return rules.each(f"{path}.name", metric.name, names.path_segment(metric.name))


def _target_rules(path: str, target: MetricTarget) -> list[FieldError]:
    broken: list[FieldError] = []
    if not target.type:
        broken.append(rules.required(f"{path}.type", "must specify a metric target type"))
    if target.type not in TARGET_TYPES:
        words = "must be either Utilization, Value, or AverageValue"
        broken.append(rules.invalid(f"{path}.type", target.type, words))
    for member, value in (("value", target.value), ("averageValue", target.average_value)):
        if value is not None and amount(value) <= 0:
            broken.append(rules.invalid(f"{path}.{member}", value, "must be positive"))
    share = target.average_utilization
    if share is not None and share < 1:
        broken.append(rules.invalid(f"{path}.averageUtilization", share, "must be greater than 0"))
    return broken


def _used_rules(path: str, name: str, target: MetricTarget) -> list[FieldError]:
    """Of a resource's use, in a container or in the whole pod."""
    broken = [] if name else [rules.required(f"{path}.name", "must specify a resource name")]
    broken += _target_rules(f"{path}.target", target)
    if target.average_utilization is None and target.average_value is None:
        broken.append(rules.required(f"{path}.target.averageUtilization", RAW_OR_SHARE))
    if target.average_utilization is not None and target.average_value is not None:
        broken.append(rules.forbidden(f"{path}.target.averageValue", NOT_RAW_AND_SHARE))
    return broken


def _object_rules(path: str, source: ObjectMetricSource) -> list[FieldError]:
    broken = _reference_rules(f"{path}.describedObject", source.described_object)
    broken += _metric_name_rules(f"{path}.metric", source.metric) + _target_rules(f"{path}.target", source.target)
    if source.target.value is None and source.target.average_value is None:
        broken.append(rules.required(f"{path}.target.averageValue", "must set either a target value or averageValue"))
    return broken


def _external_rules(path: str, source: ExternalMetricSource) -> list[FieldError]:
    broken = _metric_name_rules(f"{path}.metric", source.metric) + _target_rules(f"{path}.target", source.target)
    value, average = source.target.value, source.target.average_value
    if value is None and average is None:
        words = "must set either a target value for metric or a per-pod target"
        broken.append(rules.required(f"{path}.target.averageValue", words))
    if value is not None and average is not None:
        words = "may not set both a target value for metric and a per-pod target"
        broken.append(rules.forbidden(f"{path}.target.value", words))
    return broken


def _pods_rules(path: str, source: PodsMetricSource) -> list[FieldError]:
    broken = _metric_name_rules(f"{path}.metric", source.metric) + _target_rules(f"{path}.target", source.target)
    if source.target.average_value is None or amount(source.target.average_value) <= 0:
        broken.append(rules.required(f"{path}.target.averageValue", "must specify a positive target averageValue"))
    return broken


def _container_rules(path: str, source: ContainerResourceMetricSource) -> list[FieldError]:
    broken = _used_rules(path, source.name, source.target)
    return broken if source.container else [*broken, rules.required(f"{path}.container", "must specify a container")]


def _metric_rules(path: str, metric: MetricSpec) -> list[FieldError]:
    if metric.type not in METRIC_TYPES:
        unknown = rules.not_supported(f"{path}.type", metric.type, METRIC_TYPES)
        missing = rules.required(f"{path}.type", "must specify a metric source type")
        return [unknown, unknown] if metric.type else [missing, unknown, unknown]  # upstream finds it twice
    sources: dict[str, Any] = {
        "object": metric.object,
        "pods": metric.pods,
        "resource": metric.resource,
        "containerResource": metric.container_resource,
        "external": metric.external,
    }
    given = [name for name, source in sources.items() if source is not None]
    expected = metric.type[:1].lower() + metric.type[1:]
    broken: list[FieldError] = []
    if given:
        at, source = f"{path}.{given[0]}", sources[given[0]]
        checks: dict[str, Callable[[str, Any], list[FieldError]]] = {
            "object": _object_rules,
            "pods": _pods_rules,
            "resource": lambda here, one: _used_rules(here, one.name, one.target),
            "containerResource": _container_rules,
            "external": _external_rules,
        }
        broken += checks[given[0]](at, source)
    if expected not in given:
        words = "must populate information for the given metric source"
        broken.append(rules.required(f"{path}.{expected}", words))
    if len(given) > 1:
        words = "must populate the given metric source only"
        broken += [rules.forbidden(f"{path}.{name}", words) for name in given if name != expected]
    return broken


def _between(path: str, value: int, most: int, *, least: int) -> list[FieldError]:
    if value < least:
        words = "must be greater than zero" if least else "must be greater than or equal to zero"
        return [rules.invalid(path, value, words)]
    return [rules.invalid(path, value, f"must be less than or equal to {most}")] if value > most else []


def _scaling_rules(path: str, given: HPAScalingRules) -> list[FieldError]:
    broken: list[FieldError] = []
    if given.stabilization_window_seconds is not None:
        at = f"{path}.stabilizationWindowSeconds"
        broken += _between(at, given.stabilization_window_seconds, WINDOW_MOST_S, least=0)
    if given.select_policy is not None:
        broken += rules.one_of(f"{path}.selectPolicy", given.select_policy, SELECT_POLICIES, empty="unsupported")
    if not given.policies:
        broken.append(rules.required(f"{path}.policies", "must specify at least one Policy"))
    for position, policy in enumerate(given.policies):
        at = f"{path}.policies[{position}]"
        broken += rules.one_of(f"{at}.type", policy.type, POLICY_TYPES, empty="unsupported")
        if policy.value <= 0:
            broken.append(rules.invalid(f"{at}.value", policy.value, "must be greater than zero"))
        broken += _between(f"{at}.periodSeconds", policy.period_seconds, PERIOD_MOST_S, least=1)
    if given.tolerance is not None and amount(given.tolerance) < 0:
        broken.append(rules.invalid(f"{path}.tolerance", given.tolerance, rules.NOT_NEGATIVE))
    return broken


def autoscaler_rules(autoscaler: HorizontalPodAutoscaler) -> list[FieldError]:
    """Bounds, what is scaled, what is measured, how fast it reacts."""
    spec = autoscaler.spec
    broken: list[FieldError] = []
    if spec.min_replicas is not None and spec.min_replicas < 1:
        broken.append(rules.invalid("spec.minReplicas", spec.min_replicas, "must be greater than or equal to 1"))
    if spec.max_replicas < 1:
        broken.append(rules.required("spec.maxReplicas", "must be set and greater than 0"))
    if spec.min_replicas is not None and spec.max_replicas < spec.min_replicas:
        words = "must be greater than or equal to `minReplicas`"
        broken.append(rules.invalid("spec.maxReplicas", spec.max_replicas, words))
    broken += _reference_rules("spec.scaleTargetRef", spec.scale_target_ref)
    for at, metric in enumerate(spec.metrics):
        broken += _metric_rules(f"spec.metrics[{at}]", metric)
    if spec.behavior is not None:
        for member, given in (("scaleUp", spec.behavior.scale_up), ("scaleDown", spec.behavior.scale_down)):
            if given is not None:
                broken += _scaling_rules(f"spec.behavior.{member}", given)
    return broken


def status_rules(new: HorizontalPodAutoscaler, _old: HorizontalPodAutoscaler) -> list[FieldError]:
    """Counts are what they say."""
    broken = rules.not_negative("status.currentReplicas", new.status.current_replicas)
    return broken + rules.not_negative("status.desiredReplicas", new.status.desired_replicas)


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
    rules=autoscaler_rules,
    status_rules=status_rules,
)
