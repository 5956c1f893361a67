"""An OpenAPI v3 document as protobuf, read back by a bare wire decoder."""

import json
import struct

import pytest

from edgekube.wire.openapi_v3_protobuf import encode
from edgekube.wire.protobuf_bytes import members

DOCUMENT = {
    "openapi": "3.0.0",
    "info": {"title": "Kubernetes", "version": "v1"},
    "paths": {
        "/api/v1/pods/{name}": {
            "patch": {
                "parameters": [{"name": "force", "in": "query", "schema": {"type": "boolean", "uniqueItems": True}}],
                "requestBody": {"required": True, "content": {"a/b": {"schema": {"$ref": "#/components/schemas/P"}}}},
                "responses": {"200": {"description": "OK", "content": {"c/d": {"schema": {"$ref": "#/s/P"}}}}},
                "x-kubernetes-action": "patch",
            },
            "parameters": [{"name": "name", "in": "path", "required": True, "schema": {"type": "string"}}],
        }
    },
    "components": {
        "schemas": {
            "P": {
                "type": "object",
                "required": ["list"],
                "properties": {
                    "list": {
                        "type": "array",
                        "items": {"type": "string", "enum": ["A"]},
                        "x-kubernetes-list-type": "set",
                    },
                    "map": {"type": "object", "additionalProperties": {"type": "integer", "default": 3, "maximum": 9}},
                    "any": {"allOf": [{"$ref": "#/s/Q"}], "default": {}, "nullable": True, "minLength": 2},
                },
            }
        }
    },
}


def only(data: bytes, *numbers: int) -> bytes:
    for number in numbers:
        (data,) = [value for key, value in members(data, 0, len(data)) if key >> 3 == number]
    return data


@pytest.fixture(name="data")
def _data() -> bytes:
    return encode(DOCUMENT)


def test_the_document_names_itself(data):
    assert (only(data, 1), only(data, 2, 1), only(data, 2, 6)) == (b"3.0.0", b"Kubernetes", b"v1")


def test_a_path_has_its_operations_and_parameters(data):
    path = only(data, 4, 1)
    assert only(path, 1) == b"/api/v1/pods/{name}"
    named = only(path, 2, 13, 1)
    assert (only(named, 1), only(named, 2), only(named, 4), only(named, 10, 1, 25)) == (
        b"name",
        b"path",
        b"\x01",
        b"string",
    )
    operation = only(path, 2, 10)
    assert only(operation, 6, 1, 10, 1, 20) == b"\x01"
    assert only(operation, 7, 1, 3) == b"\x01"
    assert only(operation, 7, 1, 2, 1, 2, 1, 2, 1) == b"#/components/schemas/P"
    assert only(operation, 8, 2, 1) == b"200"
    assert only(operation, 8, 2, 2, 1, 3, 1, 2, 1, 2, 1) == b"#/s/P"
    assert json.loads(only(operation, 13, 2, 2)) == "patch"


def test_a_schema_has_its_members_bounds_and_extensions(data):
    named = only(data, 5, 1, 1)
    assert only(named, 1) == b"P"
    schema = only(named, 2, 1)
    assert (only(schema, 25), only(schema, 23)) == (b"object", b"list")
    of = {only(one, 1).decode(): only(one, 2, 1) for _, one in members(only(schema, 31), 0, len(only(schema, 31)))}
    assert only(of["list"], 30, 1, 1, 25) == b"string"
    assert json.loads(only(of["list"], 30, 1, 1, 24, 2)) == "A"
    assert json.loads(only(of["list"], 36, 2, 2)) == "set"
    values = only(of["map"], 32, 1, 1)
    assert (struct.unpack("<d", only(values, 33, 1)), struct.unpack("<d", only(values, 11))) == ((3.0,), (9.0,))
    assert only(of["any"], 26, 2, 1) == b"#/s/Q"
    assert (only(of["any"], 1), only(of["any"], 16)) == (b"\x01", b"\x02")
    assert 33 not in [key >> 3 for key, _ in members(of["any"], 0, len(of["any"]))]
