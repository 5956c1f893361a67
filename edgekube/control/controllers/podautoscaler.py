"""HorizontalPodAutoscaler over CPU and memory: as many pods as bring usage to its target.

Usage comes from the resource metrics API; where that is not served, the conditions say so. Metrics other than Resource are refused
in the conditions' words.
Source: k8s.io/kubernetes pkg/controller/podautoscaler (horizontal.go, replica_calculator.go).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import msgspec

from edgekube.api.kind import Kind
from edgekube.api.meta import Quantity, format_time, parse_time
from edgekube.api.quantity import format_amount
from edgekube.client.interface import Client
from edgekube.control import pods
from edgekube.control.config import Config
from edgekube.control.resources import served_resources
from edgekube.control.scheduler.amounts import number
from edgekube.errors import ApiError, ConnectionFailed, NotFound
from edgekube.kinds.apps import deployment, replicaset, statefulset
from edgekube.kinds.autoscaling import horizontalpodautoscaler as scaler_kind
from edgekube.kinds.autoscaling.horizontalpodautoscaler import (
    HorizontalPodAutoscaler,
    HorizontalPodAutoscalerCondition,
    MetricSpec,
    MetricStatus,
    MetricValueStatus,
    ResourceMetricStatus,
)
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core import replicationcontroller
from edgekube.kinds.core.pod import Pod
from edgekube.reconcile.drive import Caches, Controller, Key, Watch, own_key
from edgekube.reconcile.plan import Action, Call, Note, Plan, Tell, Update, about

KIND = scaler_kind.KIND
PERIOD_S = 15.0
TOLERANCE = 0.1
DOWN_WINDOW_S = 300
UP_PODS, UP_FACTOR = 4, 2  # at most this many more, or this many times as many, per period
SCALED: tuple[Kind[Any], ...] = (deployment.KIND, replicaset.KIND, statefulset.KIND, replicationcontroller.KIND)
NO_METRICS = (
    "unable to fetch metrics from resource metrics API: "
    "the server could not find the requested resource (get pods.metrics.k8s.io)"
)


@dataclass(frozen=True, slots=True)
class Scale:
    """What the target is scaled to."""

    path: str
    document: Mapping[str, Any]
    wanted: int
    selector: str


@dataclass(frozen=True, slots=True)
class Seen:
    """An autoscaler, its target and the usage of the target's pods by resource (milli CPU, bytes)."""

    scaler: HorizontalPodAutoscaler
    now: datetime
    recommended: Sequence[tuple[datetime, int]] = ()
    scale: Scale | None = None
    scale_error: str = ""
    pods: Sequence[Pod] = ()
    usage: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # pod -> resource -> amount
    metrics_error: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one metric asks for, or why it cannot be told."""

    replicas: int = 0
    words: str = ""
    status: MetricStatus | None = None
    reason: str = ""
    error: str = ""


class _Conditions:
    """The autoscaler's conditions as they become."""

    def __init__(self, seen: Seen) -> None:
        self.all = list(seen.scaler.status.conditions)
        self._now = format_time(seen.now)

    def set(self, type_: str, status: str, reason: str, message: str) -> None:
        before = next((found for found in self.all if found.type == type_), None)
        since = before.last_transition_time if before is not None and before.status == status else self._now
        made = HorizontalPodAutoscalerCondition(
            type=type_, status=status, last_transition_time=since, reason=reason, message=message
        )
        self.all = (
            [made if found is before else found for found in self.all] if before is not None else [*self.all, made]
        )


