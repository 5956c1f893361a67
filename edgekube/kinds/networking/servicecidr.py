"""networking.k8s.io/v1 ServiceCIDR: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api import rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
from edgekube.api.meta import Condition, Object, Struct, list_atomic, list_map, zero
from edgekube.kinds.columns import AGE, NAME, described
from edgekube.kinds.core.address_rules import cidr, one_per_family


class ServiceCIDRSpec(Struct):
    cidrs: Annotated[list[str], list_atomic()] = []


class ServiceCIDRStatus(Struct):
    conditions: Annotated[list[Condition], list_map("type")] = []


class ServiceCIDR(Object):
    spec: ServiceCIDRSpec = zero(ServiceCIDRSpec)
    status: ServiceCIDRStatus = zero(ServiceCIDRStatus)


def cidr_rules(given: ServiceCIDR) -> list[FieldError]:
    """One network per address family, written canonically."""
    if not given.spec.cidrs:
        return [rules.required("spec.cidrs", "at least one CIDR required")]
    if len(given.spec.cidrs) > 2:
        return [rules.invalid("spec", given.spec, "may only hold up to 2 values")]
    broken: list[FieldError] = []
    if not one_per_family(given.spec.cidrs):
        broken.append(
            rules.invalid(
                "spec",
                given.spec,
                "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/96",
            )
        )
    for at, text in enumerate(given.spec.cidrs):
        broken += cidr(f"spec.cidrs[{at}]", text)
    return broken


def cidr_update_rules(new: ServiceCIDR, old: ServiceCIDR) -> list[FieldError]:
    """A second family may be added, nothing else may change."""
    if new.spec.cidrs[: len(old.spec.cidrs)] == old.spec.cidrs and len(old.spec.cidrs) == 1:
        return []
    return [
        rules.immutable(f"spec.cidrs[{at}]", new.spec.cidrs[at] if at < len(new.spec.cidrs) else "")
        for at, text in enumerate(old.spec.cidrs)
        if at >= len(new.spec.cidrs) or new.spec.cidrs[at] != text
    ]


KIND = Kind(
    type=ServiceCIDR,
    group="networking.k8s.io",
    version="v1",
    name="ServiceCIDR",
    plural="servicecidrs",
    singular="servicecidr",
    scope=Scope.CLUSTER,
    has_status=True,
    generation=False,
    columns=described("servicecidrs", NAME, Column("CIDRs", "string", lambda item, _: ",".join(item.spec.cidrs)), AGE),
    rules=cidr_rules,
    update_rules=cidr_update_rules,
)
