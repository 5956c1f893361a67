"""networking.k8s.io/v1 IPAddress: its types and rules."""

from __future__ import annotations

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
from edgekube.api.meta import Object, Struct, zero
from edgekube.kinds.columns import AGE, NAME, NONE, described
from edgekube.kinds.core.address_rules import parse_ip


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


def canonical_ip(name: str) -> list[str]:
    """The name of an IPAddress is the address, in the one way it is written."""
    found = parse_ip(name)
    if found is None:
        return ["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"]
    return [] if str(found) == name else [f'not a valid address in canonical format, expected "{found}"']


def address_rules(address: IPAddress) -> list[FieldError]:
    """Whose address it is."""
    parent = address.spec.parent_ref
    if parent is None:
        return [rules.required("spec.parentRef")]
    path = "spec.parentRef"
    broken: list[FieldError] = []
    if parent.group:
        broken += rules.each(f"{path}.group", parent.group, names.dns_subdomain(parent.group))
    for member, needed in (("resource", True), ("name", True), ("namespace", False)):
        value = getattr(parent, member)
        if value:
            broken += rules.each(f"{path}.{member}", value, names.path_segment(value))
        elif needed:
            broken.append(rules.required(f"{path}.{member}"))
    return broken


def address_update_rules(new: IPAddress, old: IPAddress) -> list[FieldError]:
    """An address does not move."""
    return rules.same("spec.parentRef", new.spec.parent_ref, old.spec.parent_ref)


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
    name_rule=canonical_ip,
    rules=address_rules,
    update_rules=address_update_rules,
)