def reconcile(seen: Seen) -> Plan:
    """Read the scale, propose, limit, rescale; the conditions tell each step. A new autoscaler is first looked at a period on."""
    scaler, scale = seen.scaler, seen.scale
    born = scaler.metadata.creation_timestamp
    if (
        born
        and not scaler.status.conditions
        and (early := PERIOD_S - (seen.now - parse_time(born)).total_seconds()) > 0
    ):
        return Plan([], look_again_s=early)
    conditions = _Conditions(seen)
    reference = about(KIND, scaler)
    if scale is None:
        message = f"the HPA controller was unable to get the target's current scale: {seen.scale_error}"
        conditions.set("AbleToScale", "False", "FailedGetScale", message)
        told = Tell(Note(reference, "Warning", "FailedGetScale", seen.scale_error))
        return Plan([told, *_write(seen, conditions)], look_again_s=PERIOD_S)
    message = "the HPA controller was able to get the target's current scale"
    conditions.set("AbleToScale", "True", "SucceededGetScale", message)
    least = scaler.spec.min_replicas if scaler.spec.min_replicas is not None else 1
    if scale.wanted == 0 and least != 0:
        message = "scaling is disabled since the replica count of the target is zero"
        conditions.set("ScalingActive", "False", "ScalingDisabled", message)
        return Plan(_write(seen, conditions, desired=0), look_again_s=PERIOD_S)
    if scale.wanted > scaler.spec.max_replicas:
        return _rescale(
            seen, conditions, scaler.spec.max_replicas, "Current number of replicas above Spec.MaxReplicas", None
        )
    if scale.wanted < least:
        return _rescale(seen, conditions, least, "Current number of replicas below Spec.MinReplicas", None)
    proposals = [propose(seen, metric, scale.wanted) for metric in scaler.spec.metrics]
    good = [proposal for proposal in proposals if not proposal.error]
    bad = [proposal for proposal in proposals if proposal.error]
    best = max(good, key=lambda proposal: proposal.replicas, default=None)
    if best is None or (bad and best.replicas < scale.wanted):
        message = f"the HPA was unable to compute the replica count: {bad[0].error}" if bad else "no metrics"
        conditions.set("ScalingActive", "False", bad[0].reason if bad else "InvalidMetrics", message)
        notes = [Tell(Note(reference, "Warning", proposal.reason, proposal.error)) for proposal in bad]
        count = (
            f"invalid metrics ({len(bad)} invalid out of {len(proposals)}), first error is: {bad[0].error}"
            if bad
            else message
        )
        notes.append(Tell(Note(reference, "Warning", "FailedComputeMetricsReplicas", count)))
        return Plan([*notes, *_write(seen, conditions)], look_again_s=PERIOD_S)
    message = f"the HPA was able to successfully calculate a replica count from {best.words}"
    conditions.set("ScalingActive", "True", "ValidMetricFound", message)
    statuses = [proposal.status for proposal in good if proposal.status is not None]
    wanted = _limited(seen, conditions, best.replicas, scale.wanted, least)
    direction = "above" if wanted > scale.wanted else "below"
    reason = f"{best.words} {direction} target" if wanted > scale.wanted else "All metrics below target"
    return _rescale(seen, conditions, wanted, reason, statuses)


def propose(seen: Seen, metric: MetricSpec, current: int) -> Proposal:
    """How many pods one metric asks for. Pods that are not ready yet count as idle when there is too much work, not otherwise."""
    resource = metric.resource
    if metric.type != "Resource" or resource is None:
        words = (
            "unable to fetch metrics from custom metrics API: no custom metrics API (custom.metrics.k8s.io) registered"
        )
        return Proposal(
            reason=f"FailedGet{metric.type}Metric", error=f"failed to get {metric.type.lower()} metric: {words}"
        )
    kind = "utilization" if resource.target.type == "Utilization" else "resource metric value"
    failure = f"failed to get {resource.name} {kind}: "
    measured = [pod for pod in seen.pods if pod.metadata.name in seen.usage and pods.is_active(pod)]
    if seen.metrics_error or not measured:
        words = seen.metrics_error or "no metrics returned from resource metrics API"
        words = f"unable to get metrics for resource {resource.name}: {words}"
        return Proposal(reason="FailedGetResourceMetric", error=failure + words)
    used = sum(seen.usage[pod.metadata.name].get(resource.name, 0) for pod in measured)
    if resource.target.type == "Utilization":
        return _by_utilization(seen, metric, measured, used, current, failure)
    target = number(resource.name, resource.target.average_value or "1") * len(measured)
    average = used // len(measured)
    value = MetricValueStatus(average_value=_quantity(resource.name, average))
    status = MetricStatus(type="Resource", resource=ResourceMetricStatus(name=resource.name, current=value))
    return Proposal(_from_ratio(used / max(1, target), current, len(measured)), f"{resource.name} resource", status)


