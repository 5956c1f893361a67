"""storage.k8s.io/v1 CSINode: its types and rules."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
from edgekube.api.meta import Int32, Object, Struct, list_atomic, list_map, null, zero
from edgekube.kinds.columns import AGE, NAME, described
from edgekube.kinds.storage.csidriver import driver_name


class VolumeNodeResources(Struct):
    count: Int32 | None = None


class CSINodeDriver(Struct):
    name: str = zero(str)
    node_id: str = field(name="nodeID", default_factory=str)
    topology_keys: Annotated[list[str] | None, list_atomic()] = null()
    allocatable: VolumeNodeResources | None = None


class CSINodeSpec(Struct):
    drivers: Annotated[list[CSINodeDriver] | None, list_map("name")] = null()


class CSINode(Object):
    spec: CSINodeSpec = zero(CSINodeSpec)


NODE_ID_MAX_BYTES = 256


def node_rules(node: CSINode) -> list[FieldError]:
    """Drivers by name, each with its idea of the node."""
    broken: list[FieldError] = []
    seen: set[str] = set()
    for at, driver in enumerate(node.spec.drivers or ()):
        path = f"spec.drivers[{at}]"
        broken += driver_name(f"{path}.name", driver.name)
        if not driver.node_id:
            broken.append(rules.required(f"{path}.nodeID"))
        elif len(driver.node_id.encode()) > NODE_ID_MAX_BYTES:
            words = f"must be {NODE_ID_MAX_BYTES} characters or less"
            broken.append(rules.invalid(f"{path}.nodeID", driver.node_id, words))
        if driver.allocatable is not None and driver.allocatable.count is not None:
            broken += rules.not_negative(f"{path}.allocatable.count", driver.allocatable.count)
        for position, key in enumerate(driver.topology_keys or ()):
            broken += rules.each(f"{path}.topologyKeys[{position}]", key, names.qualified_name(key))
        if driver.name in seen:
            broken.append(rules.duplicate(f"{path}.name", driver.name))
        seen.add(driver.name)
    return broken


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
    rules=node_rules,
)
