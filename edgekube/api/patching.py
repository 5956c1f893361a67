"""JSON Patch (RFC 6902) and JSON Merge Patch (RFC 7386) on plain documents, and reading the three kinds of patch body.

Nothing given is changed: results share what was not touched with the document they come from. Strategic merge has its own
module (`api.strategic`) and is offered here too, so that callers find the three side by side.

Source: RFC 6902, RFC 7386, gopkg.in/evanphx/json-patch.v4 and k8s.io/apiserver pkg/endpoints/handlers/patch.go for the answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from edgekube.api import rules
from edgekube.api.decoding import json_type, parse_json
from edgekube.api.strategic import strategic_merge
from edgekube.errors import BadRequest, Invalid, TooLarge

__all__ = [
    "json_patch",
    "merge_patch",
    "read_json_patch",
    "read_merge_patch",
    "read_strategic_patch",
    "strategic_merge",
]

MOST_OPERATIONS = 10_000  # upstream's bound on one JSON Patch
_OPERATION_MEMBERS = frozenset(("op", "path", "from", "value"))
_MISSING: Any = object()


def refused() -> Invalid:
    """A JSON Patch that cannot be carried out; upstream does not say which operation or why."""
    return Invalid("the server rejected our request due to an error in our request")


# ------------------------------------------------------------------------------------------------- reading


def _read(data: bytes, prefix: str) -> Any:
    try:
        return parse_json(data)
    except ValueError as error:
        raise BadRequest(f"{prefix}{error}") from None


def read_json_patch(data: bytes) -> list[dict[str, Any]]:
    """The operations of a JSON Patch body. Raises BadRequest, or TooLarge past `MOST_OPERATIONS`."""
    operations = _read(data, "error decoding patch: ")
    if operations is None:
        return []
    if not isinstance(operations, list):
        raise BadRequest(
            f"error decoding patch: json: cannot unmarshal {json_type(operations)} into Go value of type jsonpatch.Patch"
        )
    for operation in operations:
        if not isinstance(operation, dict):
            raise BadRequest(
                f"error decoding patch: json: cannot unmarshal {json_type(operation)} into Go value of type "
                "jsonpatch.Operation"
            )
    if len(operations) > MOST_OPERATIONS:
        raise TooLarge(
            f"The allowed maximum operations in a JSON patch is {MOST_OPERATIONS}, got {len(operations)}", details=True
        )
    return operations


def unknown_operation_members(operations: list[dict[str, Any]]) -> list[str]:
    """Strict-validation messages for members that no operation has."""
    return [
        f"json patch unknown field {rules.quoted(f'[{position}].{name}')}"
        for position, operation in enumerate(operations)
        for name in operation
        if name not in _OPERATION_MEMBERS
    ]


def read_merge_patch(data: bytes) -> dict[str, Any]:
    """The body of a JSON Merge Patch. Raises BadRequest."""
    return _as_object(_read(data, "error decoding patch: "), "error decoding patch: ")


def read_strategic_patch(data: bytes) -> dict[str, Any]:
    """The body of a strategic merge patch. Raises BadRequest."""
    return _as_object(_read(data, ""), "")


def _as_object(patch: Any, prefix: str) -> dict[str, Any]:
    if patch is None:
        return {}
    if not isinstance(patch, dict):
        raise BadRequest(
            f"{prefix}json: cannot unmarshal {json_type(patch)} into Go value of type map[string]interface {{}}"
        )
    return patch


# ------------------------------------------------------------------------------------------------- merge patch


def merge_patch(document: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """RFC 7386: members of `patch` replace or (objects) merge into those of `document`; null removes.

    As upstream's library has it, objects inside of a list lose their nulls too, unless the list takes an object's place.
    """
    merged = dict(document)
    for name, value in patch.items():
        here = merged.get(name)
        if value is None:
            merged.pop(name, None)
        elif isinstance(value, dict):
            merged[name] = merge_patch(here if isinstance(here, dict) else {}, value)
        else:
            merged[name] = value if isinstance(here, dict) else _without_nulls(value)
    return merged


def _without_nulls(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_nulls(item) for item in value]
    if isinstance(value, dict):
        return {name: _without_nulls(item) for name, item in value.items() if item is not None}
    return value


# ------------------------------------------------------------------------------------------------- JSON Patch


def json_patch(document: dict[str, Any], operations: list[dict[str, Any]]) -> dict[str, Any]:
    """RFC 6902: all operations in order, or none. Raises Invalid when one of them does not apply."""
    result: Any = document
    for operation in operations:
        try:
            result = _OPERATIONS[operation["op"]](result, operation)
        except (KeyError, IndexError, ValueError, TypeError):
            raise refused() from None
    if not isinstance(result, dict):
        raise refused()
    return result


def _tokens(path: Any) -> list[str]:
    """The steps of a pointer. What stands before the first slash is not looked at, as in upstream's library."""
    if not isinstance(path, str) or (path and "/" not in path):
        raise ValueError(path)
    return [token.replace("~1", "/").replace("~0", "~") for token in path.split("/")[1:]]


