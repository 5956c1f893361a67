"""Documents beside their type, for server-side apply: compare, collect fields, merge, remove, check.

Everything here is a pure walk over two plain documents and a `typed.Node`. Who owns what is for `api.applying`. Absent and null
are told apart, as upstream does: `ABSENT` is no member at all.

Source: sigs.k8s.io/structured-merge-diff typed/compare.go, tofieldset.go, merge.go, remove.go, validate.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from edgekube.api import rules
from edgekube.api.fieldsets import MEMBER, FieldSet, element_text, is_member, made, union
from edgekube.api.typed import ANY, LIST, MAP, SCALAR, STRUCT, Node

ABSENT: Any = type("Absent", (), {"__bool__": lambda _: False, "__repr__": lambda _: "ABSENT"})()
_NOTHING: tuple[None, None, None] = (None, None, None)
_LEAF: FieldSet = {}
_UNTYPED = Node(ANY, "interface {}")
_Comparison = tuple[FieldSet | None, FieldSet | None, FieldSet | None]


_PLAIN = re.compile(r"[A-Za-z0-9_./-]+").fullmatch  # text that is its own JSON


class BadElement(ValueError):
    """A list element that cannot be told apart from the others; carries upstream's words."""


# ------------------------------------------------------------------------------------------------- path elements


def element_of(item: Any, node: Node) -> str:
    """The path element of a list's item: by its keys, or by its value in a set. Raises BadElement."""
    if not node.keys:
        return _value_element(item)
    if not isinstance(item, dict):
        kind = "null" if item is None else "non-map"
        raise BadElement(
            f"associative list with keys may not have {'a null element' if kind == 'null' else 'non-map elements'}"
        )
    if len(node.keys) == 1:
        key = node.keys[0]
        value = item.get(key, ABSENT)
        if value.__class__ is str and _PLAIN(value):  # the common case, without the JSON encoder
            return f'k:{{"{key}":"{value}"}}'
    found: dict[str, Any] = {}
    defaults = node.key_defaults
    for key in node.sorted_keys:
        value = item.get(key, ABSENT)
        if value is ABSENT:
            value = defaults.get(key, ABSENT)
        if value is not ABSENT:
            found[key] = value
    if not found:
        listed = " ".join(rules.quoted(key) for key in node.keys)
        raise BadElement(
            f"associative list with keys has an element that omits all key fields [{listed}] "
            "(and doesn't have default values for any key fields)"
        )
    return f"k:{{{','.join(map(_key_text, found, found.values()))}}}"


def _key_text(key: str, value: Any) -> str:
    if value.__class__ is int:
        return f'"{key}":{value}'
    if value.__class__ is str and _PLAIN(value):
        return f'"{key}":"{value}"'
    return f"{rules.go_json(key)}:{rules.go_json(value)}"


def _value_element(item: Any) -> str:
    if isinstance(item, dict):
        raise BadElement("associative list without keys has an element that's a map type")
    if isinstance(item, list):
        raise BadElement("not supported: associative list with lists as elements")
    if item is None:
        raise BadElement("associative list without keys has an element that's an explicit null")
    return f"v:{rules.go_json(item)}"


def _indexed(items: Iterable[Any], node: Node) -> dict[str, list[Any]]:
    """Items by path element; those that cannot be told apart are left out."""
    found: dict[str, list[Any]] = {}
    for item in items:
        try:
            found.setdefault(element_of(item, node), []).append(item)
        except BadElement:
            continue
    return found


def _is_atomic(node: Node) -> bool:
    return node.list_type == "atomic" if node.kind == LIST else node.atomic


def _shape(value: Any, node: Node) -> str:
    """ "map", "list" or "leaf": how a value at this node is walked."""
    if node.kind in (STRUCT, MAP):
        return "map"
    if node.kind == LIST:
        return "list"
    if node.kind == ANY:
        return "map" if value.__class__ is dict else "leaf"
    return "leaf"


# ------------------------------------------------------------------------------------------------- compare


def compare(old: Any, new: Any, node: Node) -> tuple[FieldSet, FieldSet, FieldSet]:
    """The sets of fields that were removed, modified and added between two documents."""
    removed, modified, added = _compare(old, new, node)
    return removed or {}, modified or {}, added or {}


