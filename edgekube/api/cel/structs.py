"""Built-in kinds as types of CEL: what a check of a policy's expressions knows of the objects it is about.

Source: k8s.io/apiserver pkg/cel/common/schemas.go over the OpenAPI of built-in kinds.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from edgekube.api import typed
from edgekube.api.cel import types
from edgekube.api.cel.types import Type
from edgekube.api.schema_types import escaped
from edgekube.api.typed import Node

_SCALARS = {
    "string": types.STRING, "bool": types.BOOL, "int32": types.INT, "int64": types.INT, "int": types.INT,
    "float64": types.DOUBLE, "v1.Time": types.TIMESTAMP, "v1.MicroTime": types.TIMESTAMP, "resource.Quantity": types.STRING,
    "v1.Duration": types.STRING, "[]uint8": types.BYTES, "[]byte": types.BYTES,
}  # fmt: skip
_MOST_STRUCTS = 256


class _Fields(Mapping[str, tuple[Type, str]]):
    """The members of a struct, made when asked for: types may hold themselves."""

    def __init__(self, members: Mapping[str, Node]) -> None:
        self._members = {said: (name, node) for name, node in members.items() if (said := escaped(name)) is not None}

    def __getitem__(self, name: str) -> tuple[Type, str]:
        wire, node = self._members[name]
        return type_of(node), wire

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


@lru_cache(maxsize=_MOST_STRUCTS)
def _struct(node: Node) -> Type:
    return types.object_of(node.go_type, _Fields(node.members or {}))


def type_of(node: Node) -> Type:
    """The type of one place in a built-in kind."""
    if node.kind == typed.STRUCT:
        return _struct(node)
    if node.kind == typed.LIST and node.element is not None:
        return types.list_of(type_of(node.element))
    if node.kind == typed.MAP and node.element is not None:
        return types.map_of(types.STRING, type_of(node.element))
    return _SCALARS.get(node.go_type, types.DYN) if node.kind == typed.SCALAR else types.DYN
