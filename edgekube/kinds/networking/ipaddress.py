"""networking.k8s.io/v1 IPAddress: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Object, Struct, zero


class ParentReference(Struct):
    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""


class IPAddressSpec(Struct):
    parent_ref: ParentReference | None = None


class IPAddress(Object):
    spec: IPAddressSpec = zero(IPAddressSpec)


KIND = Kind(
    type=IPAddress,
    group="networking.k8s.io",
    version="v1",
    name="IPAddress",
    plural="ipaddresses",
    singular="ipaddress",
    short=("ip",),
    scope=Scope.CLUSTER,
)
