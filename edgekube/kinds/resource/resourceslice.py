"""resource.k8s.io/v1 ResourceSlice: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Column, Kind, Scope
from edgekube.api.meta import Object, Quantity, Struct, Time, list_atomic, zero
from edgekube.kinds.columns import AGE, NAME, described
from edgekube.kinds.core.references import NodeSelector


class Counter(Struct):
    value: Quantity | None = None


class CounterSet(Struct):
    name: str = zero(str)
    counters: dict[str, Counter] = {}


class DeviceAttribute(Struct):
    int_: int | None = None
    bool_: bool | None = None
    string: str | None = None
    version: str | None = None
    ints: Annotated[list[int], list_atomic()] = []
    bools: Annotated[list[bool], list_atomic()] = []
    strings: Annotated[list[str], list_atomic()] = []
    versions: Annotated[list[str], list_atomic()] = []


class CapacityRequestPolicyRange(Struct):
    min: Quantity | None = None
    max: Quantity | None = None
    step: Quantity | None = None


class CapacityRequestPolicy(Struct):
    default: Quantity | None = None
    valid_values: Annotated[list[Quantity], list_atomic()] = []
    valid_range: CapacityRequestPolicyRange | None = None


class DeviceCapacity(Struct):
    value: Quantity | None = None
    request_policy: CapacityRequestPolicy | None = None


class DeviceCounterConsumption(Struct):
    counter_set: str = zero(str)
    counters: dict[str, Counter] = {}


class DeviceTaint(Struct):
    key: str = zero(str)
    value: str = ""
    effect: str = zero(str)
    time_added: Time | None = None


class NodeAllocatableResourceMapping(Struct):
    capacity_key: str | None = None
    allocation_multiplier: Quantity | None = None


class Device(Struct):
    name: str = zero(str)
    attributes: dict[str, DeviceAttribute] = {}
    capacity: dict[str, DeviceCapacity] = {}
    consumes_counters: Annotated[list[DeviceCounterConsumption], list_atomic()] = []
    node_name: str | None = None
    node_selector: NodeSelector | None = None
    all_nodes: bool | None = None
    taints: Annotated[list[DeviceTaint], list_atomic()] = []
    binds_to_node: bool | None = None
    binding_conditions: Annotated[list[str], list_atomic()] = []
    binding_failure_conditions: Annotated[list[str], list_atomic()] = []
    allow_multiple_allocations: bool | None = None
    node_allocatable_resource_mappings: dict[str, NodeAllocatableResourceMapping] = {}


class ResourcePool(Struct):
    name: str = zero(str)
    generation: int = zero(int)
    resource_slice_count: int = zero(int)


class ResourceSliceSpec(Struct):
    driver: str = zero(str)
    pool: ResourcePool = zero(ResourcePool)
    node_name: str | None = None
    node_selector: NodeSelector | None = None
    all_nodes: bool | None = None
    devices: Annotated[list[Device], list_atomic()] = []
    per_device_node_selection: bool | None = None
    shared_counters: Annotated[list[CounterSet], list_atomic()] = []


class ResourceSlice(Object):
    spec: ResourceSliceSpec = zero(ResourceSliceSpec)


KIND = Kind(
    type=ResourceSlice,
    group="resource.k8s.io",
    version="v1",
    name="ResourceSlice",
    plural="resourceslices",
    singular="resourceslice",
    scope=Scope.CLUSTER,
    selectable={
        "spec.nodeName": lambda item: item.spec.node_name or "",
        "spec.driver": lambda item: item.spec.driver,
    },
    columns=described(
        "resourceslices",
        NAME,
        Column("Node", "string", lambda item, _: item.spec.node_name or ""),
        Column("Driver", "string", lambda item, _: item.spec.driver),
        Column("Pool", "string", lambda item, _: item.spec.pool.name),
        AGE,
    ),
)
