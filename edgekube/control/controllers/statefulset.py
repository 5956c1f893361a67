"""StatefulSet: pods with names, numbers and claims of their own, made and replaced in order.

Source: k8s.io/kubernetes pkg/controller/statefulset (stateful_set_control.go, stateful_set_utils.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from edgekube.api.selectors import LabelQuery, from_label_selector
from edgekube.control import owners, pods, revisions
from edgekube.control.config import Config
from edgekube.control.portions import portion
from edgekube.control.setclaims import claims_of, owner_changes, pod_for
from edgekube.kinds.apps import controllerrevision as revision_kind
from edgekube.kinds.apps import statefulset as set_kind
from edgekube.kinds.apps.controllerrevision import ControllerRevision
from edgekube.kinds.apps.statefulset import StatefulSet, StatefulSetStatus
from edgekube.kinds.core import persistentvolumeclaim as claim_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.persistentvolumeclaim import PersistentVolumeClaim
from edgekube.kinds.core.pod import Pod
from edgekube.reconcile.drive import Caches, Controller, Key, Watch, own_key
from edgekube.reconcile.plan import Action, Create, Delete, Note, Plan, Tell, Update, about

KIND = set_kind.KIND


@dataclass(frozen=True, slots=True)
class Seen:
    """A stateful set, its pods, its history and the claims of its namespace."""

    owner: StatefulSet
    pods: Sequence[Pod]
    revisions: Sequence[ControllerRevision]
    claims: Mapping[str, PersistentVolumeClaim]
    now: datetime


@dataclass(frozen=True, slots=True)
class _Order:
    """What the steps share: pods by number, the revisions, and the numbers that are wanted."""

    seen: Seen
    by_number: Mapping[int, Pod]
    wanted: Sequence[int]
    current: ControllerRevision
    update: ControllerRevision

    @property
    def one_by_one(self) -> bool:
        return self.seen.owner.spec.pod_management_policy != "Parallel"

    def revision_for(self, number: int) -> ControllerRevision:
        """The revision a new pod of this number gets."""
        owner = self.seen.owner
        strategy = owner.spec.update_strategy
        start = owner.spec.ordinals.start if owner.spec.ordinals is not None else 0
        if strategy.type == "OnDelete":
            return self.update
        partition = strategy.rolling_update.partition if strategy.rolling_update is not None else None
        held = start + (owner.status.current_replicas if partition is None else partition)
        return self.current if number < held else self.update

    def is_well(self, pod: Pod) -> bool:
        """Running, available and not on its way out."""
        going = pod.metadata.deletion_timestamp is not None
        running = pod.status.phase == "Running"
        ready = pods.is_available(pod, self.seen.owner.spec.min_ready_seconds, self.seen.now)
        return running and ready and not going


def number_of(owner: StatefulSet, pod: Pod) -> int | None:
    """The pod's number from its name, None when the name is not of this set."""
    base, _, text = pod.metadata.name.rpartition("-")
    return int(text) if base == owner.metadata.name and text.isdigit() else None


def reconcile(seen: Seen) -> Plan:
    """One step in order, then the status."""
    owner = seen.owner
    query = from_label_selector(owner.spec.selector)
    mine, claiming = owners.claim(
        pod_kind.KIND, seen.pods, KIND, owner, query, may_adopt=lambda pod: number_of(owner, pod) is not None
    )
    labels = dict(owner.spec.selector.match_labels) if owner.spec.selector is not None else {}
    past = revisions.history(KIND, owner, owners.owned(seen.revisions, owner), labels, owner.status.collision_count)
    if owner.metadata.deletion_timestamp is not None:
        return Plan(claiming)
    if past.writes:
        return Plan([*claiming, *past.writes])
    named = {item.metadata.name: item for item in past.revisions}
    current = named.get(owner.status.current_revision, past.now)
    start = owner.spec.ordinals.start if owner.spec.ordinals is not None else 0
    replicas = owner.spec.replicas if owner.spec.replicas is not None else 1
    numbered = {number: pod for pod in mine if (number := number_of(owner, pod)) is not None}
    order = _Order(seen, numbered, range(start, start + replicas), current, past.now)
    changes = _step(order)
    held = [action for pod in mine for action in _claim_owners(order, pod)]
    live = {current.metadata.name, past.now.metadata.name, *(_revision(pod) for pod in mine)}
    cleaning = revisions.surplus(past, live, owner.spec.revision_history_limit)
    status = _status(order)
    writes: list[Action] = []
    if status != owner.status:
        writes.append(Update(kind=KIND, item=msgspec.structs.replace(owner, status=status), subresource="status"))
    wait = pods.soonest_available_s(mine, owner.spec.min_ready_seconds, seen.now)
    return Plan([*claiming, *held, *changes, *cleaning], lambda _: writes, wait)


