"""scheduling.k8s.io/v1 PriorityClass: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Column, Kind, Scope
from edgekube.api.meta import Int32, Object, zero
from edgekube.kinds.columns import AGE, NAME, described


class PriorityClass(Object):
    value: Int32 = zero(int)
    global_default: bool = False
    description: str = ""
    preemption_policy: str | None = None


def default(priority_class: PriorityClass) -> None:
    """Pods of a class preempt lower ones."""
    if priority_class.preemption_policy is None:
        priority_class.preemption_policy = "PreemptLowerPriority"


KIND = Kind(
    type=PriorityClass,
    group="scheduling.k8s.io",
    version="v1",
    name="PriorityClass",
    plural="priorityclasses",
    singular="priorityclass",
    short=("pc",),
    scope=Scope.CLUSTER,
    default=default,
    columns=described(
        "priorityclasses",
        NAME,
        Column("Value", "integer", lambda item, _: item.value),
        Column("Global-Default", "boolean", lambda item, _: item.global_default),
        AGE,
        Column("PreemptionPolicy", "string", lambda item, _: item.preemption_policy or ""),
    ),
)
