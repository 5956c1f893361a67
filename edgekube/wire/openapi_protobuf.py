"""The swagger document as protobuf (gnostic's openapi.v2.Document), which kubectl up to 1.28 needs for apply, diff, edit and explain.

Bytes out of a decoded document, nothing else: no descriptors, no protobuf library; only the messages and members our documents
have. Free values (defaults, enumerated values, `x-` members) travel as YAML text, of which JSON is a part.

Source of the numbers: google/gnostic openapiv2/OpenAPIv2.proto.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

_VARINT, _LENGTH = 0, 2

_OPERATIONS = {"get": 2, "put": 3, "post": 4, "delete": 5, "options": 6, "head": 7, "patch": 8}
# where a parameter lies decides which message it is: number in NonBodyParameter, its `type` and `uniqueItems`
_PLACES = {"query": (3, 6, 20), "path": (4, 5, 19)}


def _varint(value: int) -> bytes:
    made = bytearray()
    while value > 0x7F:
        made.append(value & 0x7F | 0x80)
        value >>= 7
    made.append(value)
    return bytes(made)


def _bytes(number: int, data: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH) + _varint(len(data)) + data


def _text(number: int, value: str | None) -> bytes:
    return _bytes(number, value.encode()) if value else b""


def _texts(number: int, values: Iterable[str]) -> bytes:
    return b"".join(_bytes(number, value.encode()) for value in values)


def _flag(number: int, value: bool | None) -> bytes:
    return _varint(number << 3 | _VARINT) + b"\x01" if value else b""


def _any(number: int, value: Any) -> bytes:
    return _bytes(number, _bytes(2, msgspec.json.encode(value)))


def _named(number: int, name: str, value: bytes) -> bytes:
    return _bytes(number, _text(1, name) + _bytes(2, value))


def _extensions(number: int, members: Mapping[str, Any]) -> bytes:
    return b"".join(
        _bytes(number, _text(1, name) + _any(2, value)) for name, value in members.items() if name.startswith("x-")
    )


def _schema(schema: Mapping[str, Any]) -> bytes:
    parts = [
        _text(1, schema.get("$ref")),
        _text(2, schema.get("format")),
        _text(4, schema.get("description")),
        _any(5, schema["default"]) if "default" in schema else b"",
        _texts(19, schema.get("required", ())),
        *(_any(20, value) for value in schema.get("enum", ())),
    ]
    if (values := schema.get("additionalProperties")) is not None:
        parts.append(_bytes(21, _flag(2, values) if isinstance(values, bool) else _bytes(1, _schema(values))))
    if type_ := schema.get("type"):
        parts.append(_bytes(22, _text(1, type_)))
    if (items := schema.get("items")) is not None:
        parts.append(_bytes(23, _bytes(1, _schema(items))))
    parts += [_bytes(24, _schema(part)) for part in schema.get("allOf", ())]
    if properties := schema.get("properties"):
        parts.append(_bytes(25, b"".join(_named(1, name, _schema(of)) for name, of in properties.items())))
    parts.append(_extensions(31, schema))
    return b"".join(parts)


def _parameter(parameter: Mapping[str, Any]) -> bytes:
    """One ParametersItem."""
    name, place, required = parameter["name"], parameter["in"], _flag(1, parameter.get("required"))
    if place == "body":
        body = _text(2, name) + _text(3, place) + _flag(4, parameter.get("required"))
        return _bytes(1, _bytes(1, body + _bytes(5, _schema(parameter["schema"]))))
    number, type_, unique = _PLACES[place]
    made = required + _text(2, place) + _text(4, name) + _text(type_, parameter["type"])
    return _bytes(1, _bytes(2, _bytes(number, made + _flag(unique, parameter.get("uniqueItems")))))


def _parameters(number: int, parameters: Iterable[Mapping[str, Any]]) -> bytes:
    return b"".join(_bytes(number, _parameter(parameter)) for parameter in parameters)


def _response(response: Mapping[str, Any]) -> bytes:
    made = _text(1, response.get("description"))
    if "schema" in response:
        made += _bytes(2, _bytes(1, _schema(response["schema"])))
    return _bytes(1, made)


def _operation(operation: Mapping[str, Any]) -> bytes:
    responses = operation.get("responses", {})
    return b"".join(
        (
            _texts(1, operation.get("tags", ())),
            _text(5, operation.get("operationId")),
            _texts(6, operation.get("produces", ())),
            _texts(7, operation.get("consumes", ())),
            _parameters(8, operation.get("parameters", ())),
            _bytes(9, b"".join(_named(1, code, _response(response)) for code, response in responses.items())),
            _extensions(13, operation),
        )
    )


def _path(item: Mapping[str, Any]) -> bytes:
    made = b"".join(
        _bytes(number, _operation(item[method])) for method, number in _OPERATIONS.items() if method in item
    )
    return made + _parameters(9, item.get("parameters", ())) + _extensions(10, item)


def encode(document: Mapping[str, Any]) -> bytes:
    """The bytes of an openapi.v2.Document."""
    info = document["info"]
    definitions = b"".join(_named(1, name, _schema(schema)) for name, schema in document["definitions"].items())
    return b"".join(
        (
            _text(1, document["swagger"]),
            _bytes(2, _text(1, info["title"]) + _text(2, info["version"])),
            _bytes(8, b"".join(_named(2, path, _path(item)) for path, item in document["paths"].items())),
            _bytes(9, definitions),
        )
    )
