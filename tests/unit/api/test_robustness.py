"""Whatever a client sends, the rules answer with an ApiError or a result: documents made from the types and then damaged."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from edgekube.api import applying, decoding, patching
from edgekube.api.kind import Kind
from edgekube.api.typed import LIST, MAP, STRUCT, Node, node_of
from edgekube.errors import ApiError
from edgekube.kinds.apps import deployment
from edgekube.kinds.core import configmap, pod, service

KINDS: list[Kind[Any]] = [pod.KIND, service.KIND, deployment.KIND, configmap.KIND]
NOW = "2024-01-01T00:00:00Z"
SCALARS = {
    "string": st.sampled_from(["", "a", "b", "TCP"]),
    "bool": st.booleans(),
    "int32": st.integers(0, 3),
    "int64": st.integers(0, 3),
    "float64": st.floats(0, 1),
    "[]uint8": st.sampled_from(["", "eA=="]),
    "resource.Quantity": st.sampled_from(["1", "100m", "1Gi"]),
    "v1.Time": st.just(NOW),
    "v1.MicroTime": st.just("2024-01-01T00:00:00.000000Z"),
    "intstr.IntOrString": st.sampled_from([1, "http"]),
}
JUNK = st.sampled_from(
    [None, True, -1, 2**70, 1.5, "", "x", [], {}, [[]], [None], {"a": None}, {"$patch": "delete"}, {"$patch": "nope"}]
)


def documents(node: Node, depth: int = 0) -> st.SearchStrategy[Any]:
    """Documents of a type, a few members each."""
    if node.kind == STRUCT:
        members = node.members or {}
        names = (
            st.lists(st.sampled_from(sorted(members)), max_size=3 if depth < 5 else 1, unique=True)
            if members
            else st.just([])
        )
        return names.flatmap(
            lambda chosen: st.fixed_dictionaries({name: documents(members[name], depth + 1) for name in chosen})
        )
    if node.element is not None and node.kind == LIST:
        return st.lists(documents(node.element, depth + 1), max_size=2)
    if node.element is not None and node.kind == MAP:
        return st.dictionaries(st.sampled_from("ab"), documents(node.element, depth + 1), max_size=2)
    return SCALARS.get(node.go_type, JUNK)


@st.composite
def damaged(draw: st.DrawFn, whole: Any) -> Any:
    """A document with one value, somewhere, replaced by junk."""
    if not draw(st.booleans()) or not isinstance(whole, dict | list) or not whole:
        return draw(JUNK)
    if isinstance(whole, list):
        position = draw(st.integers(0, len(whole) - 1))
        return [*whole[:position], draw(damaged(whole[position])), *whole[position + 1 :]]
    name = draw(st.sampled_from([*whole, "$patch", "$retainKeys", "$setElementOrder/containers", "zz"]))
    return {**whole, name: draw(damaged(whole.get(name)))}


CASES = st.sampled_from(KINDS).flatmap(
    lambda kind: documents(node_of(kind.type)).flatmap(
        lambda whole: st.tuples(st.just(kind), st.just(whole), damaged(whole) if whole else st.just({}))
    )
)
ENOUGH = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def attempt(action: Any) -> Any:
    """The result, or None when the action answered with an error meant for the client."""
    try:
        return action()
    except ApiError:
        return None


@ENOUGH
@given(CASES)
def test_a_sound_document_decodes_and_has_nothing_unknown(case: tuple[Kind[Any], dict[str, Any], Any]) -> None:
    kind, whole, _ = case
    data = json.dumps(whole).encode()
    assert decoding.unknown_and_duplicate_fields(whole, kind.type, data) == []
    assert decoding.type_error(whole, kind.type) is None
    assert kind.from_dict(kind.to_dict(decoding.decode(kind, whole))) == decoding.decode(kind, whole)


@ENOUGH
@given(CASES)
def test_a_damaged_document_is_read_or_refused(case: tuple[Kind[Any], dict[str, Any], Any]) -> None:
    kind, _, broken = case
    data = json.dumps(broken).encode()
    document = attempt(lambda: decoding.parse_object(data, kind.name))
    if document is not None:
        decoding.unknown_and_duplicate_fields(document, kind.type, data)
        attempt(lambda: decoding.decode(kind, document))


@ENOUGH
@given(CASES)
def test_a_damaged_patch_is_applied_or_refused(case: tuple[Kind[Any], dict[str, Any], Any]) -> None:
    kind, whole, broken = case
    live = kind.to_dict(decoding.decode(kind, whole))
    if isinstance(broken, dict):
        attempt(lambda: patching.strategic_merge(live, broken, kind.type))
        attempt(lambda: patching.merge_patch(live, broken))


@ENOUGH
@given(CASES, st.booleans())
def test_a_damaged_apply_is_merged_or_refused(case: tuple[Kind[Any], dict[str, Any], Any], force: bool) -> None:
    kind, whole, broken = case
    schema = applying.schema_of(kind.type)
    live = kind.to_dict(decoding.decode(kind, whole))
    record = applying.track_update(None, live, manager="m", api_version=kind.api_version, now_text=NOW, schema=schema)
    live = applying.with_managed_fields(live, record)
    if isinstance(broken, dict):
        wanted = {**broken, "apiVersion": kind.api_version, "kind": kind.name}
        words = {"manager": "a", "force": force, "api_version": kind.api_version, "now_text": NOW, "schema": schema}
        attempt(lambda: applying.apply(live, wanted, **words))


@ENOUGH
@given(CASES)
def test_applying_a_whole_document_to_nothing_gives_it_back(case: tuple[Kind[Any], dict[str, Any], Any]) -> None:
    kind, whole, _ = case
    schema = applying.schema_of(kind.type)
    wanted = {**whole, "apiVersion": kind.api_version, "kind": kind.name}
    wanted["metadata"] = {name: item for name, item in whole.get("metadata", {}).items() if name != "managedFields"}
    made = attempt(
        lambda: applying.apply(None, wanted, manager="a", api_version=kind.api_version, now_text=NOW, schema=schema)
    )
    assume(made is not None)  # list keys may occur twice
    assert decoding.decode(kind, applying.without_managed_fields(made)) == decoding.decode(kind, wanted)
