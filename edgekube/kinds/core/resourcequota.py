"""v1 ResourceQuota: how much a namespace may hold and use in total."""

from __future__ import annotations

from typing import Annotated, ClassVar

from edgekube.api.kind import Column, Kind
from edgekube.api.meta import Object, Quantity, Struct, list_atomic, zero
from edgekube.kinds.core.printing import AGE, NAME, described
from edgekube.kinds.core.quantities import round_up_all


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


def default(quota: ResourceQuota) -> None:
    """Amounts have no more than three decimals."""
    for amounts in (quota.spec.hard, quota.status.hard, quota.status.used):
        round_up_all(amounts)


def prepare_create(quota: ResourceQuota) -> None:
    """What is used is counted by the server."""
    quota.status = ResourceQuotaStatus()


def prepare_update(quota: ResourceQuota, old: ResourceQuota) -> None:
    """As on creation."""
    quota.status = old.status


def _usage(quota: ResourceQuota, *, limits: bool) -> str:
    status = quota.status
    return ", ".join(
        f"{name}: {status.used.get(name, '0')}/{status.hard[name]}"
        for name in sorted(status.hard)
        if name.startswith("limits.") is limits
    )


KIND = Kind(
    type=ResourceQuota,
    group="",
    version="v1",
    name="ResourceQuota",
    plural="resourcequotas",
    singular="resourcequota",
    short=("quota",),
    has_status=True,
    generation=False,
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    columns=described(
        "resourcequotas",
        NAME,
        Column("Request", "string", lambda item, _: _usage(item, limits=False)),
        Column("Limit", "string", lambda item, _: _usage(item, limits=True)),
        AGE,
    ),
)
