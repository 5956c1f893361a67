"""v1 PersistentVolumeClaim: a wish for storage, and the volume that fulfils it."""

from __future__ import annotations

from typing import Annotated

from msgspec.structs import replace

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind
from edgekube.api.meta import Object, Quantity, Struct, Time, granular, list_atomic, list_map, null, zero
from edgekube.api.quantity import amount
from edgekube.kinds.core import claim_rules, resource_rules
from edgekube.kinds.core.claimspec import PersistentVolumeClaimSpec
from edgekube.kinds.core.printing import AGE, NAME, UNSET, described
from edgekube.kinds.core.quantities import is_fraction, round_up_all
from edgekube.kinds.core.references import TypedLocalObjectReference, TypedObjectReference
from edgekube.kinds.core.storage_printing import BETA_CLASS, access_modes, old_annotations, storage_class


class ModifyVolumeStatus(Struct):
    """How far a change of the attributes class is."""

    target_volume_attributes_class_name: str = ""
    status: str = zero(str)


class PersistentVolumeClaimCondition(Struct):
    """One aspect of a claim's state, such as a resize under way."""

    type: str = zero(str)
    status: str = zero(str)
    last_probe_time: Time | None = null()
    last_transition_time: Time | None = null()
    reason: str = ""
    message: str = ""


class PersistentVolumeClaimStatus(Struct):
    """What a claim was given."""

    phase: str = ""
    access_modes: Annotated[list[str], list_atomic()] = []
    capacity: dict[str, Quantity] = {}
    conditions: Annotated[list[PersistentVolumeClaimCondition], list_map("type")] = []
    allocated_resources: dict[str, Quantity] = {}
    allocated_resource_statuses: Annotated[dict[str, str], granular()] = {}
    current_volume_attributes_class_name: str | None = None
    modify_volume_status: ModifyVolumeStatus | None = None


class PersistentVolumeClaim(Object):
    """A wish for storage."""

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
    return str(claim.status.capacity.get("storage", "0")) if claim.spec.volume_name else ""


def _modes(claim: PersistentVolumeClaim, _now: str) -> str:
    return access_modes(claim.status.access_modes) if claim.spec.volume_name else ""


RESIZE_STATES = (
    "ControllerResizeInProgress",
    "ControllerResizeInfeasible",
    "NodeResizeInProgress",
    "NodeResizeInfeasible",
    "NodeResizePending",
)
FIXED = "spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims"


def broken_rules(claim: PersistentVolumeClaim) -> list[FieldError]:
    """A sound wish for storage."""
    return claim_rules.claim_spec("spec", claim.spec)


def update_rules(new: PersistentVolumeClaim, old: PersistentVolumeClaim) -> list[FieldError]:
    """Once bound, a claim may only grow or change its attributes class; before, it may be given its volume and class."""
    ours, theirs = new.spec, old.spec
    cut = replace(ours, resources=replace(ours.resources, requests=dict(ours.resources.requests)))
    if not theirs.volume_name:
        theirs = replace(theirs, volume_name=ours.volume_name)
    annotated = old.metadata.annotations.get(BETA_CLASS)
    broken: list[FieldError] = []
    if (
        theirs.storage_class_name is None
        and cut.storage_class_name is not None
        and annotated in (None, cut.storage_class_name)
    ):
        cut.storage_class_name = None
    if annotated != new.metadata.annotations.get(BETA_CLASS) and cut.storage_class_name == theirs.storage_class_name:
        text = new.metadata.annotations.get(BETA_CLASS, "")
        if not (annotated and ours.storage_class_name == annotated):
            broken.append(rules.immutable(f"metadata.annotations.{BETA_CLASS}", text))
    if new.status.phase == "Bound":
        if "storage" in theirs.resources.requests:
            cut.resources.requests["storage"] = theirs.resources.requests["storage"]
        if cut.volume_attributes_class_name is not None:
            cut.volume_attributes_class_name = theirs.volume_attributes_class_name
    if cut != theirs:
        broken.append(rules.forbidden("spec", FIXED))
    broken += _size(new, old)
    broken += rules.same("volumeMode", ours.volume_mode, theirs.volume_mode)
    if old.spec.volume_attributes_class_name is not None and not ours.volume_attributes_class_name:
        target = "nil" if ours.volume_attributes_class_name is None else "an empty string"
        words = f"update from non-nil value to {target} is forbidden"
        broken.append(rules.forbidden("spec.volumeAttributesClassName", words))
    return broken


def _size(new: PersistentVolumeClaim, old: PersistentVolumeClaim) -> list[FieldError]:
    """A wish may shrink again down to what is there already."""
    now = amount(new.spec.resources.requests.get("storage", "0"))
    if now >= amount(old.spec.resources.requests.get("storage", "0")):
        return []
    if now > amount(old.status.capacity.get("storage", "0")):
        return []
    words = "field can not be less than status.capacity"
    return [rules.forbidden("spec.resources.requests.storage", words)]


def status_rules(new: PersistentVolumeClaim, _old: PersistentVolumeClaim) -> list[FieldError]:
    """Amounts and states of a resize."""
    broken: list[FieldError] = []
    for name, value in new.status.capacity.items():
        broken += resource_rules.basic(f"status.capacity[{name}]", value)
    for name, state in new.status.allocated_resource_statuses.items():
        at = "status.allocatedResourceStatus"
        broken += _resize_key(at, name)
        if state not in RESIZE_STATES:
            broken.append(rules.not_supported(at, name, RESIZE_STATES))
    for name, value in new.status.allocated_resources.items():
        broken += _resize_key("status.allocatedResources", name) or resource_rules.basic(
            f"status.allocatedResources[{name}]", value
        )
    return broken


def _resize_key(path: str, name: str) -> list[FieldError]:
    broken = rules.each(path, name, names.qualified_name(name))
    if not broken and resource_rules.is_native(name) and name != "storage":
        return [rules.not_supported(path, name, ("storage",))]
    return broken


def warnings(claim: PersistentVolumeClaim, _old: PersistentVolumeClaim | None) -> list[str]:
    """What looks like a mistake, or is on its way out."""
    return old_annotations(claim.metadata.annotations) + fraction_warnings("spec", claim.spec)


def fraction_warnings(path: str, spec: PersistentVolumeClaimSpec) -> list[str]:
    """Sizes that are not whole bytes."""
    found = []
    for member, amounts in (("requests", spec.resources.requests), ("limits", spec.resources.limits)):
        size = amounts.get("storage")
        if size is not None and is_fraction(size):
            found.append(
                f'{path}.resources.{member}[storage]: fractional byte value "{size}" is invalid, must be an integer'
            )
    return found


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
    rules=broken_rules,
    update_rules=update_rules,
    status_rules=status_rules,
    warnings=warnings,
)
