"""storage.k8s.io/v1 VolumeAttributesClass: its types and rules."""

from __future__ import annotations

from dataclasses import replace

from edgekube.api.kind import Column, Kind, Scope
from edgekube.api.meta import Object, zero
from edgekube.kinds.columns import AGE, NAME, described


class VolumeAttributesClass(Object):
    driver_name: str = zero(str)
    parameters: dict[str, str] = {}


PROTECTION_FINALIZER = "kubernetes.io/vac-protection"
DEFAULT_ANNOTATION = "volumeattributesclass.alpha.kubernetes.io/is-default-class"


def prepare_create(attributes_class: VolumeAttributesClass) -> None:
    """A class that claims use is not taken away from under them."""
    if PROTECTION_FINALIZER not in attributes_class.metadata.finalizers:
        attributes_class.metadata.finalizers.append(PROTECTION_FINALIZER)


def _name(attributes_class: VolumeAttributesClass, _now: str) -> str:
    chosen = attributes_class.metadata.annotations.get(DEFAULT_ANNOTATION) == "true"
    return attributes_class.metadata.name + (" (default)" if chosen else "")


KIND = Kind(
    type=VolumeAttributesClass,
    group="storage.k8s.io",
    version="v1",
    name="VolumeAttributesClass",
    plural="volumeattributesclasses",
    singular="volumeattributesclass",
    short=("vac",),
    scope=Scope.CLUSTER,
    generation=False,
    prepare_create=prepare_create,
    columns=described(
        "volumeattributesclasses",
        replace(NAME, value=_name),
        Column("DriverName", "string", lambda item, _: item.driver_name),
        AGE,
    ),
)
