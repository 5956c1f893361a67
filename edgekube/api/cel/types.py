"""The types of CEL: what an expression is said to be before it is evaluated.

Types are compared by what they are; what a schema additionally knows of a value (how many elements it may have, how small it may
be written) rides along for cost estimates and is not compared. Refuses to know values and expressions.

Source: cel-go common/types/types.go and checker/types.go, k8s.io/apiserver pkg/cel/types.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

UNBOUNDED = 2**64 - 1


class Type:
    """One type. `fields` belong to objects: name as an expression says it -> (type, name in the document)."""

    __slots__ = ("fields", "kind", "max_elements", "min_bytes", "name", "params")

    def __init__(
        self,
        kind: str,
        name: str = "",
        params: tuple[Type, ...] = (),
        *,
        fields: Mapping[str, tuple[Type, str]] | None = None,
        max_elements: int | None = None,
        min_bytes: int = 1,
    ) -> None:
        self.kind, self.name, self.params, self.fields = kind, name or kind, params, fields
        self.max_elements, self.min_bytes = max_elements, min_bytes

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if not isinstance(other, Type):
            return NotImplemented
        return self.kind == other.kind and self.name == other.name and self.params == other.params

    def __hash__(self) -> int:
        return hash((self.kind, self.name, self.params))

    def __str__(self) -> str:
        if self.kind in _SHOWN:
            return _SHOWN[self.kind]
        if self.kind == "opaque" and self.name == "optional_type":
            return f"optional_type({self.params[0]})"
        if self.params:
            return f"{self.name}({', '.join(map(str, self.params))})"
        return self.name

    __repr__ = __str__


_SHOWN = {
    "timestamp": "timestamp",
    "duration": "duration",
    "null": "null",
    "error": "!error!",
}

DYN, ERROR, NULL = Type("dyn"), Type("error"), Type("null", "null_type")
BOOL, INT, UINT, DOUBLE = Type("bool"), Type("int"), Type("uint"), Type("double")
STRING, BYTES = Type("string"), Type("bytes")
DURATION, TIMESTAMP = Type("duration", "google.protobuf.Duration"), Type("timestamp", "google.protobuf.Timestamp")
SCALARS = frozenset(("bool", "double", "duration", "int", "timestamp", "uint"))
A, B = Type("param", "A"), Type("param", "B")


def list_of(element: Type, **known: Any) -> Type:
    """list(element)."""
    return Type("list", "list", (element,), **known)


def map_of(key: Type, value: Type, **known: Any) -> Type:
    """map(key, value)."""
    return Type("map", "map", (key, value), **known)


def optional_of(inner: Type) -> Type:
    """optional_type(inner)."""
    return Type("opaque", "optional_type", (inner,))


def type_of(inner: Type) -> Type:
    """The type of a type."""
    return Type("type", "type", (inner,))


def object_of(name: str, fields: Mapping[str, tuple[Type, str]], **known: Any) -> Type:
    """An object with known fields."""
    return Type("object", name, fields=fields, **known)


def object_type(name: str) -> Type:
    """A library's own type that has no fields an expression may see."""
    return Type("object", name, fields={})


def is_dyn(t: Type) -> bool:
    """Whether nothing is known of it before evaluation."""
    return t.kind in ("dyn", "error", "param")


def is_optional(t: Type) -> bool:
    """Whether it is an optional of something."""
    return t.kind == "opaque" and t.name == "optional_type"


def unwrapped(t: Type) -> tuple[Type, bool]:
    """(what an optional holds, True), or (the type, False)."""
    return (t.params[0], True) if is_optional(t) else (t, False)


# ------------------------------------------------------------------------------------------------- unification


class Substitutions:
    """What type parameters have been found to stand for. A failed attempt leaves no trace."""

    __slots__ = ("_found", "_free")

    def __init__(self) -> None:
        self._found: dict[str, Type] = {}
        self._free = 0

    def fresh(self) -> Type:
        """A parameter nothing is known of."""
        self._free += 1
        return Type("param", f"_var{self._free - 1}")

    def applied(self, t: Type, *, to_dyn: bool = False) -> Type:
        """The type with what is known put in; what is not becomes dyn if asked."""
        if t.kind == "param":
            if (found := self._found.get(t.name)) is not None:
                return self.applied(found, to_dyn=to_dyn)
            return DYN if to_dyn else t
        if not t.params:
            return t
        params = tuple([self.applied(one, to_dyn=to_dyn) for one in t.params])
        if all(new is old for new, old in zip(params, t.params, strict=True)):
            return t
        return Type(t.kind, t.name, params, max_elements=t.max_elements, min_bytes=t.min_bytes)

    def assignable(self, pairs: list[tuple[Type, Type]]) -> bool:
        """Whether each first can stand where the second is wanted; parameters are bound as needed."""
        before = dict(self._found)
        if all(self._assignable(given, wanted) for given, wanted in pairs):
            return True
        self._found = before
        return False

    def _assignable(self, one: Type, other: Type) -> bool:
        if other.kind == "param":
            valid, known = self._binds(one, other)
            if valid or known:
                return valid
        if one.kind == "param":
            return self._binds(other, one)[0]
        if one.kind in ("dyn", "error") or other.kind in ("dyn", "error"):
            return True
        if one.kind == "null":
            return _takes_null(other)
        if other.kind == "null":
            return _takes_null(one)
        if one.kind != other.kind:
            return False
        if one.kind in ("opaque", "list", "map"):
            if one.name != other.name or len(one.params) != len(other.params):
                return False
            return all(self._assignable(a, b) for a, b in zip(one.params, other.params, strict=True))
        return one.kind == "type" or one.name == other.name

    def _binds(self, one: Type, param: Type) -> tuple[bool, bool]:
        """(whether the parameter may stand for the type, whether it already stood for something)."""
        if one == param:
            return True, True
        bound = self._found.get(param.name)
        if bound is None:
            if not self._within(param, one):
                self._found[param.name] = one
                return True, False
            return False, False
        if one == bound:
            return True, True
        if not self._assignable(one, bound):
            return False, True
        general = one if less_specific(one, bound) else bound
        if not self._within(param, general):
            self._found[param.name] = general
        return True, True

    def _within(self, param: Type, t: Type) -> bool:
        if t.kind == "param":
            if t.name == param.name:
                return True
            bound = self._found.get(t.name)
            return bound is not None and self._within(param, bound)
        return any(self._within(param, one) for one in t.params)


def _takes_null(t: Type) -> bool:
    return t.kind in ("opaque", "object", "duration", "timestamp", "null")


def less_specific(one: Type, other: Type) -> bool:
    """Whether the first says no more than the second."""
    if one.kind in ("dyn", "param"):
        return True
    if other.kind in ("dyn", "param") or one.kind != other.kind:
        return False
    if one.kind in ("opaque", "list", "map"):
        if one.name != other.name or len(one.params) != len(other.params):
            return False
        return all(less_specific(a, b) for a, b in zip(one.params, other.params, strict=True))
    return one.kind == "type" or one == other
