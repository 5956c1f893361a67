"""v1 Endpoints: the addresses behind a service, in the form before EndpointSlice."""

from __future__ import annotations

from typing import Annotated, ClassVar

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind
from edgekube.api.meta import Int32, Object, Struct, list_atomic, zero
from edgekube.kinds.core import address_rules
from edgekube.kinds.core.printing import AGE, NAME, NONE, described
from edgekube.kinds.core.references import ObjectReference


class EndpointAddress(Struct):
    """One address, and the pod behind it."""

    ATOMIC: ClassVar[bool] = True
    ip: str = zero(str)
    hostname: str = ""
    node_name: str | None = None
    target_ref: ObjectReference | None = None


class EndpointPort(Struct):
    """One port of a subset's addresses."""

    ATOMIC: ClassVar[bool] = True
    name: str = ""
    port: Int32 = zero(int)
    protocol: str = ""
    app_protocol: str | None = None


class EndpointSubset(Struct):
    """Addresses that share their ports."""

    addresses: Annotated[list[EndpointAddress], list_atomic()] = []
    not_ready_addresses: Annotated[list[EndpointAddress], list_atomic()] = []
    ports: Annotated[list[EndpointPort], list_atomic()] = []


class Endpoints(Object):
    """The addresses of a service."""

    subsets: Annotated[list[EndpointSubset], list_atomic()] = []


SHOWN_MAX = 3  # addresses listed in a table cell


def default(endpoints: Endpoints) -> None:
    """Ports are TCP."""
    for subset in endpoints.subsets:
        for port in subset.ports:
            port.protocol = port.protocol or "TCP"


def _addresses(endpoints: Endpoints, _now: str) -> str:
    if not endpoints.subsets:
        return NONE
    found: list[str] = []
    for subset in endpoints.subsets:
        if not subset.ports:
            found += [address.ip for address in subset.addresses]
        for port in subset.ports:
            found += [
                f"[{address.ip}]:{port.port}" if ":" in address.ip else f"{address.ip}:{port.port}"
                for address in subset.addresses
            ]
    listed = ",".join(found[:SHOWN_MAX])
    return f"{listed} + {len(found) - SHOWN_MAX} more..." if len(found) > SHOWN_MAX else listed


def broken_rules(endpoints: Endpoints) -> list[FieldError]:
    """Each subset has addresses other machines can use, and sound ports."""
    broken: list[FieldError] = []
    for position, subset in enumerate(endpoints.subsets):
        at = f"subsets[{position}]"
        if not subset.addresses and not subset.not_ready_addresses:
            broken.append(rules.required(at, "must specify `addresses` or `notReadyAddresses`"))
        for member, addresses in (
            ("addresses", subset.addresses),
            ("notReadyAddresses", subset.not_ready_addresses),
        ):
            for index, address in enumerate(addresses):
                broken += _address(f"{at}.{member}[{index}]", address)
        for index, port in enumerate(subset.ports):
            broken += _port(f"{at}.ports[{index}]", port, named=len(subset.ports) > 1)
    return broken


def _address(path: str, address: EndpointAddress) -> list[FieldError]:
    broken = address_rules.ip(f"{path}.ip", address.ip)
    if address.hostname:
        broken += rules.each(f"{path}.hostname", address.hostname, names.dns_label(address.hostname))
    if address.node_name is not None:
        broken += rules.each(f"{path}.nodeName", address.node_name, names.dns_subdomain(address.node_name))
    return broken + address_rules.ordinary_ip(f"{path}.ip", address.ip)


def _port(path: str, port: EndpointPort, *, named: bool) -> list[FieldError]:
    broken: list[FieldError] = []
    if port.name:
        broken += rules.each(f"{path}.name", port.name, names.dns_label(port.name))
    elif named:
        broken.append(rules.required(f"{path}.name"))
    broken += rules.each(f"{path}.port", port.port, names.port_number(port.port))
    broken += address_rules.protocol(f"{path}.protocol", port.protocol)
    if port.app_protocol is not None:
        broken += rules.each(f"{path}.appProtocol", port.app_protocol, names.qualified_name(port.app_protocol))
    return broken


KIND = Kind(
    type=Endpoints,
    group="",
    version="v1",
    name="Endpoints",
    plural="endpoints",
    singular="endpoints",
    short=("ep",),
    generation=False,
    deprecation="v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
    default=default,
    allow_create_on_update=True,
    columns=described("endpoints", NAME, Column("Endpoints", "string", _addresses), AGE),
    rules=broken_rules,
)