def _compare(old: Any, new: Any, node: Node) -> _Comparison:
    if old is ABSENT:
        return None, None, _whole(new, node)
    if new is ABSENT:
        return _whole(old, node), None, None
    if old == new:
        return _NOTHING
    shape = _shape(new if new is not ABSENT and new is not None else old, node)
    if shape == "leaf" or _is_atomic(node) or not (old or new):
        return (None, _LEAF, None)
    if shape == "map":
        if not isinstance(old or {}, dict) or not isinstance(new or {}, dict):
            return (None, _LEAF, None)
        if node.nulls:
            old, new = _with_nulls(old, node), _with_nulls(new, node)
        removed, modified, added = _compare_maps(old or {}, new or {}, node)
    else:
        if not isinstance(old or [], list) or not isinstance(new or [], list):
            return (None, _LEAF, None)
        removed, modified, added = _compare_lists(old or [], new or [], node)
    return removed or None, modified or None, added or None


def _whole(value: Any, node: Node) -> FieldSet:
    """Everything at and below a value that has come or gone as a whole."""
    if not value or node.kind == SCALAR or _is_atomic(node):
        return _LEAF
    inner = node.element or _UNTYPED
    if value.__class__ is dict and node.kind != LIST:
        members = node.members
        if members is None:
            return {MEMBER: _LEAF, **{f"f:{name}": _whole(item, inner) for name, item in value.items()}}
        if node.nulls:
            value = _with_nulls(value, node)
        return {MEMBER: _LEAF, **{f"f:{name}": _whole(item, members.get(name, inner)) for name, item in value.items()}}
    if value.__class__ is list and node.kind == LIST:
        out: FieldSet = {MEMBER: _LEAF}
        for element, items in _indexed(value, node).items():
            out[element] = _whole(items[0], inner) if len(items) == 1 else _LEAF
        return out
    return _LEAF


def _with_nulls(value: Any, node: Node) -> Any:
    """A struct with the members that Go writes as null when they are empty."""
    return {**dict.fromkeys(node.nulls), **value} if isinstance(value, dict) else value


def _note(sets: tuple[FieldSet, FieldSet, FieldSet], element: str, result: _Comparison) -> None:
    for fields, below in zip(sets, result, strict=True):
        if below is not None:
            fields[element] = below


def _compare_maps(old: dict[str, Any], new: dict[str, Any], node: Node) -> tuple[FieldSet, FieldSet, FieldSet]:
    sets: tuple[FieldSet, FieldSet, FieldSet] = ({}, {}, {})
    members = node.members
    rest = node.element or _UNTYPED
    for name, value in new.items():
        before = old.get(name, ABSENT)
        if before is value:
            continue
        child = rest if members is None else members.get(name, rest)
        result = _compare(before, value, child)
        if result is not _NOTHING:
            _note(sets, f"f:{name}", result)
    for name, value in old.items():
        if name not in new:
            child = rest if members is None else members.get(name, rest)
            result = _compare(value, ABSENT, child)
            if result is not _NOTHING:
                _note(sets, f"f:{name}", result)
    return sets


def _compare_lists(old: list[Any], new: list[Any], node: Node) -> tuple[FieldSet, FieldSet, FieldSet]:
    sets: tuple[FieldSet, FieldSet, FieldSet] = ({}, {}, {})
    before, after = _indexed(old, node), _indexed(new, node)
    element_node = node.element or _UNTYPED
    for element in dict.fromkeys([*before, *after]):
        mine, theirs = before.get(element, []), after.get(element, [])
        if len(mine) < 2 and len(theirs) < 2:
            result = _compare(mine[0] if mine else ABSENT, theirs[0] if theirs else ABSENT, element_node)
        elif len(mine) > 1 and len(theirs) > 1:
            result = _NOTHING if mine == theirs else (None, _LEAF, None)
        elif len(mine) > 1:
            added = _whole(theirs[0], element_node) if theirs else None
            result = (_LEAF, None, added)
        else:
            removed = _whole(mine[0], element_node) if mine else None
            result = (removed, None, _LEAF)
        _note(sets, element, result)
    return sets


