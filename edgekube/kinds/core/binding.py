"""v1 Binding: the scheduler's word that a pod belongs on a node. Never stored."""

from __future__ import annotations

from edgekube.api import rules
from edgekube.api.kind import FieldError, Kind
from edgekube.api.meta import Object, zero
from edgekube.kinds.core.references import ObjectReference


class Binding(Object):
    """A pod (by the object's name) and the node it goes to."""

    target: ObjectReference = zero(ObjectReference)


def broken_rules(binding: Binding) -> list[FieldError]:
    """The target is a node, and named."""
    broken: list[FieldError] = []
    if binding.target.kind not in ("", "Node"):
        broken.append(rules.not_supported("target.kind", binding.target.kind, ("Node", "<empty>")))
    if not binding.target.name:
        broken.append(rules.required("target.name"))
    return broken


KIND = Kind(
    type=Binding,
    group="",
    version="v1",
    name="Binding",
    plural="bindings",
    singular="binding",
    verbs=("create",),
    generation=False,
    rules=broken_rules,
)
