"""HorizontalPodAutoscaler between autoscaling/v1 (one CPU target) and autoscaling/v2 (any metrics), document to document.

v2 is what is stored. What v1 has no members for travels in four annotations, so that a v1 client that reads and writes back
loses nothing; on the way to v2 they are taken apart and removed. Refuses to know defaults and rules of either version.

Source: pkg/apis/autoscaling/v1/conversion.go; the metric types of autoscaling/v1 exist only inside these annotations.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

Document = dict[str, Any]

METRICS = "autoscaling.alpha.kubernetes.io/metrics"
CURRENT_METRICS = "autoscaling.alpha.kubernetes.io/current-metrics"
CONDITIONS = "autoscaling.alpha.kubernetes.io/conditions"
BEHAVIOR = "autoscaling.alpha.kubernetes.io/behavior"
ROUND_TRIP = (METRICS, CURRENT_METRICS, CONDITIONS, BEHAVIOR)

DEFAULT_CPU_PERCENT = 80


def _some(**members: Any) -> Document:
    """The members that are set, in the order given."""
    return {name: value for name, value in members.items() if value is not None}


def _object_to_v1(source: Document, values: Document, value: str) -> Document:
    metric = source.get("metric", {})
    return _some(
        target=source.get("describedObject", {}),
        metricName=metric.get("name", ""),
        **{value: values.get("value", "0")},
        selector=metric.get("selector"),
        averageValue=values.get("averageValue"),
    )


def _spec_to_v1(metric: Document) -> Document:
    """A v2 metric in the shape the annotation keeps it in."""
    made: Document = {"type": metric.get("type", "")}
    if source := metric.get("object"):
        made["object"] = _object_to_v1(source, source.get("target", {}), "targetValue")
    if source := metric.get("pods"):
        made["pods"] = _some(
            metricName=source.get("metric", {}).get("name", ""),
            targetAverageValue=source.get("target", {}).get("averageValue", "0"),
            selector=source.get("metric", {}).get("selector"),
        )
    for member in ("resource", "containerResource"):
        if source := metric.get(member):
            made[member] = _some(
                name=source.get("name", ""),
                targetAverageUtilization=source.get("target", {}).get("averageUtilization"),
                targetAverageValue=source.get("target", {}).get("averageValue"),
                container=source.get("container"),
            )
    if source := metric.get("external"):
        made["external"] = _some(
            metricName=source.get("metric", {}).get("name", ""),
            metricSelector=source.get("metric", {}).get("selector"),
            targetValue=source.get("target", {}).get("value"),
            targetAverageValue=source.get("target", {}).get("averageValue"),
        )
    return made


def _status_to_v1(metric: Document) -> Document:
    """A v2 metric status in the shape the annotation keeps it in."""
    made: Document = {"type": metric.get("type", "")}
    if source := metric.get("object"):
        made["object"] = _object_to_v1(source, source.get("current", {}), "currentValue")
    if source := metric.get("pods"):
        made["pods"] = _some(
            metricName=source.get("metric", {}).get("name", ""),
            currentAverageValue=source.get("current", {}).get("averageValue", "0"),
            selector=source.get("metric", {}).get("selector"),
        )
    for member in ("resource", "containerResource"):
        if source := metric.get(member):
            made[member] = _some(
                name=source.get("name", ""),
                currentAverageUtilization=source.get("current", {}).get("averageUtilization"),
                currentAverageValue=source.get("current", {}).get("averageValue", "0"),
                container=source.get("container"),
            )
    if source := metric.get("external"):
        made["external"] = _some(
            metricName=source.get("metric", {}).get("name", ""),
            metricSelector=source.get("metric", {}).get("selector"),
            currentValue=source.get("current", {}).get("value", "0"),
            currentAverageValue=source.get("current", {}).get("averageValue"),
        )
    return made


def _target(value: Any, average: Any, utilization: Any, otherwise: str) -> Document:
    """A v2 target; its type follows from which of the values is set, `otherwise` where none is."""
    kind = "Utilization" if utilization is not None else "Value" if value is not None else otherwise
    return _some(type=kind, value=value, averageValue=average, averageUtilization=utilization)


def _spec_to_v2(metric: Document) -> Document:
    made: Document = {"type": metric.get("type", "")}
    if source := metric.get("object"):
        average = source.get("averageValue")
        value = source.get("targetValue") if average is None else None
        made["object"] = {
            "describedObject": source.get("target", {}),
            "target": _target(value, average, None, "AverageValue"),
            "metric": _some(name=source.get("metricName", ""), selector=source.get("selector")),
        }
    if source := metric.get("pods"):
        made["pods"] = {
            "metric": _some(name=source.get("metricName", ""), selector=source.get("selector")),
            "target": _target(None, source.get("targetAverageValue"), None, "AverageValue"),
        }
    for member in ("resource", "containerResource"):
        if source := metric.get(member):
            average, utilization = source.get("targetAverageValue"), source.get("targetAverageUtilization")
            made[member] = _some(
                name=source.get("name", ""),
                target=_target(None, average, utilization, "AverageValue"),
                container=source.get("container"),
            )
    if source := metric.get("external"):
        value, average = source.get("targetValue"), source.get("targetAverageValue")
        made["external"] = {
            "metric": _some(name=source.get("metricName", ""), selector=source.get("metricSelector")),
            "target": _target(value, average, None, "AverageValue"),
        }
    return made


def _status_to_v2(metric: Document) -> Document:
    made: Document = {"type": metric.get("type", "")}
    for member in ("object", "pods", "resource", "containerResource", "external"):
        if not (source := metric.get(member)):
            continue
        average = source.get("averageValue") if member == "object" else source.get("currentAverageValue")
        current = _some(
            value=source.get("currentValue"),
            averageValue=average,
            averageUtilization=source.get("currentAverageUtilization"),
        )
        if member in ("resource", "containerResource"):
            made[member] = _some(name=source.get("name", ""), current=current, container=source.get("container"))
            continue
        selector = source.get("metricSelector" if member == "external" else "selector")
        made[member] = {"metric": _some(name=source.get("metricName", ""), selector=selector), "current": current}
        if member == "object":
            made[member]["describedObject"] = source.get("target", {})
    return made


def _cpu_percent(metric: Document, values: str) -> Any:
    """The CPU utilization a metric (`values` "target") or its status ("current") speaks of, or None."""
    resource = metric.get("resource") or {}
    if metric.get("type") != "Resource" or resource.get("name") != "cpu":
        return None
    return resource.get(values, {}).get("averageUtilization")


def _renamed(value: Any, first: Callable[[str], str]) -> Any:
    """The same value with every member name's first letter changed: the behavior annotation is written in Go's own names."""
    if isinstance(value, dict):
        return {first(name[:1]) + name[1:]: _renamed(member, first) for name, member in value.items()}
    return [_renamed(member, first) for member in value] if isinstance(value, list) else value


def _parsed(annotations: Document, name: str) -> Any:
    """An annotation's JSON; None where it is absent or broken (a broken one is dropped, as upstream does)."""
    try:
        return msgspec.json.decode(annotations[name])
    except (KeyError, TypeError, msgspec.DecodeError):
        return None


