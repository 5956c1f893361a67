"""Rules of resource names and amounts: which may stand where, and what their values may be.

Source: core validation (validateResourceName and its kin) and pkg/apis/core/helper of upstream.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

from edgekube.api import names, rules
from edgekube.api.kind import FieldError
from edgekube.api.quantity import amount
from edgekube.kinds.core.container import ResourceClaim, ResourceRequirements
from edgekube.kinds.core.pod_resources import HUGE_PAGES, QOS_RESOURCES, can_overcommit, is_pod_level
from edgekube.kinds.core.quantities import is_fraction

NOT_INTEGER = "must be an integer"
COMPUTE = frozenset({"cpu", "memory", "ephemeral-storage"})
COUNTED = frozenset(
    {
        "pods",
        "resourcequotas",
        "services",
        "replicationcontrollers",
        "secrets",
        "configmaps",
        "persistentvolumeclaims",
        "services.nodeports",
        "services.loadbalancers",
    }
)
QUOTA = (
    COUNTED | COMPUTE | {f"{side}.{name}" for side in ("requests", "limits") for name in COMPUTE} | {"requests.storage"}
)
STANDARD = QUOTA | {"storage"}
NameRule = Callable[[str, str], list[FieldError]]


def is_native(name: str) -> bool:
    """Whether the resource is Kubernetes' own."""
    return "/" not in name or "kubernetes.io/" in name


def is_huge_page(name: str) -> bool:
    """hugepages-<size>."""
    return name.startswith(HUGE_PAGES)


def _is_quota_huge_page(name: str) -> bool:
    return is_huge_page(name) or name.startswith(f"requests.{HUGE_PAGES}")


def is_extended(name: str) -> bool:
    """Whether the resource is somebody else's, such as a GPU."""
    if is_native(name) or name.startswith("requests."):
        return False
    return not names.qualified_name(f"requests.{name}")


def is_quota_name(name: str) -> bool:
    """Whether an unprefixed name may stand in a quota."""
    return name in QUOTA or _is_quota_huge_page(name)


def resource_name(path: str, name: str) -> list[FieldError]:
    """A standard resource, or one with a domain."""
    broken = rules.each(path, name, names.qualified_name(name))
    if not broken and "/" not in name and name not in STANDARD and not _is_quota_huge_page(name):
        broken.append(rules.invalid(path, name, "must be a standard resource type or fully qualified"))
    return broken


def container_resource_name(path: str, name: str) -> list[FieldError]:
    """What a container may ask for."""
    broken = resource_name(path, name)
    if "/" not in name:
        if name not in COMPUTE and not is_huge_page(name):
            broken.append(rules.invalid(path, name, "must be a standard resource for containers"))
    elif not is_native(name) and not is_extended(name):
        broken.append(rules.invalid(path, name, "doesn't follow extended resource name standard"))
    return broken


def pod_resource_name(path: str, name: str) -> list[FieldError]:
    """What a pod as a whole may ask for."""
    broken = resource_name(path, name)
    if not broken and not is_pod_level(name):
        broken.append(rules.not_supported(path, name, ("cpu", HUGE_PAGES, "memory")))
    return broken


def quota_resource_name(path: str, name: str) -> list[FieldError]:
    """What a quota may limit."""
    broken = resource_name(path, name)
    if "/" not in name and not is_quota_name(name):
        broken.append(rules.invalid(path, name, "must be a standard resource for quota"))
    return broken


def not_negative(path: str, value: str) -> list[FieldError]:
    """An amount of zero or more."""
    return [rules.invalid(path, str(value), rules.NOT_NEGATIVE)] if amount(value) < 0 else []


def positive(path: str, value: str) -> list[FieldError]:
    """An amount above zero."""
    return [rules.invalid(path, str(value), "must be greater than zero")] if amount(value) <= 0 else []


