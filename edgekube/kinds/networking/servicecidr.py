"""networking.k8s.io/v1 ServiceCIDR: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Column, Kind, Scope
from edgekube.api.meta import Condition, Object, Struct, list_atomic, list_map, zero
from edgekube.kinds.columns import AGE, NAME, described


class ServiceCIDRSpec(Struct):
    cidrs: Annotated[list[str], list_atomic()] = []


class ServiceCIDRStatus(Struct):
    conditions: Annotated[list[Condition], list_map("type")] = []


class ServiceCIDR(Object):
    spec: ServiceCIDRSpec = zero(ServiceCIDRSpec)
    status: ServiceCIDRStatus = zero(ServiceCIDRStatus)


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
)
