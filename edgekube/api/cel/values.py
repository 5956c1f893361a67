"""Values while expressions are evaluated, and what is the same between them.

JSON stands for itself (dict, list, str, bool, int, float, None), so that a document is evaluated without being converted first.
What JSON lacks has a type here. Cross-type numbers compare by value; bool is no number.

Source: cel-go common/types, k8s.io/apiserver pkg/cel/common/{valuesunstructured,maplist,equality}.go.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from edgekube.api.cel.errors import CelError

INT_MIN, INT_MAX, UINT_MAX = -(2**63), 2**63 - 1, 2**64 - 1
SECOND_NS = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
FIRST_NS, LAST_NS = -62_135_596_800 * SECOND_NS, 253_402_300_800 * SECOND_NS - 1


class Uint(int):
    """An unsigned 64-bit integer."""

    __slots__ = ()


class Duration:
    """A span of time, in nanoseconds."""

    __slots__ = ("ns",)

    def __init__(self, ns: int) -> None:
        if not INT_MIN <= ns <= INT_MAX:
            raise CelError("duration overflow")
        self.ns = ns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Duration) and self.ns == other.ns

    def __hash__(self) -> int:
        return hash(("duration", self.ns))


class Timestamp:
    """A moment, in nanoseconds since 1970."""

    __slots__ = ("ns",)

    def __init__(self, ns: int) -> None:
        if not FIRST_NS <= ns <= LAST_NS:
            raise CelError("timestamp overflow")
        self.ns = ns

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Timestamp) and self.ns == other.ns

    def __hash__(self) -> int:
        return hash(("timestamp", self.ns))

    def at(self, zone: Any = UTC) -> datetime:
        """As a date and a time of day; without what is under a microsecond."""
        return (_EPOCH + timedelta(microseconds=self.ns // 1000)).astimezone(zone)


class Optional:
    """A value that may be absent."""

    __slots__ = ("held", "present")

    def __init__(self, held: Any = None, *, present: bool = True) -> None:
        self.held, self.present = held, present

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Optional) or self.present is not other.present:
            return False
        return not self.present or equal(self.held, other.held)

    __hash__ = None  # type: ignore[assignment]


NONE = Optional(present=False)


class Opaque:
    """A library's own value: compared by `mark`, of the type called `NAME`."""

    NAME: ClassVar[str] = ""
    __slots__ = ("mark",)

    def __init__(self, mark: Any) -> None:
        self.mark = mark

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and bool(self.mark == other.mark)

    def __hash__(self) -> int:
        return hash((self.NAME, self.mark))


class TypeValue(Opaque):
    """The type of a value, as type(x) gives it."""

    NAME = "type"
    __slots__ = ()


class Struct(dict[str, Any]):
    """An object that an expression made: Name{...}."""

    __slots__ = ("name",)

    def __init__(self, name: str, fields: dict[str, Any]) -> None:
        super().__init__(fields)
        self.name = name


class SetList(list[Any]):
    """A list whose order does not matter."""

    __slots__ = ()

    def __add__(self, other: list[Any]) -> SetList:
        out = SetList(self)
        out.extend(one for one in other if not any(equal(one, present) for present in self))
        return out


class KeyedList(list[Any]):
    """A list of objects told apart by `keys`, whose order does not matter."""

    __slots__ = ("keys",)

    def __init__(self, items: Any, keys: tuple[str, ...]) -> None:
        super().__init__(items)
        self.keys = keys

    def key_of(self, item: Any) -> tuple[Any, ...]:
        """What tells an element apart."""
        return tuple(repr(item.get(key)) for key in self.keys) if isinstance(item, dict) else ()

    def __add__(self, other: list[Any]) -> KeyedList:
        out = list(self)
        places = {self.key_of(item): at for at, item in enumerate(self)}
        for item in other:
            at = places.get(self.key_of(item))
            if at is None:
                out.append(item)
            else:
                out[at] = item
        return KeyedList(out, self.keys)


# ------------------------------------------------------------------------------------------------- sameness and order


