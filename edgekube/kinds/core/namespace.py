"""v1 Namespace: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind, Scope, Subresource
from edgekube.api.meta import Object, Struct, Time, list_atomic, list_map, zero


class NamespaceSpec(Struct):
    finalizers: Annotated[list[str], list_atomic()] = []


class NamespaceCondition(Struct):
    type: str = zero(str)
    status: str = zero(str)
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class NamespaceStatus(Struct):
    phase: str = ""
    conditions: Annotated[list[NamespaceCondition], list_map("type")] = []


class Namespace(Object):
    spec: NamespaceSpec = zero(NamespaceSpec)
    status: NamespaceStatus = zero(NamespaceStatus)


KIND = Kind(
    type=Namespace,
    group="",
    version="v1",
    name="Namespace",
    plural="namespaces",
    singular="namespace",
    short=("ns",),
    scope=Scope.CLUSTER,
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    has_status=True,
    subresources=(Subresource("finalize", "Namespace", ("update",)),),
)