def _without_round_trip(metadata: Document) -> Document:
    annotations = {key: text for key, text in (metadata.get("annotations") or {}).items() if key not in ROUND_TRIP}
    bare = {key: value for key, value in metadata.items() if key != "annotations"}
    return {**bare, "annotations": annotations} if annotations else bare


def to_v2(document: Document) -> Document:
    """A v1 document as v2, the round-trip annotations dissolved into spec and status."""
    metadata = document.get("metadata") or {}
    annotations = metadata.get("annotations") or {}
    spec, status = dict(document.get("spec") or {}), dict(document.get("status") or {})
    percent = spec.pop("targetCPUUtilizationPercentage", None)
    metrics = []
    if percent is not None:
        metrics.append(_cpu_metric(percent))
    if isinstance(others := _parsed(annotations, METRICS), list):
        metrics += [_spec_to_v2(metric) for metric in others if isinstance(metric, dict)]
    spec["metrics"] = metrics or [_cpu_metric(DEFAULT_CPU_PERCENT)]
    if isinstance(behavior := _parsed(annotations, BEHAVIOR), dict) and behavior:
        spec["behavior"] = _without_nulls(_renamed(behavior, str.lower))
    used = status.pop("currentCPUUtilizationPercentage", None)
    if isinstance(current := _parsed(annotations, CURRENT_METRICS), list):
        status["currentMetrics"] = [_status_to_v2(metric) for metric in current if isinstance(metric, dict)]
    elif used is not None:
        resource = {"name": "cpu", "current": {"averageUtilization": used}}
        status["currentMetrics"] = [{"type": "Resource", "resource": resource}]
    if isinstance(conditions := _parsed(annotations, CONDITIONS), list):
        status["conditions"] = conditions
    return {
        **document,
        "apiVersion": "autoscaling/v2",
        "metadata": _without_round_trip(metadata),
        "spec": spec,
        "status": status,
    }


def _cpu_metric(percent: int) -> Document:
    target = {"type": "Utilization", "averageUtilization": percent}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(member) for name, member in value.items() if member is not None}
    return [_without_nulls(member) for member in value] if isinstance(value, list) else value


def to_v1(document: Document) -> Document:
    """A v2 document as v1; whatever v1 cannot say goes into annotations."""
    metadata = _without_round_trip(document.get("metadata") or {})
    spec, status = dict(document.get("spec") or {}), dict(document.get("status") or {})
    metrics, current = spec.pop("metrics", []), status.pop("currentMetrics", None) or []
    behavior, conditions = spec.pop("behavior", None), status.pop("conditions", None) or []
    for metric in metrics:
        if metric.get("type") == "Resource" and (metric.get("resource") or {}).get("name") == "cpu":
            if (percent := _cpu_percent(metric, "target")) is not None:
                spec["targetCPUUtilizationPercentage"] = percent
            break
    status.setdefault("currentReplicas", 0)
    for metric in current:
        if (percent := _cpu_percent(metric, "current")) is not None:
            status["currentCPUUtilizationPercentage"] = percent
    added: dict[str, Any] = {}
    if others := [_spec_to_v1(metric) for metric in metrics if _cpu_percent(metric, "target") is None]:
        added[METRICS] = others
    if current:
        added[CURRENT_METRICS] = [_status_to_v1(metric) for metric in current]
    if conditions:
        added[CONDITIONS] = conditions
    if behavior is not None:
        added[BEHAVIOR] = _renamed(_with_both(behavior), str.upper)
    if added:
        texts = {name: msgspec.json.encode(value).decode() for name, value in added.items()}
        metadata = {**metadata, "annotations": {**metadata.get("annotations", {}), **texts}}
    return {**document, "apiVersion": "autoscaling/v1", "metadata": metadata, "spec": spec, "status": status}


def _with_both(behavior: Document) -> Document:
    """Go writes every member of its internal type, unset ones as null, in the order of the type."""
    members = ("stabilizationWindowSeconds", "selectPolicy", "policies", "tolerance")
    both: Document = {}
    for direction in ("scaleUp", "scaleDown"):
        rules = behavior.get(direction)
        both[direction] = None if rules is None else {member: rules.get(member) for member in members}
    return both
