"""Deployment: replica sets per template, replaced by rolling update or recreation, with history, pausing and a deadline.

The arithmetic is in `control.rollout`; here is the order of steps. One look at a deployment does one step (make the new replica
set, or move sizes once, or clean up) and then writes the status; the change it made brings the next look.
Source: k8s.io/kubernetes pkg/controller/deployment.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from edgekube.api.meta import LabelSelector, ObjectMeta
from edgekube.api.selectors import LabelQuery, from_label_selector
from edgekube.control import owners, pods, rollout
from edgekube.control.config import Config
from edgekube.control.hashing import hash_of
from edgekube.errors import AlreadyExists
from edgekube.kinds.apps import deployment as deployment_kind
from edgekube.kinds.apps import replicaset as replicaset_kind
from edgekube.kinds.apps.deployment import Deployment, DeploymentStatus
from edgekube.kinds.apps.replicaset import ReplicaSet, ReplicaSetSpec
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.pod import Pod
from edgekube.reconcile.drive import Caches, Controller, Key, Watch, own_key
from edgekube.reconcile.plan import Action, Create, Delete, Note, Outcome, Patch, Plan, Tell, Update, about

KIND, SETS = deployment_kind.KIND, replicaset_kind.KIND


@dataclass(frozen=True, slots=True)
class Seen:
    """A deployment, the replica sets that are or might be its own, and their pods."""

    deployment: Deployment
    replica_sets: Sequence[ReplicaSet]
    pods: Sequence[Pod]  # pods of the replica sets; only filled for Recreate
    now: datetime


class _Steps:
    """What is being decided for one look: sizes as planned so far, and the actions."""

    def __init__(self, deployment: Deployment, replica_sets: Sequence[ReplicaSet], now: datetime) -> None:
        self.deployment, self.now = deployment, now
        self.new = rollout.find_new(deployment, replica_sets)
        self.old = [item for item in rollout.by_birth(replica_sets) if item is not self.new]
        self.sizes = {item.metadata.uid: rollout.size(item) for item in replica_sets}
        self.changed: dict[str, ReplicaSet] = {}
        self.actions: list[Action] = []

    @property
    def all(self) -> list[ReplicaSet]:
        """Old and new, as planned."""
        sets = [*self.old, *([self.new] if self.new is not None else [])]
        return [self.changed.get(item.metadata.uid, item) for item in sets]

    def size(self, replica_set: ReplicaSet) -> int:
        return self.sizes.get(replica_set.metadata.uid, 0)

    def total(self) -> int:
        return sum(self.size(item) for item in self.all)

    def active(self, replica_sets: Iterable[ReplicaSet]) -> list[ReplicaSet]:
        return [item for item in replica_sets if self.size(item) > 0]

    def scale(self, replica_set: ReplicaSet, number: int) -> bool:
        """Give a replica set another size; also refreshes what it remembers of the deployment's size."""
        current = self.changed.get(replica_set.metadata.uid, replica_set)
        before = self.size(replica_set)
        annotations = {**current.metadata.annotations, **rollout.replica_annotations(self.deployment)}
        if before == number and annotations == current.metadata.annotations:
            return False
        made = msgspec.structs.replace(
            current,
            metadata=msgspec.structs.replace(current.metadata, annotations=annotations),
            spec=msgspec.structs.replace(current.spec, replicas=number),
        )
        self.sizes[replica_set.metadata.uid] = number
        self.changed[replica_set.metadata.uid] = made
        if before != number:
            direction = "up" if number > before else "down"
            message = f"Scaled {direction} replica set {made.metadata.name} from {before} to {number}"
            self.actions.append(Tell(Note(about(KIND, self.deployment), "Normal", "ScalingReplicaSet", message)))
        return True

    def writes(self) -> list[Action]:
        """The changed replica sets, then the events."""
        return [*(Update(kind=SETS, item=item) for item in self.changed.values()), *self.actions]


