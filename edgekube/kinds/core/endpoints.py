"""v1 Endpoints: its types and rules."""

from __future__ import annotations

from typing import Annotated, ClassVar

from edgekube.api.kind import Kind
from edgekube.api.meta import Int32, Object, Struct, list_atomic, zero
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


KIND = Kind(
    type=Endpoints,
    group="",
    version="v1",
    name="Endpoints",
    plural="endpoints",
    singular="endpoints",
    short=("ep",),
)
