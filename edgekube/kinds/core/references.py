"""Types shared by several kinds: LocalObjectReference, ObjectReference, SecretReference, TypedLocalObjectReference, TypedObjectReference, NodeSelectorRequirement and what they hold."""

from __future__ import annotations

from typing import Annotated, ClassVar

from edgekube.api.meta import Struct, list_atomic, zero


class LocalObjectReference(Struct):
    ATOMIC: ClassVar[bool] = True
    name: str = ""


class ObjectReference(Struct):
    ATOMIC: ClassVar[bool] = True
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""
    resource_version: str = ""
    field_path: str = ""


class SecretReference(Struct):
    ATOMIC: ClassVar[bool] = True
    name: str = ""
    namespace: str = ""


class TypedLocalObjectReference(Struct):
    ATOMIC: ClassVar[bool] = True
    api_group: str | None = None
    kind: str = zero(str)
    name: str = zero(str)


class TypedObjectReference(Struct):
    api_group: str | None = None
    kind: str = zero(str)
    name: str = zero(str)
    namespace: str | None = None


class NodeSelectorRequirement(Struct):
    key: str = zero(str)
    operator: str = zero(str)
    values: Annotated[list[str], list_atomic()] = []


class NodeSelectorTerm(Struct):
    ATOMIC: ClassVar[bool] = True
    match_expressions: Annotated[list[NodeSelectorRequirement], list_atomic()] = []
    match_fields: Annotated[list[NodeSelectorRequirement], list_atomic()] = []


class NodeSelector(Struct):
    ATOMIC: ClassVar[bool] = True
    node_selector_terms: Annotated[list[NodeSelectorTerm] | None, list_atomic()] = None
