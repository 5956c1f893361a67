"""storage.k8s.io/v1 VolumeAttributesClass: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Object, zero


class VolumeAttributesClass(Object):
    driver_name: str = zero(str)
    parameters: dict[str, str] = {}


KIND = Kind(
    type=VolumeAttributesClass,
    group="storage.k8s.io",
    version="v1",
    name="VolumeAttributesClass",
    plural="volumeattributesclasses",
    singular="volumeattributesclass",
    short=("vac",),
    scope=Scope.CLUSTER,
)
