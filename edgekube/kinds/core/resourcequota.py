"""v1 ResourceQuota: its types and rules."""

from __future__ import annotations

from typing import Annotated, ClassVar

from edgekube.api.kind import Kind
from edgekube.api.meta import Object, Quantity, Struct, list_atomic, zero


class ScopedResourceSelectorRequirement(Struct):
    scope_name: str = zero(str)
    operator: str = zero(str)
    values: Annotated[list[str], list_atomic()] = []


class ScopeSelector(Struct):
    ATOMIC: ClassVar[bool] = True
    match_expressions: Annotated[list[ScopedResourceSelectorRequirement], list_atomic()] = []


class ResourceQuotaSpec(Struct):
    hard: dict[str, Quantity] = {}
    scopes: Annotated[list[str], list_atomic()] = []
    scope_selector: ScopeSelector | None = None


class ResourceQuotaStatus(Struct):
    hard: dict[str, Quantity] = {}
    used: dict[str, Quantity] = {}


class ResourceQuota(Object):
    spec: ResourceQuotaSpec = zero(ResourceQuotaSpec)
    status: ResourceQuotaStatus = zero(ResourceQuotaStatus)


KIND = Kind(
    type=ResourceQuota,
    group="",
    version="v1",
    name="ResourceQuota",
    plural="resourcequotas",
    singular="resourcequota",
    short=("quota",),
    has_status=True,
)
