"""v1 Secret: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Kind
from edgekube.api.meta import Object


class Secret(Object):
    immutable: bool | None = None
    data: dict[str, bytes] = {}
    string_data: dict[str, str] = {}
    type: str = ""


KIND = Kind(
    type=Secret,
    group="",
    version="v1",
    name="Secret",
    plural="secrets",
    singular="secret",
)
