"""Structural schemas as types of CEL: what an expression may ask of a custom resource, and values as it sees them.

JSON is evaluated as it is; only where a schema says that a value is something else than its JSON (a moment, a span, bytes, a number
that looks like an integer, a list whose order does not matter) is it converted, and only along the paths that lead there.

Source: k8s.io/apiserver pkg/cel/common/{schemas,valuesunstructured}.go, pkg/cel/escaping.go.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Mapping
from typing import Any

from edgekube.api.cel import core, types
from edgekube.api.cel.errors import CelError
from edgekube.api.cel.parser import RESERVED
from edgekube.api.cel.types import Type
from edgekube.api.cel.values import Duration, KeyedList, SetList
from edgekube.api.schema import (
    EMBEDDED,
    INT_OR_STRING,
    LIST_KEYS,
    LIST_TYPE,
    JSONSchema,
    additional_of,
    items_of,
    properties_of,
)

Convert = Callable[[Any], Any]
MOST_BYTES = 3 * 1024 * 1024  # of a request
_SPECIAL = {"__": "__underscores__", ".": "__dot__", "-": "__dash__", "/": "__slash__"}
_SEQUENCE = re.compile(r"__|[./-]|[^a-zA-Z0-9_./-]")
# Formats of strings that are something else in an expression: (type, most characters, fewest bytes of JSON).
_FORMATS = {
    "duration": (types.DURATION, 32, 3),
    "date": (types.TIMESTAMP, 12, 12),
    "date-time": (types.TIMESTAMP, 32, 21),
}
_TEXT: JSONSchema = {"type": "string"}
_HEAD: JSONSchema = {
    "apiVersion": _TEXT,
    "kind": _TEXT,
    "metadata": {"type": "object", "properties": {"name": _TEXT, "generateName": _TEXT}},
}


def escaped(name: str) -> str | None:
    """A property's name as expressions say it, or None if they cannot."""
    if not name or name[0].isdigit():
        return None
    if name in RESERVED:
        return f"__{name}__"
    if any(part not in _SPECIAL for part in _SEQUENCE.findall(name)):
        return None
    return _SEQUENCE.sub(lambda match: _SPECIAL[match.group()], name)


def with_head(schema: JSONSchema) -> JSONSchema:
    """The schema of a resource as rules see it: of its metadata they see the names."""
    return {**schema, "properties": {**properties_of(schema), **_HEAD}}


def declared(schema: JSONSchema, *, root: bool = False) -> Type | None:
    """The type of what a schema describes, or None if expressions cannot see it. `root`: it is a resource's."""
    if schema.get(INT_OR_STRING):
        return Type("dyn", max_elements=_characters(schema, MOST_BYTES - 2))
    if root:
        schema = with_head(schema)
    kind = schema.get("type")
    if kind == "array":
        return _declared_list(schema)
    if kind == "object":
        return _declared_object(schema)
    if kind == "string":
        return _declared_text(schema)
    return {"boolean": _BOOL, "number": types.DOUBLE, "integer": types.INT}.get(kind or "")


_BOOL = Type("bool", min_bytes=4)


def _characters(schema: JSONSchema, otherwise: int) -> int:
    most = schema.get("maxLength")
    return otherwise if most is None else max(int(most), 0) * 4


def _declared_text(schema: JSONSchema) -> Type:
    form = schema.get("format")
    if form in _FORMATS:
        known, most, least = _FORMATS[form]
        return Type(known.kind, known.name, max_elements=most, min_bytes=least)
    if form == "byte":
        given = schema.get("maxLength")
        return Type("bytes", max_elements=MOST_BYTES - 2 if given is None else max(int(given), 0), min_bytes=2)
    otherwise = MOST_BYTES - 2
    if schema.get("enum"):
        otherwise = max((len(one.encode()) for one in schema["enum"] if isinstance(one, str)), default=0)
    return Type("string", max_elements=_characters(schema, otherwise), min_bytes=2)


def _declared_list(schema: JSONSchema) -> Type | None:
    items = items_of(schema)
    element = declared(items, root=bool(items.get(EMBEDDED))) if items is not None else None
    if element is None:
        return None
    given = schema.get("maxItems")
    most = (MOST_BYTES - 2) // (element.min_bytes + 1) if given is None else max(int(given), 0)
    return types.list_of(element, max_elements=most, min_bytes=2)


