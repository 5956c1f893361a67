"""v1 LimitRange: bounds and defaults for what containers, pods and claims of a namespace ask for."""

from __future__ import annotations

from typing import Annotated

from edgekube.api import names, rules
from edgekube.api.kind import FieldError, Kind
from edgekube.api.meta import Object, Quantity, Struct, list_atomic, null, zero
from edgekube.api.quantity import amount
from edgekube.kinds.core import resource_rules
from edgekube.kinds.core.pod_resources import can_overcommit
from edgekube.kinds.core.quantities import round_up_all


class LimitRangeItem(Struct):
    """Bounds and defaults for one type of thing."""

    type: str = zero(str)
    max: dict[str, Quantity] = {}
    min: dict[str, Quantity] = {}
    default: dict[str, Quantity] = {}
    default_request: dict[str, Quantity] = {}
    max_limit_request_ratio: dict[str, Quantity] = {}


class LimitRangeSpec(Struct):
    """Bounds by type."""

    limits: Annotated[list[LimitRangeItem] | None, list_atomic()] = null()


class LimitRange(Object):
    """Bounds for what a namespace's pods, containers and claims ask for."""

    spec: LimitRangeSpec = zero(LimitRangeSpec)


def default(limits: LimitRange) -> None:
    """For containers the default limit is the most allowed, and the default request the default limit, or the least."""
    for item in limits.spec.limits or ():
        for amounts in (item.max, item.min, item.default, item.default_request, item.max_limit_request_ratio):
            round_up_all(amounts)
        if item.type == "Container":
            item.default = item.max | item.default
            item.default_request = item.min | item.default | item.default_request


TYPES = ("Pod", "Container", "PersistentVolumeClaim")


def broken_rules(item: LimitRange) -> list[FieldError]:
    """Each type once, with known resources, and bounds that leave room between them."""
    broken: list[FieldError] = []
    seen: set[str] = set()
    for position, limit in enumerate(item.spec.limits or ()):
        at = f"spec.limits[{position}]"
        problems = rules.each(f"{at}.type", limit.type, names.qualified_name(limit.type))
        if not problems and "/" not in limit.type and limit.type not in TYPES:
            words = "must be a standard limit type or fully qualified"
            problems = [rules.invalid(f"{at}.type", limit.type, words)]
        broken += problems
        if limit.type in seen:
            broken.append(rules.duplicate(f"{at}.type", limit.type))
        seen.add(limit.type)
        broken += _names(at, limit)
        for name in {
            **limit.max,
            **limit.min,
            **limit.default,
            **limit.default_request,
            **limit.max_limit_request_ratio,
        }:
            broken += _bounds(at, limit, name)
    return broken


def _names(path: str, limit: LimitRangeItem) -> list[FieldError]:
    broken: list[FieldError] = []
    of_containers = limit.type in ("Pod", "Container")
    check = resource_rules.container_resource_name if of_containers else resource_rules.resource_name
    defaults = (("default", limit.default), ("defaultRequest", limit.default_request))
    for member, amounts in (("max", limit.max), ("min", limit.min), *(() if limit.type == "Pod" else defaults)):
        for name in amounts:
            broken += check(f"{path}.{member}[{name}]", name)
    if limit.type == "Pod":
        words = "may not be specified when `type` is 'Pod'"
        broken += [rules.forbidden(f"{path}.{member}", words) for member, amounts in defaults if amounts]
    if limit.type == "PersistentVolumeClaim" and "storage" not in limit.min and "storage" not in limit.max:
        words = "either minimum or maximum storage value is required, but neither was provided"
        broken.append(rules.required(f"{path}.limits", words))
    for name in limit.max_limit_request_ratio:
        broken += check(f"{path}.maxLimitRequestRatio[{name}]", name)
    return broken


def _bounds(path: str, limit: LimitRangeItem, name: str) -> list[FieldError]:
    least, most = limit.min.get(name), limit.max.get(name)
    usual = limit.default.get(name) if limit.type != "Pod" else None
    asked = limit.default_request.get(name) if limit.type != "Pod" else None
    broken: list[FieldError] = []

    def ordered(low: str | None, high: str | None, member: str, shown: str | None, words: str) -> None:
        if low is not None and high is not None and amount(low) > amount(high):
            low_words, _, high_words = words.partition(" < ")
            detail = f"{low_words} value {low} is greater than {high_words} value {high}"
            broken.append(rules.invalid(f"{path}.{member}[{name}]", str(shown), detail))

    ordered(least, most, "min", least, "min < max")
    ordered(least, asked, "defaultRequest", asked, "min < default request")
    ordered(asked, most, "defaultRequest", asked, "default request < max")
    ordered(asked, usual, "defaultRequest", asked, "default request < default limit")
    ordered(least, usual, "default", least, "min < default")
    ordered(usual, most, "default", most, "default < max")
    broken += _ratio(f"{path}.maxLimitRequestRatio[{name}]", limit.max_limit_request_ratio.get(name), least, most)
    if not can_overcommit(name) and usual is not None and asked is not None and amount(usual) != amount(asked):
        words = f"default value {usual} must equal to defaultRequest value {asked} in {name}"
        broken.append(rules.invalid(f"{path}.defaultRequest[{name}]", str(asked), words))
    return broken


def _ratio(path: str, ratio: str | None, least: str | None, most: str | None) -> list[FieldError]:
    if ratio is None:
        return []
    broken = [rules.invalid(path, str(ratio), f"ratio {ratio} is less than 1")] if amount(ratio) < 1 else []
    if least is not None and most is not None and amount(least) > 0:
        widest = amount(most) / amount(least)
        if amount(ratio) > widest:
            broken.append(rules.invalid(path, str(ratio), f"ratio {ratio} is greater than max/min = {widest:.6f}"))
    return broken


KIND = Kind(
    type=LimitRange,
    group="",
    version="v1",
    name="LimitRange",
    plural="limitranges",
    singular="limitrange",
    short=("limits",),
    generation=False,
    default=default,
    allow_create_on_update=True,
    rules=broken_rules,
)
