"""autoscaling/v1 Scale: how many replicas something has, whatever its kind; the body of every `scale` subresource."""

from __future__ import annotations

from edgekube.api import rules
from edgekube.api.kind import FieldError, Kind
from edgekube.api.meta import Int32, Object, Struct, zero


class ScaleSpec(Struct):
    replicas: Int32 = 0


class ScaleStatus(Struct):
    replicas: Int32 = zero(int)
    selector: str = ""


class Scale(Object):
    spec: ScaleSpec = zero(ScaleSpec)
    status: ScaleStatus = zero(ScaleStatus)


def scale_rules(scale: Scale) -> list[FieldError]:
    """Not fewer than none."""
    return rules.not_negative("spec.replicas", scale.spec.replicas)


KIND = Kind(
    type=Scale,
    group="autoscaling",
    version="v1",
    name="Scale",
    plural="scales",
    singular="scale",
    verbs=(),
    generation=False,
    rules=scale_rules,
)
