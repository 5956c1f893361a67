"""v1 ConfigMap: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Kind
from edgekube.api.meta import Object


class ConfigMap(Object):
    immutable: bool | None = None
    data: dict[str, str] = {}
    binary_data: dict[str, bytes] = {}


KIND = Kind(
    type=ConfigMap,
    group="",
    version="v1",
    name="ConfigMap",
    plural="configmaps",
    singular="configmap",
    short=("cm",),
)
