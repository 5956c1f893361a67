"""The spec of a claim, apart from the kind: volumes hold it too, and pods hold volumes."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.meta import LabelSelector, Quantity, Struct, list_atomic, zero
from edgekube.kinds.core.references import TypedLocalObjectReference, TypedObjectReference


class VolumeResourceRequirements(Struct):
    """How much storage is asked for, and the most that will do."""

    limits: dict[str, Quantity] = {}
    requests: dict[str, Quantity] = {}


class PersistentVolumeClaimSpec(Struct):
    """Size, access, class and origin of the storage that is wished for."""

    access_modes: Annotated[list[str], list_atomic()] = []
    selector: LabelSelector | None = None
    resources: VolumeResourceRequirements = zero(VolumeResourceRequirements)
    volume_name: str = ""
    storage_class_name: str | None = None
    volume_mode: str | None = None
    data_source: TypedLocalObjectReference | None = None
    data_source_ref: TypedObjectReference | None = None
    volume_attributes_class_name: str | None = None
