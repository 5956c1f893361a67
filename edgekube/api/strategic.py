"""Strategic merge patch: a merge patch that knows, from the type's annotations, which lists merge and by which key.

Pure functions over plain documents; nothing given is changed. Directives: `$patch` (replace, delete), `$retainKeys`,
`$deleteFromPrimitiveList/<list>`, `$setElementOrder/<list>`.

Source: k8s.io/apimachinery pkg/util/strategicpatch and pkg/util/mergepatch; the status codes are those of the apiserver's patch handler.
"""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec

from edgekube.api import rules
from edgekube.api.typed import Node, node_of
from edgekube.errors import ApiError, BadRequest, Invalid

_PATCH, _RETAIN = "$patch", "$retainKeys"
_DELETE_FROM, _ORDER = "$deleteFromPrimitiveList", "$setElementOrder"
_MISSING: Any = object()

Map = dict[str, Any]


def strategic_merge(document: Map, patch: Map, struct_type: type[msgspec.Struct]) -> Map:
    """`document` with `patch` merged in. Raises ApiError (500), BadRequest or Invalid with upstream's words."""
    return _merge_map(document, patch, node_of(struct_type))


def _fail(message: str) -> NoReturn:
    raise ApiError(message, code=500, reason="", details=False)


def _bad_order() -> NoReturn:
    raise BadRequest("invalid patch format of setElementOrder list")


def _no_key(element: Map, key: str) -> NoReturn:
    _fail(f"map: {rules.go_value(element)} does not contain declared merge key: {key}")


def _merge_map(original: Map, patch: Map, node: Node | None) -> Map:
    if (directive := patch.get(_PATCH)) is not None:
        if directive == "replace":
            return {name: value for name, value in patch.items() if name != _PATCH}
        if directive == "delete":
            return {}
        _fail(f"unknown patch type: {rules.go_value(directive)} in map: {rules.go_value(patch)}")
    merged, patch = dict(original), dict(patch)
    _retain_keys(merged, patch)
    for name in [name for name in patch if name.startswith(_ORDER)]:
        _merge_ordered(merged, patch, name, node)
    for name, value in patch.items():
        deleting = name.startswith(_DELETE_FROM)
        if deleting:
            name = _listed(name, _DELETE_FROM)
        if value is None:
            merged.pop(name, None)
            continue
        here = merged.get(name, _MISSING)
        if here is _MISSING or not _same_shape(here, value):
            if not deleting:
                kept = _without_directives(_without_nulls(value))
                if kept is _MISSING:
                    merged.pop(name, None)
                else:
                    merged[name] = kept
        elif isinstance(value, dict):
            below = _child(node, name)
            replace = below is not None and "replace" in below.strategy
            merged[name] = value if replace else _merge_map(here, value, below)
        elif isinstance(value, list):
            merged[name] = _merge_list(here, value, _child(node, name), deleting)
        else:
            merged[name] = value
    return merged


def _same_shape(left: Any, right: Any) -> bool:
    for shape in (dict, list):
        if isinstance(left, shape) or isinstance(right, shape):
            return isinstance(left, shape) and isinstance(right, shape)
    return True


def _child(node: Node | None, name: str) -> Node | None:
    if node is None:
        return None
    if node.members is not None:
        if name not in node.members:
            _fail(f"unable to find api field in struct {node.name} for the json field {rules.quoted(name)}")
        return node.members[name]
    return node.element  # a map's values


def _listed(name: str, prefix: str) -> str:
    found, slash, rest = name.partition("/")
    if not slash or found != prefix:
        if prefix == _DELETE_FROM:
            raise BadRequest("invalid patch format of primitive list")
        _bad_order()
    return rest


def _retain_keys(merged: Map, patch: Map) -> None:
    if _RETAIN not in patch:
        return
    kept = patch.pop(_RETAIN)
    if not isinstance(kept, list):
        raise BadRequest("invalid patch format of retainKeys")
    for name, value in patch.items():
        if value is not None and not name.startswith((_DELETE_FROM, _ORDER)) and name not in kept:
            raise BadRequest("invalid patch format of retainKeys")
    for name in [name for name in merged if name not in kept]:
        del merged[name]


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    return value


def _without_directives(value: Any) -> Any:
    """A patch value that meets nothing live: parts that carry `$patch` are left out."""
    if isinstance(value, dict):
        if _PATCH in value:
            return _MISSING
        kept = ((name, _without_directives(item)) for name, item in value.items())
        return {name: item for name, item in kept if item is not _MISSING}
    if isinstance(value, list):
        return [item for item in map(_without_directives, value) if item is not _MISSING]
    return value


# ------------------------------------------------------------------------------------------------- lists


def _of_maps(*lists: list[Any]) -> bool:
    """Whether the elements are objects; all must be of one JSON type."""
    seen = None
    for item in (item for each in lists for item in each):
        shape = type(item)
        if shape is list:
            raise Invalid("lists of lists are not supported", details=False)
        if seen is None:
            seen = shape
        elif seen is not shape:
            _fail(f"list element types are not identical: {rules.go_value(list(lists))}")
    return seen is dict


def _key_of(element: Any, key: str) -> Any:
    if key not in element:
        _no_key(element, key)
    return element[key]