# ------------------------------------------------------------------------------------------------- fields of a document


def fields_of(document: dict[str, Any], node: Node) -> FieldSet:
    """The set of fields a document sets."""
    below = _fields(document, node)
    return {} if below is None else below


def _fields(value: Any, node: Node) -> FieldSet | None:
    shape = _shape(value, node)
    if shape == "leaf" or _is_atomic(node):
        return _LEAF
    if not value:
        return None
    out: FieldSet = {}
    if shape == "map":
        members = node.members or {}
        for name, item in value.items():
            declared = name in members
            below = _fields(item, members[name] if declared else node.element or _UNTYPED)
            if item is None or (item.__class__ is dict and not item) or not declared:
                below = made(True, below)
            if below is not None:
                out[f"f:{name}"] = below
    else:
        for element, items in _indexed(value, node).items():
            below = None if len(items) > 1 else _fields(items[0], node.element or _UNTYPED)
            out[element] = made(True, below) or _LEAF
    return out or None


def with_named(fields: FieldSet, node: Node) -> FieldSet:
    """The set with every declared field that leads to a member made a member itself."""
    out: FieldSet = {}
    members = node.members or {}
    for element, below in fields.items():
        if not below:
            out[element] = below
            continue
        name = element[2:] if element.startswith("f:") else None
        child = members.get(name, node.element or _UNTYPED) if name is not None else node.element or _UNTYPED
        inner = with_named(below, child)
        out[element] = {MEMBER: _LEAF, **inner} if name in members and MEMBER not in inner else inner
    return out


# ------------------------------------------------------------------------------------------------- merge


def merge(live: Any, applied: Any, node: Node) -> Any:
    """`live` with what `applied` sets; ABSENT when nothing remains. Both may be ABSENT, one of them at a time."""
    if applied is ABSENT:
        return live
    shape = _shape(applied if applied is not None else live, node)
    if shape == "leaf" or _is_atomic(node) or not (live or applied):
        return applied
    if shape == "map":
        mine = live if isinstance(live, dict) else {}
        theirs = applied if isinstance(applied, dict) else {}
        members = node.members or {}
        out = dict(mine)
        for name, value in theirs.items():
            merged = merge(mine.get(name, ABSENT), value, members.get(name, node.element or _UNTYPED))
            if merged is not ABSENT:
                out[name] = merged
        return out or ABSENT
    mine_list = live if isinstance(live, list) else []
    theirs_list = applied if isinstance(applied, list) else []
    return _merge_lists(mine_list, theirs_list, node) or ABSENT


def _merge_lists(live: list[Any], applied: list[Any], node: Node) -> list[Any]:
    """Elements of both: the applied ones in their order, the live ones between them where they stood."""
    inner = node.element or _UNTYPED
    left = [(element_of(item, node), item) for item in live]
    right = [(element_of(item, node), item) for item in applied]
    first: dict[str, Any] = {}
    for element, item in left:
        first[element] = item if element not in first else ABSENT  # a duplicate cannot be merged into
    wanted = dict(right)
    shared = [element for element, _ in right if element in first]
    out: list[Any] = []
    done: set[str] = set()
    position, at, next_shared = 0, 0, 0

    def put(element: str) -> None:
        merged = merge(first.get(element, ABSENT), wanted[element], inner)
        if merged is not ABSENT:
            out.append(merged)
        done.add(element)

    while at < len(left) or position < len(right):
        if at < len(left) and position < len(right):
            element = left[at][0]
            if element == right[position][0]:
                put(element)
                at, position, next_shared = at + 1, position + 1, next_shared + 1
                continue
            if element in wanted and next_shared < len(shared) and shared[next_shared] != element:
                at += 1  # it will be placed where the applied list has it
                continue
        if at < len(left):
            element, item = left[at]
            if element not in wanted:
                out.append(item)
                at += 1
                continue
            if element in done:
                at += 1
        if position < len(right):
            element = right[position][0]
            put(element)
            position += 1
            if next_shared < len(shared) and shared[next_shared] == element:
                next_shared += 1
    return out


# ------------------------------------------------------------------------------------------------- remove


