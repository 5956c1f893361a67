"""Bodies to documents and documents to objects, with Go's words for everything that is wrong on the way.

Happy paths cost what msgspec costs. Only when something is off is the document walked again beside its type (`api.typed`)
to say it as Go would. Nulls follow Go's json: they leave the zero value. YAML has its own module (`api.yamldoc`).

Source: sigs.k8s.io/json, encoding/json, time.Parse and k8s.io/apiserver pkg/endpoints/handlers (transformDecodeError).
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable
from itertools import repeat
from typing import Any, NoReturn, TypeVar

import msgspec

from edgekube.api import gotypes, rules
from edgekube.api.gojson import syntax_error
from edgekube.api.kind import Kind
from edgekube.api.meta import Object
from edgekube.api.quantity import canonical
from edgekube.api.typed import ANY, LIST, MAP, SCALAR, STRUCT, Node, node_of
from edgekube.errors import BadRequest

T = TypeVar("T", bound=Object)

MOST_STRICT_PROBLEMS = 100  # upstream stops collecting there
_SUMMARY_BYTES = 30
_TYPE_META = 'struct { APIVersion string "json:\\"apiVersion,omitempty\\""; Kind string "json:\\"kind,omitempty\\"" }'
_KEY = re.compile(rb'(?<!\\)"[ \t\r\n]*:')
_ANYTHING = Node(ANY, "interface {}")
_parse = msgspec.json.Decoder().decode


def json_type(value: Any) -> str:
    """Go's word for the type of a decoded JSON value."""
    if isinstance(value, str):
        return "string"
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    return "array" if isinstance(value, list) else "object" if isinstance(value, dict) else "null"