def _declared_object(schema: JSONSchema) -> Type | None:
    additional = additional_of(schema)
    if isinstance(additional, dict):
        value = declared(additional, root=bool(additional.get(EMBEDDED)))
        if value is None:
            return None
        given = schema.get("maxProperties")
        most = (MOST_BYTES - 2) // (value.min_bytes + 6) if given is None else max(int(given), 0)
        return types.map_of(types.STRING, value, max_elements=most, min_bytes=2)
    required, least = set(schema.get("required") or ()), 2
    fields: dict[str, tuple[Type, str]] = {}
    for name, part in properties_of(schema).items():
        of_field = declared(part, root=bool(part.get(EMBEDDED)))
        if of_field is None:
            continue
        if (said := escaped(name)) is not None:
            fields[said] = (of_field, name)
        if name in required and part.get("default") is None:
            least += len(name) + of_field.min_bytes + 4
    return types.object_of("object", fields, min_bytes=least)


# ------------------------------------------------------------------------------------------------- values


def converter(schema: JSONSchema) -> Convert | None:
    """How to make a document into what expressions see; None if it is that already."""
    if schema.get(INT_OR_STRING):
        return None
    kind = schema.get("type")
    if kind == "array":
        return _list_converter(schema)
    if kind == "object":
        return _object_converter(schema)
    if kind == "number":
        return lambda value: float(value) if value.__class__ is int else value
    if kind == "string":
        return _TEXTS.get(schema.get("format") or "")
    return None


def _list_converter(schema: JSONSchema) -> Convert | None:
    items = items_of(schema)
    each = converter(items) if items is not None else None
    shape, keys = schema.get(LIST_TYPE), tuple(schema.get(LIST_KEYS) or ())

    def convert(value: Any) -> Any:
        if not isinstance(value, list):
            return value
        made = value if each is None else [each(one) for one in value]
        if shape == "set":
            return SetList(made)
        return KeyedList(made, keys) if shape == "map" else made

    return convert if each is not None or shape in ("set", "map") else None


def _object_converter(schema: JSONSchema) -> Convert | None:
    additional = additional_of(schema)
    if isinstance(additional, dict):
        each = converter(additional)
        if each is None:
            return None
        of_value = each
        return lambda value: {k: of_value(v) for k, v in value.items()} if isinstance(value, dict) else value
    found = {name: made for name, part in properties_of(schema).items() if (made := converter(part)) is not None}
    return _member_converter(found) if found else None


def _member_converter(members: Mapping[str, Convert]) -> Convert:
    def convert(value: Any) -> Any:
        if not isinstance(value, dict) or not any(name in value for name in members):
            return value
        return {name: members[name](one) if name in members else one for name, one in value.items()}

    return convert


def _reading(read: Callable[[str], Any]) -> Convert:
    """What a text says, or the text if it does not say it (its format is somebody else's to complain about)."""

    def convert(value: Any) -> Any:
        if value.__class__ is not str:
            return value
        try:
            return read(value)
        except (CelError, ValueError):
            return value

    return convert


_LOOSE_SPAN = re.compile(r"(\d+)\s*([A-Za-zµ]+)", re.ASCII)
_LOOSE_UNITS_S = {"s": 1, "sec": 1, "second": 1, "m": 60, "min": 60, "minute": 60, "h": 3600, "hr": 3600, "hour": 3600,
                  "d": 86400, "day": 86400, "w": 604800, "wk": 604800, "week": 604800}  # fmt: skip


def _span(text: str) -> Duration:
    try:
        return core.duration(text)
    except CelError:
        found = _LOOSE_SPAN.match(text)
        unit = found[2].lower() if found is not None else ""
        seconds = _LOOSE_UNITS_S.get(unit, _LOOSE_UNITS_S.get(unit.rstrip("s")))
        if found is None or seconds is None:
            raise
        return Duration(int(found[1]) * seconds * 1_000_000_000)


def _bytes(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as problem:
        raise ValueError(str(problem)) from None


_TEXTS: dict[str, Convert] = {
    "byte": _reading(_bytes),
    "duration": _reading(_span),
    "date": _reading(lambda text: core.timestamp(f"{text}T00:00:00Z")),
    "date-time": _reading(lambda text: core.timestamp(text)),
}