def _mark(value: Any) -> Any:
    """Something hashable that is equal exactly for equal JSON values."""
    return rules.go_json(value) if isinstance(value, dict | list) else (value.__class__, value)


def _merge_list(original: list[Any], patch: list[Any], node: Node | None, deleting: bool = False) -> list[Any]:
    if not deleting and (node is None or "merge" not in node.strategy):
        return patch
    if not original and not patch:
        return original
    key = node.patch_key if node is not None else ""
    if not _of_maps(original, patch):
        if deleting:
            return [item for item in original if item not in patch]
        merged = list({_mark(item): item for item in [*original, *patch]}.values())
        return _ordered(merged, patch, original, "")
    if not key:
        _fail(f"cannot merge lists without merge key for {node.name if node else ''}")
    original, patch = _special_elements(original, patch, key)
    merged = list(original)
    element = node.element if node is not None else None
    for item in patch:
        value = _key_of(item, key)
        for position, candidate in enumerate(merged):
            if candidate.get(key, _MISSING) == value:
                merged[position] = _merge_map(candidate, item, element)
                break
        else:
            merged.append(item)
    return _ordered(merged, patch, original, key)


def _special_elements(original: list[Any], patch: list[Any], key: str) -> tuple[list[Any], list[Any]]:
    """Carries out `$patch` elements; what is left to merge."""
    plain, replace = [], False
    for item in patch:
        directive = item.get(_PATCH, _MISSING)
        if directive is _MISSING:
            plain.append(item)
        elif directive == "delete":
            value = _key_of(item, key)
            original = [candidate for candidate in original if candidate.get(key, _MISSING) != value]
        elif directive == "replace":
            replace = True
        elif directive == "merge":
            _fail("merging lists cannot yet be specified in the patch")
        else:
            _fail(f"unknown patch type: {rules.go_value(directive)} in map: {rules.go_value(item)}")
    return (plain, []) if replace else (original, plain)


def _ordered(merged: list[Any], patch_order: list[Any], live_order: list[Any], key: str) -> list[Any]:
    """Patched elements in the patch's order, with the others put between them as they stood in the live list."""

    def places(order: list[Any]) -> dict[Any, int]:
        found: dict[Any, int] = {}
        for position, item in enumerate(order):
            found.setdefault(_mark(_key_of(item, key) if key else item), position)
        return found

    wanted, live = places(patch_order), places(live_order)
    identity = [_mark(_key_of(item, key) if key else item) for item in merged]
    pairs = list(zip(identity, merged, strict=True))
    patched = sorted((pair for pair in pairs if pair[0] in wanted), key=lambda pair: wanted[pair[0]])
    others = sorted((pair for pair in pairs if pair[0] not in wanted), key=lambda pair: live.get(pair[0], len(live)))
    result, left, right = [], 0, 0
    while left < len(others) and right < len(patched):
        mine, theirs = live.get(others[left][0]), live.get(patched[right][0])
        if mine is not None and theirs is not None and mine < theirs:
            result.append(others[left][1])
            left += 1
        else:
            result.append(patched[right][1])
            right += 1
    return result + [item for _, item in others[left:]] + [item for _, item in patched[right:]]


def _merge_ordered(merged: Map, patch: Map, directive: str, node: Node | None) -> None:
    """Takes one `$setElementOrder/<list>` and the list it speaks of out of `patch`."""
    order = patch.pop(directive)
    name = _listed(directive, _ORDER)
    if not isinstance(order, list):
        _fail(f"expected a []interface {{}}, but received a {_go_type(order)}")
    live, patched = merged.get(name), patch.get(name)
    for value in (live, patched):
        if value is not None and not isinstance(value, list):
            _fail(f"expected a []interface {{}}, but received a {_go_type(value)}")
    below = _child(node, name)
    key = below.patch_key if below is not None else ""
    _check_order(patched or [], order, key)
    if live is None and patched is None:
        return
    if live is None:
        result = _without_directives(patched)
    elif patched is None:
        result = live
    else:
        result = _merge_list(live, patched, below)
    merged[name] = _ordered(result, order, live or [], key)
    patch.pop(name, None)


def _check_order(patched: list[Any], order: list[Any], key: str) -> None:
    if not order or not patched:
        return
    pending = [item for item in patched if not (key and isinstance(item, dict) and _PATCH in item)]
    position = 0
    for item in order:
        if position == len(pending):
            break
        here = pending[position]
        if key and not (isinstance(here, dict) and isinstance(item, dict)):
            _fail(f"expected a map[string]interface {{}}, but received a {_go_type(item)}")
        if (_key_of(here, key) == _key_of(item, key)) if key else here == item:
            position += 1
    if position < len(pending):
        _fail(
            f"The order in patch list:\n{rules.go_value(patched)}\n doesn't match {_ORDER} list:\n"
            f"{rules.go_value(order)}\n"
        )


def _go_type(value: Any) -> str:
    if isinstance(value, dict):
        return "map[string]interface {}"
    if isinstance(value, list):
        return "[]interface {}"
    return {str: "string", bool: "bool", int: "int64", float: "float64"}.get(type(value), "%!s(<nil>)")
