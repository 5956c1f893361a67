"""resource.k8s.io/v1 DeviceClass: its types and rules."""

from __future__ import annotations

from typing import Annotated, Any

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Object, Struct, list_atomic, zero
from edgekube.kinds.columns import AGE, NAME, described


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


KIND = Kind(
    type=DeviceClass,
    group="resource.k8s.io",
    version="v1",
    name="DeviceClass",
    plural="deviceclasses",
    singular="deviceclass",
    scope=Scope.CLUSTER,
    columns=described("deviceclasses", NAME, AGE),
)