def reconcile(seen: Seen) -> Plan:
    """One step of the deployment towards its wanted state."""
    deployment = seen.deployment
    query = from_label_selector(deployment.spec.selector)
    if query.everything:
        message = "This deployment is selecting all pods. A non-empty selector is required."
        status = msgspec.structs.replace(deployment.status, observed_generation=deployment.metadata.generation)
        note = Note(about(KIND, deployment), "Warning", "SelectingAll", message)
        return Plan([Tell(note), *_status_write(seen, status)])
    mine, claims = owners.claim(SETS, seen.replica_sets, KIND, deployment, query)
    steps = _Steps(_with_pause_told(deployment, seen.now), mine, seen.now)
    if deployment.metadata.deletion_timestamp is not None:
        return Plan(
            [*claims, *_status_write(seen, rollout.calculate_status(deployment, steps.all, steps.new, seen.now))]
        )
    if deployment.spec.paused or _was_scaled(steps):
        if steps.new is not None:
            _make_or_refresh_new(steps)
        _scale_only(steps)
        cleaning = _cleanup(steps) if deployment.spec.paused else []
        status = rollout.calculate_status(steps.deployment, steps.all, steps.new, seen.now)
        return Plan([*claims, *steps.writes(), *cleaning, *_status_write(seen, status), *_revision_write(steps)])
    if rollout.is_rolling(deployment):
        return _finish(seen, steps, claims, _roll(steps))
    return _finish(seen, steps, claims, _recreate(steps, seen.pods))


def _with_pause_told(deployment: Deployment, now: datetime) -> Deployment:
    progressing = rollout.condition(deployment.status, "Progressing")
    if not rollout.has_deadline(deployment) or (progressing and progressing.reason == "ProgressDeadlineExceeded"):
        return deployment
    told = progressing is not None and progressing.reason == "DeploymentPaused"
    if deployment.spec.paused == told:
        return deployment
    word = "paused" if deployment.spec.paused else "resumed"
    conditions = rollout.with_condition(
        deployment.status.conditions,
        "Progressing",
        "Unknown",
        f"Deployment{word.title()}",
        f"Deployment is {word}",
        now,
    )
    return msgspec.structs.replace(deployment, status=msgspec.structs.replace(deployment.status, conditions=conditions))


def _was_scaled(steps: _Steps) -> bool:
    number = str(rollout.wanted(steps.deployment))
    return any(
        item.metadata.annotations.get(rollout.DESIRED_REPLICAS, number) != number for item in steps.active(steps.all)
    )


def _scale_only(steps: _Steps) -> None:
    """Reach the wanted number without moving the rollout on."""
    deployment = steps.deployment
    active = steps.active(steps.all)
    if len(active) <= 1:
        latest = active or ([steps.new] if steps.new is not None else steps.old[-1:])
        if latest and steps.size(latest[0]) != rollout.wanted(deployment):
            steps.scale(latest[0], rollout.wanted(deployment))
    elif steps.new is not None and _is_saturated(steps, steps.new):
        for item in steps.active(steps.old):
            steps.scale(item, 0)
    elif rollout.is_rolling(deployment):
        for item, number in rollout.proportional_sizes(deployment, active):
            steps.scale(item, number)


def _is_saturated(steps: _Steps, new: ReplicaSet) -> bool:
    number = rollout.wanted(steps.deployment)
    remembered = new.metadata.annotations.get(rollout.DESIRED_REPLICAS)
    return steps.size(new) == new.status.available_replicas == number and remembered == str(number)


def _roll(steps: _Steps) -> bool:
    """One step of a rolling update; True when the rollout is at rest (nothing was changed)."""
    new = _make_or_refresh_new(steps)
    if new is None or steps.changed:
        return False
    deployment = steps.deployment
    number = rollout.wanted(deployment)
    if steps.size(new) != number:
        target = number if steps.size(new) > number else rollout.new_size(deployment, steps.total(), steps.size(new))
        if target != steps.size(new) and steps.scale(new, target):
            return False
    return not _shrink_old(steps, new)


def _shrink_old(steps: _Steps, new: ReplicaSet) -> bool:
    deployment = steps.deployment
    old = steps.active(steps.old)
    if not old:
        return False
    least = rollout.wanted(deployment) - rollout.max_unavailable(deployment)
    may_go = steps.total() - least - (steps.size(new) - new.status.available_replicas)
    if may_go <= 0:
        return False
    for item in old:  # first those that never became available: they cost nothing
        unhealthy = min(may_go, steps.size(item) - item.status.available_replicas)
        if unhealthy > 0:
            steps.scale(item, steps.size(item) - unhealthy)
            may_go -= unhealthy
    spare = sum(item.status.available_replicas for item in steps.all) - least
    for item in old:
        if spare > 0 and steps.size(item) > 0:
            going = min(steps.size(item), spare)
            steps.scale(item, steps.size(item) - going)
            spare -= going
    return bool(steps.changed)


