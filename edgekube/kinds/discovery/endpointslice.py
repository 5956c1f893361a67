"""discovery.k8s.io/v1 EndpointSlice: its types and rules."""

from __future__ import annotations

from typing import Annotated, ClassVar

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind
from edgekube.api.meta import Int32, Object, Struct, list_atomic, list_set, null, zero
from edgekube.kinds.columns import AGE, NAME, UNSET, described, listed
from edgekube.kinds.core.address_rules import ordinary_ip, parse_ip
from edgekube.kinds.core.meta_rules import labels
from edgekube.kinds.core.references import ObjectReference


class EndpointConditions(Struct):
    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None


class ForNode(Struct):
    name: str = zero(str)


class ForZone(Struct):
    name: str = zero(str)


class EndpointHints(Struct):
    for_zones: Annotated[list[ForZone], list_atomic()] = []
    for_nodes: Annotated[list[ForNode], list_atomic()] = []


class Endpoint(Struct):
    addresses: Annotated[list[str] | None, list_set(strategy="")] = null()
    conditions: EndpointConditions = zero(EndpointConditions)
    hostname: str | None = None
    target_ref: ObjectReference | None = None
    deprecated_topology: dict[str, str] = {}
    node_name: str | None = None
    zone: str | None = None
    hints: EndpointHints | None = None


class EndpointPort(Struct):
    ATOMIC: ClassVar[bool] = True
    name: str | None = None
    protocol: str | None = None
    port: Int32 | None = None
    app_protocol: str | None = None


class EndpointSlice(Object):
    address_type: str = zero(str)
    endpoints: Annotated[list[Endpoint] | None, list_atomic()] = null()
    ports: Annotated[list[EndpointPort] | None, list_atomic()] = null()


def default(endpoint_slice: EndpointSlice) -> None:
    """Ports are TCP and called ""; empty lists are null, as they come back from upstream's storage."""
    endpoint_slice.endpoints = endpoint_slice.endpoints or None
    endpoint_slice.ports = endpoint_slice.ports or None
    for port in endpoint_slice.ports or ():
        if port.name is None:
            port.name = ""
        if port.protocol is None:
            port.protocol = "TCP"


def _ports(endpoint_slice: EndpointSlice, _now: str) -> str:
    return listed(["*" if port.port is None else str(port.port) for port in endpoint_slice.ports or ()]) or UNSET


def _endpoints(endpoint_slice: EndpointSlice, _now: str) -> str:
    return listed([address for one in endpoint_slice.endpoints or () for address in one.addresses or ()]) or UNSET


ADDRESS_TYPES = ("FQDN", "IPv4", "IPv6")
PROTOCOLS = ("SCTP", "TCP", "UDP")
ENDPOINTS_MAX, ADDRESSES_MAX, PORTS_MAX, HINTS_MAX = 1000, 100, 100, 8


def _address_rules(path: str, at: int, address: str, address_type: str) -> list[FieldError]:
    if address_type == "FQDN":
        here = f"{path}[{at}]"
        broken = rules.each(here, address, names.dns_subdomain(address))
        if not broken and "." not in address:
            broken = [rules.invalid(here, address, "should be a domain with at least two segments separated by dots")]
        return broken
    if address_type not in ("IPv4", "IPv6"):
        return []
    found = parse_ip(address)
    if found is None:
        return [rules.invalid(path, address, f"must be an {address_type} address")]
    broken = []
    if f"IPv{found.version}" != address_type:
        broken = [rules.invalid(path, address, f"must be an {address_type} address")]
    return broken + ordinary_ip(f"{path}[{at}]", address)


def _endpoint_rules(path: str, endpoint: Endpoint, address_type: str) -> list[FieldError]:
    broken: list[FieldError] = []
    addresses = endpoint.addresses or []
    if not addresses:
        broken.append(rules.required(f"{path}.addresses", "must contain at least 1 address"))
    elif len(addresses) > ADDRESSES_MAX:
        broken.append(rules.too_many(f"{path}.addresses", len(addresses), ADDRESSES_MAX))
    for at, address in enumerate(addresses):
        broken += _address_rules(f"{path}.addresses", at, address, address_type)
    if endpoint.node_name is not None:
        broken += rules.each(f"{path}.nodeName", endpoint.node_name, names.dns_subdomain(endpoint.node_name))
    broken += labels(f"{path}.deprecatedTopology", endpoint.deprecated_topology)
    if endpoint.hostname is not None:
        broken += rules.each(f"{path}.hostname", endpoint.hostname, names.dns_label(endpoint.hostname))
    if endpoint.hints is not None:
        zones = [zone.name for zone in endpoint.hints.for_zones]
        if len(zones) > HINTS_MAX:
            broken.append(rules.too_many(f"{path}.hints.forZones", len(zones), HINTS_MAX))
        for at, zone in enumerate(zones):
            here = f"{path}.hints.forZones[{at}].name"
            if zone in zones[:at]:
                broken.append(rules.duplicate(here, zone))
            broken += rules.each(here, zone, names.label_value(zone))
    return broken


def _ports_rules(ports: list[EndpointPort]) -> list[FieldError]:
    if len(ports) > PORTS_MAX:
        return [rules.too_many("ports", len(ports), PORTS_MAX)]
    broken: list[FieldError] = []
    seen: set[str] = set()
    for at, port in enumerate(ports):
        path, name = f"ports[{at}]", port.name or ""
        if name:
            broken += rules.each(f"{path}.name", name, names.dns_label(name))
        if name in seen:
            broken.append(rules.duplicate(f"{path}.name", name))
        seen.add(name)
        broken += rules.one_of(f"{path}.protocol", port.protocol or "", PROTOCOLS)
        if port.app_protocol is not None:
            broken += rules.each(f"{path}.appProtocol", port.app_protocol, names.qualified_name(port.app_protocol))
    return broken


def slice_rules(endpoint_slice: EndpointSlice) -> list[FieldError]:
    """Addresses of the type the slice says, ports with names of their own."""
    broken = rules.one_of("addressType", endpoint_slice.address_type, ADDRESS_TYPES)
    endpoints = endpoint_slice.endpoints or []
    if len(endpoints) > ENDPOINTS_MAX:
        broken.append(rules.too_many("endpoints", len(endpoints), ENDPOINTS_MAX))
    else:
        for at, endpoint in enumerate(endpoints):
            broken += _endpoint_rules(f"endpoints[{at}]", endpoint, endpoint_slice.address_type)
    return broken + _ports_rules(endpoint_slice.ports or [])


def slice_update_rules(new: EndpointSlice, old: EndpointSlice) -> list[FieldError]:
    """Another address family is another slice."""
    return rules.same("addressType", new.address_type, old.address_type)


def slice_warnings(new: EndpointSlice, _old: EndpointSlice | None) -> list[str]:
    """Names instead of addresses were a mistake."""
    return ["spec.addressType: FQDN endpoints are deprecated"] if new.address_type == "FQDN" else []


KIND = Kind(
    type=EndpointSlice,
    group="discovery.k8s.io",
    version="v1",
    name="EndpointSlice",
    plural="endpointslices",
    singular="endpointslice",
    default=default,
    columns=described(
        "endpointslices",
        NAME,
        Column("AddressType", "string", lambda item, _: item.address_type),
        Column("Ports", "string", _ports),
        Column("Endpoints", "string", _endpoints),
        AGE,
    ),
    rules=slice_rules,
    update_rules=slice_update_rules,
    warnings=slice_warnings,
)
