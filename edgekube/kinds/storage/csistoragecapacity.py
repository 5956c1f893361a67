"""storage.k8s.io/v1 CSIStorageCapacity: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Kind
from edgekube.api.meta import LabelSelector, Object, Quantity, zero


class CSIStorageCapacity(Object):
    node_topology: LabelSelector | None = None
    storage_class_name: str = zero(str)
    capacity: Quantity | None = None
    maximum_volume_size: Quantity | None = None


KIND = Kind(
    type=CSIStorageCapacity,
    group="storage.k8s.io",
    version="v1",
    name="CSIStorageCapacity",
    plural="csistoragecapacities",
    singular="csistoragecapacity",
    generation=False,
    allow_unconditional_update=False,
)