def _recreate(steps: _Steps, running: Sequence[Pod]) -> bool:
    """One step of a recreation: all old pods go before the first new one is made."""
    for item in steps.active(steps.old):
        steps.scale(item, 0)
    if steps.changed:
        return False
    newest = steps.new.metadata.uid if steps.new is not None else ""
    if any(owners.controller_uid(pod) != newest and not pods.is_terminal(pod) for pod in running):
        return False
    if any(item.status.replicas for item in steps.old):
        return False
    new = _make_or_refresh_new(steps)
    if new is None or steps.changed:
        return False
    return not (
        steps.size(new) != rollout.wanted(steps.deployment) and steps.scale(new, rollout.wanted(steps.deployment))
    )


def _next_revision(steps: _Steps) -> int:
    return max(map(rollout.revision_of, steps.old), default=0) + 1


def _make_or_refresh_new(steps: _Steps) -> ReplicaSet | None:
    """The new replica set as it is; None when it is being made in this look. A refresh is noted in `steps.changed`."""
    deployment, new, revision = steps.deployment, steps.new, _next_revision(steps)
    if new is not None:
        annotations = rollout.annotations_for(deployment, new, revision, exists=True)
        min_ready = deployment.spec.min_ready_seconds
        if annotations != new.metadata.annotations or new.spec.min_ready_seconds != min_ready:
            steps.changed[new.metadata.uid] = msgspec.structs.replace(
                new,
                metadata=msgspec.structs.replace(new.metadata, annotations=annotations),
                spec=msgspec.structs.replace(new.spec, min_ready_seconds=min_ready),
            )
        return new
    steps.new = made = _birth(steps, revision)
    steps.sizes[made.metadata.uid] = rollout.size(made)
    message = f"Scaled up replica set {made.metadata.name} from 0 to {rollout.size(made)}"
    done = Note(about(KIND, deployment), "Normal", "ScalingReplicaSet", message) if rollout.size(made) else None
    steps.actions.append(Create(kind=SETS, item=made, done=done))
    return None


def _birth(steps: _Steps, revision: int) -> ReplicaSet:
    deployment = steps.deployment
    template = deployment.spec.template
    short = hash_of(template, deployment.status.collision_count)
    labels = {**template.metadata.labels, rollout.TEMPLATE_HASH: short}
    selector = deployment.spec.selector or LabelSelector()
    made = ReplicaSet(
        metadata=ObjectMeta(
            name=f"{deployment.metadata.name}-{short}",
            namespace=deployment.metadata.namespace,
            labels=labels,
            owner_references=[owners.reference_to(KIND, deployment)],
        ),
        spec=ReplicaSetSpec(
            replicas=rollout.new_size(deployment, steps.total(), 0),
            min_ready_seconds=deployment.spec.min_ready_seconds,
            selector=msgspec.structs.replace(
                selector, match_labels={**selector.match_labels, rollout.TEMPLATE_HASH: short}
            ),
            template=msgspec.structs.replace(
                template, metadata=msgspec.structs.replace(template.metadata, labels=labels)
            ),
        ),
    )
    made.metadata.annotations = rollout.annotations_for(deployment, made, revision, exists=False)
    return made


def _finish(seen: Seen, steps: _Steps, claims: Sequence[Action], at_rest: bool) -> Plan:
    deployment = steps.deployment
    cleaning = _cleanup(steps) if at_rest and rollout.is_complete(deployment, deployment.status) else []
    creating = next((action for action in steps.actions if isinstance(action, Create)), None)
    if creating is not None:
        return Plan([*claims, *steps.writes()], lambda outcome: _after_creating(seen, steps, creating, outcome))
    known = _with_progress(deployment, "FoundNewReplicaSet", "Found new", steps, seen.now)
    status = rollout.rollout_status(known, steps.all, steps.new, seen.now)
    left = rollout.deadline_left_s(deployment, status, seen.now)
    return Plan(
        [*claims, *steps.writes(), *cleaning, *_status_write(seen, status), *_revision_write(steps)],
        look_again_s=left + 1 if left is not None and left > 0 else None,
    )


def _with_progress(deployment: Deployment, reason: str, words: str, steps: _Steps, now: datetime) -> Deployment:
    """The deployment with a Progressing condition that says where the new replica set came from, if it has none."""
    made = reason == "NewReplicaSetCreated"
    if steps.new is None or not rollout.has_deadline(deployment):
        return deployment
    if not made and rollout.condition(deployment.status, "Progressing") is not None:
        return deployment
    message = f'{words} replica set "{steps.new.metadata.name}"'
    conditions = rollout.with_condition(deployment.status.conditions, "Progressing", "True", reason, message, now)
    return msgspec.structs.replace(deployment, status=msgspec.structs.replace(deployment.status, conditions=conditions))


