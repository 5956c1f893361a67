"""networking.k8s.io/v1 IPAddress: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Column, Kind, Scope
from edgekube.api.meta import Object, Struct, zero
from edgekube.kinds.columns import AGE, NAME, NONE, described


class ParentReference(Struct):
    group: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""


class IPAddressSpec(Struct):
    parent_ref: ParentReference | None = None


class IPAddress(Object):
    spec: IPAddressSpec = zero(IPAddressSpec)


def _parent(address: IPAddress, _now: str) -> str:
    found = address.spec.parent_ref
    if found is None:
        return NONE
    resource = f"{found.resource}.{found.group}" if found.group else found.resource
    return "/".join(filter(None, (resource.lower(), found.namespace, found.name)))


KIND = Kind(
    type=IPAddress,
    group="networking.k8s.io",
    version="v1",
    name="IPAddress",
    plural="ipaddresses",
    singular="ipaddress",
    short=("ip",),
    scope=Scope.CLUSTER,
    generation=False,
    columns=described("ipaddresses", NAME, Column("ParentRef", "string", _parent), AGE),
)