def _revision(pod: Pod) -> str:
    return pod.metadata.labels.get(revisions.LABEL, "")


def _step(order: _Order) -> list[Action]:
    actions: list[Action] = []
    for number in order.wanted:
        pod = order.by_number.get(number)
        if pod is None:
            actions += _birth(order, number)
        elif pods.is_terminal(pod) and pod.metadata.deletion_timestamp is None:
            actions += _bury(order, pod)
        elif not order.one_by_one or order.is_well(pod):
            continue
        if order.one_by_one:
            return actions  # this one first
    condemned = sorted((number for number in order.by_number if number not in order.wanted), reverse=True)
    unwell = min((number for number, pod in order.by_number.items() if not order.is_well(pod)), default=None)
    for number in condemned:
        pod = order.by_number[number]
        if pod.metadata.deletion_timestamp is not None:
            if order.one_by_one:
                return actions
            continue
        if order.one_by_one and not order.is_well(pod) and number != unwell:
            return actions  # one that is unwell before it comes first
        actions.append(_death(order, pod))
        if order.one_by_one:
            return actions
    if actions or order.seen.owner.spec.update_strategy.type == "OnDelete":
        return actions
    return _replace(order)


def _replace(order: _Order) -> list[Action]:
    """The next pods, from the highest number down to the partition, that are not of the new revision."""
    rolling = order.seen.owner.spec.update_strategy.rolling_update
    partition = (rolling.partition or 0) if rolling is not None else 0
    start = order.wanted[0] if order.wanted else 0
    unavailable = portion(rolling.max_unavailable, len(order.wanted), round_up=True) if rolling is not None else 1
    spare = max(1, unavailable)
    actions: list[Action] = []
    for number in sorted((number for number in order.wanted if number >= start + partition), reverse=True):
        pod = order.by_number.get(number)
        if pod is not None and _revision(pod) != order.update.metadata.name and pod.metadata.deletion_timestamp is None:
            actions.append(_death(order, pod))
            spare -= 1
        elif pod is None or not order.is_well(pod):
            spare -= 1
        if spare <= 0:
            break
    return actions


def _birth(order: _Order, number: int) -> list[Action]:
    owner = order.seen.owner
    revision = order.revision_for(number)
    pod = pod_for(owner, revisions.template_of(revision), number, revision.metadata.name)
    name = pod.metadata.name
    reference = about(KIND, owner)
    actions: list[Action] = []
    for claim in claims_of(owner, number):
        existing = order.seen.claims.get(claim.metadata.name)
        if existing is None:
            words = f"Claim {claim.metadata.name} Pod {name} in StatefulSet {owner.metadata.name}"
            done = Note(reference, "Normal", "SuccessfulCreate", f"create {words} success")
            failed = Note(reference, "Warning", "FailedCreate", f"create {words} failed error: {{error}}")
            actions.append(Create(kind=claim_kind.KIND, item=claim, may_exist=True, done=done, failed=failed))
        elif existing.metadata.deletion_timestamp is not None:
            return []  # a claim on its way out: wait until it is gone
    words = f"create Pod {name} in StatefulSet {owner.metadata.name}"
    done = Note(reference, "Normal", "SuccessfulCreate", f"{words} successful")
    failed = Note(reference, "Warning", "FailedCreate", f"{words} failed error: {{error}}")
    return [*actions, Create(kind=pod_kind.KIND, item=pod, done=done, failed=failed)]


