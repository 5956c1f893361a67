"""Expressions at work: a checked tree becomes closures over a frame of values.

Every variable has a slot in the frame; slot 0 holds what is left of the budget. Where types are known the closure is the plain
operation; where they are not, overloads are told apart by the values at hand. Folds run as loops of their own shape.

Costs: a call to evaluate pays for all nodes outside of folds at once, each round of a fold for the nodes of its body, functions whose
work grows with their arguments for that. This is upstream's count up to what short circuits save.

Source: cel-go interpreter/planner.go, interpreter/interpretable.go, interpreter/runtimecost.go.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgekube.api.cel import core, types
from edgekube.api.cel.ast import Call, Comprehension, Ident, ListOf, Literal, MapOf, Node, Select, Struct
from edgekube.api.cel.declarations import Overload
from edgekube.api.cel.errors import CelError, CostExceeded
from edgekube.api.cel.folds import EXCEEDED, FOLDS, Frame, Run, rounds_of, spend
from edgekube.api.cel.values import NONE, Optional, TypeValue, equal
from edgekube.api.cel.values import Struct as StructValue

_PLAIN = frozenset(("bool", "int", "string"))  # types whose values Python compares as CEL does
_ABSENT: Any = object()


class Compiler:
    """Makes closures. `slots` says where variables are; it grows as folds need more."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self.slots = {name: at + 1 for at, name in enumerate(variables)}
        self.width = len(self.slots) + 1

    def compiled(self, node: Node) -> Run:
        """The closure of a node."""
        made: Callable[[Any], Run] = _MAKERS[node.__class__].__get__(self)
        return made(node)

    # ---- leaves

    def _literal(self, node: Literal) -> Run:
        value = node.value
        return lambda _: value

    def _ident(self, node: Ident) -> Run:
        slot = self.slots.get(node.name)
        if slot is None:
            value = TypeValue(node.type.params[0].name if node.type.params else node.name)
            return lambda _: value
        name = node.name

        def find(frame: Frame) -> Any:
            value = frame[slot]
            if value is _ABSENT:
                raise CelError(f"no such attribute(s): {name}")
            if value.__class__ is CelError:
                raise value
            return value

        return find

    # ---- selection

    def _select(self, node: Select) -> Run:
        operand, field = self.compiled(node.operand), node.field
        target = types.unwrapped(node.operand.type)[0]
        if target.kind == "object" and target.fields is not None and field in target.fields:
            field = target.fields[field][1]
        if node.test:
            return _presence(operand, field)
        if node.optional or types.is_optional(node.operand.type):
            return lambda frame: _optional_field(operand(frame), field)

        def select(frame: Frame) -> Any:
            value = operand(frame)
            try:
                return value[field]
            except KeyError:
                raise CelError(f"no such key: {field}") from None
            except (TypeError, AttributeError):
                if isinstance(value, Optional):
                    return _optional_field(value, field)
                raise CelError("no such overload" if value is not None else f"no such key: {field}") from None

        return select

    # ---- calls

    def _call(self, node: Call) -> Run:
        special = _SPECIAL.get(node.function)
        if special is not None and node.target is None:
            return special(self, node)
        if node.function in ("or", "orValue") and node.target is not None:
            return self._or_value(node)
        parts = [self.compiled(one) for one in ([node.target] if node.target is not None else []) + node.args]
        given = [one.type for one in ([node.target] if node.target is not None else []) + node.args]
        if len(node.overloads) == 1 and not any(_unsure(one) for one in given):
            return _direct(node.overloads[0], parts)
        return _dispatching(node.overloads, parts)

    def _and(self, node: Call) -> Run:
        left, right = self.compiled(node.args[0]), self.compiled(node.args[1])

        def both(frame: Frame) -> Any:
            try:
                value = left(frame)
            except CostExceeded:
                raise
            except CelError:
                if right(frame) is False:
                    return False
                raise
            if value is False:
                return False
            other = right(frame)
            if other is False or (value is True and other is True):
                return other
            raise CelError("no such overload")

        return both

    def _or(self, node: Call) -> Run:
        left, right = self.compiled(node.args[0]), self.compiled(node.args[1])

        def either(frame: Frame) -> Any:
            try:
                value = left(frame)
            except CostExceeded:
                raise
            except CelError:
                if right(frame) is True:
                    return True
                raise
            if value is True:
                return True
            other = right(frame)
            if other is True or (value is False and other is False):
                return other
            raise CelError("no such overload")

        return either

    def _conditional(self, node: Call) -> Run:
        condition, yes, no = (self.compiled(one) for one in node.args)

        def choose(frame: Frame) -> Any:
            value = condition(frame)
            if value is True:
                return yes(frame)
            if value is False:
                return no(frame)
            raise CelError("no such overload")

        return choose

    def _equals(self, node: Call) -> Run:
        left, right = self.compiled(node.args[0]), self.compiled(node.args[1])
        plain = node.args[0].type.kind in _PLAIN and node.args[0].type.kind == node.args[1].type.kind
        if node.function == "_==_":
            if plain:
                return lambda frame: left(frame) == right(frame)
            return lambda frame: equal(left(frame), right(frame))
        if plain:
            return lambda frame: left(frame) != right(frame)
        return lambda frame: not equal(left(frame), right(frame))

    def _or_value(self, node: Call) -> Run:
        assert node.target is not None
        optional, other = self.compiled(node.target), self.compiled(node.args[0])
        whole = node.function == "or"

        def choose(frame: Frame) -> Any:
            value = optional(frame)
            if not isinstance(value, Optional):
                raise CelError("no such overload")
            if value.present:
                return value if whole else value.held
            return other(frame)

        return choose

    # ---- what is put together

    def _list(self, node: ListOf) -> Run:
        items = [self.compiled(one) for one in node.items]
        optional = node.optional
        if not optional:
            return lambda frame: [one(frame) for one in items]

        def build(frame: Frame) -> list[Any]:
            out = []
            for at, one in enumerate(items):
                value = one(frame)
                if at not in optional:
                    out.append(value)
                elif not isinstance(value, Optional):
                    raise CelError("no such overload")
                elif value.present:
                    out.append(value.held)
            return out

        return build

    def _map(self, node: MapOf) -> Run:
        entries = [(self.compiled(key), self.compiled(value), optional) for key, value, optional in node.entries]

        def build(frame: Frame) -> dict[Any, Any]:
            out: dict[Any, Any] = {}
            for key, value, optional in entries:
                name, held = key(frame), value(frame)
                if optional:
                    if not isinstance(held, Optional):
                        raise CelError("no such overload")
                    if not held.present:
                        continue
                    held = held.held
                if isinstance(name, float | list | dict) or name is None:
                    raise CelError("unsupported key type")
                if name in out:
                    raise CelError(f"Failed with repeated key: {core.key_text(name)}")
                out[name] = held
            return out

        return build

    def _struct(self, node: Struct) -> Run:
        known = node.type.fields or {}
        fields = [
            (known[name][1] if name in known else name, self.compiled(value), optional)
            for _, name, value, optional in node.fields
        ]
        name = node.name

        def build(frame: Frame) -> StructValue:
            out: dict[str, Any] = {}
            for field, value, optional in fields:
                held = value(frame)
                if optional:
                    if not held.present:
                        continue
                    held = held.held
                out[field] = held
            return StructValue(name, out)

        return build

    # ---- folds

    def _comprehension(self, node: Comprehension) -> Run:
        if node.shape == "bind":
            return self._bind(node)
        over = self.compiled(node.over)
        outer = dict(self.slots)
        first, second = self.width, self.width + 1
        self.width += 2
        self.slots[node.variable] = first
        if node.variable2:
            self.slots[node.variable2] = second
        body = self.compiled(node.body)
        keep = self.compiled(node.keep) if node.keep is not None else None
        self.slots = outer
        price = weight(node.body) + (weight(node.keep) if node.keep is not None else 0) + 2
        rounds = rounds_of(over, first, second if node.variable2 else 0, price)
        return FOLDS[node.shape](rounds, body, keep)

    def _bind(self, node: Comprehension) -> Run:
        value = self.compiled(node.init)
        outer = dict(self.slots)
        slot = self.slots[node.accu] = self.width
        self.width += 1
        body = self.compiled(node.result)
        self.slots = outer

        def run(frame: Frame) -> Any:
            frame[slot] = value(frame)
            return body(frame)

        return run


