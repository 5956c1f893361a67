"""Rules in CEL that schemas carry: accepted or not, and what they say of documents and of changes."""

from __future__ import annotations

import json
from typing import Any

import pytest

from edgekube.api.schema_expressions import Rules, definition_errors, field_path, has_expressions
from edgekube.api.schema_types import declared, escaped

RULES = "x-kubernetes-validations"


def spec(rules: list[dict[str, Any]], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": properties, RULES: rules}}}


def accepted(schema: dict[str, Any]) -> list[str]:
    return [
        str(error).replace("s.properties[spec].x-kubernetes-validations", "V")
        for error in definition_errors("s", schema)
    ]


def told(schema: dict[str, Any], new: Any, old: Any = None) -> list[str]:
    document = {"apiVersion": "e/v1", "kind": "K", "metadata": {"name": "n"}, "spec": new}
    before = None if old is None else {"apiVersion": "e/v1", "kind": "K", "metadata": {"name": "n"}, "spec": old}
    return [str(error) for error in Rules(schema).errors(document, before)[0]]


def warned(schema: dict[str, Any], new: Any, old: Any) -> list[str]:
    return Rules(schema).errors({"spec": new}, {"spec": old})[1]


INTEGER, TEXT = {"type": "integer"}, {"type": "string"}
ADVICE = " (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"


def test_a_schema_without_rules_costs_nothing() -> None:
    assert not has_expressions({"type": "object", "properties": {"a": TEXT}})
    assert has_expressions(
        {"type": "object", "properties": {"a": {"type": "array", "items": {**TEXT, RULES: [{"rule": "true"}]}}}}
    )
    assert accepted({"type": "object"}) == []


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ({"rule": "self.a > 1"}, []),
        ({"rule": "self.a"}, ["V[0].rule: Invalid value: %s: cel expression must evaluate to a bool"]),
        (
            {"rule": "self.b > 1"},
            [
                "V[0].rule: Invalid value: %s: compilation failed: ERROR: <input>:1:5: undefined field 'b'\n | self.b > 1\n | ....^"
            ],
        ),
        (
            {"rule": "self.a > 1", "messageExpression": "1"},
            ["V[0].messageExpression: Invalid value: %s: messageExpression must evaluate to a string"],
        ),
        (
            {"rule": "self.a > 1", "optionalOldSelf": True},
            ["V[0].optionalOldSelf: Invalid value: true: may not be set if oldSelf is not used in rule"],
        ),
        ({"rule": "oldSelf.hasValue() || self.a > 1", "optionalOldSelf": True}, []),
        ({"rule": "oldSelf.a < self.a"}, []),
    ],
)
def test_rules_are_accepted_or_not(rule: dict[str, Any], words: list[str]) -> None:
    members = {
        "Rule": rule["rule"],
        "Message": "",
        "MessageExpression": rule.get("messageExpression", ""),
        "Reason": None,
    }
    members |= {"FieldPath": "", "OptionalOldSelf": rule.get("optionalOldSelf")}
    shown = json.dumps(members, separators=(",", ":")).replace(">", "\\u003e")
    assert accepted(spec([rule], a=INTEGER)) == [one.replace("%s", shown) for one in words]


def test_expensive_rules_are_refused_with_the_factor() -> None:
    names = {"type": "array", "items": TEXT}
    found = accepted(spec([{"rule": "self.l.all(x, self.l.all(y, x == y))"}], l=names))
    over = "exceeds budget by factor of more than 100x" + ADVICE
    assert found == [
        f"V[0].rule: Forbidden: estimated rule cost {over}",
        "V[0].rule: Forbidden: contributed to estimated rule cost total exceeding cost limit for entire OpenAPIv3 schema",
        f"s: Forbidden: x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema {over}",
    ]
    short = {"type": "array", "maxItems": 100, "items": {"type": "string", "maxLength": 50}}
    assert accepted(spec([{"rule": "self.l.all(x, self.l.all(y, x == y))"}], l=short)) == []
    longer = {"type": "array", "maxItems": 1000, "items": {"type": "string", "maxLength": 50}}
    (found_one,) = accepted(spec([{"rule": "self.l.all(x, self.l.all(y, x == y))"}], l=longer))
    assert found_one == "V[0].rule: Forbidden: estimated rule cost exceeds budget by factor of 2.5x" + ADVICE


def test_a_rule_on_elements_counts_as_often_as_they_may_occur() -> None:
    element = {"type": "string", "maxLength": 10, RULES: [{"rule": "self.matches('^[a-z]+$')"}]}
    assert accepted(spec([], l={"type": "array", "maxItems": 10, "items": element})) == []
    found = accepted(spec([], m={"type": "object", "additionalProperties": {**element, "maxLength": 1000}}))
    assert found
    assert "estimated rule cost exceeds budget by factor of" in found[0]