def equal(left: Any, right: Any) -> bool:
    """Whether two values are the same."""
    one, other = left.__class__, right.__class__
    if one is other:
        if one is str or one is int or one is bool:
            return bool(left == right)
        if one is list:
            return len(left) == len(right) and all(map(equal, left, right))
        if one is dict or one is Struct:
            return _equal_maps(left, right)
        if one is SetList:
            return len(left) == len(right) and all(any(equal(a, b) for b in right) for a in left)
        if one is KeyedList:
            return _equal_keyed(left, right)
        return bool(left == right)
    if one is bool or other is bool:
        return False
    if isinstance(left, int | float) and isinstance(right, int | float):
        return left == right
    if isinstance(left, SetList | KeyedList):
        return isinstance(right, list) and equal(left, _like(left, right))
    if isinstance(right, SetList | KeyedList):
        return isinstance(left, list) and equal(_like(right, left), right)
    if isinstance(left, dict) and isinstance(right, dict):
        return _equal_maps(left, right)
    return False


def _like(kind: Any, items: list[Any]) -> list[Any]:
    return SetList(items) if isinstance(kind, SetList) else KeyedList(items, kind.keys)


def _equal_maps(left: dict[Any, Any], right: dict[Any, Any]) -> bool:
    if len(left) != len(right):
        return False
    return all(key in right and equal(value, right[key]) for key, value in left.items())


def _equal_keyed(left: KeyedList, right: KeyedList) -> bool:
    if len(left) != len(right):
        return False
    found = {right.key_of(item): item for item in right}
    return all((key := left.key_of(item)) in found and equal(item, found[key]) for item in left)


def _rank(value: Any) -> Any:
    """A form of a value that Python can order; raises for what has no order."""
    kind = value.__class__
    if kind is str or kind is int or kind is float or kind is bool or kind is Uint or kind is bytes:
        return value
    if kind is Duration or kind is Timestamp:
        return value.ns
    raise CelError("no such overload")


def less(left: Any, right: Any) -> bool:
    """Whether one comes before the other."""
    one, other = left.__class__, right.__class__
    if one is other:
        return bool(_rank(left) < _rank(right))
    if one is not bool and other is not bool and isinstance(left, int | float) and isinstance(right, int | float):
        return left < right
    raise CelError("no such overload")


# ------------------------------------------------------------------------------------------------- types of values

_TYPE_NAMES: dict[type, str] = {
    bool: "bool", int: "int", Uint: "uint", float: "double", str: "string", bytes: "bytes", type(None): "null_type",
    list: "list", SetList: "list", KeyedList: "list", dict: "map", Duration: "google.protobuf.Duration",
    Timestamp: "google.protobuf.Timestamp", Optional: "optional_type", TypeValue: "type",
}  # fmt: skip


def type_name(value: Any) -> str:
    """What the type of a value is called."""
    name = _TYPE_NAMES.get(value.__class__)
    if name is not None:
        return name
    if isinstance(value, Struct):
        return value.name
    if isinstance(value, Opaque):
        return value.NAME
    if isinstance(value, dict):
        return "map"
    return "list" if isinstance(value, list) else "object"


def _is_map(value: Any) -> bool:
    return isinstance(value, dict)


def _is_int(value: Any) -> bool:
    return value.__class__ is int


_TESTS: dict[str, Callable[[Any], bool]] = {
    "bool": lambda v: v.__class__ is bool,
    "int": _is_int,
    "uint": lambda v: v.__class__ is Uint,
    "double": lambda v: v.__class__ is float,
    "string": lambda v: v.__class__ is str,
    "bytes": lambda v: v.__class__ is bytes,
    "null": lambda v: v is None,
    "duration": lambda v: v.__class__ is Duration,
    "timestamp": lambda v: v.__class__ is Timestamp,
    "list": lambda v: isinstance(v, list),
    "map": _is_map,
    "type": lambda v: v.__class__ is TypeValue,
}


def runtime_test(kind: str, name: str) -> Callable[[Any], bool] | None:
    """How to tell whether a value is of a type; None if every value is."""
    if kind in ("dyn", "param"):
        return None
    if (test := _TESTS.get(kind)) is not None:
        return test
    return lambda value: type_name(value) == name


def is_zero(value: Any) -> bool:
    """Whether a value is its type's empty one."""
    if value is None or value is False:
        return True
    if isinstance(value, int | float | str | bytes | list | dict):
        return not value
    if isinstance(value, Duration):
        return value.ns == 0
    return isinstance(value, Optional) and not value.present
