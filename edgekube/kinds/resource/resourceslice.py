"""resource.k8s.io/v1 ResourceSlice: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
from edgekube.api.meta import Object, Quantity, Struct, Time, list_atomic, zero
from edgekube.kinds.columns import AGE, NAME, described
from edgekube.kinds.core.references import NodeSelector
from edgekube.kinds.resource.deviceclass import driver_name


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


DEVICES_MAX = 128
WHERE_WORDS = "exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required"


def slice_rules(resource_slice: ResourceSlice) -> list[FieldError]:
    """Whose devices, where, and under which names."""
    spec = resource_slice.spec
    broken = driver_name("spec.driver", spec.driver)
    if not spec.pool.name:
        broken.append(rules.required("spec.pool.name"))
    else:
        for part in spec.pool.name.split("/"):
            broken += rules.each("spec.pool.name", part, names.dns_subdomain(part))
    if spec.pool.resource_slice_count <= 0:
        words = "must be greater than zero"
        broken.append(rules.invalid("spec.pool.resourceSliceCount", spec.pool.resource_slice_count, words))
    broken += rules.not_negative("spec.pool.generation", spec.pool.generation)
    places = [spec.node_name, spec.node_selector, spec.all_nodes or None, spec.per_device_node_selection or None]
    given = sum(place is not None for place in places)
    if given == 0:
        broken.append(rules.required("spec", WHERE_WORDS))
    elif given > 1:
        broken.append(rules.invalid("spec", None, f"{WHERE_WORDS}, but multiple fields are set"))
    if spec.node_name is not None:
        broken += rules.each("spec.nodeName", spec.node_name, names.dns_subdomain(spec.node_name))
    if len(spec.devices) > DEVICES_MAX:
        return [*broken, rules.too_many("spec.devices", len(spec.devices), DEVICES_MAX)]
    seen: set[str] = set()
    for at, device in enumerate(spec.devices):
        path = f"spec.devices[{at}].name"
        broken += rules.each(path, device.name, names.dns_label(device.name))
        if device.name in seen:
            broken.append(rules.duplicate(path, device.name))
        seen.add(device.name)
    return broken


def slice_update_rules(new: ResourceSlice, old: ResourceSlice) -> list[FieldError]:
    """Driver, pool and place make the slice what it is."""
    broken = rules.same("spec.driver", new.spec.driver, old.spec.driver)
    broken += rules.same("spec.pool.name", new.spec.pool.name, old.spec.pool.name)
    return broken + rules.same("spec.nodeName", new.spec.node_name, old.spec.node_name)


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
    rules=slice_rules,
    update_rules=slice_update_rules,
)
