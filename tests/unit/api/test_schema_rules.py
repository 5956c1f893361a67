"""The rules of a structural schema, broken, in upstream's words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekube.api import formats
from edgekube.api.schema import EMBEDDED, INT_OR_STRING, LIST_KEYS, LIST_TYPE
from edgekube.api.schema_expressions import Rules
from edgekube.api.schema_rules import UNCHECKED, validate

Document = dict[str, Any]


def broken(rule: Document, value: Any, **more: Any) -> list[str]:
    spec = {"type": "object", "properties": {"f": rule}, **more}
    return [str(e) for e in validate({"spec": {"f": value}}, {"type": "object", "properties": {"spec": spec}})]


@pytest.mark.parametrize(
    ("rule", "value", "words"),
    [
        ({"type": "string"}, 5, 'spec.f: Invalid value: "integer": spec.f in body must be of type string: "integer"'),
        ({"type": "integer"}, "x", 'spec.f: Invalid value: "string": spec.f in body must be of type integer: "string"'),
        (
            {"type": "boolean"},
            "true",
            'spec.f: Invalid value: "string": spec.f in body must be of type boolean: "string"',
        ),
        ({"type": "string"}, None, 'spec.f: Invalid value: "null": spec.f in body must be of type string: "null"'),
        (
            {"type": "integer", "format": "int32"},
            2**31,
            '<nil>: Invalid value: "": Checked value must be of type integer with format int32 in spec.f',
        ),
        ({"type": "string", "enum": ["a", "b"]}, "c", 'spec.f: Unsupported value: "c": supported values: "a", "b"'),
        ({"type": "integer", "enum": [1, 2]}, 3, 'spec.f: Unsupported value: 3: supported values: "1", "2"'),
        ({"type": "string", "maxLength": 2}, "abc", "spec.f: Too long: may not be more than 2 bytes"),
        (
            {"type": "string", "minLength": 1},
            "",
            'spec.f: Invalid value: "": spec.f in body should be at least 1 chars long',
        ),
        (
            {"type": "string", "pattern": "^[a-z]+$"},
            "A\n",
            "spec.f: Invalid value: \"A\\n\": spec.f in body should match '^[a-z]+$'",
        ),
        (
            {"type": "integer", "minimum": 5},
            1,
            "spec.f: Invalid value: 1: spec.f in body should be greater than or equal to 5",
        ),
        (
            {"type": "number", "maximum": 1.5, "exclusiveMaximum": True},
            1.5,
            "spec.f: Invalid value: 1.5: spec.f in body should be less than 1.5",
        ),
        ({"type": "integer", "multipleOf": 3}, 4, "spec.f: Invalid value: 4: spec.f in body should be a multiple of 3"),
        ({"type": "array", "maxItems": 1}, [1, 2], "spec.f: Too many: 2: must have at most 1 item"),
        ({"type": "array", "minItems": 1}, [], "spec.f: Invalid value: 0: spec.f in body should have at least 1 items"),
        (
            {"type": "object", "minProperties": 1},
            {},
            "spec.f: Invalid value: 0: spec.f in body should have at least 1 properties",
        ),
        ({"type": "object", "required": ["a"]}, {}, "spec.f.a: Required value"),
        (
            {"type": "string", "format": "date-time"},
            "nope",
            'spec.f: Invalid value: "nope": spec.f in body must be of type date-time: "nope"',
        ),
        ({"type": "array", LIST_TYPE: "set"}, ["x", "y", "x"], 'spec.f[2]: Duplicate value: "x"'),
        (
            {"type": "array", LIST_TYPE: "map", LIST_KEYS: ["n"]},
            [{"n": "p"}, {"n": "p", "v": 1}],
            'spec.f[1]: Duplicate value: {"n":"p"}',
        ),
        ({"type": "object", EMBEDDED: True}, {"kind": "Pod"}, "spec.f.apiVersion: Required value"),
        (
            {"type": "object", "additionalProperties": {"type": "string"}},
            {"a": 1},
            'spec.f.a: Invalid value: "integer": spec.f.a in body must be of type string: "integer"',
        ),
    ],
)
def test_a_broken_rule_reads_as_upstreams(rule: Document, value: Any, words: str) -> None:
    assert broken(rule, value) == [words]


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ({"type": "integer"}, 2.0),
        ({"type": "number"}, 1),
        ({INT_OR_STRING: True}, 80),
        ({INT_OR_STRING: True}, "http"),
        ({"type": "string", "nullable": True}, None),
        ({"type": "string", "format": "unheard-of"}, "x"),
        ({"type": "string", "pattern": r"^\p{L}+$"}, "x"),
    ],
)
def test_values_that_fit_pass(rule: Document, value: Any) -> None:
    assert broken(rule, value) == []


def test_alternatives_report_the_closest_one() -> None:
    needs = [{"required": ["a"]}, {"required": ["b"]}]
    one = {"type": "object", "oneOf": needs}
    assert broken(one, {"a": 1, "b": 1}) == [
        '<nil>: Invalid value: "": "spec.f" must validate one and only one schema (oneOf). Found 2 valid alternatives'
    ]
    assert broken(one, {}) == [
        '<nil>: Invalid value: "": "spec.f" must validate one and only one schema (oneOf). Found none valid',
        "spec.f.a: Required value",
    ]
    assert broken({"type": "object", "not": {"required": ["a"]}}, {"a": 1}) == [
        '<nil>: Invalid value: "": "spec.f" must not validate the schema (not)'
    ]
    assert broken({"type": "object", "anyOf": needs}, {"b": 1}) == []


def test_what_did_not_change_may_stay_wrong() -> None:
    keyed = {
        "type": "array",
        LIST_TYPE: "map",
        LIST_KEYS: ["n"],
        "items": {"type": "object", "properties": {"v": {"type": "integer", "minimum": 5}}},
    }
    schema = {"type": "object", "properties": {"a": {"type": "string", "pattern": "^[a-z]+$"}, "l": keyed}}
    old = {"a": "UPPER", "l": [{"n": "x", "v": 1}]}
    assert validate({**old, "b": 1}, schema, old) == []
    assert [error.field for error in validate({**old, "a": "OTHER"}, schema, old)] == ["a"]
    assert validate({**old, "l": [{"n": "y", "v": 6}, {"n": "x", "v": 1}]}, schema, old) == []
    assert [error.field for error in validate({**old, "l": [{"n": "x", "v": 2}]}, schema, old)] == ["l[0].v"]


def test_expressions_are_not_checked_on_a_broken_object() -> None:
    rule = {"type": "object", "required": ["a"], "x-kubernetes-validations": [{"rule": "true"}]}
    told = [str(error) for error in validate({}, rule, None, Rules(rule))]
    assert told == ["a: Required value", f"<nil>: Invalid value: null: {UNCHECKED}"]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("ipv4", "10.0.0.1", "10.0.0.256"),
        ("ipv6", "::1", "10.0.0.1"),
        ("cidr", "10.0.0.0/8", "10.0.0.0"),
        ("uuid", "3F2504E0-4F89-11D3-9A0C-0305E82C3301", "x"),
        ("date", "2024-02-29", "2023-02-29"),
        ("duration", "1h30m", "soon"),
        ("date-time", "2024-01-02T03:04:05Z", "2024-01-02"),
        ("byte", "eA==", "@"),
        ("email", "a@b.example", "nobody"),
        ("hostname", "a.example", "a b"),
        ("mac", "01:23:45:67:89:ab", "01:23"),
        ("uri", "https://a.example/x", "no scheme"),
        ("hexcolor", "#fff", "#ff"),
        ("isbn10", "0321751043", "0321751044"),
        ("creditcard", "4111111111111111", "4111111111111112"),
        ("k8s-short-name", "a-b", "A"),
    ],
)
def test_formats(name: str, good: str, bad: str) -> None:
    assert formats.keeps(name, good)
    assert not formats.keeps(name, bad)


@given(st.from_regex(r"\A[a-c]{0,3}\Z"))
def test_a_go_pattern_finds_the_same_in_python(text: str) -> None:
    compiled = formats.pattern(r"^a[b$]*$")
    assert compiled is not None
    assert (compiled.search(text) is not None) == (text[:1] == "a" and set(text[1:]) <= {"b", "$"})
    assert compiled.search(text + "\n") is None
