"""Persistent volumes and claims find each other; what was released is kept for a person, or deleted when it asks for that.

Statically provisioned volumes are bound here. Claims whose class has a provisioner wait for that provisioner.
Source: k8s.io/kubernetes pkg/controller/volume/persistentvolume/pv_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from edgekube.control.binding import best_volume, capacity, is_claimed_by, requested
from edgekube.control.config import Config
from edgekube.kinds.core import persistentvolume as volume_kind
from edgekube.kinds.core import persistentvolumeclaim as claim_kind
from edgekube.kinds.core.persistentvolume import PersistentVolume
from edgekube.kinds.core.persistentvolumeclaim import PersistentVolumeClaim
from edgekube.kinds.core.references import ObjectReference
from edgekube.kinds.storage import storageclass as class_kind
from edgekube.kinds.storage.storageclass import StorageClass
from edgekube.reconcile.drive import Caches, Controller, Key, Watch
from edgekube.reconcile.plan import NOTHING, Action, Note, Plan, Tell, Update, about

CLAIM, VOLUME = claim_kind.KIND, volume_kind.KIND
BIND_COMPLETED, BOUND_BY_US = "pv.kubernetes.io/bind-completed", "pv.kubernetes.io/bound-by-controller"
NO_PROVISIONER = "kubernetes.io/no-provisioner"
PROVISIONER = "volume.kubernetes.io/storage-provisioner"
OLD_PROVISIONER = "volume.beta.kubernetes.io/storage-provisioner"
SELECTED_NODE = "volume.kubernetes.io/selected-node"


@dataclass(frozen=True, slots=True)
class Seen:
    """A claim (or a volume) with all that it could be bound to. Keys of volumes have no namespace."""

    claim: PersistentVolumeClaim | None
    volume: PersistentVolume | None
    volumes: Sequence[PersistentVolume]
    claims: Mapping[tuple[str, str], PersistentVolumeClaim]
    classes: Mapping[str, StorageClass]


def reconcile(seen: Seen) -> Plan:
    """One side at a time; each write brings a look at the other."""
    if seen.claim is not None:
        return Plan(_bound_claim(seen, seen.claim) if seen.claim.spec.volume_name else _free_claim(seen, seen.claim))
    if seen.volume is not None:
        return Plan(_volume(seen, seen.volume))
    return NOTHING


def _free_claim(seen: Seen, claim: PersistentVolumeClaim) -> list[Action]:
    if claim.metadata.deletion_timestamp is not None:
        return []
    name = claim.spec.storage_class_name or ""
    storage_class = seen.classes.get(name)
    delayed = storage_class is not None and storage_class.volume_binding_mode == "WaitForFirstConsumer"
    candidates = [v for v in seen.volumes if is_claimed_by(v, claim)] if delayed else seen.volumes
    volume = best_volume(claim, candidates)
    if volume is not None:
        return _bind(claim, volume)
    pending = _phase(claim, "Pending")
    reference = about(CLAIM, claim)
    if delayed and SELECTED_NODE not in claim.metadata.annotations:
        message = "waiting for first consumer to be created before binding"
        return [*pending, Tell(Note(reference, "Normal", "WaitForFirstConsumer", message))]
    if not name:
        message = "no persistent volumes available for this claim and no storage class is set"
        return [*pending, Tell(Note(reference, "Normal", "FailedBinding", message))]
    if storage_class is None:
        message = f'storageclass.storage.k8s.io "{name}" not found'
        return [*pending, Tell(Note(reference, "Warning", "ProvisioningFailed", message))]
    if storage_class.provisioner == NO_PROVISIONER:
        message = "no persistent volumes available for this claim and no storage class is set"
        return [*pending, Tell(Note(reference, "Normal", "FailedBinding", message))]
    return [*pending, *_ask_provisioner(claim, storage_class)]


def _ask_provisioner(claim: PersistentVolumeClaim, storage_class: StorageClass) -> list[Action]:
    asked = {PROVISIONER: storage_class.provisioner, OLD_PROVISIONER: storage_class.provisioner}
    message = (
        f"Waiting for a volume to be created either by the external provisioner '{storage_class.provisioner}' or manually "
        "by the system administrator. If volume creation is delayed, please verify that the provisioner is running and "
        "correctly registered."
    )
    note = Tell(Note(about(CLAIM, claim), "Normal", "ExternalProvisioning", message))
    if asked.items() <= claim.metadata.annotations.items():
        return [note]
    return [Update(kind=CLAIM, item=_annotated(claim, asked)), note]


def _annotated(item: Any, annotations: Mapping[str, str]) -> Any:
    metadata = msgspec.structs.replace(item.metadata, annotations={**item.metadata.annotations, **annotations})
    return msgspec.structs.replace(item, metadata=metadata)


def _bind(claim: PersistentVolumeClaim, volume: PersistentVolume) -> list[Action]:
    """First the volume names the claim, then the claim names the volume; statuses follow from both."""
    actions: list[Action] = []
    reference = volume.spec.claim_ref
    if reference is None or reference.uid != claim.metadata.uid:
        ours = volume if reference is not None else _annotated(volume, {BOUND_BY_US: "yes"})
        claimed = msgspec.structs.replace(volume.spec, claim_ref=_reference(claim))
        actions.append(Update(kind=VOLUME, item=msgspec.structs.replace(ours, spec=claimed)))
    annotated = _annotated(claim, {BIND_COMPLETED: "yes", BOUND_BY_US: "yes"})
    spec = msgspec.structs.replace(claim.spec, volume_name=volume.metadata.name)
    return [*actions, Update(kind=CLAIM, item=msgspec.structs.replace(annotated, spec=spec))]


def _reference(claim: PersistentVolumeClaim) -> ObjectReference:
    metadata = claim.metadata
    return ObjectReference(
        kind="PersistentVolumeClaim",
        api_version="v1",
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
    )


def _bound_claim(seen: Seen, claim: PersistentVolumeClaim) -> list[Action]:
    volume = next((v for v in seen.volumes if v.metadata.name == claim.spec.volume_name), None)
    if volume is None:
        if BIND_COMPLETED not in claim.metadata.annotations:
            return _phase(claim, "Pending")
        message = "Bound claim has lost its PersistentVolume. Data on the volume is lost!"
        lost = _phase(claim, "Lost")
        return [*lost, Tell(Note(about(CLAIM, claim), "Warning", "ClaimLost", message))] if lost else []
    if volume.spec.claim_ref is None:
        if capacity(volume) < requested(claim):
            return _phase(claim, "Pending")
        return _bind(claim, volume)
    if not is_claimed_by(volume, claim):
        if BIND_COMPLETED not in claim.metadata.annotations:
            return _phase(claim, "Pending")
        message = "Bound claim has lost reference to PersistentVolume. Data on the volume is lost!"
        lost = _phase(claim, "Lost")
        return [*lost, Tell(Note(about(CLAIM, claim), "Warning", "ClaimMisbound", message))] if lost else []
    if volume.spec.claim_ref.uid != claim.metadata.uid or BIND_COMPLETED not in claim.metadata.annotations:
        return _bind(claim, volume)
    status = msgspec.structs.replace(
        claim.status,
        phase="Bound",
        access_modes=list(volume.spec.access_modes),
        capacity=dict(volume.spec.capacity),
    )
    if status == claim.status:
        return []
    return [Update(kind=CLAIM, item=msgspec.structs.replace(claim, status=status), subresource="status")]


def _phase(claim: PersistentVolumeClaim, phase: str) -> list[Action]:
    if claim.status.phase == phase:
        return []
    status = msgspec.structs.replace(claim.status, phase=phase)
    return [Update(kind=CLAIM, item=msgspec.structs.replace(claim, status=status), subresource="status")]


def _volume(seen: Seen, volume: PersistentVolume) -> list[Action]:
    reference = volume.spec.claim_ref
    if reference is None or not reference.uid:  # free, or reserved by name for a claim still to come
        return _volume_phase(volume, "Available")
    claim = seen.claims.get((reference.namespace, reference.name))
    if claim is None or claim.metadata.uid != reference.uid:
        return _released(volume)
    if claim.spec.volume_name == volume.metadata.name:
        return _volume_phase(volume, "Bound")
    return []


def _released(volume: PersistentVolume) -> list[Action]:
    """The claim is gone. Deleting the data is the work of whoever made the volume."""
    if volume.spec.persistent_volume_reclaim_policy == "Recycle" and volume.status.phase != "Failed":
        message = "No recycler plugin found for the volume!"
        failed = _volume_phase(volume, "Failed", message)
        return [*failed, Tell(Note(about(VOLUME, volume), "Warning", "VolumeFailedRecycle", message))]
    return _volume_phase(volume, "Released") if volume.status.phase != "Failed" else []


def _volume_phase(volume: PersistentVolume, phase: str, message: str = "") -> list[Action]:
    if volume.status.phase == phase:
        return []
    status = msgspec.structs.replace(volume.status, phase=phase, message=message)
    return [Update(kind=VOLUME, item=msgspec.structs.replace(volume, status=status), subresource="status")]


def observe(caches: Caches, key: Key, _: datetime) -> Seen | None:
    """A claim by namespace and name, a volume by name alone."""
    claim = caches.of(CLAIM).get(*key) if key.namespace else None
    volume = caches.of(VOLUME).get("", key.name) if not key.namespace else None
    if claim is None and volume is None:
        return None
    claims = {(item.metadata.namespace, item.metadata.name): item for item in caches.of(CLAIM).list()}
    classes = {item.metadata.name: item for item in caches.of(class_kind.KIND).list()}
    return Seen(claim, volume, caches.of(VOLUME).list(), claims, classes)


def of_volume(caches: Caches, volume: PersistentVolume, _: PersistentVolume | None = None) -> Iterable[Key]:
    """The volume, its claim, and, while it is free, all claims that wait."""
    yield Key("", volume.metadata.name)
    if volume.spec.claim_ref is not None:
        yield Key(volume.spec.claim_ref.namespace, volume.spec.claim_ref.name)
    for claim in caches.of(CLAIM).list():
        waits = not claim.spec.volume_name and volume.spec.claim_ref is None
        if waits or claim.spec.volume_name == volume.metadata.name:
            yield Key(claim.metadata.namespace, claim.metadata.name)


def of_claim(_: Caches, claim: PersistentVolumeClaim, __: PersistentVolumeClaim | None = None) -> Iterable[Key]:
    """The claim and its volume."""
    yield Key(claim.metadata.namespace, claim.metadata.name)
    if claim.spec.volume_name:
        yield Key("", claim.spec.volume_name)


def of_class(caches: Caches, item: StorageClass, __: StorageClass | None = None) -> Iterable[Key]:
    """Claims of a class that wait."""
    for claim in caches.of(CLAIM).list():
        if not claim.spec.volume_name and claim.spec.storage_class_name == item.metadata.name:
            yield Key(claim.metadata.namespace, claim.metadata.name)


def controller(_: Config) -> Controller[Seen]:
    """The loop: one worker, so that no volume is promised twice."""
    return Controller(
        name="persistentvolume-controller",
        watches=(Watch(VOLUME, of_volume), Watch(CLAIM, of_claim), Watch(class_kind.KIND, of_class)),
        observe=observe,
        reconcile=reconcile,
        sees_all=True,
    )
