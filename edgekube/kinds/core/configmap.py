"""v1 ConfigMap: small text and binary files that pods read by name."""

from __future__ import annotations

from edgekube.api.kind import Column, Kind
from edgekube.api.meta import Object
from edgekube.kinds.core.printing import AGE, NAME, described


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
    generation=False,
    columns=described(
        "configmaps",
        NAME,
        Column("Data", "string", lambda item, _: len(item.data) + len(item.binary_data)),
        AGE,
    ),
)