def parse_json(data: bytes) -> Any:
    """The JSON value in a body. Raises ValueError with the words of Go's scanner. A member given twice: the last one counts."""
    try:
        return _parse(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        if words := syntax_error(data):
            raise ValueError(words) from None
    try:
        return json.loads(data.decode("utf-8", "replace"))  # bad UTF-8, which Go replaces
    except (ValueError, RecursionError):
        raise ValueError("invalid JSON document") from None


def summary(data: bytes) -> str:
    """The beginning of a body as upstream quotes it: text of objects, hex of everything else."""
    if not data:
        return "<empty>"
    cut = data[:_SUMMARY_BYTES]
    shown = cut.decode("utf-8", "replace") if data.startswith(b"{") else cut.hex()
    return f"{shown} ..." if len(data) > _SUMMARY_BYTES else shown


def unrecognized(kind_name: str, reason: str, data: bytes) -> BadRequest:
    """The answer to a body in which no kind can be found."""
    return BadRequest(f"the object provided is unrecognized (must be of type {kind_name}): {reason} ({summary(data)})")


def parse_object(data: bytes, kind_name: str) -> dict[str, Any]:
    """The object in a JSON request body (null is an empty one). Raises BadRequest as upstream words it."""
    trouble = "couldn't get version/kind; json parse error: "
    try:
        document = parse_json(data)
    except ValueError as error:
        raise unrecognized(kind_name, f"{trouble}{error}", data) from None
    if document is None:
        return {}
    if not isinstance(document, dict):
        words = f"json: cannot unmarshal {json_type(document)} into Go value of type {_TYPE_META}"
        raise unrecognized(kind_name, trouble + words, data)
    for name in ("apiVersion", "kind"):
        value = document.get(name)
        if value is not None and not isinstance(value, str):
            words = f"json: cannot unmarshal {json_type(value)} into Go struct field .{name} of type string"
            raise unrecognized(kind_name, trouble + words, data)
    return document


# ------------------------------------------------------------------------------------- unknown and duplicate fields


def unknown_and_duplicate_fields(
    document: dict[str, Any], struct_type: type[msgspec.Struct] | None, data: bytes = b""
) -> list[str]:
    """What strict decoding complains of: `unknown field "spec.x"`, `duplicate field "data.a"`, in the body's order.

    `struct_type` None: nothing is unknown (custom resources are pruned by their schema). `data` is the JSON the document was
    parsed from; without it duplicates cannot be seen.
    """
    if (
        unknown_paths := getattr(struct_type, "unknown_paths", None)
    ) is not None:  # a custom resource's type has a schema
        repeated = unknown_and_duplicate_fields(document, None, data)
        return repeated + [f"unknown field {rules.quoted(path)}" for path in unknown_paths(document)]
    node = node_of(struct_type) if struct_type is not None else _ANYTHING
    try:
        count = _count_members(document, node)
        if not data or count == _count_keys(data):
            return []
    except _Unknown:
        pass
    written = json.loads(data.decode("utf-8", "replace"), object_pairs_hook=_Pairs) if data else document
    return list(dict.fromkeys(_strict_problems(written, node)))[:MOST_STRICT_PROBLEMS]


def _count_keys(data: bytes) -> int:
    """How many members are written in a JSON text: a quote before a colon ends a key, unless it is escaped."""
    if data.count(b" :") or data.count(b"\t:") or data.count(b"\n:") or data.count(b"\r:"):
        return len(_KEY.findall(data))
    return data.count(b'":') - data.count(b'\\":')


class _Unknown(Exception):
    """A member that its struct does not have."""


class _Pairs(list[tuple[str, Any]]):
    """An object whose members are kept as they were written, repeated ones too."""


def _count_members(value: Any, node: Node) -> int:
    """How many members all objects have together. Raises _Unknown for one that its struct does not have."""
    element = node.element or _ANYTHING
    if value.__class__ is list:
        count, items = 0, zip(value, repeat(element), strict=False)
    else:
        count, members = len(value), node.members
        if members is None:
            items = zip(value.values(), repeat(element), strict=False)
        elif value.keys() <= members.keys():
            items = zip(value.values(), map(members.__getitem__, value), strict=True)
        else:
            raise _Unknown
    for item, below in items:
        if item.__class__ is dict or item.__class__ is list:
            count += _count_members(item, below)
    return count


def _strict_problems(value: Any, node: Node | None, path: str = "") -> list[str]:
    problems: list[str] = []
    if isinstance(value, dict | _Pairs):
        members = node.members if node is not None else None
        seen = set()
        for name, item in value.items() if isinstance(value, dict) else value:
            below = rules.child(path, name)
            if members is not None and name not in members:
                problems.append(f"unknown field {rules.quoted(below)}")
                continue
            if name in seen:
                problems.append(f"duplicate field {rules.quoted(below)}")
            seen.add(name)
            problems += _strict_problems(item, members[name] if members else node.element if node else None, below)
    elif isinstance(value, list):
        element = node.element if node is not None else None
        for position, item in enumerate(value):
            problems += _strict_problems(item, element, f"{path}[{position}]")
    return problems


def strict_error(kind: Kind[Any], problems: list[str]) -> BadRequest:
    """The answer under fieldValidation=Strict."""
    return _cannot_be_handled(kind, f"strict decoding error: {', '.join(problems)}")


# ------------------------------------------------------------------------------------- documents to objects


def decode(kind: Kind[T], document: dict[str, Any]) -> T:
    """The object of a request's document, nulls and base64 read as Go reads them. Raises BadRequest in Go's words."""
    try:
        return kind.from_dict(document)
    except (msgspec.ValidationError, ValueError):
        document = without_nulls(document, kind.type)
    try:
        return kind.from_dict(document)
    except (msgspec.ValidationError, ValueError) as error:
        raise decode_error(kind, error, document) from None


def without_nulls(document: dict[str, Any], struct_type: type[msgspec.Struct]) -> dict[str, Any]:
    """The document with nulls gone where Go would leave the zero value: members absent, elements and map values zero.

    Line breaks in base64 text, which Go's decoder skips, are gone too.
    """
    cleaned: dict[str, Any] = _without_nulls(document, node_of(struct_type))
    return cleaned


def _without_nulls(value: Any, node: Node) -> Any:
    if node.kind == STRUCT and isinstance(value, dict):
        members = node.members or {}
        return {
            name: _without_nulls(item, members[name]) if name in members else item
            for name, item in value.items()
            if item is not None
        }
    if node.element is not None and node.element.kind != ANY:
        element = node.element
        if node.kind == MAP and isinstance(value, dict):
            return {
                name: _zero(element) if item is None else _without_nulls(item, element) for name, item in value.items()
            }
        if node.kind == LIST and isinstance(value, list):
            return [_zero(element) if item is None else _without_nulls(item, element) for item in value]
    if node.go_type == "[]uint8" and isinstance(value, str):
        return value.replace("\n", "").replace("\r", "")
    return value


def _zero(node: Node) -> Any:
    if node.kind in (STRUCT, MAP):
        return {}
    if node.kind == LIST:
        return []
    zeros: dict[str, Any] = {"bool": False, "int32": 0, "int64": 0, "float64": 0.0, "intstr.IntOrString": 0}
    return zeros.get(node.go_type, "0" if node.go_type == "resource.Quantity" else "")


def _cannot_be_handled(kind: Kind[Any], words: str) -> BadRequest:
    return BadRequest(f'{kind.name} in version "{kind.version}" cannot be handled as a {kind.name}: {words}')


def decode_error(kind: Kind[Any], error: Exception, document: dict[str, Any] | None = None) -> BadRequest:
    """The answer to a document that is not of the kind's type. With the document, in Go's words; else in msgspec's."""
    words = type_error(document, kind.type) if document is not None else None
    return _cannot_be_handled(kind, words or str(error))


class _Abort(Exception):
    """A scalar that reads its own text refused it: Go stops there and reports that."""


def type_error(document: dict[str, Any], struct_type: type[msgspec.Struct]) -> str | None:
    """Go's words for the first value of a wrong type, or None if there is none."""
    found: list[str] = []
    try:
        node = node_of(struct_type)
        _check(document, node, node.go_type, "", "", found)
    except _Abort as abort:
        return str(abort)
    return found[0] if found else None


def _check(value: Any, node: Node, go_type: str, owner: str, path: str, found: list[str]) -> None:
    """`go_type` is Go's name for the type here, `owner` the struct that has the field, `path` the dotted path to it."""
    if value is None or node.kind == ANY:
        return

    def mismatch(shown: str, wanted: str) -> None:
        where = f"Go struct field {owner}.{path}" if owner else "Go value"
        found.append(f"json: cannot unmarshal {shown} into {where} of type {wanted}")

    if node.kind == STRUCT:
        if not isinstance(value, dict):
            mismatch(json_type(value), go_type)
            return
        members, types = node.members or {}, gotypes.named()
        for name, item in value.items():
            if name in members:
                below = types.get(f"{node.name}.{name}") or members[name].go_type
                _check(item, members[name], below, node.name, rules.child(path, name), found)
    elif node.kind in (MAP, LIST):
        if not isinstance(value, dict if node.kind == MAP else list):
            mismatch(json_type(value), go_type)
        elif node.element is not None:
            inner = gotypes.element(go_type) or node.element.go_type
            for item in value.values() if isinstance(value, dict) else value:
                _check(item, node.element, inner, owner, path, found)
    elif node.kind == SCALAR:
        _check_scalar(value, node.go_type, go_type, mismatch, found)


def _check_scalar(value: Any, plain: str, go_type: str, mismatch: Callable[[str, str], None], found: list[str]) -> None:
    """`plain` says what is expected, `go_type` what Go calls it."""
    shown = json_type(value)
    if plain == "intstr.IntOrString":
        if shown == "string":
            return
        plain = go_type = "int32"
    if plain in ("int32", "int64"):
        bits = 31 if plain == "int32" else 63
        if shown != "number":
            mismatch(shown, go_type)
        elif isinstance(value, float) or not -(1 << bits) <= value < 1 << bits:
            mismatch(f"number {rules.go_value(value)}", go_type)
    elif plain == "resource.Quantity":
        try:
            canonical(value if isinstance(value, str) else str(value))
        except ValueError as error:
            raise _Abort(str(error)) from None
    elif plain in ("v1.Time", "v1.MicroTime"):
        if shown != "string":
            mismatch(shown, "string")
        elif words := time_error(value, "2006-01-02T15:04:05Z07:00" if plain == "v1.Time" else MICRO_LAYOUT):
            raise _Abort(words)
    elif plain == "[]uint8":
        if shown != "string":
            mismatch(shown, go_type)
        elif (position := _bad_base64(value)) is not None:
            found.append(f"illegal base64 data at input byte {position}")
    elif shown != {"string": "string", "bool": "bool", "float64": "number"}[plain]:
        mismatch(shown, go_type)


_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


def _bad_base64(text: str) -> int | None:
    """Where Go's decoder stops; None if it does not."""
    text = text.replace("\n", "").replace("\r", "")
    try:
        base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        good = _BASE64.match(text)
        end = good.end() if good else 0
        wrong = re.compile(r"[^A-Za-z0-9+/]").search(text, end - end % 4)
        return wrong.start() if wrong else len(text) - len(text) % 4
    return None


# ------------------------------------------------------------------------------------------------- times

MICRO_LAYOUT = "2006-01-02T15:04:05.000000Z07:00"
_TIME_PARTS = (
    ("2006", r"\d{4}", 0, 9999, "year"),
    ("-", "-", 0, 0, ""),
    ("01", r"\d\d", 1, 12, "month"),
    ("-", "-", 0, 0, ""),
    ("02", r"\d\d", 1, 31, "day"),
    ("T", "T", 0, 0, ""),
    ("15", r"\d{1,2}", 0, 23, "hour"),
    (":", ":", 0, 0, ""),
    ("04", r"\d\d", 0, 59, "minute"),
    (":", ":", 0, 0, ""),
    ("05", r"\d\d", 0, 59, "second"),
)


def time_error(text: str, layout: str = "2006-01-02T15:04:05Z07:00") -> str | None:
    """What Go's time.Parse says of a text that is not RFC 3339; None if it is."""
    start = f"parsing time {rules.quoted(text)}"
    failed = f"{start} as {rules.quoted(layout)}: cannot parse "
    rest, numbers = text, []
    for element, pattern, least, most, name in _TIME_PARTS:
        if not (found := re.match(pattern, rest, re.ASCII)):
            return f"{failed}{rules.quoted(rest)} as {rules.quoted(element)}"
        if name:
            number = int(found[0])
            numbers.append(number)
            if not least <= number <= most:
                return f"{start}: {name} out of range"
        rest = rest[found.end() :]
    fraction = re.match(r"[.,]\d+", rest, re.ASCII)
    if "." in layout and (not fraction or fraction.end() != 7):
        return f"{failed}{rules.quoted(rest)} as {rules.quoted('.000000')}"
    rest = rest[fraction.end() :] if fraction else rest
    zone = re.match(r"Z|[+-]\d\d:\d\d", rest, re.ASCII)
    if not zone:
        return f"{failed}{rules.quoted(rest)} as {rules.quoted('Z07:00')}"
    if zone.end() < len(rest):
        return f"{start}: extra text: {rules.quoted(rest[zone.end() :])}"
    year, month, day = numbers[:3]
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if day > (29 if month == 2 and leap else 28 if month == 2 else 30 if month in (4, 6, 9, 11) else 31):
        return f"{start}: day out of range"
    return None


def refuse(kind: Kind[Any], words: str) -> NoReturn:
    """Raises the answer to a document of another kind or version that cannot be read as this one."""
    raise _cannot_be_handled(kind, words)