def test_changes_cannot_be_followed_through_plain_lists() -> None:
    element = {"type": "object", "properties": {"n": TEXT}, RULES: [{"rule": "self.n == oldSelf.n"}]}
    (found,) = accepted(spec([], l={"type": "array", "maxItems": 5, "items": element}))
    assert found.endswith(
        "oldSelf cannot be used on the uncorrelatable portion of the schema within s.properties[spec].properties[l]"
    )


def test_names_are_escaped() -> None:
    given = ["namespace", "a.b", "a-b/c", "a__b", "1a", "ä", "_x", ""]
    assert [escaped(name) for name in given] == [
        "__namespace__", "a__dot__b", "a__dash__b__slash__c", "a__underscores__b", None, None, "_x", None,
    ]  # fmt: skip
    schema = spec([{"rule": "self.a__dot__b == self.__namespace__"}], **{"a.b": TEXT, "namespace": TEXT})
    assert accepted(schema) == []
    assert told(schema, {"a.b": "x", "namespace": "x"}) == []
    assert len(told(schema, {"a.b": "x", "namespace": "y"})) == 1


def test_what_rules_say() -> None:
    schema = spec(
        [
            {"rule": "self.a < self.b", "message": "a is less"},
            {"rule": "self.a > 0"},
            {
                "rule": "self.a != 7",
                "messageExpression": "'not ' + string(self.a)",
                "reason": "FieldValueForbidden",
                "fieldPath": ".a",
            },
            {"rule": "self.b != 9", "messageExpression": "string(1 / 0)", "message": "nine"},
            {"rule": "self.a != 8", "reason": "FieldValueRequired", "message": "eight"},
            {"rule": "self.a != 6", "reason": "FieldValueDuplicate", "message": "six"},
        ],
        a=INTEGER,
        b=INTEGER,
    )
    assert told(schema, {"a": 1, "b": 2}) == []
    assert told(schema, {"a": 3, "b": 2}) == ["spec: Invalid value: a is less"]
    assert told(schema, {"a": 0, "b": 2}) == ["spec: Invalid value: failed rule: self.a > 0"]
    assert told(schema, {"a": 7, "b": 8}) == ["spec.a: Forbidden: not 7"]
    assert told(schema, {"a": 1, "b": 9}) == ["spec: Invalid value: nine"]
    assert told(schema, {"a": 8, "b": 10}) == ["spec: Required value: eight"]
    assert told(schema, {"a": 6, "b": 10}) == ["spec: Duplicate value"]
    assert told(schema, {"a": 1})[0] == 'spec: Invalid value: "object": no such key: b evaluating rule: a is less'


def test_scalars_are_shown_and_the_root_has_no_path() -> None:
    schema = {
        "type": "object",
        RULES: [{"rule": "self.metadata.name == 'n' && self.kind == 'K' && has(self.spec)"}],
        "properties": {"spec": {"type": "string", RULES: [{"rule": "self != 'bad'"}]}},
    }
    assert told(schema, "good") == []
    assert told(schema, "bad") == ["spec: Invalid value: \"bad\": failed rule: self != 'bad'"]
    assert str(Rules(schema).errors({"metadata": {"name": "m"}, "kind": "K", "spec": "x"})[0][0]).startswith(
        "<nil>: Invalid value: "
    )


def test_formats_become_values() -> None:
    schema = spec(
        [
            {"rule": "!has(self.t) || self.t < timestamp('2030-01-01T00:00:00Z')"},
            {"rule": "!has(self.d) || self.d == duration('90m')"},
            {"rule": "!has(self.b) || self.b == b'ab'"},
            {"rule": "!has(self.day) || self.day.getDayOfMonth() == 1"},
            {"rule": "!has(self.f) || self.f / 2.0 == 1.5"},
            {"rule": "!has(self.p) || (type(self.p) == string ? self.p.endsWith('%') : self.p > 1)"},
        ],
        t={"type": "string", "format": "date-time"},
        d={"type": "string", "format": "duration"},
        b={"type": "string", "format": "byte"},
        day={"type": "string", "format": "date"},
        f={"type": "number"},
        p={"x-kubernetes-int-or-string": True},
    )  # fmt: skip
    good = {"t": "2029-01-01T00:00:00Z", "d": "1h30m", "b": "YWI=", "day": "2024-01-02", "f": 3, "p": "5%"}
    assert told(schema, good) == []
    assert told(schema, {**good, "d": "90 minutes", "p": 2}) == []
    bad = {"t": "2031-01-01T00:00:00Z", "d": "1h", "b": "YQ==", "day": "2024-01-01", "f": 4, "p": 1}
    assert len(told(schema, bad)) == 6


