"""resource.k8s.io/v1 ResourceClaim: its types and rules."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import field

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind
from edgekube.api.meta import Condition, Object, Quantity, Struct, Time, list_atomic, list_map, null, zero
from edgekube.kinds.columns import AGE, NAME, described
from edgekube.kinds.core.references import NodeSelector
from edgekube.kinds.resource.deviceclass import DeviceSelector, OpaqueDeviceConfiguration, opaque_rules, selector_rules


class DeviceClaimConfiguration(Struct):
    requests: Annotated[list[str], list_atomic()] = []
    opaque: OpaqueDeviceConfiguration | None = None


class DeviceConstraint(Struct):
    requests: Annotated[list[str], list_atomic()] = []
    match_attribute: str | None = None
    distinct_attribute: str | None = None


class CapacityRequirements(Struct):
    requests: dict[str, Quantity] = {}


class DeviceToleration(Struct):
    key: str = ""
    operator: str = ""
    value: str = ""
    effect: str = ""
    toleration_seconds: int | None = None


class DeviceSubRequest(Struct):
    name: str = zero(str)
    device_class_name: str = zero(str)
    selectors: Annotated[list[DeviceSelector], list_atomic()] = []
    allocation_mode: str = ""
    count: int = 0
    tolerations: Annotated[list[DeviceToleration], list_atomic()] = []
    capacity: CapacityRequirements | None = None


class ExactDeviceRequest(Struct):
    device_class_name: str = zero(str)
    selectors: Annotated[list[DeviceSelector], list_atomic()] = []
    allocation_mode: str = ""
    count: int = 0
    admin_access: bool | None = None
    tolerations: Annotated[list[DeviceToleration], list_atomic()] = []
    capacity: CapacityRequirements | None = None


class DeviceRequest(Struct):
    name: str = zero(str)
    exactly: ExactDeviceRequest | None = None
    first_available: Annotated[list[DeviceSubRequest], list_atomic()] = []


class DeviceClaim(Struct):
    requests: Annotated[list[DeviceRequest] | None, list_atomic()] = null()
    constraints: Annotated[list[DeviceConstraint], list_atomic()] = []
    config: Annotated[list[DeviceClaimConfiguration], list_atomic()] = []


class ResourceClaimSpec(Struct):
    devices: DeviceClaim = zero(DeviceClaim)


class NetworkDeviceData(Struct):
    interface_name: str = ""
    ips: Annotated[list[str], list_atomic()] = []
    hardware_address: str = ""


class AllocatedDeviceStatus(Struct):
    driver: str = zero(str)
    pool: str = zero(str)
    device: str = zero(str)
    share_id: str | None = field(name="shareID", default=None)
    conditions: Annotated[list[Condition] | None, list_map("type", strategy="")] = null()
    data: dict[str, Any] | None = None
    network_data: NetworkDeviceData | None = None


class DeviceAllocationConfiguration(Struct):
    source: str = zero(str)
    requests: Annotated[list[str], list_atomic()] = []
    opaque: OpaqueDeviceConfiguration | None = None


class DeviceRequestAllocationResult(Struct):
    request: str = zero(str)
    driver: str = zero(str)
    pool: str = zero(str)
    device: str = zero(str)
    admin_access: bool | None = None
    tolerations: Annotated[list[DeviceToleration], list_atomic()] = []
    binding_conditions: Annotated[list[str], list_atomic()] = []
    binding_failure_conditions: Annotated[list[str], list_atomic()] = []
    share_id: str | None = field(name="shareID", default=None)
    consumed_capacity: dict[str, Quantity] = {}


class DeviceAllocationResult(Struct):
    results: Annotated[list[DeviceRequestAllocationResult], list_atomic()] = []
    config: Annotated[list[DeviceAllocationConfiguration], list_atomic()] = []


class AllocationResult(Struct):
    devices: DeviceAllocationResult = zero(DeviceAllocationResult)
    node_selector: NodeSelector | None = None
    allocation_timestamp: Time | None = None


class ResourceClaimConsumerReference(Struct):
    api_group: str = ""
    resource: str = zero(str)
    name: str = zero(str)
    uid: str = zero(str)


class ResourceClaimStatus(Struct):
    allocation: AllocationResult | None = None
    reserved_for: Annotated[list[ResourceClaimConsumerReference], list_map("uid")] = []
    devices: Annotated[list[AllocatedDeviceStatus], list_map("driver", "device", "pool", "shareID", strategy="")] = []


class ResourceClaim(Object):
    spec: ResourceClaimSpec = zero(ResourceClaimSpec)
    status: ResourceClaimStatus = zero(ResourceClaimStatus)


def default_claim(spec: ResourceClaimSpec) -> None:
    """One device per request; tolerations compare for equality."""
    for request in spec.devices.requests or ():
        asked: list[ExactDeviceRequest | DeviceSubRequest] = [*request.first_available]
        if request.exactly is not None:
            asked.append(request.exactly)
        for one in asked:
            if not one.allocation_mode:
                one.allocation_mode = "ExactCount"
            if one.allocation_mode == "ExactCount" and not one.count:
                one.count = 1
            for toleration in one.tolerations:
                toleration.operator = toleration.operator or "Equal"


def default(claim: ResourceClaim) -> None:
    """See `default_claim`."""
    default_claim(claim.spec)


def _state(claim: ResourceClaim, _now: str) -> str:
    deleted, allocated = claim.metadata.deletion_timestamp is not None, claim.status.allocation is not None
    states = ["deleted"] if deleted else []
    if allocated:
        states += ["allocated", "reserved"] if claim.status.reserved_for else ["allocated"]
    elif not deleted:
        states.append("pending")
    return ",".join(states)


REQUESTS_MAX, CONSTRAINTS_MAX, CONFIGS_MAX, FIRST_AVAILABLE_MAX = 32, 32, 32, 8
ALLOCATION_MODES = ("All", "ExactCount")


def _asked_rules(path: str, asked: ExactDeviceRequest | DeviceSubRequest) -> list[FieldError]:
    broken: list[FieldError] = []
    if not asked.device_class_name:
        broken.append(rules.required(f"{path}.deviceClassName"))
    else:
        problems = names.dns_subdomain(asked.device_class_name)
        broken += rules.each(f"{path}.deviceClassName", asked.device_class_name, problems)
    broken += selector_rules(f"{path}.selectors", asked.selectors)
    mode = asked.allocation_mode
    if mode not in ALLOCATION_MODES:
        broken.append(rules.not_supported(f"{path}.allocationMode", mode, ALLOCATION_MODES))
    elif mode == "ExactCount" and asked.count <= 0:
        broken.append(rules.invalid(f"{path}.count", asked.count, "must be greater than zero"))
    elif mode == "All" and asked.count:
        words = "must not be specified when allocationMode is 'All'"
        broken.append(rules.invalid(f"{path}.count", asked.count, words))
    return broken


def _request_rules(path: str, request: DeviceRequest) -> list[FieldError]:
    broken = rules.each(f"{path}.name", request.name, names.dns_label(request.name))
    if request.exactly is not None and request.first_available:
        return [
            *broken,
            rules.invalid(
                path, None, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"
            ),
        ]
    if request.exactly is not None:
        return broken + _asked_rules(f"{path}.exactly", request.exactly)
    if not request.first_available:
        return [*broken, rules.required(path, "exactly one of `exactly` or `firstAvailable` is required")]
    if len(request.first_available) > FIRST_AVAILABLE_MAX:
        return [*broken, rules.too_many(f"{path}.firstAvailable", len(request.first_available), FIRST_AVAILABLE_MAX)]
    for at, one in enumerate(request.first_available):
        here = f"{path}.firstAvailable[{at}]"
        broken += rules.each(f"{here}.name", one.name, names.dns_label(one.name)) + _asked_rules(here, one)
    return broken


def claim_rules(path: str, spec: ResourceClaimSpec) -> list[FieldError]:
    """Requests with names of their own, and what binds them together."""
    devices, at_devices = spec.devices, f"{path}.devices"
    requests = devices.requests or []
    for member, values, most in (
        ("requests", requests, REQUESTS_MAX),
        ("constraints", devices.constraints, CONSTRAINTS_MAX),
        ("config", devices.config, CONFIGS_MAX),
    ):
        if len(values) > most:
            return [rules.too_many(f"{at_devices}.{member}", len(values), most)]
    broken: list[FieldError] = []
    seen: set[str] = set()
    for at, request in enumerate(requests):
        here = f"{at_devices}.requests[{at}]"
        broken += _request_rules(here, request)
        if request.name in seen:
            broken.append(rules.duplicate(f"{here}.name", request.name))
        seen.add(request.name)
    asked = [(f"{at_devices}.constraints[{at}]", one.requests) for at, one in enumerate(devices.constraints)]
    asked += [(f"{at_devices}.config[{at}]", one.requests) for at, one in enumerate(devices.config)]
    for here, wanted in asked:
        for position, name in enumerate(wanted):
            if name.partition("/")[0] not in seen:
                words = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
                broken.append(rules.invalid(f"{here}.requests[{position}]", name, words))
    for at, config in enumerate(devices.config):
        broken += opaque_rules(f"{at_devices}.config[{at}]", config.opaque)
    return broken


def resource_claim_rules(claim: ResourceClaim) -> list[FieldError]:
    """See `claim_rules`."""
    return claim_rules("spec", claim.spec)


def resource_claim_update_rules(new: ResourceClaim, old: ResourceClaim) -> list[FieldError]:
    """Another claim is another object."""
    return rules.same("spec", new.spec, old.spec)


KIND = Kind(
    type=ResourceClaim,
    group="resource.k8s.io",
    version="v1",
    name="ResourceClaim",
    plural="resourceclaims",
    singular="resourceclaim",
    has_status=True,
    default=default,
    generation=False,
    columns=described("resourceclaims", NAME, Column("State", "string", _state), AGE),
    rules=resource_claim_rules,
    update_rules=resource_claim_update_rules,
)
