"""scheduling.k8s.io/v1 PriorityClass: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Int32, Object, zero


class PriorityClass(Object):
    value: Int32 = zero(int)
    global_default: bool = False
    description: str = ""
    preemption_policy: str | None = None


KIND = Kind(
    type=PriorityClass,
    group="scheduling.k8s.io",
    version="v1",
    name="PriorityClass",
    plural="priorityclasses",
    singular="priorityclass",
    short=("pc",),
    scope=Scope.CLUSTER,
)
