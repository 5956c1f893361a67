"""storage.k8s.io/v1 StorageClass: its types and rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

from edgekube.api.kind import Column, Kind, Scope
from edgekube.api.meta import Object, Struct, list_atomic, zero
from edgekube.kinds.columns import AGE, NAME, UNSET, described


class TopologySelectorLabelRequirement(Struct):
    key: str = zero(str)
    values: Annotated[list[str] | None, list_atomic()] = None


class TopologySelectorTerm(Struct):
    ATOMIC: ClassVar[bool] = True
    match_label_expressions: Annotated[list[TopologySelectorLabelRequirement], list_atomic()] = []


class StorageClass(Object):
    provisioner: str = zero(str)
    parameters: dict[str, str] = {}
    reclaim_policy: str | None = None
    mount_options: Annotated[list[str], list_atomic()] = []
    allow_volume_expansion: bool | None = None
    volume_binding_mode: str | None = None
    allowed_topologies: Annotated[list[TopologySelectorTerm], list_atomic()] = []


DEFAULT_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def default(storage_class: StorageClass) -> None:
    """Volumes are bound at once and deleted with their claim."""
    if storage_class.reclaim_policy is None:
        storage_class.reclaim_policy = "Delete"
    if storage_class.volume_binding_mode is None:
        storage_class.volume_binding_mode = "Immediate"


def is_default(storage_class: StorageClass) -> bool:
    """Whether claims that name no class get this one."""
    return any(storage_class.metadata.annotations.get(key) == "true" for key in DEFAULT_ANNOTATIONS)


def _name(storage_class: StorageClass, _now: str) -> str:
    return storage_class.metadata.name + (" (default)" if is_default(storage_class) else "")


KIND = Kind(
    type=StorageClass,
    group="storage.k8s.io",
    version="v1",
    name="StorageClass",
    plural="storageclasses",
    singular="storageclass",
    short=("sc",),
    scope=Scope.CLUSTER,
    default=default,
    generation=False,
    columns=described(
        "storageclasses",
        replace(NAME, value=_name),
        Column("Provisioner", "string", lambda item, _: item.provisioner),
        Column("ReclaimPolicy", "string", lambda item, _: item.reclaim_policy or "Delete"),
        Column("VolumeBindingMode", "string", lambda item, _: item.volume_binding_mode or UNSET),
        Column("AllowVolumeExpansion", "string", lambda item, _: bool(item.allow_volume_expansion)),
        AGE,
    ),
)
