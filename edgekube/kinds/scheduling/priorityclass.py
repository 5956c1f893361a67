"""scheduling.k8s.io/v1 PriorityClass: its types and rules."""

from __future__ import annotations

from edgekube.api import rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
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


SYSTEM_PREFIX = "system-"
USER_HIGHEST = 1_000_000_000
SYSTEM_CLASSES = {"system-node-critical": 2_000_001_000, "system-cluster-critical": 2_000_000_000}
PREEMPTION_POLICIES = ("PreemptLowerPriority", "Never")


def class_rules(priority_class: PriorityClass) -> list[FieldError]:
    """The system's classes are as they are, users' stay below them."""
    name = priority_class.metadata.name
    broken: list[FieldError] = []
    if name.startswith(SYSTEM_PREFIX):
        if SYSTEM_CLASSES.get(name) != priority_class.value:
            words = f"priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: "
            detail = f"{name} is not a known system priority class"
            if name in SYSTEM_CLASSES:
                detail = f"value of {name} PriorityClass must be {SYSTEM_CLASSES[name]}"
            broken.append(rules.forbidden("metadata.name", words + detail))
    elif priority_class.value > USER_HIGHEST:
        words = f"maximum allowed value of a user defined priority is {USER_HIGHEST}"
        broken.append(rules.forbidden("value", words))
    policy = priority_class.preemption_policy
    if policy is not None:
        broken += rules.one_of("preemptionPolicy", policy, PREEMPTION_POLICIES, empty="unsupported")
    return broken


def class_update_rules(new: PriorityClass, old: PriorityClass) -> list[FieldError]:
    """Pods already carry the number."""
    broken: list[FieldError] = []
    if new.value != old.value:
        broken.append(rules.forbidden("value", "may not be changed in an update."))
    return broken + rules.same("preemptionPolicy", new.preemption_policy, old.preemption_policy)


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
    rules=class_rules,
    update_rules=class_update_rules,
)