def basic(path: str, value: str) -> list[FieldError]:
    """An amount that is not negative, in other words."""
    return [rules.invalid(path, int(amount(value)), "must be a valid resource quantity")] if amount(value) < 0 else []


def resource_amount(path: str, name: str, value: str) -> list[FieldError]:
    """Not negative, and whole where things are counted."""
    broken = not_negative(path, value)
    if (name in COUNTED or is_extended(name)) and is_fraction(value):
        broken.append(rules.invalid(path, str(value), NOT_INTEGER))
    return broken


def _huge_page_amount(path: str, name: str, value: str) -> list[FieldError]:
    if not is_huge_page(name):
        return []
    try:
        size = amount(name.removeprefix(HUGE_PAGES))
    except ValueError:
        size = amount("0")
    wanted = amount(value)
    if size > 0 and wanted % size == 0:
        return []
    return [rules.invalid(path, str(value), f"{value} is not positive integer multiple of {name}")]


def requirements(
    path: str, given: ResourceRequirements, claims: Collection[str], name_rule: NameRule = container_resource_name
) -> list[FieldError]:
    """Requests and limits of a container or a pod, and the resource claims it uses."""
    broken: list[FieldError] = []
    for name, value in given.limits.items():
        at = f"{path}.limits[{name}]"
        broken += name_rule(at, name)
        broken += resource_amount(at, name, value)
        broken += _huge_page_amount(at, name, value)
    for name, value in given.requests.items():
        at = f"{path}.requests[{name}]"
        broken += name_rule(at, name)
        broken += resource_amount(at, name, value)
        broken += _request_against_limit(path, name, value, given.limits.get(name))
        broken += _huge_page_amount(at, name, value)
    everything = given.limits.keys() | given.requests.keys()
    if any(map(is_huge_page, everything)) and not everything & set(QOS_RESOURCES):
        broken.append(rules.forbidden(path, "HugePages require cpu or memory"))
    return broken + _claims(f"{path}.claims", given.claims, claims)


def _request_against_limit(path: str, name: str, value: str, limit: str | None) -> list[FieldError]:
    if limit is None:
        if can_overcommit(name):
            return []
        return [rules.required(f"{path}.limits", "Limit must be set for non overcommitable resources")]
    wanted, most = amount(value), amount(limit)
    if wanted != most and not can_overcommit(name):
        return [rules.invalid(f"{path}.requests", str(value), f"must be equal to {name} limit of {limit}")]
    if wanted > most:
        return [rules.invalid(f"{path}.requests", str(value), f"must be less than or equal to {name} limit of {limit}")]
    return []


def _claims(path: str, given: list[ResourceClaim], known: Collection[str]) -> list[FieldError]:
    broken: list[FieldError] = []
    seen: set[str] = set()
    for position, claim in enumerate(given):
        at = f"{path}[{position}]"
        if not claim.name:
            broken.append(rules.required(at))
            continue
        if claim.name in seen:
            broken.append(rules.duplicate(at, claim.name))
        else:
            key = f"{claim.name}/{claim.request}" if claim.request else claim.name
            if claim.request:
                broken += rules.each(f"{at}.request", claim.request, names.dns_label(claim.request))
            overlaps = not claim.request and any(other.startswith(f"{claim.name}/") for other in seen)
            if key in seen or overlaps:
                broken.append(rules.duplicate(at, key))
            seen.add(key)
        if claim.name not in known:
            listed = f": {', '.join(sorted(known))}" if known else " which is empty"
            shown = f"Not found: {rules.shown(claim.name)}: must be one of the names in pod.spec.resourceClaims{listed}"
            broken.append(FieldError(rules.NOT_FOUND, at, shown))
    return broken


def amounts(path: str, given: dict[str, Any], name_rule: NameRule) -> list[FieldError]:
    """A plain list of named amounts."""
    broken: list[FieldError] = []
    for name, value in given.items():
        broken += name_rule(f"{path}[{name}]", name)
        broken += resource_amount(f"{path}[{name}]", name, value)
    return broken
