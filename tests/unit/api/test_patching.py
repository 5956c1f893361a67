"""The three patch formats against their RFCs and upstream's answers."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekube.api.patching import (
    json_patch,
    merge_patch,
    read_json_patch,
    read_merge_patch,
    read_strategic_patch,
    strategic_merge,
    unknown_operation_members,
)
from edgekube.errors import ApiError, BadRequest, Invalid
from edgekube.kinds.catalog import built_in

TYPES = {kind.name: kind.type for kind in built_in()}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=3),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), JSON, max_size=4)


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(item) for name, item in value.items() if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in value]
    return value


@pytest.mark.parametrize(
    ("document", "operations", "expected"),
    [
        ({"a": 1}, [{"op": "add", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": [1, 3]}, [{"op": "add", "path": "/a/1", "value": 2}], {"a": [1, 2, 3]}),
        ({"a": [1]}, [{"op": "add", "path": "/a/-", "value": 2}], {"a": [1, 2]}),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/0"}], {"a": [2]}),
        ({"a/b": 1, "c~d": 2}, [{"op": "replace", "path": "/a~1b", "value": 3}], {"a/b": 3, "c~d": 2}),
        ({"a/b": 1, "c~d": 2}, [{"op": "remove", "path": "/c~0d"}], {"a/b": 1}),
        ({"a": 1}, [{"op": "copy", "from": "/a", "path": "/b"}], {"a": 1, "b": 1}),
        ({"a": 1}, [{"op": "move", "from": "/a", "path": "/b"}], {"b": 1}),
        ({"a": 1}, [{"op": "test", "path": "/a", "value": 1}, {"op": "remove", "path": "/a"}], {}),
        ({"a": 1}, [{"op": "test", "path": "/b", "value": None}], {"a": 1}),
        ({"a": 1}, [{"op": "add", "path": "/b", "value": None}], {"a": 1, "b": None}),
        ({"a": 1}, [{"op": "replace", "path": "", "value": {"z": 1}}], {"z": 1}),
        ({"a": 1}, [{"op": "replace", "path": "/b", "value": 2}], {"a": 1, "b": 2}),
        ({"a": 1}, [{"op": "copy", "from": "/b", "path": "/c"}], {"a": 1, "c": None}),
        ({"a": [1, 2]}, [{"op": "remove", "path": "/a/-1"}], {"a": [1]}),
        ({"a": 1}, [], {"a": 1}),
    ],
)
def test_json_patch_applies(document: dict[str, Any], operations: list[dict[str, Any]], expected: Any) -> None:
    before = copy.deepcopy(document)
    assert json_patch(document, operations) == expected
    assert document == before


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "add", "path": "/x/y", "value": 1},
        {"op": "add", "path": "/a/5", "value": 1},
        {"op": "remove", "path": "/x"},
        {"op": "replace", "path": "/x/y", "value": 1},
        {"op": "replace", "path": "/a/1", "value": 1},
        {"op": "test", "path": "/b", "value": 2},
        {"op": "test", "path": "/b", "value": True},
        {"op": "nope", "path": "/b"},
        {"op": "remove"},
        {"op": "move", "from": "/x", "path": "/y"},
        {"op": "add", "path": "b", "value": 1},
    ],
)
def test_a_json_patch_that_does_not_apply_is_refused_without_a_reason(operation: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="the server rejected our request") as caught:
        json_patch({"a": [1], "b": 1}, [operation])
    assert caught.value.to_status()["details"] == {}


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_done_twice_is_as_done_once(document: dict[str, Any], patch: dict[str, Any]) -> None:
    once = merge_patch(document, patch)
    assert merge_patch(once, patch) == once


@given(OBJECTS)
def test_merging_into_nothing_gives_the_patch_without_nulls(patch: dict[str, Any]) -> None:
    assert merge_patch({}, patch) == without_nulls(patch)


@pytest.mark.parametrize(
    ("read", "body", "words"),
    [
        (
            read_merge_patch,
            b"{nope",
            "error decoding patch: invalid character 'n' looking for beginning of object key string",
        ),
        (read_strategic_patch, b"{nope", "invalid character 'n' looking for beginning of object key string"),
        (read_json_patch, b"[nope", "error decoding patch: invalid character 'o' in literal null (expecting 'u')"),
        (
            read_merge_patch,
            b"[]",
            "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}",
        ),
    ],
)
def test_a_malformed_patch_body_is_refused_in_gos_words(read: Any, body: bytes, words: str) -> None:
    with pytest.raises(BadRequest) as caught:
        read(body)
    assert caught.value.message == words


def test_unknown_members_of_operations_are_named() -> None:
    operations = [{"op": "add", "path": "/a", "value": 1, "nope": 2}]
    assert unknown_operation_members(operations) == ['json patch unknown field "[0].nope"']


def template(**spec: Any) -> dict[str, Any]:
    return {"template": {"spec": spec}}


def patched(live: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = strategic_merge(template(**live), template(**patch), TYPES["PodTemplate"])["template"][
        "spec"
    ]
    return spec


def names(spec: dict[str, Any]) -> list[str]:
    return [container["name"] for container in spec["containers"]]


A, B, C, D = ({"name": name, "image": "i"} for name in "abcd")


def test_strategic_merge_orders_by_the_patch_and_keeps_the_others_in_place() -> None:
    result = patched({"containers": [A, B, C]}, {"containers": [D, {"name": "b", "image": "j"}]})
    assert names(result) == ["d", "a", "b", "c"]
    assert result["containers"][2]["image"] == "j"


def test_strategic_merge_deletes_an_element_and_a_map() -> None:
    assert names(patched({"containers": [A, B]}, {"containers": [{"name": "a", "$patch": "delete"}]})) == ["b"]
    assert names(patched({"containers": [A]}, {"containers": [{"name": "z", "$patch": "delete"}]})) == ["a"]
    assert patched({"nodeSelector": {"x": "y"}}, {"nodeSelector": {"$patch": "delete"}})["nodeSelector"] == {}


def test_strategic_merge_replaces_a_list_on_request() -> None:
    assert names(patched({"containers": [A, B]}, {"containers": [{"$patch": "replace"}, C]})) == ["c"]


def test_lists_without_merge_semantics_are_replaced() -> None:
    live = {"tolerations": [{"key": "a"}], "containers": [{**A, "args": ["x", "y"]}]}
    result = patched(live, {"tolerations": [{"key": "c"}], "containers": [{"name": "a", "args": ["z"]}]})
    assert result["tolerations"] == [{"key": "c"}]
    assert result["containers"][0]["args"] == ["z"]


def test_env_merges_by_name_inside_a_container() -> None:
    live = {"containers": [{**A, "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}]}
    patch = [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}, {"name": "A", "$patch": "delete"}]
    result = patched(live, {"containers": [{"name": "a", "env": patch}]})
    assert result["containers"][0]["env"] == [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]


def test_service_ports_merge_by_port() -> None:
    service = {"spec": {"ports": [{"name": "a", "port": 80}, {"name": "b", "port": 81}]}}
    patch = {"spec": {"ports": [{"port": 81, "targetPort": 1}, {"port": 82}, {"port": 80, "$patch": "delete"}]}}
    merged = strategic_merge(service, patch, TYPES["Service"])["spec"]["ports"]
    assert merged == [{"name": "b", "port": 81, "targetPort": 1}, {"port": 82}]


def test_finalizers_are_a_merged_list_of_scalars() -> None:
    def finalizers(live: list[str], **patch: Any) -> list[str]:
        document = {"metadata": {"finalizers": live}}
        merged: list[str] = strategic_merge(document, {"metadata": patch}, TYPES["ConfigMap"])["metadata"]["finalizers"]
        return merged

    assert finalizers(["a", "b"], finalizers=["c", "a"]) == ["c", "a", "b"]
    assert finalizers(["c", "a", "b"], **{"$deleteFromPrimitiveList/finalizers": ["a"]}) == ["c", "b"]
    assert finalizers(["c", "b"], **{"$setElementOrder/finalizers": ["b", "c"]}) == ["b", "c"]


def test_set_element_order_orders_the_merged_list() -> None:
    order = [{"name": name} for name in "cdab"]
    assert names(patched({"containers": [A, B, C]}, {"$setElementOrder/containers": order, "containers": [D]})) == [
        *"cdab"
    ]


def test_retain_keys_drops_what_is_not_named() -> None:
    live = {"spec": {"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1}}}}
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert strategic_merge(live, patch, TYPES["Deployment"])["spec"]["strategy"] == {"type": "Recreate"}


@pytest.mark.parametrize(
    ("patch", "words"),
    [
        ({"containers": [{"image": "j"}]}, "map: map[image:j] does not contain declared merge key: name"),
        ({"containers": [{"name": "a", "$patch": "nope"}]}, "unknown patch type: nope in map: map[$patch:nope name:a]"),
        (
            {"$setElementOrder/containers": [{"name": "a"}], "containers": [{"name": "z", "image": "j"}]},
            "The order in patch list:\n[map[image:j name:z]]\n doesn't match $setElementOrder list:\n[map[name:a]]\n",
        ),
    ],
)
def test_a_patch_that_makes_no_sense_is_a_500_in_upstreams_words(patch: dict[str, Any], words: str) -> None:
    with pytest.raises(ApiError) as caught:
        patched({"containers": [A]}, patch)
    assert (caught.value.code, caught.value.message) == (500, words)
    assert "reason" not in caught.value.to_status()


def test_strategic_merge_changes_nothing_it_was_given() -> None:
    live, patch = template(containers=[A, B]), template(containers=[{"name": "a", "image": None}, C], hostname=None)
    before = copy.deepcopy((live, patch))
    result = strategic_merge(live, patch, TYPES["PodTemplate"])
    assert (live, patch) == before
    assert result["template"]["spec"]["containers"] == [{"name": "a"}, C, B]
