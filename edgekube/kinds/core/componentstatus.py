"""v1 ComponentStatus: the health of the control plane's parts, in its oldest form. Read only, made up on the spot."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Column, Kind, Scope
from edgekube.api.meta import Object, Struct, list_map, zero
from edgekube.kinds.core.printing import NAME


class ComponentCondition(Struct):
    """Whether a part of the control plane is healthy."""

    type: str = zero(str)
    status: str = zero(str)
    message: str = ""
    error: str = ""


class ComponentStatus(Object):
    """One part of the control plane."""

    conditions: Annotated[list[ComponentCondition], list_map("type")] = []


def _healthy(component: ComponentStatus) -> ComponentCondition:
    return next((one for one in component.conditions if one.type == "Healthy"), ComponentCondition(status="Unknown"))


_WORDS = {"True": "Healthy", "Unknown": "Unknown"}


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
    generation=False,
    deprecation="v1 ComponentStatus is deprecated in v1.19+",
    columns=(
        NAME,
        Column("Status", "string", lambda item, _: _WORDS.get(_healthy(item).status, "Unhealthy")),
        Column("Message", "string", lambda item, _: _healthy(item).message),
        Column("Error", "string", lambda item, _: _healthy(item).error),
    ),
)
