"""autoscaling/v1 Scale: how many replicas something has, whatever its kind; the body of every `scale` subresource."""

from __future__ import annotations

from edgekube.api.kind import Kind
from edgekube.api.meta import Int32, Object, Struct, zero


class ScaleSpec(Struct):
    replicas: Int32 = 0


class ScaleStatus(Struct):
    replicas: Int32 = zero(int)
    selector: str = ""


class Scale(Object):
    spec: ScaleSpec = zero(ScaleSpec)
    status: ScaleStatus = zero(ScaleStatus)


KIND = Kind(
    type=Scale,
    group="autoscaling",
    version="v1",
    name="Scale",
    plural="scales",
    singular="scale",
    verbs=(),
    generation=False,
)
