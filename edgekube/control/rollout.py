"""The arithmetic of a Deployment: which replica set gets how many pods, and which conditions tell of it.

Pure. Quantities of pods are those of replica sets' specs unless named otherwise.
Source: k8s.io/kubernetes pkg/controller/deployment (sync.go, rolling.go, progress.go, util/deployment_util.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

import msgspec

from edgekube.api.meta import format_time, parse_time
from edgekube.control.portions import surge_and_unavailable
from edgekube.kinds.apps.deployment import Deployment, DeploymentCondition, DeploymentStatus
from edgekube.kinds.apps.replicaset import ReplicaSet
from edgekube.kinds.core.podtemplate import PodTemplateSpec

REVISION = "deployment.kubernetes.io/revision"
REVISION_HISTORY = "deployment.kubernetes.io/revision-history"
DESIRED_REPLICAS = "deployment.kubernetes.io/desired-replicas"
MAX_REPLICAS = "deployment.kubernetes.io/max-replicas"
TEMPLATE_HASH = "pod-template-hash"
NOT_COPIED = frozenset(
    {
        "kubectl.kubernetes.io/last-applied-configuration",
        REVISION,
        REVISION_HISTORY,
        DESIRED_REPLICAS,
        MAX_REPLICAS,
        "deprecated.deployment.rollback.to",
    }
)
HISTORY_CHARACTERS = 2000
NO_DEADLINE = 2**31 - 1


def wanted(deployment: Deployment) -> int:
    """How many pods are asked for."""
    return deployment.spec.replicas if deployment.spec.replicas is not None else 1


def size(replica_set: ReplicaSet) -> int:
    """How many pods a replica set is to have."""
    return replica_set.spec.replicas if replica_set.spec.replicas is not None else 1


def is_rolling(deployment: Deployment) -> bool:
    """Whether pods are replaced a few at a time."""
    return deployment.spec.strategy.type != "Recreate"


def max_surge(deployment: Deployment) -> int:
    """How many pods there may be above the wanted number."""
    return _fences(deployment)[0] if is_rolling(deployment) else 0


def max_unavailable(deployment: Deployment) -> int:
    """How many pods may be missing below the wanted number."""
    if not is_rolling(deployment) or wanted(deployment) == 0:
        return 0
    return min(_fences(deployment)[1], wanted(deployment))


def _fences(deployment: Deployment) -> tuple[int, int]:
    rolling = deployment.spec.strategy.rolling_update
    if rolling is None:
        return surge_and_unavailable("25%", "25%", wanted(deployment))
    return surge_and_unavailable(rolling.max_surge, rolling.max_unavailable, wanted(deployment))


def same_template(one: PodTemplateSpec, other: PodTemplateSpec) -> bool:
    """Whether two templates make the same pods, the hash label aside."""
    return _without_hash(one) == _without_hash(other)


def _without_hash(template: PodTemplateSpec) -> PodTemplateSpec:
    labels = {key: value for key, value in template.metadata.labels.items() if key != TEMPLATE_HASH}
    return msgspec.structs.replace(template, metadata=msgspec.structs.replace(template.metadata, labels=labels))


def by_birth(replica_sets: Iterable[ReplicaSet]) -> list[ReplicaSet]:
    """Oldest first, names breaking ties."""
    return sorted(replica_sets, key=lambda item: (item.metadata.creation_timestamp or "", item.metadata.name))


def find_new(deployment: Deployment, replica_sets: Iterable[ReplicaSet]) -> ReplicaSet | None:
    """The oldest replica set that has the deployment's template."""
    for replica_set in by_birth(replica_sets):
        if same_template(replica_set.spec.template, deployment.spec.template):
            return replica_set
    return None


def revision_of(replica_set: ReplicaSet) -> int:
    """The revision annotation, 0 when absent or broken."""
    text = replica_set.metadata.annotations.get(REVISION, "0")
    return int(text) if text.isdigit() else 0


def annotations_for(deployment: Deployment, replica_set: ReplicaSet, revision: int, *, exists: bool) -> dict[str, str]:
    """The annotations the new replica set is to have."""
    made = dict(replica_set.metadata.annotations)
    made.update({key: value for key, value in deployment.metadata.annotations.items() if key not in NOT_COPIED})
    before = made.get(REVISION)
    if before is None:
        made[REVISION] = str(revision)
    elif before.isdigit() and int(before) < revision:
        made[REVISION] = str(revision)
        made[REVISION_HISTORY] = _history(made.get(REVISION_HISTORY, ""), before)
    if not exists:
        made.update(replica_annotations(deployment))
    return made