def _after_creating(seen: Seen, steps: _Steps, creating: Create, outcome: Outcome) -> Sequence[Action]:
    deployment = steps.deployment
    error = outcome.error
    if error is None:
        known = _with_progress(deployment, "NewReplicaSetCreated", "Created new", steps, seen.now)
        status = rollout.rollout_status(known, steps.all, steps.new, seen.now)
        return [*_status_write(seen, status), *_revision_write(steps)]
    if isinstance(error, AlreadyExists):  # another template with the same hash, or a foreign object of that name
        collisions = (deployment.status.collision_count or 0) + 1
        status = msgspec.structs.replace(deployment.status, collision_count=collisions)
        return _status_write(seen, status)
    message = f'Failed to create new replica set "{creating.item.metadata.name}": {error.message}'
    conditions = rollout.with_condition(
        deployment.status.conditions, "Progressing", "False", "ReplicaSetCreateError", message, seen.now
    )
    status = msgspec.structs.replace(deployment.status, conditions=conditions)
    note = Note(about(KIND, deployment), "Warning", "ReplicaSetCreateError", message)
    return [Tell(note), *_status_write(seen, status)]


def _cleanup(steps: _Steps) -> list[Action]:
    limit = steps.deployment.spec.revision_history_limit
    if limit is None or limit == rollout.NO_DEADLINE:
        return []
    alive = [item for item in steps.old if item.metadata.deletion_timestamp is None]
    surplus = sorted(alive, key=rollout.revision_of)[: max(0, len(alive) - limit)]
    return [
        Delete(kind=SETS, namespace=item.metadata.namespace, name=item.metadata.name, uid=item.metadata.uid)
        for item in surplus
        if not item.status.replicas
        and not steps.size(item)
        and item.metadata.generation <= item.status.observed_generation
    ]


def _status_write(seen: Seen, status: DeploymentStatus) -> list[Action]:
    if status == seen.deployment.status:
        return []
    return [Update(kind=KIND, item=msgspec.structs.replace(seen.deployment, status=status), subresource="status")]


def _revision_write(steps: _Steps) -> list[Action]:
    """The deployment carries the revision of its new replica set. After the status, which depends on the seen revision."""
    if steps.new is None:
        return []
    new = steps.changed.get(steps.new.metadata.uid, steps.new)
    revision = new.metadata.annotations.get(rollout.REVISION)
    metadata = steps.deployment.metadata
    if revision is None or metadata.annotations.get(rollout.REVISION) == revision:
        return []
    patch = {"metadata": {"annotations": {rollout.REVISION: revision}}}
    return [Patch(kind=KIND, namespace=metadata.namespace, name=metadata.name, patch=patch)]


def query_of(deployment: Deployment) -> LabelQuery:
    """Which replica sets and pods may be its own."""
    return from_label_selector(deployment.spec.selector)


def observe(caches: Caches, key: Key, now: datetime) -> Seen | None:
    """The deployment with everything below it."""
    deployment = caches.of(KIND).get(*key)
    if deployment is None:
        return None
    replica_sets = owners.candidates(caches.of(SETS), deployment)
    running: list[Pod] = []
    if not rollout.is_rolling(deployment):
        for replica_set in owners.owned(replica_sets, deployment):
            running += caches.of(pod_kind.KIND).by("owner", replica_set.metadata.uid)
    return Seen(deployment, replica_sets, running, now)


def of_pod(caches: Caches, pod: Pod, _: Pod | None = None) -> Iterable[Key]:
    """A pod points at its deployment only where old pods are waited for."""
    reference = owners.controller_of(pod)
    if not owners.is_owned_by(reference, SETS) or reference is None:
        return
    replica_set = caches.of(SETS).get(pod.metadata.namespace, reference.name)
    above = owners.controller_of(replica_set) if replica_set is not None else None
    if above is None or not owners.is_owned_by(above, KIND):
        return
    deployment = caches.of(KIND).get(pod.metadata.namespace, above.name)
    if deployment is not None and not rollout.is_rolling(deployment):
        yield Key(pod.metadata.namespace, above.name)


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="deployment-controller",
        watches=(
            Watch(KIND, own_key),
            Watch(SETS, owners.keys_of_owner(KIND, orphans=owners.those_selecting(KIND, query_of))),
            Watch(pod_kind.KIND, of_pod),
        ),
        observe=observe,
        reconcile=reconcile,
        workers=3,
    )
