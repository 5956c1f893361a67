"""Macros: calls that stand for folds over lists and maps, and has().

Each becomes the fold upstream's parser makes of it, so that types and costs come out the same; its shape is kept beside, so that
evaluation needs no fold.

Source: cel-go parser/macro.go and ext/comprehensions.go; cel/library.go for optMap and optFlatMap.
"""

from __future__ import annotations

from edgekube.api.cel.ast import Call, Comprehension, Ident, ListOf, Literal, MapOf, Node, Select

ACCUMULATOR, OLD_ACCUMULATOR, SORTED = "@result", "__result__", "@__sortBy_input__"
_QUANTIFIERS = {"all": "all", "exists": "exists", "exists_one": "exists_one", "existsOne": "exists_one"}
_TRANSFORMS = ("transformList", "transformMap", "transformMapEntry")


class Misused(Exception):
    """A macro with arguments it cannot have."""

    def __init__(self, at: int, words: str) -> None:
        super().__init__(words)
        self.at, self.words = at, words


def expanded(at: int, function: str, target: Node | None, args: list[Node]) -> Node | None:
    """What a call stands for, or None if it is just a call. Raises Misused."""
    count = len(args)
    if target is None:
        if function == "has" and count == 1:
            asked = args[0]
            if not isinstance(asked, Select) or asked.test or asked.optional:
                raise Misused(asked.at, "invalid argument to has() macro")
            return Select(at, asked.operand, asked.field, test=True)
        return None
    if function in _QUANTIFIERS and count in (2, 3):
        return _quantifier(at, _QUANTIFIERS[function], target, args)
    if function == "map" and count in (2, 3):
        return _mapped(at, target, _name(args[0], "argument is not an identifier"), "", args[1:])
    if function == "filter" and count == 2:
        name = _name(args[0], "argument is not an identifier")
        return _mapped(at, target, name, "", [args[1], Ident(args[0].at, name)])
    if function in _TRANSFORMS and count in (3, 4):
        return _transformed(at, function, target, args)
    if function in ("optMap", "optFlatMap") and count == 2:
        return _optional(at, function, target, args)
    return _sorted(at, target, args) if function == "sortBy" and count == 2 else None


def _name(node: Node, words: str) -> str:
    if not isinstance(node, Ident):
        raise Misused(node.at, words)
    if node.name in (ACCUMULATOR, OLD_ACCUMULATOR):
        raise Misused(node.at, "iteration variable overwrites accumulator variable")
    return node.name


def _two_names(args: list[Node]) -> tuple[str, str]:
    for node in args[:2]:
        if not isinstance(node, Ident):
            raise Misused(node.at, "argument must be a simple name")
    one, other = (node.name for node in args[:2] if isinstance(node, Ident))
    if one == other:
        raise Misused(args[1].at, f"duplicate variable name: {one}")
    words = "argument must be a simple name"
    return _name(args[0], words), _name(args[1], words)


def _quantifier(at: int, shape: str, target: Node, args: list[Node]) -> Node:
    words = "argument must be a simple name"
    names = _two_names(args) if len(args) == 3 else (_name(args[0], words), "")
    body = args[-1]

    def accu() -> Node:
        return Ident(at, ACCUMULATOR)

    fold = Comprehension(at, shape, target, *names, body, None)
    fold.result = accu()
    if shape == "all":
        fold.init = Literal(at, True)
        fold.condition = Call(at, "@not_strictly_false", [accu()])
        fold.step = Call(at, "_&&_", [accu(), body])
    elif shape == "exists":
        fold.init = Literal(at, False)
        fold.condition = Call(at, "@not_strictly_false", [Call(at, "!_", [accu()])])
        fold.step = Call(at, "_||_", [accu(), body])
    else:
        fold.init, fold.condition = Literal(at, 0), Literal(at, True)
        fold.step = Call(at, "_?_:_", [body, Call(at, "_+_", [accu(), Literal(at, 1)]), accu()])
        fold.result = Call(at, "_==_", [accu(), Literal(at, 1)])
    return fold


def _mapped(at: int, target: Node, name: str, name2: str, args: list[Node], shape: str = "list") -> Node:
    """`args`: (what to take of an element), or (which elements, what to take)."""
    keep, body = (args[0], args[1]) if len(args) == 2 else (None, args[0])

    def accu() -> Node:
        return Ident(at, ACCUMULATOR)

    fold = Comprehension(at, shape, target, name, name2, body, keep)
    fold.condition, fold.result = Literal(at, True), accu()
    if shape == "list":
        fold.init = ListOf(at, [])
        fold.step = Call(at, "_+_", [accu(), ListOf(at, [body])])
    else:
        fold.init = MapOf(at, [])
        inserted = [accu(), body] if shape == "entries" else [accu(), Ident(at, name), body]
        fold.step = Call(at, "cel.@mapInsert", inserted)
    if keep is not None:
        fold.step = Call(at, "_?_:_", [keep, fold.step, accu()])
    return fold


def _transformed(at: int, function: str, target: Node, args: list[Node]) -> Node:
    shape = {"transformList": "list", "transformMap": "map", "transformMapEntry": "entries"}[function]
    return _mapped(at, target, *_two_names(args), args[2:], shape)


def _optional(at: int, function: str, target: Node, args: list[Node]) -> Node:
    """target.optMap(v, e): optional.of(e) with v the value there is, or optional.none()."""
    name = _name(args[0], f"{function}() variable name must be a simple identifier")
    inner: Node = args[1]
    bound = _bound(at, name, Call(at, "value", [], target), inner)
    held: Node = bound if function == "optFlatMap" else Call(at, "optional.of", [bound])
    return Call(at, "_?_:_", [Call(at, "hasValue", [], target), held, Call(at, "optional.none", [])])


def _sorted(at: int, target: Node, args: list[Node]) -> Node:
    """target.sortBy(v, key): sorted by a list of keys that is made first."""
    if not isinstance(args[0], Ident):
        raise Misused(
            args[0].at, "sortBy can only be applied to a list, identifier, comprehension, call or select expression"
        )
    keys = _mapped(at, Ident(at, SORTED), args[0].name, "", [args[1]])
    return _bound(at, SORTED, target, Call(at, "@sortByAssociatedKeys", [keys], Ident(at, SORTED)))


def _bound(at: int, name: str, value: Node, inner: Node) -> Comprehension:
    """`inner`, in which a name stands for a value: a fold over nothing."""
    made = Comprehension(at, "bind", ListOf(at, []), "#unused", "", inner, None)
    made.accu, made.init = name, value
    made.condition, made.step, made.result = Literal(at, False), Ident(at, name), inner
    return made