def _position(token: str, length: int) -> int:
    """An array index; negative ones count from the end, as the upstream library has it."""
    position = int(token)
    if not -length <= position < length:
        raise IndexError(token)
    return position % length


def _look(document: Any, tokens: list[str]) -> Any:
    for token in tokens:
        if isinstance(document, list):
            document = document[_position(token, len(document))]
        elif isinstance(document, dict):
            document = document[token]
        else:
            raise TypeError(token)
    return document


def _edit(document: Any, tokens: list[str], change: Callable[[Any, str], None]) -> Any:
    """The document with the container of the last token replaced by a changed copy."""
    if not isinstance(document, dict | list):
        raise TypeError(document)
    copy: Any = document.copy()
    token = tokens[0]
    if len(tokens) == 1:
        change(copy, token)
    else:
        where: Any = _position(token, len(copy)) if isinstance(copy, list) else token
        copy[where] = _edit(copy[where], tokens[1:], change)
    return copy


def _put(document: Any, tokens: list[str], value: Any) -> Any:
    def change(container: Any, token: str) -> None:
        if isinstance(container, dict):
            container[token] = value
        elif token == "-":
            container.append(value)
        else:
            container.insert(_position(token, len(container) + 1), value)

    if not tokens:
        raise ValueError("the whole document cannot be added")
    return _edit(document, tokens, change)


def _add(document: Any, operation: dict[str, Any]) -> Any:
    return _put(document, _tokens(operation["path"]), operation.get("value"))


def _remove(document: Any, operation: dict[str, Any]) -> Any:
    return _without(document, _tokens(operation["path"]))


def _without(document: Any, tokens: list[str]) -> Any:
    def change(container: Any, token: str) -> None:
        del container[_position(token, len(container)) if isinstance(container, list) else token]

    return _edit(document, tokens, change)


def _replace(document: Any, operation: dict[str, Any]) -> Any:
    value = operation.get("value")

    def change(container: Any, token: str) -> None:
        if isinstance(container, list):
            container[_position(token, len(container))] = value
        else:
            container[token] = value  # also where nothing was: upstream's library does not look

    tokens = _tokens(operation["path"])
    return _edit(document, tokens, change) if tokens else value


def _move(document: Any, operation: dict[str, Any]) -> Any:
    source = _tokens(operation["from"])
    return _put(_without(document, source), _tokens(operation["path"]), _look(document, source))


def _copy(document: Any, operation: dict[str, Any]) -> Any:
    source = _tokens(operation["from"])
    container = _look(document, source[:-1])
    value = container.get(source[-1]) if isinstance(container, dict) else _look(container, source[-1:])
    return _put(document, _tokens(operation["path"]), value)


def _test(document: Any, operation: dict[str, Any]) -> Any:
    tokens, expected = _tokens(operation["path"]), operation.get("value")
    try:
        found = _look(document, tokens)
    except KeyError:
        if _look(document, tokens[:-1]) is None or expected is not None:
            raise
        found = None  # an absent member equals null
    if not _equal(found, expected):
        raise ValueError("test failed")
    return document


def _equal(left: Any, right: Any) -> bool:
    """JSON equality: unlike Python's, 1 is not true."""
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(_equal(value, right[name]) for name, value in left.items())
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(_equal, left, right))
    return isinstance(left, bool) == isinstance(right, bool) and bool(left == right)


_OPERATIONS: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}
