"""Structural schemas: pruning, defaults, embedded metadata, and what apply makes of them."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekube.api import schema
from edgekube.api.applying import apply
from edgekube.errors import ApiError

Document = dict[str, Any]


def resource(**spec: Any) -> Document:
    return {"type": "object", "properties": {"spec": {"type": "object", "properties": spec}}}


INTEGER, STRING = {"type": "integer"}, {"type": "string"}
A = {"type": "object", "properties": {"a": INTEGER}}


def test_unknown_members_are_dropped_and_named() -> None:
    known = resource(
        known=STRING,
        obj=A,
        list={"type": "array", "items": A},
        amap={"type": "object", "additionalProperties": A},
        island={"type": "object", schema.PRESERVE: True, "properties": {"typed": A}},
    )
    both = {"a": 1, "b": 2}
    spec = {"known": "k", "unknown": 1, "obj": both, "list": [both], "amap": {"k": both}}
    spec["island"] = {"any": {"thing": 1}, "typed": both}
    document = {"apiVersion": "v1", "kind": "W", "metadata": {"x": 1}, "spec": spec, "toplevel": {}}
    before = copy.deepcopy(document)
    kept, unknown = schema.prune(document, known)
    assert document == before
    assert unknown == [
        "spec.amap.k.b",
        "spec.island.typed.b",
        "spec.list[0].b",
        "spec.obj.b",
        "spec.unknown",
        "toplevel",
    ]
    assert kept["spec"] == {
        "known": "k",
        "obj": {"a": 1},
        "list": [{"a": 1}],
        "amap": {"k": {"a": 1}},
        "island": {"any": {"thing": 1}, "typed": {"a": 1}},
    }
    assert kept["metadata"] == {"x": 1}


def test_without_a_schema_only_the_frame_is_kept() -> None:
    assert schema.prune({"kind": "W", "metadata": {}, "spec": {}}, None) == ({"kind": "W", "metadata": {}}, ["spec"])


def test_defaults_fill_what_is_absent_or_null() -> None:
    known = resource(
        s={**STRING, "default": "d"},
        n={**STRING, "nullable": True, "default": "d"},
        o={"type": "object", "default": {}, "properties": {"p": {**INTEGER, "default": 1}}},
        l={"type": "array", "items": {"type": "object", "properties": {"q": {**INTEGER, "default": 2}}}},
        dropped=STRING,
    )
    document = {"spec": {"s": None, "n": None, "l": [{}], "dropped": None}}
    filled = schema.fill_defaults(document, known)
    assert filled == {"spec": {"s": "d", "n": None, "o": {"p": 1}, "l": [{"q": 2}]}}
    assert document == {"spec": {"s": None, "n": None, "l": [{}], "dropped": None}}


def test_embedded_metadata_is_read_and_written_as_object_metadata() -> None:
    known = resource(tpl={"type": "object", schema.EMBEDDED: True, schema.PRESERVE: True})
    document = {"spec": {"tpl": {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x", "unknown": 1}}}}
    coerced, unknown, errors = schema.coerce_metadata(document, known)
    assert coerced["spec"]["tpl"]["metadata"] == {"name": "x"}
    assert (unknown, errors) == (["spec.tpl.metadata.unknown"], [])
    _, _, errors = schema.coerce_metadata({"spec": {"tpl": {"kind": 1}}}, known)
    assert [str(error) for error in errors] == ["spec.tpl.kind: Invalid value: 1: must be a string"]


def test_a_schemas_own_defaults_are_pruned() -> None:
    known = {"type": "object", "properties": {"o": {**A, "default": {"a": 1, "z": 2}}}}
    assert schema.prune_defaults(known)["properties"]["o"]["default"] == {"a": 1}


PORTS = {
    "type": "array",
    schema.LIST_TYPE: "map",
    schema.LIST_KEYS: ["port", "protocol"],
    "items": {
        "type": "object",
        "properties": {"port": INTEGER, "protocol": {**STRING, "default": "TCP"}, "name": STRING},
    },
}
TAGS = {"type": "array", schema.LIST_TYPE: "set", "items": STRING}
FOO = schema.apply_schema(resource(ports=PORTS, tags=TAGS, plain={"type": "array", "items": STRING}), "Foo")


def applied(live: Document | None, manager: str, **spec: Any) -> Document:
    document = {"apiVersion": "e.com/v1", "kind": "Foo", "metadata": {"name": "a"}, "spec": spec}
    return apply(live, document, manager=manager, api_version="e.com/v1", now_text="2024-01-01T00:00:00Z", schema=FOO)


def test_apply_merges_lists_as_the_schema_says() -> None:
    one = applied(None, "m1", ports=[{"port": 80, "name": "a"}], tags=["x"], plain=["p"])
    two = applied(one, "m2", ports=[{"port": 81}], tags=["y"])
    assert two["spec"] == {"ports": [{"port": 80, "name": "a"}, {"port": 81}], "tags": ["x", "y"], "plain": ["p"]}
    assert two["metadata"]["managedFields"][1]["fieldsV1"] == {
        "f:spec": {"f:ports": {'k:{"port":81,"protocol":"TCP"}': {".": {}, "f:port": {}}}, "f:tags": {'v:"y"': {}}}
    }


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"ports": {"not": "a list"}}, ".spec.ports: expected list, got &{map[not:a list]}"),
        ({"tags": ["x", "x"]}, '.spec.tags: duplicate entries for key [="x"]'),
        ({"unknown": 1}, ".spec.unknown: field not declared in schema"),
    ],
)
def test_apply_refuses_what_does_not_fit(spec: Document, words: str) -> None:
    with pytest.raises(ApiError) as caught:
        applied(None, "m", **spec)
    assert caught.value.message == f"failed to create typed patch object (/a; e.com/v1, Kind=Foo): {words}"


VALUES = st.recursive(
    st.none() | st.integers(-3, 3) | st.sampled_from("xy"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=2),
    max_leaves=8,
)
SCHEMAS = st.recursive(
    st.sampled_from(
        [INTEGER, STRING, {"type": "object"}, {"type": "object", schema.PRESERVE: True}, {**INTEGER, "default": 7}]
    ),
    lambda inner: (
        st.builds(lambda p: {"type": "object", "properties": p}, st.dictionaries(st.sampled_from("abc"), inner))
        | st.builds(lambda items: {"type": "array", "items": items}, inner)
        | st.builds(lambda values: {"type": "object", "additionalProperties": values}, inner)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from("abc"), VALUES), SCHEMAS)
def test_pruning_and_defaulting_twice_is_as_doing_them_once(document: Document, known: Document) -> None:
    pruned, _ = schema.prune(document, known)
    assert schema.prune(pruned, known) == (pruned, [])
    filled = schema.fill_defaults(pruned, known)
    assert schema.fill_defaults(filled, known) == filled
    assert schema.prune(filled, known)[0] == filled
