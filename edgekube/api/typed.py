"""What the wire documents of a Struct look like, compiled once per type into a tree of nodes.

Patching, apply, strict decoding and error texts all walk plain documents beside this tree; none of them looks at Python
annotations itself. A node knows shapes, Go's names for them and the list semantics of `api.meta.MergeBy`; it knows no document.

Source: the annotations of the kinds; the defaults of list keys are those of upstream's OpenAPI (`protocol: TCP`).
"""

from __future__ import annotations

import typing
from functools import cache, cached_property
from types import NoneType, UnionType
from typing import Annotated, Any

import msgspec

from edgekube.api.meta import MergeBy, MicroTime, Quantity, Time, nothing

STRUCT, MAP, LIST, SCALAR, ANY = "struct", "map", "list", "scalar", "any"
KEY_DEFAULTS: dict[str, Any] = {"protocol": "TCP"}  # the only list keys upstream has defaults for
_GO_SCALARS: dict[Any, str] = {
    str: "string",
    bool: "bool",
    int: "int64",
    float: "float64",
    bytes: "[]uint8",
    Quantity: "resource.Quantity",
    Time: "v1.Time",
    MicroTime: "v1.MicroTime",
}


class Node:
    """One place in a type: a struct, map, list, scalar or anything at all.

    `strategy` and `patch_key` serve strategic merge, `list_type`, `keys` and `atomic` server-side apply. `go_type` is the
    type's name in Go's messages.
    """

    def __init__(self, kind: str, go_type: str, merge: MergeBy | None = None) -> None:
        merge = merge or MergeBy()
        self.kind = kind
        self.go_type = go_type
        self.element: Node | None = None
        self.atomic = merge.map_type == "atomic"
        self.list_type = merge.type or "atomic"
        self.keys = merge.keys
        self.patch_key = merge.patch_key
        self.strategy = merge.strategy
        self.null_by_default = False  # Go writes null for it when it is empty, ours leaves it out
        self.default: Any = None  # what stands for this member when it is a list's key and left out
        self._struct: type[msgspec.Struct] | None = None

    @classmethod
    def of_struct(cls, struct: type[msgspec.Struct], merge: MergeBy | None = None) -> Node:
        """The node of a struct; its members are compiled when first asked for, since types may be recursive."""
        node = cls(STRUCT, f"{_package(struct)}.{struct.__name__}", merge)
        node._struct = struct
        granular = merge is not None and merge.map_type == "granular"
        node.atomic = node.atomic or (getattr(struct, "ATOMIC", False) and not granular)
        return node

    @property
    def name(self) -> str:
        """The struct's name without its package."""
        return self.go_type.rpartition(".")[2]

    @cached_property
    def members(self) -> dict[str, Node] | None:
        """Nodes by wire name; None for everything but structs."""
        return _members(self._struct) if self._struct is not None else None

    @cached_property
    def nulls(self) -> tuple[str, ...]:
        """Members that Go writes as null when they are empty."""
        return tuple(name for name, node in (self.members or {}).items() if node.null_by_default)

    @cached_property
    def sorted_keys(self) -> tuple[str, ...]:
        """The keys of a list in the order they stand in a path element."""
        return tuple(sorted(self.keys))

    @cached_property
    def key_defaults(self) -> dict[str, Any]:
        """For a list of structs: the values of its keys that may be left out."""
        members = (self.element.members if self.element is not None else None) or {}
        return {key: members[key].default for key in self.keys if key in members and members[key].default is not None}


def _package(struct: type[msgspec.Struct]) -> str:
    return "v2" if struct.__module__.endswith("autoscaling.horizontalpodautoscaler") else "v1"


@cache
def node_of(struct: type[msgspec.Struct]) -> Node:
    """The compiled tree of a Struct type."""
    return Node.of_struct(struct)


@cache
def _members(struct: type[msgspec.Struct]) -> dict[str, Node]:
    found: dict[str, Node] = {}
    for field in msgspec.structs.fields(struct):
        node = _compile(field.type, None)
        node.null_by_default = field.default_factory is nothing or (node.kind == LIST and field.default is None)
        node.default = KEY_DEFAULTS.get(field.encode_name)
        found[field.encode_name] = node
    return found


def _compile(annotation: Any, merge: MergeBy | None) -> Node:
    origin = typing.get_origin(annotation)
    if origin is Annotated:
        int32 = False
        for extra in annotation.__metadata__:
            if isinstance(extra, msgspec.Meta):
                merge = merge or (extra.extra or {}).get("merge")
                int32 = int32 or (extra.le == 2**31 - 1)
        node = _compile(annotation.__origin__, merge)
        if int32 and node.kind == SCALAR and node.go_type == "int64":
            node.go_type = "int32"
        return node
    if origin in (UnionType, typing.Union):
        options = [option for option in typing.get_args(annotation) if option is not NoneType]
        if len(options) == 1:
            return _compile(options[0], merge)
        if set(options) == {int, str}:
            return Node(SCALAR, "intstr.IntOrString")
        return _anything(merge)
    if origin is list:
        element = _compile(typing.get_args(annotation)[0], None)
        node = Node(LIST, f"[]{element.go_type}", merge)
        node.element = element
        return node
    if origin is dict:
        element = _compile(typing.get_args(annotation)[1], None)
        node = Node(MAP, f"map[string]{element.go_type}", merge)
        node.element = element
        node.atomic = node.atomic or element.kind == ANY  # raw extensions are owned as a whole
        return node
    if isinstance(annotation, type) and issubclass(annotation, msgspec.Struct):
        return Node.of_struct(annotation, merge)
    if annotation in _GO_SCALARS:
        return Node(SCALAR, _GO_SCALARS[annotation], merge)
    return _anything(merge)


def _anything(merge: MergeBy | None) -> Node:
    node = Node(ANY, "interface {}", merge)
    node.atomic = True
    return node
