"""The tree of an expression. Nodes know where they stand in the text; the checker writes types and overloads into them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekube.api.cel.types import DYN, Type

if TYPE_CHECKING:
    from edgekube.api.cel.declarations import Overload


class Node:
    """One expression."""

    __slots__ = ("at", "type")

    def __init__(self, at: int) -> None:
        self.at = at
        self.type: Type = DYN


class Literal(Node):
    """A constant: bool, int, Uint, float, str, bytes or None."""

    __slots__ = ("value",)

    def __init__(self, at: int, value: Any) -> None:
        super().__init__(at)
        self.value = value


class Ident(Node):
    """A name."""

    __slots__ = ("name",)

    def __init__(self, at: int, name: str) -> None:
        super().__init__(at)
        self.name = name


class Select(Node):
    """operand.field; with `test`, has(operand.field); with `optional`, operand.?field."""

    __slots__ = ("field", "operand", "optional", "test")

    def __init__(self, at: int, operand: Node, field: str, *, test: bool = False, optional: bool = False) -> None:
        super().__init__(at)
        self.operand, self.field, self.test, self.optional = operand, field, test, optional


class Call(Node):
    """function(args), or target.function(args)."""

    __slots__ = ("args", "function", "overloads", "target")

    def __init__(self, at: int, function: str, args: list[Node], target: Node | None = None) -> None:
        super().__init__(at)
        self.function, self.args, self.target = function, args, target
        self.overloads: list[Overload] = []


class ListOf(Node):
    """[a, ?b]: elements, and which of them are optional."""

    __slots__ = ("items", "optional")

    def __init__(self, at: int, items: list[Node], optional: frozenset[int] = frozenset()) -> None:
        super().__init__(at)
        self.items, self.optional = items, optional


class MapOf(Node):
    """{key: value, ?key: value}."""

    __slots__ = ("entries",)

    def __init__(self, at: int, entries: list[tuple[Node, Node, bool]]) -> None:
        super().__init__(at)
        self.entries = entries


class Struct(Node):
    """Name{field: value}; each field with its place."""

    __slots__ = ("fields", "name")

    def __init__(self, at: int, name: str, fields: list[tuple[int, str, Node, bool]]) -> None:
        super().__init__(at)
        self.name, self.fields = name, fields


class Comprehension(Node):
    """A macro over a list or a map, as the fold it stands for. `shape` says which macro it was: all, exists, exists_one, list, map;
    `body` what it asks of each element, `keep` which elements it takes."""

    __slots__ = (
        "accu",
        "body",
        "condition",
        "init",
        "keep",
        "over",
        "result",
        "shape",
        "step",
        "variable",
        "variable2",
    )

    def __init__(self, at: int, shape: str, over: Node, variable: str, variable2: str, body: Node, keep: Node | None):
        super().__init__(at)
        self.shape, self.over, self.variable, self.variable2, self.body, self.keep = (
            shape, over, variable, variable2, body, keep,
        )  # fmt: skip
        self.accu = "@result"
        self.init: Node
        self.condition: Node
        self.step: Node
        self.result: Node