def remove(value: Any, fields: FieldSet, node: Node) -> Any:
    """The document without the fields of a set; containers left empty go too (ABSENT)."""
    shape = _shape(value, node)
    if shape == "leaf" or not fields:
        return value
    if not value or _is_atomic(node):
        return ABSENT
    if shape == "map" and isinstance(value, dict):
        members = node.members or {}
        out = {}
        for name, item in value.items():
            below = fields.get(f"f:{name}")
            if below is not None:
                if is_member(below):
                    continue
                item = remove(item, below, members.get(name, node.element or _UNTYPED))
            if item is not ABSENT:
                out[name] = item
        return out or ABSENT
    if shape == "list" and isinstance(value, list):
        kept = []
        for item in value:
            below = fields.get(element_of(item, node))
            if below is not None:
                if is_member(below):
                    continue
                item = remove(item, below, node.element or _UNTYPED)
            if item is not ABSENT:
                kept.append(item)
        return kept or ABSENT
    return value


# ------------------------------------------------------------------------------------------------- check


def problems(value: Any, node: Node, duplicates: bool = False, path: str = "") -> list[str]:
    """What is wrong with a document's types and list keys, as apply words it. `duplicates`: equal list keys are fine."""
    if value is None or node.kind == ANY:
        return []
    if node.kind == SCALAR:
        return [f"{path}: {words}"] if (words := _scalar_problem(value, node.go_type)) else []
    found: list[str] = []
    if node.kind in (STRUCT, MAP):
        if not isinstance(value, dict):
            return [
                f"{path}: expected map, got {_go_pointer(value)}" if path else f"expected map, got {_go_pointer(value)}"
            ]
        members = node.members or {}
        for name, item in value.items():
            child = members.get(name, node.element)
            if child is None:
                return [*found, f"{path}.{name}: field not declared in schema"]
            found += problems(item, child, duplicates, f"{path}.{name}")
        return found
    if not isinstance(value, list):
        return [f"{path}: expected list, got {_go_pointer(value)}"]
    inner = node.element or _UNTYPED
    seen: set[str] = set()
    for position, item in enumerate(value):
        if node.list_type == "atomic":
            found += problems(item, inner, duplicates, f"{path}[{position}]")
            continue
        try:
            element = element_of(item, node)
        except BadElement as error:
            return [*found, f"{path}: element {position}: {error}"]
        shown = element_text(element)
        if element in seen and not duplicates:
            found.append(f"{path}: duplicate entries for key {shown}")
        seen.add(element)
        found += problems(item, inner, duplicates, f"{path}{shown}")
    return found


def _go_pointer(value: Any) -> str:
    return f"&{{{rules.go_value(value)}}}"


def _scalar_problem(value: Any, go_type: str) -> str:
    if go_type in ("int32", "int64", "float64"):
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f"expected numeric (int or float), got {_go_type(value)}"
    elif go_type in ("string", "[]uint8"):
        if not isinstance(value, str):
            return f"expected string, got &value.valueUnstructured{{Value:{_go_syntax(value)}}}"
    elif go_type == "bool":
        if not isinstance(value, bool):
            return f"expected boolean, got {_go_pointer(value)}"
    elif isinstance(value, dict | list):
        return f"expected any scalar, got {_go_pointer(value)}"
    return ""


def _go_type(value: Any) -> str:
    names = {str: "string", bool: "bool", int: "int64", float: "float64", dict: "map[string]interface {}"}
    return names.get(type(value), "[]interface {}")


def _go_syntax(value: Any) -> str:
    """A value as Go's %#v shows it."""
    if isinstance(value, dict):
        return f"map[string]interface {{}}{{{', '.join(f'{rules.quoted(k)}:{_go_syntax(value[k])}' for k in sorted(value))}}}"
    if isinstance(value, list):
        return f"[]interface {{}}{{{', '.join(map(_go_syntax, value))}}}"
    return rules.quoted(value) if isinstance(value, str) else rules.go_value(value)


def merged_fields(*sets: FieldSet) -> FieldSet:
    """The union of any number of sets."""
    out: FieldSet = {}
    for fields in sets:
        out = union(out, fields)
    return out