def _history(history: str, revision: str) -> str:
    revisions = [*filter(None, history.split(",")), revision]
    while len(revisions) > 1 and len(",".join(revisions)) > HISTORY_CHARACTERS:
        del revisions[0]
    return ",".join(revisions)


def replica_annotations(deployment: Deployment) -> dict[str, str]:
    """What a replica set remembers of the deployment's size, to scale in proportion later."""
    return {
        DESIRED_REPLICAS: str(wanted(deployment)),
        MAX_REPLICAS: str(wanted(deployment) + max_surge(deployment)),
    }


def new_size(deployment: Deployment, total: int, current: int) -> int:
    """How many pods the new replica set (now `current` of `total` in all) may have at this point of the rollout."""
    if not is_rolling(deployment):
        return wanted(deployment)
    most = wanted(deployment) + max_surge(deployment)
    if total >= most:
        return current
    return current + min(most - total, wanted(deployment) - current)


def proportional_sizes(deployment: Deployment, replica_sets: Sequence[ReplicaSet]) -> list[tuple[ReplicaSet, int]]:
    """Sizes of several active replica sets when the deployment is scaled in the middle of a rollout."""
    allowed = wanted(deployment) + max_surge(deployment) if wanted(deployment) > 0 else 0
    to_add = allowed - sum(map(size, replica_sets))
    order = by_birth(replica_sets)
    if to_add > 0:
        order.reverse()  # newer first
    order.sort(key=size, reverse=True)
    sizes: list[int] = []
    added = 0
    for replica_set in order:
        share = _share(deployment, replica_set, to_add, added)
        sizes.append(size(replica_set) + share)
        added += share
    if order and to_add:
        sizes[0] = max(0, sizes[0] + to_add - added)
    return list(zip(order, sizes, strict=True))


def _share(deployment: Deployment, replica_set: ReplicaSet, to_add: int, added: int) -> int:
    if size(replica_set) == 0 or to_add in (0, added):
        return 0
    fraction = _fraction(deployment, replica_set)
    return min(fraction, to_add - added) if to_add > 0 else max(fraction, to_add - added)


def _fraction(deployment: Deployment, replica_set: ReplicaSet) -> int:
    now = size(replica_set)
    if wanted(deployment) == 0:
        return -now
    text = replica_set.metadata.annotations.get(MAX_REPLICAS, "")
    before = int(text) if text.isdigit() and int(text) else deployment.status.replicas
    if before == 0:
        return 0
    after = now * (wanted(deployment) + max_surge(deployment)) / before
    return int(after + 0.5) - now


def condition(status: DeploymentStatus, type_: str) -> DeploymentCondition | None:
    """The condition of this type."""
    return next((found for found in status.conditions if found.type == type_), None)


def with_condition(
    conditions: Sequence[DeploymentCondition], type_: str, status: str, reason: str, message: str, now: datetime
) -> list[DeploymentCondition]:
    """Conditions with this one set; unchanged when status and reason are what they were."""
    before = next((found for found in conditions if found.type == type_), None)
    if before is not None and (before.status, before.reason) == (status, reason):
        return list(conditions)
    stamp = format_time(now)
    made = DeploymentCondition(
        type=type_,
        status=status,
        last_update_time=stamp,
        last_transition_time=before.last_transition_time if before is not None and before.status == status else stamp,
        reason=reason,
        message=message,
    )
    return [*without_condition(conditions, type_), made]


def without_condition(conditions: Sequence[DeploymentCondition], type_: str) -> list[DeploymentCondition]:
    """Conditions without one type."""
    return [found for found in conditions if found.type != type_]


def has_deadline(deployment: Deployment) -> bool:
    """Whether slowness is to be reported."""
    seconds = deployment.spec.progress_deadline_seconds
    return seconds is not None and seconds != NO_DEADLINE


def calculate_status(
    deployment: Deployment, replica_sets: Sequence[ReplicaSet], new: ReplicaSet | None, now: datetime
) -> DeploymentStatus:
    """Counts over all replica sets, and the Available condition."""
    available = sum(item.status.available_replicas for item in replica_sets)
    terminating = [item.status.terminating_replicas for item in replica_sets]
    enough = available >= wanted(deployment) - max_unavailable(deployment)
    conditions = with_condition(
        deployment.status.conditions,
        "Available",
        "True" if enough else "False",
        "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable",
        f"Deployment {'has' if enough else 'does not have'} minimum availability.",
        now,
    )
    return DeploymentStatus(
        observed_generation=deployment.metadata.generation,
        replicas=sum(item.status.replicas for item in replica_sets),
        updated_replicas=new.status.replicas if new is not None else 0,
        ready_replicas=sum(item.status.ready_replicas for item in replica_sets),
        available_replicas=available,
        unavailable_replicas=max(0, sum(map(size, replica_sets)) - available),
        terminating_replicas=None if None in terminating else sum(filter(None, terminating)),
        collision_count=deployment.status.collision_count,
        conditions=conditions,
    )


