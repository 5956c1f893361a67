"""v1 ComponentStatus: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Object, Struct, list_map, zero


class ComponentCondition(Struct):
    type: str = zero(str)
    status: str = zero(str)
    message: str = ""
    error: str = ""


class ComponentStatus(Object):
    conditions: Annotated[list[ComponentCondition], list_map("type")] = []


KIND = Kind(
    type=ComponentStatus,
    group="",
    version="v1",
    name="ComponentStatus",
    plural="componentstatuses",
    singular="componentstatus",
    short=("cs",),
    scope=Scope.CLUSTER,
    verbs=("get", "list"),
)
