"""Libraries about lists and sets: order, sums, places, flattening, what contains what.

Source: k8s.io/apiserver pkg/cel/library/lists.go, cel-go ext/lists.go (version 3) and ext/sets.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cmp_to_key
from typing import Any

from edgekube.api.cel.declarations import Line
from edgekube.api.cel.errors import CelError
from edgekube.api.cel.values import INT_MAX, INT_MIN, Duration, Uint, equal, less

_ORDERED = ("int", "uint", "double", "bool", "duration", "timestamp", "string", "bytes")
_MOST_ELEMENTS = 10_000_000  # of a range; the budget of an expression ends long before


def _is_sorted(items: list[Any]) -> bool:
    return not any(less(items[at], items[at - 1]) for at in range(1, len(items)))


def _total(zero: Any) -> Callable[[list[Any]], Any]:
    def total(items: list[Any]) -> Any:
        found = zero
        for one in items:
            if isinstance(zero, Duration):
                if not isinstance(one, Duration):
                    raise CelError("no such overload")
                found = Duration(found.ns + one.ns)
            elif isinstance(one, bool) or not isinstance(one, int | float):
                raise CelError("no such overload")
            else:
                found = found + one
        if isinstance(found, float | Duration):
            return found
        if isinstance(zero, Uint):
            return Uint(found)
        if not INT_MIN <= found <= INT_MAX:
            raise CelError("integer overflow")
        return found

    return total


def _extreme(word: str, *, largest: bool) -> Callable[[list[Any]], Any]:
    def find(items: list[Any]) -> Any:
        if not items:
            raise CelError(f"{word} called on empty list")
        found = items[0]
        for one in items[1:]:
            if less(found, one) if largest else less(one, found):
                found = one
        return found

    return find


def _index_of(items: list[Any], value: Any) -> int:
    return next((at for at, one in enumerate(items) if equal(one, value)), -1)


def _last_index_of(items: list[Any], value: Any) -> int:
    return next((at for at in range(len(items) - 1, -1, -1) if equal(items[at], value)), -1)


def _slice(items: list[Any], start: int, end: int) -> list[Any]:
    if start < 0 or end < 0:
        raise CelError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise CelError(f"cannot slice({start}, {end}), start index must be less than or equal to end index")
    if end > len(items):
        raise CelError(f"cannot slice({start}, {end}), list is length {len(items)}")
    return list(items[start:end])


def _flatten(items: list[Any], depth: int = 1) -> list[Any]:
    if depth < 0:
        raise CelError("level must be non-negative")
    out: list[Any] = []
    for one in items:
        if depth and isinstance(one, list):
            out += _flatten(one, depth - 1)
        else:
            out.append(one)
    return out


def _compare(left: Any, right: Any) -> int:
    return -1 if less(left, right) else 1 if less(right, left) else 0


def _sort_by(items: list[Any], keys: list[Any]) -> list[Any]:
    if len({one.__class__ for one in keys}) > 1:
        raise CelError("list elements must have the same type")
    places = sorted(range(len(keys)), key=lambda at: cmp_to_key(_compare)(keys[at]))
    return [items[at] for at in places]


def _distinct(items: list[Any]) -> list[Any]:
    out: list[Any] = []
    for one in items:
        if not any(equal(one, present) for present in out):
            out.append(one)
    return out


def _range(count: int) -> list[int]:
    if count > _MOST_ELEMENTS:
        raise CelError("operation cancelled: actual cost limit exceeded")
    return list(range(count))


def _contains(items: list[Any], parts: list[Any]) -> bool:
    return all(any(equal(part, one) for one in items) for part in parts)


def _intersects(items: list[Any], others: list[Any]) -> bool:
    return any(equal(one, other) for one in items for other in others)


def _length(items: list[Any], *_: Any) -> int:
    return len(items)


def _product(items: list[Any], others: list[Any]) -> int:
    return len(items) * len(others)


def _lines() -> Iterator[Line]:
    for one in _ORDERED:
        yield f"list_{one}_is_sorted_bool", f"list({one}) -> isSorted(): bool", _is_sorted, _length
        yield f"list_{one}_max_{one}", f"list({one}) -> max(): {one}", _extreme("max", largest=True), _length
        yield f"list_{one}_min_{one}", f"list({one}) -> min(): {one}", _extreme("min", largest=False), _length
        yield f"list_{one}_sort", f"list({one}) -> sort(): list({one})", lambda items: _sort_by(items, items), _length
        yield (
            f"list_{one}_sortByAssociatedKeys",
            f"list(T) -> @sortByAssociatedKeys(list({one})): list(T)",
            _sort_by,
            _length,
        )
    for one, zero in (("int", 0), ("uint", Uint(0)), ("double", 0.0), ("duration", Duration(0))):
        yield f"list_{one}_sum_{one}", f"list({one}) -> sum(): {one}", _total(zero), _length
    yield "list_a_index_of_int", "list(A) -> indexOf(A): int", _index_of, _length
    yield "list_a_last_index_of_int", "list(A) -> lastIndexOf(A): int", _last_index_of, _length
    yield "list_slice", "list(T) -> slice(int, int): list(T)", _slice, _length
    yield "list_flatten", "list(list(T)) -> flatten(): list(T)", _flatten, _length
    yield "list_flatten_int", "list(dyn) -> flatten(int): list(dyn)", _flatten, _length
    yield "lists_range", "lists.range(int): list(int)", _range, lambda count: max(count, 0)
    yield "list_reverse", "list(T) -> reverse(): list(T)", lambda items: items[::-1], _length
    yield "list_distinct", "list(T) -> distinct(): list(T)", _distinct, lambda items: len(items) ** 2
    yield "list_sets_contains_list", "sets.contains(list(T), list(T)): bool", _contains, _product
    yield (
        "list_sets_equivalent_list",
        "sets.equivalent(list(T), list(T)): bool",
        lambda a, b: _contains(a, b) and _contains(b, a),
        _product,
    )
    yield "list_sets_intersects_list", "sets.intersects(list(T), list(T)): bool", _intersects, _product


LISTS: list[Line] = list(_lines())
