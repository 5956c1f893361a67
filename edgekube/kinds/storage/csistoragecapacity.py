"""storage.k8s.io/v1 CSIStorageCapacity: its types and rules."""

from __future__ import annotations

from edgekube.api import names, rules
from edgekube.api.kind import FieldError, Kind
from edgekube.api.meta import LabelSelector, Object, Quantity, zero
from edgekube.api.quantity import amount
from edgekube.kinds.core.meta_rules import label_selector


class CSIStorageCapacity(Object):
    node_topology: LabelSelector | None = None
    storage_class_name: str = zero(str)
    capacity: Quantity | None = None
    maximum_volume_size: Quantity | None = None


def capacity_rules(capacity: CSIStorageCapacity) -> list[FieldError]:
    """Of which class, where, and how much."""
    broken: list[FieldError] = []
    if not capacity.storage_class_name:
        broken.append(rules.required("storageClassName"))
    else:
        problems = names.dns_subdomain(capacity.storage_class_name)
        broken += rules.each("storageClassName", capacity.storage_class_name, problems)
    broken += label_selector("nodeTopology", capacity.node_topology)
    for path, value in (("capacity", capacity.capacity), ("maximumVolumeSize", capacity.maximum_volume_size)):
        if value is not None and amount(value) < 0:
            broken.append(rules.invalid(path, value, rules.NOT_NEGATIVE))
    return broken


def capacity_update_rules(new: CSIStorageCapacity, old: CSIStorageCapacity) -> list[FieldError]:
    """Only the amounts change."""
    broken = rules.same("nodeTopology", new.node_topology, old.node_topology)
    return broken + rules.same("storageClassName", new.storage_class_name, old.storage_class_name)


KIND = Kind(
    type=CSIStorageCapacity,
    group="storage.k8s.io",
    version="v1",
    name="CSIStorageCapacity",
    plural="csistoragecapacities",
    singular="csistoragecapacity",
    generation=False,
    allow_unconditional_update=False,
    rules=capacity_rules,
    update_rules=capacity_update_rules,
)