# ------------------------------------------------------------------------------------------------- selection


def _presence(operand: Run, field: str) -> Run:
    def test(frame: Frame) -> bool:
        value = operand(frame)
        if isinstance(value, Optional):
            return value.present and isinstance(value.held, dict) and field in value.held
        if isinstance(value, dict):
            return field in value
        raise CelError("no such overload" if value is not None else f"no such key: {field}")

    return test


def _optional_field(value: Any, field: str) -> Optional:
    if isinstance(value, Optional):
        if not value.present:
            return NONE
        value = value.held
    if isinstance(value, dict):
        return Optional(value[field]) if field in value else NONE
    if value is None:
        return NONE
    raise CelError("no such overload")


# ------------------------------------------------------------------------------------------------- calls


def _unsure(t: types.Type) -> bool:
    return t.kind in ("dyn", "error", "param", "null")


def _direct(overload: Overload, parts: list[Run]) -> Run:
    call, charge = overload.call, overload.charge
    if charge is not None:

        def charged(frame: Frame) -> Any:
            values = [one(frame) for one in parts]
            frame[0] -= charge(*values)
            if frame[0] < 0:
                raise CostExceeded(EXCEEDED)
            return call(*values)

        return charged
    if len(parts) == 1:
        only = parts[0]
        return lambda frame: call(only(frame))
    if len(parts) == 2:
        one, other = parts
        return lambda frame: call(one(frame), other(frame))
    return lambda frame: call(*[part(frame) for part in parts])


