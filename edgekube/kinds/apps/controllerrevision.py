"""apps/v1 ControllerRevision: its types and rules."""

from __future__ import annotations

from typing import Any

from edgekube.api.kind import Kind
from edgekube.api.meta import Object, zero


class ControllerRevision(Object):
    data: dict[str, Any] | None = None
    revision: int = zero(int)


KIND = Kind(
    type=ControllerRevision,
    group="apps",
    version="v1",
    name="ControllerRevision",
    plural="controllerrevisions",
    singular="controllerrevision",
)
