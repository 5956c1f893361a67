"""v1 Endpoints: the addresses behind a service, in the form before EndpointSlice."""

from __future__ import annotations

from typing import Annotated, ClassVar

from edgekube.api.kind import Column, Kind
from edgekube.api.meta import Int32, Object, Struct, list_atomic, zero
from edgekube.kinds.core.printing import AGE, NAME, NONE, described
from edgekube.kinds.core.references import ObjectReference


class EndpointAddress(Struct):
    ATOMIC: ClassVar[bool] = True
    ip: str = zero(str)
    hostname: str = ""
    node_name: str | None = None
    target_ref: ObjectReference | None = None


class EndpointPort(Struct):
    ATOMIC: ClassVar[bool] = True
    name: str = ""
    port: Int32 = zero(int)
    protocol: str = ""
    app_protocol: str | None = None


class EndpointSubset(Struct):
    addresses: Annotated[list[EndpointAddress], list_atomic()] = []
    not_ready_addresses: Annotated[list[EndpointAddress], list_atomic()] = []
    ports: Annotated[list[EndpointPort], list_atomic()] = []


class Endpoints(Object):
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
)
