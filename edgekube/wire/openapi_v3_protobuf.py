"""An OpenAPI v3 document as protobuf (gnostic's openapi.v3.Document), which Go clients ask for before they ask for JSON.

Bytes out of a decoded document, nothing else: no descriptors, no protobuf library. Free values (enumerated values, examples, `x-`
members) travel as YAML text, of which JSON is a part; a default that is no scalar has no place in this format and is left out.

Source of the numbers: google/gnostic openapiv3/OpenAPIv3.proto.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from edgekube.wire.protobuf_bytes import BYTES, FIXED64, VARINT, sized, varint

_OPERATIONS = {"get": 4, "put": 5, "post": 6, "delete": 7, "options": 8, "head": 9, "patch": 10, "trace": 11}
_FLAGS = {"nullable": 1, "readOnly": 3, "writeOnly": 4, "deprecated": 8, "uniqueItems": 20}
_EXCLUSIVE = {"exclusiveMaximum": 12, "exclusiveMinimum": 14}
_NUMBERS = {"multipleOf": 10, "maximum": 11, "minimum": 13}
_COUNTS = {"maxLength": 15, "minLength": 16, "maxItems": 18, "minItems": 19, "maxProperties": 21, "minProperties": 22}
_TEXTS = {"title": 9, "pattern": 17, "type": 25, "description": 34, "format": 35}
_CHOICES = {"allOf": 26, "oneOf": 27, "anyOf": 28}

Document = Mapping[str, Any]


def _bytes(number: int, data: bytes) -> bytes:
    return sized(number << 3 | BYTES, data)


def _text(number: int, value: Any) -> bytes:
    return _bytes(number, str(value).encode()) if value else b""


def _count(number: int, value: int) -> bytes:
    return varint(number << 3 | VARINT) + varint(int(value)) if value else b""


def _double(number: int, value: float) -> bytes:
    return varint(number << 3 | FIXED64) + struct.pack("<d", value)


def _any(value: Any) -> bytes:
    return _bytes(2, msgspec.json.encode(value))


def _named(number: int, members: Document, make: Callable[[Any], bytes]) -> bytes:
    """A map as repeated pairs."""
    return b"".join(_bytes(number, _text(1, name) + _bytes(2, make(value))) for name, value in members.items())


def _extensions(number: int, members: Document) -> bytes:
    return _named(number, {name: value for name, value in members.items() if name.startswith("x-")}, _any)


def _or_reference(value: Document, make: Callable[[Document], bytes]) -> bytes:
    """Every `...OrReference` message: the thing itself, or where it stands."""
    return _bytes(2, _text(1, value["$ref"])) if "$ref" in value else _bytes(1, make(value))


def _default(value: Any) -> bytes:
    if isinstance(value, bool):
        return varint(2 << 3 | VARINT) + varint(int(value))
    if isinstance(value, int | float):
        return _double(1, value)
    return _bytes(3, value.encode()) if isinstance(value, str) else b""


def _schema_or_reference(schema: Document) -> bytes:
    return _or_reference(schema, _schema)


def _schema(schema: Document) -> bytes:
    made = [
        *(_count(number, schema[name]) for name, number in _FLAGS.items() if name in schema),
        *(_count(number, schema[name]) for name, number in _EXCLUSIVE.items() if name in schema),
        *(_double(number, schema[name]) for name, number in _NUMBERS.items() if name in schema),
        *(_count(number, schema[name]) for name, number in _COUNTS.items() if name in schema),
        *(_text(number, schema.get(name)) for name, number in _TEXTS.items()),
        *(_bytes(23, name.encode()) for name in schema.get("required", ())),
        *(_bytes(24, _any(value)) for value in schema.get("enum", ())),
        *(
            _bytes(number, _schema_or_reference(part))
            for name, number in _CHOICES.items()
            for part in schema.get(name, ())
        ),
    ]
    if "example" in schema:
        made.append(_bytes(7, _any(schema["example"])))
    if (excluded := schema.get("not")) is not None:
        made.append(_bytes(29, _schema(excluded)))
    if (items := schema.get("items")) is not None:
        made.append(_bytes(30, _bytes(1, _schema_or_reference(items))))
    if properties := schema.get("properties"):
        made.append(_bytes(31, _named(1, properties, _schema_or_reference)))
    if (values := schema.get("additionalProperties")) is not None:
        of = _count(2, values) if isinstance(values, bool) else _bytes(1, _schema_or_reference(values))
        made.append(_bytes(32, of))
    if "default" in schema and (default := _default(schema["default"])):
        made.append(_bytes(33, default))
    return b"".join([*made, _extensions(36, schema)])


def _content(number: int, content: Document) -> bytes:
    def media(value: Document) -> bytes:
        return _bytes(1, _schema_or_reference(value["schema"])) if "schema" in value else b""

    return _bytes(number, _named(1, content, media)) if content else b""


def _parameter(parameter: Document) -> bytes:
    made = _text(1, parameter["name"]) + _text(2, parameter["in"]) + _text(3, parameter.get("description"))
    made += _count(4, parameter.get("required", False))
    return made + _bytes(10, _schema_or_reference(parameter["schema"])) + _extensions(14, parameter)


def _parameters(number: int, parameters: Iterable[Document]) -> bytes:
    return b"".join(_bytes(number, _or_reference(one, _parameter)) for one in parameters)


def _response(response: Document) -> bytes:
    return _text(1, response.get("description")) + _content(3, response.get("content", {})) + _extensions(5, response)


def _request_body(body: Document) -> bytes:
    made = _text(1, body.get("description")) + _content(2, body.get("content", {}))
    return made + _count(3, body.get("required", False)) + _extensions(4, body)


def _operation(operation: Document) -> bytes:
    made = [
        *(_bytes(1, tag.encode()) for tag in operation.get("tags", ())),
        _text(3, operation.get("description")),
        _text(5, operation.get("operationId")),
        _parameters(6, operation.get("parameters", ())),
    ]
    if "requestBody" in operation:
        made.append(_bytes(7, _or_reference(operation["requestBody"], _request_body)))
    responses = _named(2, operation.get("responses", {}), lambda one: _or_reference(one, _response))
    return b"".join([*made, _bytes(8, responses), _extensions(13, operation)])


def _path(item: Document) -> bytes:
    made = b"".join(_bytes(number, _operation(item[name])) for name, number in _OPERATIONS.items() if name in item)
    return made + _parameters(13, item.get("parameters", ())) + _extensions(14, item)


def encode(document: Document) -> bytes:
    """The bytes of an openapi.v3.Document."""
    info = document["info"]
    schemas = document.get("components", {}).get("schemas", {})
    return b"".join(
        (
            _text(1, document["openapi"]),
            _bytes(2, _text(1, info["title"]) + _text(6, info["version"])),
            _bytes(4, _named(1, document.get("paths", {}), _path)),
            _bytes(5, _bytes(1, _named(1, schemas, _schema_or_reference))),
        )
    )
