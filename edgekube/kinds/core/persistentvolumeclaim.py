"""v1 PersistentVolumeClaim: a wish for storage, and the volume that fulfils it."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Column, Kind
from edgekube.api.meta import LabelSelector, Object, Quantity, Struct, Time, list_atomic, list_map, zero
from edgekube.kinds.core.printing import AGE, NAME, UNSET, described
from edgekube.kinds.core.quantities import round_up_all
from edgekube.kinds.core.references import TypedLocalObjectReference, TypedObjectReference
from edgekube.kinds.core.storage_printing import access_modes, storage_class


class VolumeResourceRequirements(Struct):
    limits: dict[str, Quantity] = {}
    requests: dict[str, Quantity] = {}


class PersistentVolumeClaimSpec(Struct):
    access_modes: Annotated[list[str], list_atomic()] = []
    selector: LabelSelector | None = None
    resources: VolumeResourceRequirements = zero(VolumeResourceRequirements)
    volume_name: str = ""
    storage_class_name: str | None = None
    volume_mode: str | None = None
    data_source: TypedLocalObjectReference | None = None
    data_source_ref: TypedObjectReference | None = None
    volume_attributes_class_name: str | None = None


class ModifyVolumeStatus(Struct):
    target_volume_attributes_class_name: str = ""
    status: str = zero(str)


class PersistentVolumeClaimCondition(Struct):
    type: str = zero(str)
    status: str = zero(str)
    last_probe_time: Time | None = None
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class PersistentVolumeClaimStatus(Struct):
    phase: str = ""
    access_modes: Annotated[list[str], list_atomic()] = []
    capacity: dict[str, Quantity] = {}
    conditions: Annotated[list[PersistentVolumeClaimCondition], list_map("type")] = []
    allocated_resources: dict[str, Quantity] = {}
    allocated_resource_statuses: dict[str, str] = {}
    current_volume_attributes_class_name: str | None = None
    modify_volume_status: ModifyVolumeStatus | None = None


class PersistentVolumeClaim(Object):
    spec: PersistentVolumeClaimSpec = zero(PersistentVolumeClaimSpec)
    status: PersistentVolumeClaimStatus = zero(PersistentVolumeClaimStatus)


SNAPSHOT = ("snapshot.storage.k8s.io", "VolumeSnapshot")
CLAIM = ("", "PersistentVolumeClaim")


def default(claim: PersistentVolumeClaim) -> None:
    """Claims are pending, for a file system."""
    claim.status.phase = claim.status.phase or "Pending"
    claim_spec(claim.spec)
    for amounts in (claim.status.capacity, claim.status.allocated_resources):
        round_up_all(amounts)


def claim_spec(spec: PersistentVolumeClaimSpec) -> None:
    """Defaults of a claim's spec, also where it stands in a template."""
    spec.volume_mode = spec.volume_mode or "Filesystem"
    round_up_all(spec.resources.limits)
    round_up_all(spec.resources.requests)


def prepare_create(claim: PersistentVolumeClaim) -> None:
    """A new claim is pending; its source of data is told in both of its fields."""
    claim.status = PersistentVolumeClaimStatus(phase="Pending")
    spec = claim.spec
    if spec.data_source_ref is None and spec.data_source is not None:
        source = spec.data_source
        if (source.api_group or "", source.kind) not in (CLAIM, SNAPSHOT):
            spec.data_source = None  # the old field never took anything else, and ignored it
    _both_sources(spec)


def prepare_update(claim: PersistentVolumeClaim, old: PersistentVolumeClaim) -> None:
    """Status is the binder's."""
    claim.status = old.status
    _both_sources(claim.spec)


def prepare_status(claim: PersistentVolumeClaim, old: PersistentVolumeClaim) -> None:
    """A status write leaves the rest alone."""
    claim.spec = old.spec


def _both_sources(spec: PersistentVolumeClaimSpec) -> None:
    old, new = spec.data_source, spec.data_source_ref
    if old is not None and new is None:
        spec.data_source_ref = TypedObjectReference(api_group=old.api_group, kind=old.kind, name=old.name)
    elif new is not None and old is None and not new.namespace:
        spec.data_source = TypedLocalObjectReference(api_group=new.api_group, kind=new.kind, name=new.name)


def _phase(claim: PersistentVolumeClaim, _now: str) -> str:
    return "Terminating" if claim.metadata.deletion_timestamp else claim.status.phase


def _capacity(claim: PersistentVolumeClaim, _now: str) -> str:
    return claim.status.capacity.get("storage", Quantity("0")) if claim.spec.volume_name else ""


def _modes(claim: PersistentVolumeClaim, _now: str) -> str:
    return access_modes(claim.status.access_modes) if claim.spec.volume_name else ""


KIND = Kind(
    type=PersistentVolumeClaim,
    group="",
    version="v1",
    name="PersistentVolumeClaim",
    plural="persistentvolumeclaims",
    singular="persistentvolumeclaim",
    short=("pvc",),
    has_status=True,
    generation=False,
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status=prepare_status,
    columns=described(
        "persistentvolumeclaims",
        NAME,
        Column("Status", "string", _phase),
        Column("Volume", "string", lambda item, _: item.spec.volume_name),
        Column("Capacity", "string", _capacity),
        Column("Access Modes", "string", _modes),
        Column("StorageClass", "string", lambda item, _: storage_class(item)),
        Column("VolumeAttributesClass", "string", lambda item, _: item.spec.volume_attributes_class_name or UNSET),
        AGE,
        Column("VolumeMode", "string", lambda item, _: item.spec.volume_mode or UNSET, priority=1),
    ),
)
