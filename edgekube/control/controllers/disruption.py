"""PodDisruptionBudget: how many pods may be missing at once; evictions ask the status written here.

Source: k8s.io/kubernetes pkg/controller/disruption/disruption.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import msgspec

from edgekube.api.kind import Kind
from edgekube.api.meta import Condition, format_time, parse_time
from edgekube.api.selectors import from_label_selector
from edgekube.control import owners, pods
from edgekube.control.config import Config
from edgekube.control.portions import portion
from edgekube.kinds.apps import deployment as deployment_kind
from edgekube.kinds.apps import replicaset as replicaset_kind
from edgekube.kinds.apps import statefulset as statefulset_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core import replicationcontroller as rc_kind
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.policy import poddisruptionbudget as budget_kind
from edgekube.kinds.policy.poddisruptionbudget import PodDisruptionBudget
from edgekube.reconcile.drive import Caches, Controller, Key, Watch, own_key
from edgekube.reconcile.plan import Action, Note, Plan, Tell, Update, about

KIND = budget_kind.KIND
DISRUPTION_TIMEOUT = timedelta(minutes=2)  # an eviction promised and not seen for so long did not happen
SCALED: tuple[Kind[Any], ...] = (replicaset_kind.KIND, statefulset_kind.KIND, rc_kind.KIND)


@dataclass(frozen=True, slots=True)
class Seen:
    """A budget, its pods, and what their controllers are scaled to (None: a pod's controller has no scale)."""

    budget: PodDisruptionBudget
    pods: Sequence[Pod]
    scale: int | None
    error: str
    now: datetime


@dataclass(frozen=True, slots=True)
class _Sums:
    expected: int
    desired: int
    healthy: int


def reconcile(seen: Seen) -> Plan:
    """Work out the sums, then how many may go."""
    budget = seen.budget
    sums = _sums(seen)
    disrupted, soonest = _disrupted(seen)
    healthy = sum(1 for pod in seen.pods if _is_healthy(pod, disrupted))
    error = seen.error if sums is None else ""
    if sums is None:
        sums = _Sums(0, 0, 0) if not error else _Sums(0, budget.status.desired_healthy, healthy)
    allowed = max(0, healthy - sums.desired) if sums.expected > 0 and not error else 0
    status = msgspec.structs.replace(
        budget.status,
        observed_generation=budget.metadata.generation,
        disrupted_pods=disrupted,
        disruptions_allowed=allowed,
        current_healthy=healthy if not error else budget.status.current_healthy,
        desired_healthy=sums.desired,
        expected_pods=sums.expected,
        conditions=[_condition(budget, allowed, error, seen.now)],
    )
    actions: list[Action] = []
    if not seen.pods:
        actions.append(Tell(Note(about(KIND, budget), "Normal", "NoPods", "No matching pods found")))
    if error:
        message = f"Failed to calculate the number of expected pods: {error}"
        actions.append(Tell(Note(about(KIND, budget), "Warning", "CalculateExpectedPodCountFailed", message)))
    if status != budget.status:
        actions.append(Update(kind=KIND, item=msgspec.structs.replace(budget, status=status), subresource="status"))
    return Plan(actions, look_again_s=soonest)


def _sums(seen: Seen) -> _Sums | None:
    """None when the number of pods to expect cannot be known."""
    spec, count = seen.budget.spec, len(seen.pods)
    if spec.max_unavailable is not None:
        if seen.error or seen.scale is None:
            return None if count else _Sums(0, 0, 0)
        unavailable = portion(spec.max_unavailable, seen.scale, round_up=True)
        return _Sums(seen.scale, max(0, seen.scale - unavailable), 0)
    if isinstance(spec.min_available, int):
        return _Sums(count, spec.min_available, 0)
    if spec.min_available is None:
        return _Sums(count, 0, 0)
    if seen.error or seen.scale is None:
        return None if count else _Sums(0, 0, 0)
    return _Sums(seen.scale, portion(spec.min_available, seen.scale, round_up=True), 0)


def _is_healthy(pod: Pod, disrupted: Iterable[str]) -> bool:
    return pod.metadata.deletion_timestamp is None and pod.metadata.name not in disrupted and pods.is_ready(pod)


def _disrupted(seen: Seen) -> tuple[dict[str, Any], float | None]:
    """Promised evictions still under way, and when the first of them is given up."""
    there = {pod.metadata.name: pod for pod in seen.pods}
    left: dict[str, Any] = {}
    waits: list[float] = []
    for name, stamp in seen.budget.status.disrupted_pods.items():
        pod = there.get(name)
        if pod is None or pod.metadata.deletion_timestamp is not None or stamp is None:
            continue
        wait = (parse_time(stamp) + DISRUPTION_TIMEOUT - seen.now).total_seconds()
        if wait > 0:
            left[name] = stamp
            waits.append(wait)
    return left, min(waits, default=None)


def _condition(budget: PodDisruptionBudget, allowed: int, error: str, now: datetime) -> Condition:
    status = "True" if allowed > 0 else "False"
    reason = "SyncFailed" if error else ("SufficientPods" if allowed > 0 else "InsufficientPods")
    before = next((found for found in budget.status.conditions if found.type == "DisruptionAllowed"), None)
    since = before.last_transition_time if before is not None and before.status == status else format_time(now)
    return Condition(
        type="DisruptionAllowed",
        status=status,
        observed_generation=budget.metadata.generation,
        last_transition_time=since,
        reason=reason,
        message=error,
    )


def _scale_of(caches: Caches, pod: Pod) -> tuple[str, int] | None:
    """The uid and the scale of the workload a pod belongs to, a Deployment before its ReplicaSet."""
    reference = owners.controller_of(pod)
    if reference is None:
        return None
    for kind in SCALED:
        if not owners.is_owned_by(reference, kind):
            continue
        found = caches.of(kind).get(pod.metadata.namespace, reference.name)
        if found is None or found.metadata.uid != reference.uid:
            return None
        above = owners.controller_of(found)
        if above is not None and owners.is_owned_by(above, deployment_kind.KIND):
            deployment = caches.of(deployment_kind.KIND).get(pod.metadata.namespace, above.name)
            if deployment is not None and deployment.metadata.uid == above.uid:
                found = deployment
        return found.metadata.uid, found.spec.replicas if found.spec.replicas is not None else 1
    return None


def observe(caches: Caches, key: Key, now: datetime) -> Seen | None:
    """The budget, its pods and the scale they should have. Pods of nobody add nothing to the scale."""
    budget = caches.of(KIND).get(*key)
    if budget is None or budget.metadata.deletion_timestamp is not None:
        return None
    query = from_label_selector(budget.spec.selector)
    here = caches.of(pod_kind.KIND).list(key.namespace)
    mine = [pod for pod in here if query.matches(pod.metadata.labels) and not pods.is_terminal(pod)]
    scales: dict[str, int] = {}
    error = ""
    for pod in mine:
        found = _scale_of(caches, pod)
        if found is not None:
            scales[found[0]] = found[1]
        elif (reference := owners.controller_of(pod)) is not None:
            group = reference.api_version.rpartition("/")[0]
            plural = reference.kind.lower() + "s"
            error = f"{plural}{'.' + group if group else ''} does not implement the scale subresource"
    return Seen(budget, mine, sum(scales.values()), error, now)


def of_pod(caches: Caches, pod: Pod, previous: Pod | None = None) -> Iterable[Key]:
    """The budgets of a pod whose health, labels or life changed."""
    if previous is not None and _shown(previous) == _shown(pod):
        return
    for budget in caches.of(KIND).list(pod.metadata.namespace):
        query = from_label_selector(budget.spec.selector)
        if query.matches(pod.metadata.labels) or (previous is not None and query.matches(previous.metadata.labels)):
            yield Key(budget.metadata.namespace, budget.metadata.name)


def _shown(pod: Pod) -> tuple[Any, ...]:
    metadata = pod.metadata
    return pods.is_ready(pod), pod.status.phase, metadata.labels, metadata.deletion_timestamp, metadata.owner_references


def of_workload(caches: Caches, item: Any, previous: Any = None) -> Iterable[Key]:
    """A workload that was scaled points at the budgets of its namespace."""
    if previous is None or previous.spec.replicas != item.spec.replicas:
        for budget in caches.of(KIND).list(item.metadata.namespace):
            yield Key(budget.metadata.namespace, budget.metadata.name)


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    workloads: tuple[Kind[Any], ...] = (*SCALED, deployment_kind.KIND)
    return Controller(
        name="controllermanager",
        watches=(
            Watch(KIND, own_key),
            Watch(pod_kind.KIND, of_pod),
            *(Watch(kind, of_workload) for kind in workloads),
        ),
        observe=observe,
        reconcile=reconcile,
    )