def _by_utilization(
    seen: Seen, metric: MetricSpec, measured: Sequence[Pod], used: int, current: int, failure: str
) -> Proposal:
    assert metric.resource is not None
    name, target = metric.resource.name, metric.resource.target.average_utilization or 100
    asked = 0
    for pod in measured:
        for container in pod.spec.containers or []:
            request = container.resources.requests.get(name)
            if request is None:
                words = f"missing request for {name} in container {container.name} of Pod {pod.metadata.name}"
                return Proposal(reason="FailedGetResourceMetric", error=failure + words)
            asked += number(name, request)
    utilization = used * 100 // max(1, asked)
    average = _quantity(name, used // len(measured))
    value = MetricValueStatus(average_utilization=utilization, average_value=average)
    status = MetricStatus(type="Resource", resource=ResourceMetricStatus(name=name, current=value))
    words = f"{name} resource utilization (percentage of request)"
    return Proposal(_from_ratio(utilization / target, current, len(measured)), words, status)


def _quantity(name: str, amount: int) -> Quantity:
    return Quantity(
        f"{amount}m" if name == "cpu" and amount % 1000 else format_amount(amount // 1000 if name == "cpu" else amount)
    )


def _from_ratio(ratio: float, current: int, measured: int) -> int:
    if abs(ratio - 1) <= TOLERANCE:
        return current
    return math.ceil(ratio * measured)


def _limited(seen: Seen, conditions: _Conditions, proposed: int, current: int, least: int) -> int:
    """The proposal, held up by recent higher ones, bounded by the pace and the spec."""
    behavior = seen.scaler.spec.behavior
    down = behavior.scale_down if behavior is not None else None
    window = down.stabilization_window_seconds if down is not None else None
    since = seen.now - timedelta(seconds=window if window is not None else DOWN_WINDOW_S)
    recent = [replicas for moment, replicas in seen.recommended if moment >= since]
    stable = max([proposed, *recent])
    if proposed < current and stable > proposed:
        wanted = min(stable, current)
        message = "recent recommendations were higher than current one, applying the highest recent recommendation"
        conditions.set("AbleToScale", "True", "ScaleDownStabilized", message)
    else:
        wanted = proposed
        conditions.set("AbleToScale", "True", "ReadyForNewScale", "recommended size matches current size")
    most = min(seen.scaler.spec.max_replicas, max(current + UP_PODS, current * UP_FACTOR))
    bounded = max(least, min(wanted, most))
    if bounded < wanted and bounded == seen.scaler.spec.max_replicas:
        message = "the desired replica count is more than the maximum replica count"
        conditions.set("ScalingLimited", "True", "TooManyReplicas", message)
    elif bounded > wanted:
        message = "the desired replica count is less than the minimum replica count"
        conditions.set("ScalingLimited", "True", "TooFewReplicas", message)
    elif bounded < wanted:
        message = "the desired replica count is increasing faster than the maximum scale rate"
        conditions.set("ScalingLimited", "True", "ScaleUpLimit", message)
    else:
        message = "the desired count is within the acceptable range"
        conditions.set("ScalingLimited", "False", "DesiredWithinRange", message)
    return bounded


def _rescale(
    seen: Seen, conditions: _Conditions, wanted: int, reason: str, statuses: Sequence[MetricStatus] | None
) -> Plan:
    scale = seen.scale
    assert scale is not None
    if wanted == scale.wanted:
        return Plan(_write(seen, conditions, desired=wanted, metrics=statuses), look_again_s=PERIOD_S)
    body = {**scale.document, "spec": {**(scale.document.get("spec") or {}), "replicas": wanted}}
    reference = about(KIND, seen.scaler)
    call = Call(
        method="PUT",
        path=scale.path,
        body=body,
        done=Note(reference, "Normal", "SuccessfulRescale", f"New size: {wanted}; reason: {reason}"),
        failed=Note(reference, "Warning", "FailedRescale", f"New size: {wanted}; reason: {reason}; error: {{error}}"),
    )
    message = f"the HPA controller was able to update the target scale to {wanted}"
    conditions.set("AbleToScale", "True", "SucceededRescale", message)
    writes = _write(seen, conditions, desired=wanted, metrics=statuses, rescaled=True)
    return Plan([call, *writes], look_again_s=PERIOD_S)


def _write(
    seen: Seen,
    conditions: _Conditions,
    *,
    desired: int | None = None,
    metrics: Sequence[MetricStatus] | None = None,
    rescaled: bool = False,
) -> list[Action]:
    scaler = seen.scaler
    changes: dict[str, Any] = {"conditions": conditions.all}
    if seen.scale is not None:
        changes["current_replicas"] = seen.scale.wanted
    if desired is not None:
        changes["desired_replicas"] = desired
        changes["current_metrics"] = list(metrics) if metrics else None
    if rescaled:
        changes["last_scale_time"] = format_time(seen.now)
    status = msgspec.structs.replace(scaler.status, **changes)
    if status == scaler.status:
        return []
    return [Update(kind=KIND, item=msgspec.structs.replace(scaler, status=status), subresource="status")]


async def inquire(client: Client, seen: Seen) -> Seen:
    """The target's scale, its pods and their usage."""
    scaler = seen.scaler
    namespace = scaler.metadata.namespace
    try:
        scale = await _scale(client, scaler)
    except ApiError as error:
        return replace(seen, scale_error=error.message)
    listed = await client.list(pod_kind.KIND, namespace, labels=scale.selector)
    usage: dict[str, dict[str, int]] = {}
    error_words = ""
    try:
        path = f"/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods?labelSelector={quote(scale.selector)}"
        for item in (await client.call("GET", path)).get("items") or ():
            usage[item["metadata"]["name"]] = _sum_of(item)
    except NotFound:
        error_words = NO_METRICS
    except (ApiError, ConnectionFailed) as error:
        error_words = f"unable to fetch metrics from resource metrics API: {error}"
    return replace(seen, scale=scale, pods=listed.items, usage=usage, metrics_error=error_words)


def _sum_of(item: Mapping[str, Any]) -> dict[str, int]:
    total: dict[str, int] = {}
    for container in item.get("containers") or ():
        for name, quantity in (container.get("usage") or {}).items():
            total[name] = total.get(name, 0) + number(name, quantity)
    return total


async def _scale(client: Client, scaler: HorizontalPodAutoscaler) -> Scale:
    target = scaler.spec.scale_target_ref
    group, _, version = target.api_version.rpartition("/")
    plural = next((kind.plural for kind in SCALED if (kind.group, kind.name) == (group, target.kind)), None)
    if plural is None:
        served = await served_resources(client)
        plural = next((item.plural for item in served if (item.group, item.kind) == (group, target.kind)), None)
    if plural is None:
        raise NotFound(f'no matches for kind "{target.kind}" in group "{group}"')
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    path = f"{root}/namespaces/{scaler.metadata.namespace}/{plural}/{target.name}/scale"
    document = await client.call("GET", path)
    wanted = (document.get("spec") or {}).get("replicas") or 0
    return Scale(path, document, wanted, (document.get("status") or {}).get("selector") or "")


def controller(_: Config) -> Controller[Seen]:
    """The loop. Recent proposals are remembered to scale down slowly; forgetting them costs time only."""
    remembered: dict[str, list[tuple[datetime, int]]] = {}

    def observe(caches: Caches, key: Key, now: datetime) -> Seen | None:
        scaler = caches.of(KIND).get(*key)
        if scaler is None or scaler.metadata.deletion_timestamp is not None:
            return None
        uid = scaler.metadata.uid
        kept = [entry for entry in remembered.get(uid, ()) if entry[0] > now - timedelta(hours=1)][-240:]
        kept.append((now, scaler.status.desired_replicas))
        remembered[uid] = kept
        while len(remembered) > 1000:
            del remembered[next(iter(remembered))]
        return Seen(scaler, now, kept)

    return Controller(
        name="horizontal-pod-autoscaler",
        watches=(Watch(KIND, own_key),),
        observe=observe,
        inquire=inquire,
        reconcile=reconcile,
    )
