"""Keeping a number of identical pods: the decision that ReplicaSet and ReplicationController share.

Pure. Source: k8s.io/kubernetes pkg/controller/replicaset (replica_set.go, replica_set_utils.go).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from edgekube.api.kind import Kind
from edgekube.api.meta import Struct, format_time
from edgekube.api.selectors import LabelQuery
from edgekube.control import owners, pods
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podtemplate import PodTemplateSpec
from edgekube.reconcile.plan import Action, Create, Delete, Note, Outcome, Plan, Update, about

BURST_REPLICAS = 500  # creations or deletions in one go


@dataclass(frozen=True, slots=True)
class Seen:
    """One owner and every pod that is or might become its own. `related` are the pods of all revisions of the workload."""

    kind: Kind[Any]
    owner: Any  # ReplicaSet or ReplicationController
    query: LabelQuery
    template: PodTemplateSpec
    pods: Sequence[Pod]
    related: Sequence[Pod]
    condition_type: type[Struct]
    counts_terminating: bool
    now: datetime


def reconcile(seen: Seen) -> Plan:
    """Adopt, release, create or delete so that the owner has its number of pods; then its status."""
    owner = seen.owner
    mine, claims = owners.claim(pod_kind.KIND, seen.pods, seen.kind, owner, seen.query, may_adopt=pods.is_active)
    active = [pod for pod in mine if pods.is_active(pod)]
    terminating = sum(1 for pod in mine if pods.is_terminating(pod))
    wanted = owner.spec.replicas if owner.spec.replicas is not None else 1
    changes: list[Action] = []
    if owner.metadata.deletion_timestamp is None:
        changes = (
            _births(seen, wanted - len(active)) if len(active) < wanted else _deaths(seen, active, len(active) - wanted)
        )
    look_again_s = pods.soonest_available_s(active, owner.spec.min_ready_seconds, seen.now)

    def finish(outcome: Outcome) -> Sequence[Action]:
        status = _status(seen, active, terminating, wanted - len(active), outcome)
        if status == owner.status:
            return ()
        return (Update(kind=seen.kind, item=msgspec.structs.replace(owner, status=status), subresource="status"),)

    return Plan([*claims, *changes], finish, look_again_s)


def _births(seen: Seen, missing: int) -> list[Action]:
    reference = about(seen.kind, seen.owner)
    birth = Create(
        kind=pod_kind.KIND,
        item=owners.pod_from(seen.template, seen.kind, seen.owner),
        done=Note(reference, "Normal", "SuccessfulCreate", "Created pod: {name}"),
        failed=Note(reference, "Warning", "FailedCreate", "Error creating: {error}"),
    )
    return [birth] * min(missing, BURST_REPLICAS)


def _deaths(seen: Seen, active: Sequence[Pod], surplus: int) -> list[Action]:
    if surplus <= 0:
        return []
    reference = about(seen.kind, seen.owner)
    doomed = pods.least_useful_first(active, seen.related, seen.now)[: min(surplus, BURST_REPLICAS)]
    return [
        Delete(
            kind=pod_kind.KIND,
            namespace=pod.metadata.namespace,
            name=pod.metadata.name,
            uid=pod.metadata.uid,
            done=Note(reference, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}"),
            failed=Note(reference, "Warning", "FailedDelete", "Error deleting: {error}"),
        )
        for pod in doomed
    ]


def _status(seen: Seen, active: Sequence[Pod], terminating: int, missing: int, outcome: Outcome) -> Any:
    owner = seen.owner
    labels = seen.template.metadata.labels.items()
    fields: dict[str, Any] = {
        "replicas": len(active),
        "fully_labeled_replicas": sum(1 for pod in active if labels <= pod.metadata.labels.items()),
        "ready_replicas": sum(1 for pod in active if pods.is_ready(pod)),
        "available_replicas": sum(
            1 for pod in active if pods.is_available(pod, owner.spec.min_ready_seconds, seen.now)
        ),
        "observed_generation": owner.metadata.generation,
        "conditions": _conditions(seen, missing, outcome),
    }
    if seen.counts_terminating:
        fields["terminating_replicas"] = terminating
    return msgspec.structs.replace(owner.status, **fields)


def _conditions(seen: Seen, missing: int, outcome: Outcome) -> list[Any]:
    failures = [error for action, error in outcome.errors if isinstance(action, Create | Delete)]
    existing = [found for found in seen.owner.status.conditions if found.type == "ReplicaFailure"]
    others = [found for found in seen.owner.status.conditions if found.type != "ReplicaFailure"]
    if not failures:
        return others
    if existing:
        return list(seen.owner.status.conditions)
    reason = "FailedCreate" if missing > 0 else "FailedDelete"
    made: Any = seen.condition_type
    failure = made(
        type="ReplicaFailure",
        status="True",
        last_transition_time=format_time(seen.now),
        reason=reason,
        message=failures[0].message,
    )
    return [*others, failure]
