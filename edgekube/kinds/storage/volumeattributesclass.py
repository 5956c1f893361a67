"""storage.k8s.io/v1 VolumeAttributesClass: its types and rules."""

from __future__ import annotations

from dataclasses import replace

from edgekube.api import rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
from edgekube.api.meta import Object, zero
from edgekube.kinds.columns import AGE, NAME, described
from edgekube.kinds.storage.csidriver import driver_name
from edgekube.kinds.storage.storageclass import parameter_rules


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


def class_rules(attributes_class: VolumeAttributesClass) -> list[FieldError]:
    """A driver, and something to tell it."""
    broken = driver_name("driverName", attributes_class.driver_name)
    if not attributes_class.parameters:
        return [*broken, rules.required("parameters", "must contain at least one key/value pair")]
    return broken + parameter_rules(attributes_class.parameters)


def class_update_rules(new: VolumeAttributesClass, old: VolumeAttributesClass) -> list[FieldError]:
    """Claims already rely on it."""
    broken = rules.same("driverName", new.driver_name, old.driver_name)
    return broken + rules.same("parameters", new.parameters, old.parameters)


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
    rules=class_rules,
    update_rules=class_update_rules,
)
