"""storage.k8s.io/v1 CSINode: its types and rules."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from edgekube.api.kind import Column, Kind, Scope
from edgekube.api.meta import Int32, Object, Struct, list_atomic, list_map, zero
from edgekube.kinds.columns import AGE, NAME, described


class VolumeNodeResources(Struct):
    count: Int32 | None = None


class CSINodeDriver(Struct):
    name: str = zero(str)
    node_id: str = field(name="nodeID", default_factory=str)
    topology_keys: Annotated[list[str] | None, list_atomic()] = None
    allocatable: VolumeNodeResources | None = None


class CSINodeSpec(Struct):
    drivers: Annotated[list[CSINodeDriver] | None, list_map("name")] = None


class CSINode(Object):
    spec: CSINodeSpec = zero(CSINodeSpec)


KIND = Kind(
    type=CSINode,
    group="storage.k8s.io",
    version="v1",
    name="CSINode",
    plural="csinodes",
    singular="csinode",
    scope=Scope.CLUSTER,
    generation=False,
    allow_unconditional_update=False,
    columns=described(
        "csinodes", NAME, Column("Drivers", "integer", lambda item, _: len(item.spec.drivers or ())), AGE
    ),
)
