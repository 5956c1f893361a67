"""storage.k8s.io/v1 StorageClass: its types and rules."""

from __future__ import annotations

from typing import Annotated, ClassVar

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Object, Struct, list_atomic, zero


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


KIND = Kind(
    type=StorageClass,
    group="storage.k8s.io",
    version="v1",
    name="StorageClass",
    plural="storageclasses",
    singular="storageclass",
    short=("sc",),
    scope=Scope.CLUSTER,
)
