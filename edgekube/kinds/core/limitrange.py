"""v1 LimitRange: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind
from edgekube.api.meta import Object, Quantity, Struct, list_atomic, zero


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


KIND = Kind(
    type=LimitRange,
    group="",
    version="v1",
    name="LimitRange",
    plural="limitranges",
    singular="limitrange",
    short=("limits",),
)
