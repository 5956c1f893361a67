"""v1 ResourceQuota: how much a namespace may hold and use in total."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar

from edgekube.api import rules
from edgekube.api.kind import Column, FieldError, Kind
from edgekube.api.meta import Object, Quantity, Struct, list_atomic, zero
from edgekube.kinds.core import resource_rules
from edgekube.kinds.core.printing import AGE, NAME, described
from edgekube.kinds.core.quantities import round_up_all


class ScopedResourceSelectorRequirement(Struct):
    """One demand on the objects a quota counts."""

    scope_name: str = zero(str)
    operator: str = zero(str)
    values: Annotated[list[str], list_atomic()] = []


class ScopeSelector(Struct):
    """Demands that must all hold."""

    ATOMIC: ClassVar[bool] = True
    match_expressions: Annotated[list[ScopedResourceSelectorRequirement], list_atomic()] = []


class ResourceQuotaSpec(Struct):
    """How much of what."""

    hard: dict[str, Quantity] = {}
    scopes: Annotated[list[str], list_atomic()] = []
    scope_selector: ScopeSelector | None = None


class ResourceQuotaStatus(Struct):
    """How much of it is used."""

    hard: dict[str, Quantity] = {}
    used: dict[str, Quantity] = {}


class ResourceQuota(Object):
    """What a namespace may use in total."""

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


SCOPES = (
    "Terminating",
    "NotTerminating",
    "BestEffort",
    "NotBestEffort",
    "PriorityClass",
    "CrossNamespacePodAffinity",
    "VolumeAttributesClass",
)
CONFLICTING = (("BestEffort", "NotBestEffort"), ("Terminating", "NotTerminating"))
_POD_RESOURCES = frozenset(
    {"pods", *(f"{side}{name}" for side in ("", "requests.", "limits.") for name in ("cpu", "memory"))}
)
_CLAIM_RESOURCES = frozenset({"persistentvolumeclaims", "requests.storage"})
_EXISTS_ONLY = "must be 'Exists' when scope is any of " + ", ".join(
    f"ResourceQuotaScope{scope}" for scope in ("Terminating", "NotTerminating", "BestEffort", "NotBestEffort")
)


def broken_rules(quota: ResourceQuota) -> list[FieldError]:
    """Known resources, and scopes that can hold them."""
    spec = quota.spec
    broken = resource_rules.amounts("spec.hard", spec.hard, resource_rules.quota_resource_name)
    broken += _scopes("spec.scopes", spec, spec.scopes, lambda: list(spec.scopes))
    if spec.scope_selector is not None:
        broken += _selector("spec.scopeSelector.matchExpressions", spec, spec.scope_selector)
    return broken


def _scope_fits(scope: str, resource: str) -> bool:
    """Whether a scope can count a resource."""
    if scope == "BestEffort":
        return resource == "pods"
    if scope == "VolumeAttributesClass":
        return resource in _CLAIM_RESOURCES
    if scope in SCOPES:
        return resource in _POD_RESOURCES or resource.startswith(("hugepages-", "requests.hugepages-"))
    return True


def _scopes(path: str, spec: ResourceQuotaSpec, scopes: list[str], shown: Callable[[], Any]) -> list[FieldError]:
    broken: list[FieldError] = []
    for scope in scopes:
        if scope not in SCOPES:
            broken.append(rules.invalid(path, shown(), "unsupported scope"))
        for resource in sorted(spec.hard):
            if resource_rules.is_quota_name(resource) and not _scope_fits(scope, resource):
                broken.append(rules.invalid(path, shown(), "unsupported scope applied to resource"))
    for pair in CONFLICTING:
        if set(pair) <= set(scopes):
            broken.append(rules.invalid(path, shown(), "conflicting scopes"))
    return broken


def _selector(path: str, spec: ResourceQuotaSpec, selector: ScopeSelector) -> list[FieldError]:
    broken: list[FieldError] = []
    for rule in selector.match_expressions:
        if rule.scope_name not in SCOPES:
            broken.append(rules.invalid(f"{path}.scopeName", rule.scope_name, "unsupported scope"))
        for resource in sorted(spec.hard):
            if resource_rules.is_quota_name(resource) and not _scope_fits(rule.scope_name, resource):
                broken.append(rules.invalid(path, selector, "unsupported scope applied to resource"))
        if rule.scope_name in SCOPES[:4] + SCOPES[5:6] and rule.operator != "Exists":
            words = f"{_EXISTS_ONLY} or ResourceQuotaScopeCrossNamespacePodAffinity"
            broken.append(rules.invalid(f"{path}.operator", rule.operator, words))
        if rule.operator in ("In", "NotIn"):
            if not rule.values:
                words = "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"
                broken.append(rules.required(f"{path}.values", words))
        elif rule.operator in ("Exists", "DoesNotExist"):
            if rule.values:
                words = "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"
                broken.append(rules.invalid(f"{path}.values", rule.values, words))
        else:
            broken.append(rules.invalid(f"{path}.operator", rule.operator, "not a valid selector operator"))
    given = {rule.scope_name for rule in selector.match_expressions}
    broken += [rules.invalid(path, spec.scopes, "conflicting scopes") for pair in CONFLICTING if set(pair) <= given]
    return broken


def update_rules(new: ResourceQuota, old: ResourceQuota) -> list[FieldError]:
    """Scopes stay."""
    if set(new.spec.scopes) == set(old.spec.scopes):
        return []
    return [rules.immutable("spec.scopes", new.spec.scopes)]


def status_rules(new: ResourceQuota, _old: ResourceQuota) -> list[FieldError]:
    """Known resources here too."""
    check = resource_rules.quota_resource_name
    broken = resource_rules.amounts("status.hard", new.status.hard, check)
    return broken + resource_rules.amounts("status.used", new.status.used, check)


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
    rules=broken_rules,
    update_rules=update_rules,
    status_rules=status_rules,
)
