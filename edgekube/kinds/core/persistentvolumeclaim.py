"""v1 PersistentVolumeClaim: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind
from edgekube.api.meta import LabelSelector, Object, Quantity, Struct, Time, list_atomic, list_map, zero
from edgekube.kinds.core.references import TypedLocalObjectReference, TypedObjectReference


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


KIND = Kind(
    type=PersistentVolumeClaim,
    group="",
    version="v1",
    name="PersistentVolumeClaim",
    plural="persistentvolumeclaims",
    singular="persistentvolumeclaim",
    short=("pvc",),
    has_status=True,
)