def _death(order: _Order, pod: Pod) -> Delete:
    owner = order.seen.owner
    words = f"delete Pod {pod.metadata.name} in StatefulSet {owner.metadata.name}"
    reference = about(KIND, owner)
    return Delete(
        kind=pod_kind.KIND,
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        uid=pod.metadata.uid,
        done=Note(reference, "Normal", "SuccessfulDelete", f"{words} successful"),
        failed=Note(reference, "Warning", "FailedDelete", f"{words} failed error: {{error}}"),
    )


def _bury(order: _Order, pod: Pod) -> list[Action]:
    owner = order.seen.owner
    failed = pod.status.phase == "Failed"
    reason = "RecreatingFailedPod" if failed else "RecreatingTerminatedPod"
    words = "failed" if failed else "terminated"
    message = (
        f"StatefulSet {owner.metadata.namespace}/{owner.metadata.name} is recreating {words} Pod {pod.metadata.name}"
    )
    return [Tell(Note(about(KIND, owner), "Warning" if failed else "Normal", reason, message)), _death(order, pod)]


def _claim_owners(order: _Order, pod: Pod) -> list[Action]:
    number = number_of(order.seen.owner, pod)
    if number is None:
        return []
    return owner_changes(order.seen.owner, pod, number, order.seen.claims, condemned=number not in order.wanted)


def _status(order: _Order) -> StatefulSetStatus:
    owner, seen = order.seen.owner, order.seen
    here = [pod for number, pod in order.by_number.items() if not pods.is_terminal(pod)]
    staying = [pod for pod in here if pod.metadata.deletion_timestamp is None]
    current = sum(1 for pod in staying if _revision(pod) == order.current.metadata.name)
    updated = sum(1 for pod in staying if _revision(pod) == order.update.metadata.name)
    ready = sum(1 for pod in here if pod.status.phase == "Running" and pods.is_ready(pod))
    available = sum(1 for pod in here if pods.is_available(pod, owner.spec.min_ready_seconds, seen.now))
    status = msgspec.structs.replace(
        owner.status,
        observed_generation=owner.metadata.generation,
        replicas=len(here),
        ready_replicas=ready,
        available_replicas=available,
        current_replicas=current,
        updated_replicas=updated,
        current_revision=order.current.metadata.name,
        update_revision=order.update.metadata.name,
        collision_count=owner.status.collision_count or 0,
    )
    rolling = owner.spec.update_strategy.type != "OnDelete"
    if rolling and updated == ready == len(here) == len(order.wanted):
        status.current_replicas = updated
        status.current_revision = status.update_revision
    return status


def query_of(owner: StatefulSet) -> LabelQuery:
    """Which pods may be its own."""
    return from_label_selector(owner.spec.selector)


def observe(caches: Caches, key: Key, now: datetime) -> Seen | None:
    """The set with pods, history and claims."""
    owner = caches.of(KIND).get(*key)
    if owner is None:
        return None
    past = caches.of(revision_kind.KIND).by("owner", owner.metadata.uid)
    has_claims = bool(owner.spec.volume_claim_templates)
    claims = caches.of(claim_kind.KIND).list(key.namespace) if has_claims else ()
    candidates = owners.candidates(caches.of(pod_kind.KIND), owner)
    return Seen(owner, candidates, past, {claim.metadata.name: claim for claim in claims}, now)


def of_claim(caches: Caches, claim: PersistentVolumeClaim, _: PersistentVolumeClaim | None = None) -> Iterable[Key]:
    """A claim that is gone may be in a set's way no longer."""
    for owner in caches.of(KIND).list(claim.metadata.namespace):
        for template in owner.spec.volume_claim_templates:
            if claim.metadata.name.startswith(f"{template.metadata.name}-{owner.metadata.name}-"):
                yield Key(owner.metadata.namespace, owner.metadata.name)


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    orphans = owners.those_selecting(KIND, query_of)
    return Controller(
        name="statefulset-controller",
        watches=(
            Watch(KIND, own_key),
            Watch(pod_kind.KIND, owners.keys_of_owner(KIND, orphans=orphans)),
            Watch(revision_kind.KIND, owners.keys_of_owner(KIND)),
            Watch(claim_kind.KIND, of_claim),
        ),
        observe=observe,
        reconcile=reconcile,
    )