def test_sets_and_keyed_lists_have_no_order() -> None:
    keyed = {
        "type": "array",
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["k"],
        "items": {"type": "object", "properties": {"k": TEXT, "v": INTEGER}},
    }
    schema = spec(
        [{"rule": "self.s == oldSelf.s", "message": "s"}, {"rule": "self.m == oldSelf.m", "message": "m"}],
        s={"type": "array", "x-kubernetes-list-type": "set", "items": TEXT},
        m=keyed,
    )
    old = {"s": ["a", "b"], "m": [{"k": "x", "v": 1}, {"k": "y", "v": 2}]}
    assert told(schema, {"s": ["b", "a"], "m": [{"k": "y", "v": 2}, {"k": "x", "v": 1}]}, old) == []
    assert told(schema, {"s": ["a"], "m": [{"k": "x", "v": 1}, {"k": "y", "v": 3}]}, old) == [
        "spec: Invalid value: s",
        "spec: Invalid value: m",
    ]


def test_changes_are_followed_where_they_can_be() -> None:
    element = {
        "type": "object",
        "properties": {"k": TEXT, "v": INTEGER},
        RULES: [{"rule": "self.v >= oldSelf.v", "message": "shrank"}],
    }
    keyed = {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": element}
    schema = spec(
        [{"rule": "self.f == oldSelf.f", "message": "fixed"}],
        f=TEXT,
        l=keyed,
        m={"type": "object", "additionalProperties": element},
    )
    old = {"f": "a", "l": [{"k": "x", "v": 5}, {"k": "y", "v": 1}], "m": {"z": {"v": 3}}}
    assert told(schema, {"f": "b", "l": []}) == []  # nothing was before
    new = {
        "f": "b",
        "l": [{"k": "y", "v": 0}, {"k": "x", "v": 6}, {"k": "n", "v": 0}],
        "m": {"z": {"v": 2}, "new": {"v": 0}},
    }
    assert told(schema, new, old) == [
        "spec: Invalid value: fixed",
        "spec.l[0]: Invalid value: shrank",
        "spec.m[z]: Invalid value: shrank",
    ]


def test_an_old_self_that_may_be_absent() -> None:
    schema = spec(
        [{"rule": "oldSelf.hasValue() || self.a == 1", "optionalOldSelf": True, "message": "starts at 1"}], a=INTEGER
    )
    assert told(schema, {"a": 2}) == ["spec: Invalid value: starts at 1"]
    assert told(schema, {"a": 1}) == []
    assert told(schema, {"a": 2}, {"a": 1}) == []


def test_what_did_not_change_is_only_warned_about() -> None:
    part = {"type": "object", "properties": {"a": INTEGER}, RULES: [{"rule": "self.a > 5", "message": "more"}]}
    schema = spec([], p=part, other=TEXT)
    assert told(schema, {"p": {"a": 1}, "other": "y"}, {"p": {"a": 1}, "other": "x"}) == []
    assert warned(schema, {"p": {"a": 1}, "other": "y"}, {"p": {"a": 1}, "other": "x"}) == [
        "spec.p: Invalid value: more"
    ]
    assert told(schema, {"p": {"a": 2}}, {"p": {"a": 1}}) == ["spec.p: Invalid value: more"]


def test_rules_inside_of_all_of_are_asked_too() -> None:
    schema = spec([], a=INTEGER)
    schema["properties"]["spec"]["allOf"] = [{RULES: [{"rule": "self.a > 1", "message": "all"}]}]
    assert told(schema, {"a": 1}) == ["spec: Invalid value: all"]


def test_one_rule_that_takes_too_much_ends_the_asking() -> None:
    schema = spec(
        [{"rule": "self.l.all(a, self.l.all(b, self.l.all(c, a + b + c >= 0)))"}, {"rule": "false"}],
        l={"type": "array", "items": INTEGER},
    )
    (found,) = told(schema, {"l": list(range(200))})
    assert found.startswith(
        "spec: Invalid value: \"object\": 'operation cancelled: actual cost limit exceeded': no further"
    )


def test_field_paths() -> None:
    schema = {
        "type": "object",
        "properties": {
            "a": {"type": "object", "properties": {"b.c": TEXT}},
            "m": {"type": "object", "additionalProperties": TEXT},
        },
    }
    paths = [".a", ".a['b.c']", ".m.x", ".m['x.y']", ".z", "a", ".a[0]", ".a.", ""]
    assert [field_path(one, schema) for one in paths] == ["a", "a.b.c", "m[x]", "m[x.y]", None, None, None, None, None]


def test_sizes_are_what_a_request_can_hold() -> None:
    made = declared(
        {
            "type": "object",
            "properties": {"l": {"type": "array", "items": TEXT}, "e": {"type": "string", "enum": ["a", "abc"]}},
        }
    )
    assert made is not None
    assert made.fields is not None
    assert made.fields["l"][0].max_elements == (3 * 1024 * 1024 - 2) // 3
    assert made.fields["e"][0].max_elements == 3
    assert declared({"x-kubernetes-preserve-unknown-fields": True}) is None
    assert declared({"type": "array", "items": {"x-kubernetes-preserve-unknown-fields": True}}) is None
