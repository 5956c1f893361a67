"""The swagger document as protobuf, read back by a bare wire decoder."""

import json

from edgekube.wire.openapi_protobuf import encode


def fields(data):
    """[(number, value)]: ints for varints, bytes for everything with a length."""
    found, at = [], 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return value

    while at < len(data):
        tag = varint()
        if tag & 7 == 0:
            found.append((tag >> 3, varint()))
        else:
            assert tag & 7 == 2
            length = varint()
            found.append((tag >> 3, data[at : at + length]))
            at += length
    return found


def only(data, *numbers):
    for number in numbers:
        (data,) = [value for found, value in fields(data) if found == number]
    return data


DOCUMENT = {
    "swagger": "2.0",
    "info": {"title": "Kubernetes", "version": "v1"},
    "paths": {
        "/api/v1/pods/{name}": {
            "patch": {
                "consumes": ["a/b"],
                "produces": ["c/d"],
                "parameters": [
                    {"name": "body", "in": "body", "required": True, "schema": {"$ref": "#/definitions/P"}},
                    {"name": "force", "in": "query", "type": "boolean", "uniqueItems": True},
                ],
                "responses": {"200": {"description": "OK", "schema": {"$ref": "#/definitions/P"}}},
                "x-kubernetes-action": "patch",
            },
            "parameters": [{"name": "name", "in": "path", "required": True, "type": "string", "uniqueItems": True}],
        }
    },
    "definitions": {
        "P": {
            "type": "object",
            "required": ["list"],
            "properties": {
                "list": {
                    "type": "array",
                    "items": {"type": "string", "enum": ["A", "B"]},
                    "x-kubernetes-list-map-keys": ["name"],
                },
                "map": {"type": "object", "additionalProperties": {"type": "integer", "format": "int32", "default": 0}},
            },
        }
    },
}


def test_the_document_names_itself():
    data = encode(DOCUMENT)
    assert only(data, 1) == b"2.0"
    assert only(data, 2, 1) == b"Kubernetes"
    assert only(data, 2, 2) == b"v1"


def test_a_path_has_its_operations_and_parameters():
    path = only(encode(DOCUMENT), 8, 2)
    assert only(path, 1) == b"/api/v1/pods/{name}"
    item = only(path, 2)
    named = only(item, 9, 1, 2, 4)
    assert (only(named, 1), only(named, 2), only(named, 4), only(named, 5), only(named, 19)) == (
        1,
        b"path",
        b"name",
        b"string",
        1,
    )
    operation = only(item, 8)
    assert (only(operation, 6), only(operation, 7)) == (b"c/d", b"a/b")
    body, query = [value for number, value in fields(operation) if number == 8]
    assert only(body, 1, 1, 5, 1) == b"#/definitions/P"
    assert only(query, 1, 2, 3, 6) == b"boolean"
    response = only(operation, 9, 1)
    assert only(response, 1) == b"200"
    assert only(response, 2, 1, 2, 1, 1) == b"#/definitions/P"
    assert only(operation, 13, 1) == b"x-kubernetes-action"
    assert json.loads(only(operation, 13, 2, 2)) == "patch"


def test_a_definition_has_its_members_and_extensions():
    named = only(encode(DOCUMENT), 9, 1)
    assert only(named, 1) == b"P"
    schema = only(named, 2)
    assert only(schema, 22, 1) == b"object"
    assert only(schema, 19) == b"list"
    first, second = fields(only(schema, 25))
    of_list, of_map = only(first[1], 2), only(second[1], 2)
    assert only(of_list, 23, 1, 22, 1) == b"string"
    assert [json.loads(only(value, 2)) for number, value in fields(only(of_list, 23, 1)) if number == 20] == ["A", "B"]
    assert json.loads(only(of_list, 31, 2, 2)) == ["name"]
    values = only(of_map, 21, 1)
    assert (only(values, 2), only(values, 22, 1)) == (b"int32", b"integer")
    assert json.loads(only(values, 5, 2)) == 0
