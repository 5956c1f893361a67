"""v1 Binding: the scheduler's word that a pod belongs on a node. Never stored."""

from __future__ import annotations

from edgekube.api.kind import Kind
from edgekube.api.meta import Object, zero
from edgekube.kinds.core.references import ObjectReference


class Binding(Object):
    target: ObjectReference = zero(ObjectReference)


KIND = Kind(
    type=Binding,
    group="",
    version="v1",
    name="Binding",
    plural="bindings",
    singular="binding",
    verbs=("create",),
    generation=False,
)
