"""resource.k8s.io/v1 ResourceClaim: its types and rules."""

from __future__ import annotations

import re
from typing import Annotated, Any

from msgspec import field

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind
from edgekube.api.meta import Condition, Object, Quantity, Struct, Time, list_atomic, list_map, null, zero
from edgekube.kinds.columns import AGE, NAME, described
from edgekube.kinds.core.references import NodeSelector
from edgekube.kinds.core.scheduling_rules import node_selector
from edgekube.kinds.resource.deviceclass import (
    DeviceSelector,
    OpaqueDeviceConfiguration,
    driver_name,
    opaque_rules,
    selector_rules,
)


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
DOMAIN_MAX, IDENTIFIER_MAX = 63, 32
NO_SUCH_REQUEST = (
    "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
)


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
    for at, toleration in enumerate(asked.tolerations):
        broken += toleration_rules(f"{path}.tolerations[{at}]", toleration)
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
        if any(other.name == one.name for other in request.first_available[:at]):
            broken.append(rules.duplicate(f"{here}.name", one.name))
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
    known = request_names(spec)
    for at, constraint in enumerate(devices.constraints):
        broken += _constraint_rules(f"{at_devices}.constraints[{at}]", constraint, known)
    for at, config in enumerate(devices.config):
        here = f"{at_devices}.config[{at}]"
        broken += reference_rules(f"{here}.requests", config.requests, known) + opaque_rules(here, config.opaque)
    return broken


def request_names(spec: ResourceClaimSpec) -> frozenset[str]:
    """What the parts of a claim can be called by: a request, or a request and one of its alternatives."""
    requests = spec.devices.requests or []
    below = [f"{request.name}/{one.name}" for request in requests for one in request.first_available]
    return frozenset([*(request.name for request in requests), *below])


def reference_rules(path: str, wanted: list[str], known: frozenset[str]) -> list[FieldError]:
    """Requests of the claim, each named once."""
    if len(wanted) > REQUESTS_MAX:
        return [rules.too_many(path, len(wanted), REQUESTS_MAX)]
    broken: list[FieldError] = []
    for at, name in enumerate(wanted):
        broken += request_reference(f"{path}[{at}]", name, known)
        if name in wanted[:at]:
            broken.append(rules.duplicate(f"{path}[{at}]", name))
    return broken


def request_reference(path: str, name: str, known: frozenset[str]) -> list[FieldError]:
    """One such name."""
    broken: list[FieldError] = []
    if name.count("/") < 2:
        for part in name.split("/"):
            broken += rules.each(path, part, names.dns_label(part))
    return broken if name in known else [*broken, rules.invalid(path, name, NO_SUCH_REQUEST)]


def _constraint_rules(path: str, constraint: DeviceConstraint, known: frozenset[str]) -> list[FieldError]:
    broken = reference_rules(f"{path}.requests", constraint.requests, known)
    given = {"matchAttribute": constraint.match_attribute, "distinctAttribute": constraint.distinct_attribute}
    for member, name in given.items():
        if name is not None:
            return broken + full_name(f"{path}.{member}", name)
    words = 'exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set'
    return [*broken, rules.required(path, words)]  # upstream's words, though none is set


def full_name(path: str, name: str) -> list[FieldError]:
    """A domain and an identifier: "dra.example.com/model"."""
    if not name:
        return [rules.required(path, "name required")]
    domain, slash, identifier = name.partition("/")
    if not slash or "/" in identifier:
        return [rules.invalid(path, name, "must be a fully qualified name of the form <domain>/<name>")]
    broken = [] if domain else [rules.required(path, "the domain must not be empty")]
    if domain:
        broken += [rules.too_long(path, DOMAIN_MAX)] if len(domain) > DOMAIN_MAX else []
        broken += rules.each(path, domain, names.dns_subdomain(domain))
    if not identifier:
        return [*broken, rules.required(path, "the name must not be empty")]
    broken += [rules.too_long(path, IDENTIFIER_MAX)] if len(identifier) > IDENTIFIER_MAX else []
    return broken + rules.each(path, identifier, names.c_identifier(identifier))


def toleration_rules(path: str, toleration: DeviceToleration) -> list[FieldError]:
    """What is tolerated, and how it is compared."""
    broken = rules.each(f"{path}.key", toleration.key, names.qualified_name(toleration.key)) if toleration.key else []
    if toleration.operator == "Exists":
        if toleration.value:
            broken.append(rules.invalid(f"{path}.value", toleration.value, "must be empty for operator `Exists`"))
    elif toleration.operator == "Equal":
        broken += rules.each(f"{path}.value", toleration.value, names.label_value(toleration.value))
    else:
        broken += rules.one_of(f"{path}.operator", toleration.operator, ("Equal", "Exists"))
    if toleration.effect:
        broken += rules.one_of(f"{path}.effect", toleration.effect, ("NoExecute", "NoSchedule"))
    return broken