def _dispatching(overloads: list[Overload], parts: list[Run]) -> Run:
    choices = [(one.tests, one.call, one.charge) for one in overloads]

    def choose(frame: Frame) -> Any:
        values = [one(frame) for one in parts]
        for tests, call, charge in choices:
            for test, value in zip(tests, values, strict=True):
                if test is not None and not test(value):
                    break
            else:
                if charge is not None:
                    spend(frame, charge(*values))
                return call(*values)
        raise CelError("no such overload")

    return choose


_MAKERS: dict[type[Node], Any] = {
    Literal: Compiler._literal,
    Ident: Compiler._ident,
    Select: Compiler._select,
    Call: Compiler._call,
    ListOf: Compiler._list,
    MapOf: Compiler._map,
    Struct: Compiler._struct,
    Comprehension: Compiler._comprehension,
}
_SPECIAL: dict[str, Callable[[Compiler, Call], Run]] = {
    "_&&_": Compiler._and,
    "_||_": Compiler._or,
    "_?_:_": Compiler._conditional,
    "_==_": Compiler._equals,
    "_!=_": Compiler._equals,
}


def weight(node: Node) -> int:
    """What the nodes of a tree cost once, folds left out but for what they start from."""
    if isinstance(node, Comprehension):
        return 1 + weight(node.over)
    own = 0 if isinstance(node, Literal) else 1
    if isinstance(node, Select):
        return own + weight(node.operand)
    if isinstance(node, Call):
        return own + sum(map(weight, node.args)) + (weight(node.target) if node.target is not None else 0)
    if isinstance(node, ListOf):
        return 10 + sum(map(weight, node.items))
    if isinstance(node, MapOf):
        return 30 + sum(weight(key) + weight(value) for key, value, _ in node.entries)
    if isinstance(node, Struct):
        return 40 + sum(weight(value) for _, _, value, _ in node.fields)
    return own
