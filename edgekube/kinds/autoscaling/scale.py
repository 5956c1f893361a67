"""Types: ScaleSpec, ScaleStatus, Scale."""

from __future__ import annotations

from edgekube.api.meta import Int32, Object, Struct, zero


class ScaleSpec(Struct):
    replicas: Int32 = 0


class ScaleStatus(Struct):
    replicas: Int32 = zero(int)
    selector: str = ""


class Scale(Object):
    spec: ScaleSpec = zero(ScaleSpec)
    status: ScaleStatus = zero(ScaleStatus)
