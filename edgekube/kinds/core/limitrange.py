"""v1 LimitRange: bounds and defaults for what containers, pods and claims of a namespace ask for."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind
from edgekube.api.meta import Object, Quantity, Struct, list_atomic, zero
from edgekube.kinds.core.quantities import round_up_all


class LimitRangeItem(Struct):
    type: str = zero(str)
    max: dict[str, Quantity] = {}
    min: dict[str, Quantity] = {}
    default: dict[str, Quantity] = {}
    default_request: dict[str, Quantity] = {}
    max_limit_request_ratio: dict[str, Quantity] = {}


class LimitRangeSpec(Struct):
    limits: Annotated[list[LimitRangeItem] | None, list_atomic()] = None


class LimitRange(Object):
    spec: LimitRangeSpec = zero(LimitRangeSpec)


def default(limits: LimitRange) -> None:
    """For containers the default limit is the most allowed, and the default request the default limit, or the least."""
    for item in limits.spec.limits or ():
        for amounts in (item.max, item.min, item.default, item.default_request, item.max_limit_request_ratio):
            round_up_all(amounts)
        if item.type == "Container":
            item.default = item.max | item.default
            item.default_request = item.min | item.default | item.default_request


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
)
