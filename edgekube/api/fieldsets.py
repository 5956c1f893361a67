"""Sets of field paths, in the shape managedFields writes them (FieldsV1), and the algebra on them.

A set is a dict from path element to what is below it. An element with nothing below is a member; one that has children too is
a member if it holds "."; e.g. {"f:data": {".": {}, "f:a": {}}}. Elements are text: `f:<field>`, `k:<keys as JSON>`,
`v:<value as JSON>`, `i:<index>`. Sets are never changed; results share what they can.

Source: sigs.k8s.io/structured-merge-diff fieldpath/set.go, serialize.go, element.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import msgspec

from edgekube.api import rules

FieldSet = dict[str, Any]
MEMBER = "."
ELEMENTS_REMEMBERED = 2048  # texts of path elements; a cluster has few different ones
_LEAF: FieldSet = {}
_ORDER = {"f": 0, "k": 1, "v": 2, "i": 3}


def is_member(below: FieldSet) -> bool:
    """Whether the path that leads to `below` is itself in the set."""
    return not below or MEMBER in below


def made(member: bool, children: FieldSet | None) -> FieldSet | None:
    """What stands under an element: itself in the set or not, with these children; None if there is nothing."""
    if not children:
        return _LEAF if member else None
    if member == (MEMBER in children):
        return children
    if member:
        return {MEMBER: _LEAF, **children}
    return {element: below for element, below in children.items() if element != MEMBER} or None


def union(left: FieldSet, right: FieldSet) -> FieldSet:
    """Every path that is in either."""
    if not left or left is right:
        return right
    if not right:
        return left
    out = dict(left)
    for element, theirs in right.items():
        mine = out.get(element)
        if mine is None:
            out[element] = theirs
        elif mine is not theirs and element != MEMBER and mine != theirs:
            if mine and theirs:
                out[element] = union(mine, theirs)
            else:
                out[element] = made(True, mine or theirs)
    return out


def _children(below: FieldSet) -> FieldSet:
    if MEMBER in below:
        return {element: rest for element, rest in below.items() if element != MEMBER}
    return below


def difference(left: FieldSet, right: FieldSet) -> FieldSet:
    """The paths of `left` that are not in `right`; a path's children stay when only the path itself is in `right`.

    `left` itself is returned when nothing of it is in `right`.
    """
    if not right or not left or left.keys().isdisjoint(right):
        return left
    out: FieldSet = {}
    same = True
    for element, mine in left.items():
        theirs = right.get(element)
        if theirs is None:
            out[element] = mine
            continue
        if element == MEMBER:
            same = False
            continue
        rest: FieldSet | None
        if not mine:
            rest = mine if theirs and MEMBER not in theirs else None
        elif not theirs:
            rest = _children(mine) if MEMBER in mine else mine
        else:
            rest = difference(mine, theirs) or None
            if rest is not None and len(rest) == 1 and MEMBER in rest:
                rest = _LEAF
        if rest is not mine:
            same = False
        if rest is not None:
            out[element] = rest
    return left if same else out


def without_below(left: FieldSet, right: FieldSet) -> FieldSet:
    """The paths of `left` that are neither in `right` nor below a path of it."""
    if not right or left.keys().isdisjoint(right):
        return left
    out: FieldSet = {}
    for element, mine in left.items():
        theirs = right.get(element)
        if theirs is None:
            out[element] = mine
        elif element != MEMBER and not is_member(theirs):
            rest = made(is_member(mine), without_below(_children(mine), theirs))
            if rest is not None:
                out[element] = rest
    return out


def intersection(left: FieldSet, right: FieldSet) -> FieldSet:
    """The paths in both."""
    if not left or not right:
        return _LEAF
    out: FieldSet = {}
    for element, mine in left.items():
        theirs = right.get(element)
        if theirs is None or element == MEMBER:
            continue
        both = made(is_member(mine) and is_member(theirs), intersection(_children(mine), _children(theirs)))
        if both is not None:
            out[element] = both
    return out


def only(left: FieldSet, pattern: FieldSet) -> FieldSet:
    """The paths of `left` at or below a path of `pattern`, and those that lead there; an element "*" matches any."""
    if not pattern:
        return left
    out: FieldSet = {}
    for element, mine in left.items():
        below = pattern.get(element, pattern.get("*"))
        if below is None or element == MEMBER:
            continue
        kept = made(is_member(mine), only(_children(mine), below))
        if kept is not None:
            out[element] = kept
    return out


def of_paths(*paths: tuple[str, ...]) -> FieldSet:
    """A set of field names' paths: of_paths(("spec", "replicas"))."""
    out: FieldSet = {}
    for path in paths:
        single: FieldSet = {}
        for name in reversed(path):
            single = {f"f:{name}": single}
        out = union(out, single)
    return out


def has(fields: FieldSet, path: tuple[str, ...]) -> bool:
    """Whether a path of field names is in the set."""
    below: Any = fields
    for name in path:
        below = below.get(f"f:{name}")
        if below is None:
            return False
    return is_member(below)


def _rank(element: str) -> tuple[int, str]:
    return (_ORDER.get(element[0], -1), element)


def paths(fields: FieldSet, prefix: str = "") -> Iterator[str]:
    """The members as text (`.spec.ports[port=80].name`): at each level members first, then what is below, both sorted."""
    ordered = sorted((element for element in fields if element != MEMBER), key=_rank)
    shown = {element: prefix + element_text(element) for element in ordered}
    for element in ordered:
        if is_member(fields[element]):
            yield shown[element]
    for element in ordered:
        if fields[element]:
            yield from paths(fields[element], shown[element])


@lru_cache(maxsize=ELEMENTS_REMEMBERED)
def element_text(element: str) -> str:
    """A path element as error messages show it."""
    form, rest = element[0], element[2:]
    if form == "f":
        return f".{rest}"
    if form == "k":
        keys = msgspec.json.decode(rest)
        return f"[{','.join(f'{name}={_value_text(keys[name])}' for name in sorted(keys))}]"
    if form == "v":
        return f"[={_value_text(msgspec.json.decode(rest))}]"
    return f"[{rest}]"


def _value_text(value: Any) -> str:
    if isinstance(value, str):
        return rules.quoted(value)
    return rules.go_value(value)


def well_formed(fields: Any) -> bool:
    """Whether this is a set at all: every element of a known form, down to the leaves."""
    if not isinstance(fields, dict):
        return False
    return all(
        (element == MEMBER or (len(element) > 2 and element[1] == ":" and element[0] in _ORDER)) and well_formed(below)
        for element, below in fields.items()
    )
