"""How objects point at each other, and how nodes are selected."""

from __future__ import annotations

from typing import Annotated, ClassVar

from edgekube.api.meta import Struct, list_atomic, null, zero


class LocalObjectReference(Struct):
    """An object of the same namespace whose kind is known."""

    ATOMIC: ClassVar[bool] = True
    name: str = ""


class ObjectReference(Struct):
    """Any object, perhaps a field of it."""

    ATOMIC: ClassVar[bool] = True
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""
    resource_version: str = ""
    field_path: str = ""


class SecretReference(Struct):
    """A secret of any namespace."""

    ATOMIC: ClassVar[bool] = True
    name: str = ""
    namespace: str = ""


class TypedLocalObjectReference(Struct):
    """An object of the same namespace, of a kind that is told."""

    ATOMIC: ClassVar[bool] = True
    api_group: str | None = null()
    kind: str = zero(str)
    name: str = zero(str)


class TypedObjectReference(Struct):
    """An object of a kind that is told, perhaps of another namespace."""

    api_group: str | None = null()
    kind: str = zero(str)
    name: str = zero(str)
    namespace: str | None = None


class NodeSelectorRequirement(Struct):
    """One demand on a node's label or field."""

    key: str = zero(str)
    operator: str = zero(str)
    values: Annotated[list[str], list_atomic()] = []


class NodeSelectorTerm(Struct):
    """Demands that must all hold."""

    ATOMIC: ClassVar[bool] = True
    match_expressions: Annotated[list[NodeSelectorRequirement], list_atomic()] = []
    match_fields: Annotated[list[NodeSelectorRequirement], list_atomic()] = []


class NodeSelector(Struct):
    """Alternatives, one of which must hold."""

    ATOMIC: ClassVar[bool] = True
    node_selector_terms: Annotated[list[NodeSelectorTerm] | None, list_atomic()] = null()