def resource_claim_rules(claim: ResourceClaim) -> list[FieldError]:
    """See `claim_rules`."""
    return claim_rules("spec", claim.spec)


def resource_claim_update_rules(new: ResourceClaim, old: ResourceClaim) -> list[FieldError]:
    """Another claim is another object."""
    return rules.same("spec", new.spec, old.spec)


RESERVED_MAX, RESULTS_MAX = 256, 32
UID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def status_rules(new: ResourceClaim, old: ResourceClaim) -> list[FieldError]:
    """Who uses which devices: only what is allocated is reserved, and an allocation stays as it is."""
    now, was, path = new.status, old.status, "status"
    broken: list[FieldError] = []
    if len(now.reserved_for) > RESERVED_MAX:
        broken.append(rules.too_many(f"{path}.reservedFor", len(now.reserved_for), RESERVED_MAX))
    for at, user in enumerate(now.reserved_for):
        here = f"{path}.reservedFor[{at}]"
        broken += [rules.required(f"{here}.{name}") for name in ("resource", "name", "uid") if not getattr(user, name)]
        if any(other.uid == user.uid for other in now.reserved_for[:at]):
            broken.append(rules.duplicate(f"{here}.uid", user.uid))
    broken += _device_status_rules(f"{path}.devices", now)
    if now.reserved_for and now.allocation is None:
        words = "may not be specified when `allocated` is not set"
        broken.append(rules.forbidden(f"{path}.reservedFor", words))
    elif new.metadata.deletion_timestamp is not None and any(one not in was.reserved_for for one in now.reserved_for):
        words = "new entries may not be added while `deallocationRequested` or `deletionTimestamp` are set"
        broken.append(rules.forbidden(f"{path}.reservedFor", words))
    if was.allocation is not None and now.allocation is not None:
        broken += rules.same(f"{path}.allocation", now.allocation, was.allocation)
    elif now.allocation is not None:
        broken += _allocation_rules(f"{path}.allocation", now.allocation, request_names(new.spec))
    return broken


def _device_status_rules(path: str, status: ResourceClaimStatus) -> list[FieldError]:
    def identity(one: AllocatedDeviceStatus | DeviceRequestAllocationResult) -> tuple[str, ...]:
        return one.driver, one.pool, one.device, one.share_id or ""

    allocated = {identity(one) for one in status.allocation.devices.results} if status.allocation is not None else set()
    broken: list[FieldError] = []
    for at, device in enumerate(status.devices):
        here = f"{path}[{at}]"
        broken += driver_name(f"{here}.driver", device.driver) + _pool_name(f"{here}.pool", device.pool)
        broken += rules.each(f"{here}.device", device.device, names.dns_label(device.device))
        if identity(device) not in allocated:
            broken.append(
                rules.invalid(here, "/".join(identity(device)[:3]), "must be an allocated device in the claim")
            )
        if any(identity(other) == identity(device) for other in status.devices[:at]):
            broken.append(rules.duplicate(here, "/".join(identity(device)[:3])))
    return broken


def _pool_name(path: str, name: str) -> list[FieldError]:
    if not name:
        return [rules.required(path)]
    broken = [rules.too_long(path, 253)] if len(name) > 253 else []
    for part in name.split("/"):
        broken += rules.each(path, part, names.dns_subdomain(part))
    return broken


def _allocation_rules(path: str, allocation: AllocationResult, known: frozenset[str]) -> list[FieldError]:
    at_devices, devices = f"{path}.devices", allocation.devices
    broken: list[FieldError] = []
    if len(devices.results) > RESULTS_MAX:
        broken.append(rules.too_many(f"{at_devices}.results", len(devices.results), RESULTS_MAX))
    for at, result in enumerate(devices.results):
        here = f"{at_devices}.results[{at}]"
        broken += request_reference(f"{here}.request", result.request, known)
        broken += driver_name(f"{here}.driver", result.driver) + _pool_name(f"{here}.pool", result.pool)
        broken += rules.each(f"{here}.device", result.device, names.dns_label(result.device))
        for position, toleration in enumerate(result.tolerations):
            broken += toleration_rules(f"{here}.tolerations[{position}]", toleration)
        if result.share_id is not None and not UID.fullmatch(result.share_id):
            broken.append(rules.invalid(f"{here}.shareID", result.share_id, "must be a lowercase UUID"))
    for at, config in enumerate(devices.config):
        here = f"{at_devices}.config[{at}]"
        broken += rules.one_of(f"{here}.source", config.source, ("FromClaim", "FromClass"))
        broken += reference_rules(f"{here}.requests", config.requests, known) + opaque_rules(here, config.opaque)
    if allocation.node_selector is not None:
        broken += node_selector(f"{path}.nodeSelector", allocation.node_selector)
    return broken


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
    status_rules=status_rules,
)
