"""resource.k8s.io/v1 DeviceClass: its types and rules."""

from __future__ import annotations

from typing import Annotated, Any

from edgekube.api import names, rules
from edgekube.api.kind import FieldError, Kind, Scope
from edgekube.api.meta import Object, Struct, list_atomic, zero
from edgekube.kinds.columns import AGE, NAME, described
from edgekube.kinds.core.resource_rules import is_extended


class OpaqueDeviceConfiguration(Struct):
    driver: str = zero(str)
    parameters: dict[str, Any] | None = None


class DeviceClassConfiguration(Struct):
    opaque: OpaqueDeviceConfiguration | None = None


class CELDeviceSelector(Struct):
    expression: str = zero(str)


class DeviceSelector(Struct):
    cel: CELDeviceSelector | None = None


class DeviceClassSpec(Struct):
    selectors: Annotated[list[DeviceSelector], list_atomic()] = []
    config: Annotated[list[DeviceClassConfiguration], list_atomic()] = []
    extended_resource_name: str | None = None


class DeviceClass(Object):
    spec: DeviceClassSpec = zero(DeviceClassSpec)


SELECTORS_MAX, CONFIGS_MAX = 32, 32
DRIVER_NAME_MAX, EXPRESSION_MAX_BYTES = 63, 10 * 1024


def driver_name(path: str, value: str) -> list[FieldError]:
    """A DNS name of at most 63 letters."""
    if not value:
        return [rules.required(path)]
    broken = [rules.too_long(path, DRIVER_NAME_MAX)] if len(value) > DRIVER_NAME_MAX else []
    return broken + rules.each(path, value, names.dns_subdomain(value))


def selector_rules(path: str, selectors: list[DeviceSelector]) -> list[FieldError]:
    """Each an expression (what it means is known when it is compiled)."""
    if len(selectors) > SELECTORS_MAX:
        return [rules.too_many(path, len(selectors), SELECTORS_MAX)]
    broken: list[FieldError] = []
    for at, selector in enumerate(selectors):
        if selector.cel is None:
            broken.append(rules.required(f"{path}[{at}].cel"))
        elif not selector.cel.expression.strip():
            broken.append(rules.required(f"{path}[{at}].cel.expression"))
        elif len(selector.cel.expression.encode()) > EXPRESSION_MAX_BYTES:
            broken.append(rules.too_long(f"{path}[{at}].cel.expression", EXPRESSION_MAX_BYTES))
    return broken


def opaque_rules(path: str, opaque: OpaqueDeviceConfiguration | None) -> list[FieldError]:
    """Parameters for a driver."""
    if opaque is None:
        return [rules.required(f"{path}.opaque")]
    broken = driver_name(f"{path}.opaque.driver", opaque.driver)
    return broken if opaque.parameters is not None else [*broken, rules.required(f"{path}.opaque.parameters")]


def class_rules(device_class: DeviceClass) -> list[FieldError]:
    """Which devices, and how they are set up."""
    spec = device_class.spec
    broken = selector_rules("spec.selectors", spec.selectors)
    if len(spec.config) > CONFIGS_MAX:
        return [*broken, rules.too_many("spec.config", len(spec.config), CONFIGS_MAX)]
    for at, config in enumerate(spec.config):
        broken += opaque_rules(f"spec.config[{at}]", config.opaque)
    extended = spec.extended_resource_name
    if extended is not None and not is_extended(extended):
        broken.append(rules.invalid("spec.extendedResourceName", extended, "must be a valid extended resource name"))
    return broken


KIND = Kind(
    type=DeviceClass,
    group="resource.k8s.io",
    version="v1",
    name="DeviceClass",
    plural="deviceclasses",
    singular="deviceclass",
    scope=Scope.CLUSTER,
    columns=described("deviceclasses", NAME, AGE),
    rules=class_rules,
)
