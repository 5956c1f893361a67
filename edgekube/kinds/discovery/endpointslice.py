"""discovery.k8s.io/v1 EndpointSlice: its types and rules."""

from __future__ import annotations

from typing import Annotated, ClassVar

from edgekube.api.kind import Column, Kind
from edgekube.api.meta import Int32, Object, Struct, list_atomic, list_set, zero
from edgekube.kinds.columns import AGE, NAME, UNSET, described, listed
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
    addresses: Annotated[list[str] | None, list_set(strategy="")] = None
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
    endpoints: Annotated[list[Endpoint] | None, list_atomic()] = None
    ports: Annotated[list[EndpointPort] | None, list_atomic()] = None


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
)