def is_complete(deployment: Deployment, status: DeploymentStatus) -> bool:
    """Whether all wanted pods are of the new template and available, and no others are left."""
    number = wanted(deployment)
    return (
        status.updated_replicas == status.replicas == status.available_replicas == number
        and status.observed_generation >= deployment.metadata.generation
    )


def is_progressing(before: DeploymentStatus, after: DeploymentStatus) -> bool:
    """Whether any count moved in the right direction."""
    return (
        after.updated_replicas > before.updated_replicas
        or after.replicas - after.updated_replicas < before.replicas - before.updated_replicas
        or after.ready_replicas > before.ready_replicas
        or after.available_replicas > before.available_replicas
    )


def deadline_left_s(deployment: Deployment, status: DeploymentStatus, now: datetime) -> float | None:
    """Seconds until lack of progress is a failure (0 or less: it is); None when nothing is being waited for."""
    progressing = condition(status, "Progressing")
    if not has_deadline(deployment) or progressing is None or progressing.reason == "NewReplicaSetAvailable":
        return None
    if progressing.reason == "ProgressDeadlineExceeded" or progressing.last_update_time is None:
        return 0.0
    deadline = timedelta(seconds=deployment.spec.progress_deadline_seconds or 0)
    return (parse_time(progressing.last_update_time) + deadline - now).total_seconds()


def rollout_status(
    deployment: Deployment, replica_sets: Sequence[ReplicaSet], new: ReplicaSet | None, now: datetime
) -> DeploymentStatus:
    """The status of a rollout: counts, and the Available, Progressing and ReplicaFailure conditions."""
    status = calculate_status(deployment, replica_sets, new, now)
    conditions = list(status.conditions)
    before = condition(deployment.status, "Progressing")
    settled = (
        before is not None and before.reason == "NewReplicaSetAvailable" and status.replicas == status.updated_replicas
    )
    who = f'ReplicaSet "{new.metadata.name}"' if new is not None else f'Deployment "{deployment.metadata.name}"'
    if not has_deadline(deployment):
        conditions = without_condition(conditions, "Progressing")
    elif not settled:
        left = deadline_left_s(deployment, deployment.status, now)
        if is_complete(deployment, status):
            message = f"{who} has successfully progressed."
            conditions = with_condition(conditions, "Progressing", "True", "NewReplicaSetAvailable", message, now)
        elif is_progressing(deployment.status, status):
            conditions = _still_moving(conditions, before, f"{who} is progressing.", now)
        elif left is not None and left <= 0:
            message = f"{who} has timed out progressing."
            conditions = with_condition(conditions, "Progressing", "False", "ProgressDeadlineExceeded", message, now)
    return msgspec.structs.replace(status, conditions=_replica_failure(conditions, replica_sets, new))


def _still_moving(
    conditions: Sequence[DeploymentCondition], before: DeploymentCondition | None, message: str, now: datetime
) -> list[DeploymentCondition]:
    stamp = format_time(now)
    since = before.last_transition_time if before is not None and before.status == "True" else stamp
    moving = DeploymentCondition(
        type="Progressing",
        status="True",
        last_update_time=stamp,
        last_transition_time=since,
        reason="ReplicaSetUpdated",
        message=message,
    )
    return [*without_condition(conditions, "Progressing"), moving]


def _replica_failure(
    conditions: Sequence[DeploymentCondition], replica_sets: Sequence[ReplicaSet], new: ReplicaSet | None
) -> list[DeploymentCondition]:
    first = [new] if new is not None else []
    for replica_set in [*first, *replica_sets]:
        for found in replica_set.status.conditions:
            if found.type == "ReplicaFailure":
                made = DeploymentCondition(
                    type="ReplicaFailure",
                    status=found.status,
                    last_update_time=found.last_transition_time,
                    last_transition_time=found.last_transition_time,
                    reason=found.reason,
                    message=found.message,
                )
                before = next((old for old in conditions if old.type == "ReplicaFailure"), None)
                if before is not None and (before.status, before.reason) == (made.status, made.reason):
                    return list(conditions)
                return [*without_condition(conditions, "ReplicaFailure"), made]
    return without_condition(conditions, "ReplicaFailure")
