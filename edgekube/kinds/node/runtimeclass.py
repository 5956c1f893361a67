"""node.k8s.io/v1 RuntimeClass: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
from edgekube.api.meta import Object, Quantity, Struct, list_atomic, struct_atomic, zero
from edgekube.api.quantity import amount
from edgekube.kinds.columns import AGE, NAME, described
from edgekube.kinds.core.meta_rules import labels
from edgekube.kinds.core.podspec import Toleration


class Overhead(Struct):
    pod_fixed: dict[str, Quantity] = {}


class Scheduling(Struct):
    node_selector: Annotated[dict[str, str], struct_atomic()] = {}
    tolerations: Annotated[list[Toleration], list_atomic()] = []


class RuntimeClass(Object):
    handler: str = zero(str)
    overhead: Overhead | None = None
    scheduling: Scheduling | None = None


def class_rules(runtime_class: RuntimeClass) -> list[FieldError]:
    """The handler is a label; what it costs and where it runs make sense."""
    broken = rules.each("handler", runtime_class.handler, names.dns_label(runtime_class.handler))
    if runtime_class.overhead is not None:
        for name, value in runtime_class.overhead.pod_fixed.items():
            path = f"overhead.podFixed[{name}]"
            broken += rules.each(path, name, names.qualified_name(name))
            if amount(value) < 0:
                broken.append(rules.invalid(path, value, rules.NOT_NEGATIVE))
    if runtime_class.scheduling is not None:
        broken += labels("scheduling.nodeSelector", runtime_class.scheduling.node_selector)
    return broken


def class_update_rules(new: RuntimeClass, old: RuntimeClass) -> list[FieldError]:
    """Running pods were made by it."""
    return rules.same("handler", new.handler, old.handler)


KIND = Kind(
    type=RuntimeClass,
    group="node.k8s.io",
    version="v1",
    name="RuntimeClass",
    plural="runtimeclasses",
    singular="runtimeclass",
    scope=Scope.CLUSTER,
    generation=False,
    allow_unconditional_update=False,
    columns=described("runtimeclasses", NAME, Column("Handler", "string", lambda item, _: item.handler), AGE),
    rules=class_rules,
    update_rules=class_update_rules,
)
