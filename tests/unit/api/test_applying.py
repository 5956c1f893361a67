"""Server-side apply and the ownership record, against recorded answers and as properties."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekube.api import applying, fieldsets
from edgekube.api.applying import Schema, apply, schema_of, settle_times, track_update
from edgekube.api.merging import compare, fields_of, merge
from edgekube.errors import ApiError, BadRequest, Conflict
from edgekube.kinds.apps.controllerrevision import ControllerRevision
from edgekube.kinds.core.configmap import ConfigMap
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podtemplate import PodTemplate
from edgekube.kinds.core.service import Service

T1, T2, T3 = "2024-01-01T00:00:01Z", "2024-01-01T00:00:02Z", "2024-01-01T00:00:03Z"
Document = dict[str, Any]


def config(**members: Any) -> Document:
    metadata = {"name": "a", **members.pop("metadata", {})}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, **members}


def applied(live: Document | None, document: Document, manager: str, now: str = T1, **options: Any) -> Document:
    types = {"ConfigMap": ConfigMap, "Service": Service, "PodTemplate": PodTemplate}
    schema = schema_of(types[document["kind"]])
    return apply(live, document, manager=manager, api_version="v1", now_text=now, schema=schema, **options)


def updated(live: Document | None, document: Document, manager: str, now: str = T1, **options: Any) -> Document:
    schema = schema_of(ConfigMap)
    entries = track_update(live, document, manager=manager, api_version="v1", now_text=now, schema=schema, **options)
    return applying.with_managed_fields(document, entries)


def owners(document: Document) -> dict[tuple[str, str], Any]:
    return {(e["manager"], e["operation"]): e["fieldsV1"] for e in document["metadata"].get("managedFields", ())}


# ------------------------------------------------------------------------------------------------- apply


def test_an_applier_owns_what_it_applies_and_nothing_else() -> None:
    made = applied(None, config(data={"a": "1"}, metadata={"labels": {"x": "y"}}), "m1")
    assert owners(made) == {("m1", "Apply"): {"f:data": {"f:a": {}}, "f:metadata": {"f:labels": {"f:x": {}}}}}
    assert made["metadata"]["managedFields"][0]["time"] == T1


def test_dropping_a_field_removes_it_unless_somebody_else_owns_it() -> None:
    one = applied(None, config(data={"a": "1", "b": "2"}), "m1")
    both = applied(one, config(data={"b": "2"}), "m2", T2)
    left = applied(both, config(data={}), "m1", T3)
    assert left["data"] == {"b": "2"}
    assert owners(left) == {("m1", "Apply"): {"f:data": {}}, ("m2", "Apply"): {"f:data": {"f:b": {}}}}


def test_applying_what_is_there_already_is_no_change_and_has_no_time() -> None:
    one = applied(None, config(data={"a": "1"}), "m1")
    both = applied(one, config(data={"a": "1"}), "m2", T2)
    assert [(e["manager"], e.get("time")) for e in both["metadata"]["managedFields"]] == [("m2", None), ("m1", T1)]


def test_a_conflict_names_every_field_and_force_takes_them() -> None:
    live = updated(None, config(data={"a": "1"}), "m0")
    with pytest.raises(Conflict) as caught:
        applied(live, config(data={"a": "2"}), "m1")
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "m0" using v1: .data.a'
    assert [(c.reason, c.field) for c in caught.value.causes] == [("FieldManagerConflict", ".data.a")]
    forced = applied(live, config(data={"a": "2"}), "m1", force=True)
    assert owners(forced) == {("m1", "Apply"): {"f:data": {"f:a": {}}}, ("m0", "Update"): {"f:data": {}}}


def template(**spec: Any) -> Document:
    return {"apiVersion": "v1", "kind": "PodTemplate", "metadata": {"name": "a"}, "template": {"spec": spec}}


def test_several_conflicts_are_listed_by_manager() -> None:
    container = {"name": "a", "image": "i", "args": ["x"]}
    live = applied(None, template(tolerations=[{"key": "a"}], containers=[container]), "m1")
    with pytest.raises(Conflict) as caught:
        applied(live, template(tolerations=[{"key": "b"}], containers=[{"name": "a", "args": ["z"]}]), "m2")
    assert caught.value.message == (
        'Apply failed with 2 conflicts: conflicts with "m1":\n- .template.spec.tolerations\n'
        '- .template.spec.containers[name="a"].args'
    )


def test_list_elements_are_merged_by_key_around_the_live_order() -> None:
    live = applied(None, template(containers=[{"name": "c", "image": "i", "env": [{"name": "A", "value": "1"}]}]), "m1")
    wanted = [{"name": "side", "image": "s"}, {"name": "c", "env": [{"name": "B", "value": "2"}]}]
    both = applied(live, template(containers=wanted), "m2", T2)
    containers = both["template"]["spec"]["containers"]
    assert [container["name"] for container in containers] == ["side", "c"]
    assert containers[1]["env"] == [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]


def service(*ports: Document) -> Document:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a"}, "spec": {"ports": list(ports)}}


def test_a_left_out_protocol_counts_as_its_default() -> None:
    made = applied(None, service({"port": 80}), "m1")
    assert list(owners(made)["m1", "Apply"]["f:spec"]["f:ports"]) == ['k:{"port":80,"protocol":"TCP"}']
    gone = applied(made, service({"port": 81, "protocol": "TCP"}), "m1")
    assert gone["spec"]["ports"] == [{"port": 81, "protocol": "TCP"}]


def test_each_manager_owns_its_elements_of_a_set() -> None:
    one = applied(None, config(metadata={"finalizers": ["e.com/a"]}), "m1")
    both = applied(one, config(metadata={"finalizers": ["e.com/b"]}), "m2", T2)
    assert both["metadata"]["finalizers"] == ["e.com/a", "e.com/b"]
    left = applied(both, config(metadata={"finalizers": []}), "m1", T3)
    assert left["metadata"]["finalizers"] == ["e.com/b"]
    assert list(owners(left)) == [("m2", "Apply")]
    none = applied(left, config(), "m2", T3)
    assert "finalizers" not in none["metadata"]
    assert "managedFields" not in none["metadata"]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (config(data={"a": 1}), ".data.a: expected string, got &value.valueUnstructured{Value:1}"),
        (config(nope="x"), ".nope: field not declared in schema"),
        (
            service({"port": "abc"}),
            '.spec.ports[port="abc",protocol="TCP"].port: expected numeric (int or float), got string',
        ),
        (service({"port": 80}, {"port": 80}), '.spec.ports: duplicate entries for key [port=80,protocol="TCP"]'),
        (
            config(metadata={"finalizers": [{}]}),
            ".metadata.finalizers: element 0: associative list without keys has an element that's a map type",
        ),
    ],
)
def test_what_does_not_fit_the_schema_is_a_500(document: Document, words: str) -> None:
    with pytest.raises(ApiError) as caught:
        applied(None, document, "m1")
    kind = document["kind"]
    assert caught.value.code == 500
    assert caught.value.message == f"failed to create typed patch object (/a; /v1, Kind={kind}): {words}"


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        ({"apiVersion": "v2"}, "/v2, Kind=ConfigMap"),
        ({"kind": ""}, "/v1, Kind="),
        ({"apiVersion": ""}, "/, Kind=ConfigMap"),
    ],
)
def test_another_type_is_refused(change: Document, shown: str) -> None:
    with pytest.raises(BadRequest) as caught:
        apply(None, config() | change, manager="m", api_version="v1", now_text=T1, schema=schema_of(ConfigMap))
    assert caught.value.message == f"invalid object type: {shown}"


def test_objects_that_nobody_tracked_get_an_owner_before_the_first_apply() -> None:
    live = config(data={"a": "1"}, metadata={"uid": "u"})
    made = applied(live, config(data={"b": "2"}), "m1")
    assert owners(made) == {
        ("m1", "Apply"): {"f:data": {"f:b": {}}},
        ("before-first-apply", "Update"): {"f:data": {".": {}, "f:a": {}}},
    }


def test_kubectl_takes_over_what_it_had_applied_on_the_clients_side() -> None:
    text = '{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"a":"1"}}\n'
    live = updated(
        None,
        config(data={"a": "1"}, metadata={"annotations": {applying.LAST_APPLIED: text}}),
        "kubectl-client-side-apply",
    )
    made = applied(live, config(data={"a": "2"}), "kubectl")
    assert made["data"] == {"a": "2"}
    assert made["metadata"]["annotations"][applying.LAST_APPLIED] == (
        '{"apiVersion":"v1","data":{"a":"2"},"kind":"ConfigMap","metadata":{"name":"a"}}\n'
    )
    with pytest.raises(Conflict):
        applied(live, config(data={"a": "2"}), "somebody-else")


def test_without_a_schema_maps_are_granular_and_lists_atomic() -> None:
    document = {"apiVersion": "e.com/v1", "kind": "Foo", "metadata": {"name": "a"}, "spec": {"m": {"x": 1}, "l": [1]}}
    made = apply(None, document, manager="m", api_version="e.com/v1", now_text=T1, schema=Schema.untyped())
    assert owners(made) == {("m", "Apply"): {"f:spec": {".": {}, "f:l": {}, "f:m": {".": {}, "f:x": {}}}}}


# ------------------------------------------------------------------------------------------------- update


def test_a_creator_owns_everything_but_system_fields_and_status() -> None:
    made = updated(None, config(data={"a": "1"}, metadata={"labels": {"x": "y"}, "uid": "u", "generation": 1}), "m1")
    assert owners(made) == {
        ("m1", "Update"): {"f:data": {".": {}, "f:a": {}}, "f:metadata": {"f:labels": {".": {}, "f:x": {}}}}
    }


def test_an_update_takes_only_the_fields_it_changes() -> None:
    one = updated(None, config(data={"a": "1", "b": "2"}, metadata={"uid": "u"}), "m1")
    two = updated(one, config(data={"a": "1", "b": "3", "c": "4"}, metadata={"uid": "u"}), "m2", T2)
    assert owners(two) == {
        ("m1", "Update"): {"f:data": {".": {}, "f:a": {}}},
        ("m2", "Update"): {"f:data": {"f:b": {}, "f:c": {}}},
    }
    three = updated(two, config(data={"c": "4"}, metadata={"uid": "u"}), "m2", T3)
    assert owners(three) == {("m1", "Update"): {"f:data": {}}, ("m2", "Update"): {"f:data": {"f:c": {}}}}


def test_an_update_that_changes_nothing_changes_no_time() -> None:
    one = updated(None, config(data={"a": "1"}, metadata={"uid": "u"}), "m1")
    assert updated(one, copy.deepcopy(one), "m1", T2) == one
    again = updated(one, config(data={"a": "2"}, metadata={"uid": "u"}), "m1", T2)
    assert [e["time"] for e in again["metadata"]["managedFields"]] == [T2]


def test_a_status_write_is_an_entry_of_its_own() -> None:
    before = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "a"},
        "spec": {},
        "status": {"loadBalancer": {}},
    }
    before["metadata"]["managedFields"] = updated(None, config(data={"a": "1"}), "m0")["metadata"]["managedFields"]
    after = copy.deepcopy(before)
    after["status"]["loadBalancer"] = {"ingress": [{"ip": "1.2.3.4"}]}
    after["spec"] = {"type": "ClusterIP"}
    entries = track_update(
        before, after, manager="m1", api_version="v1", subresource="status", now_text=T2, schema=schema_of(Service)
    )
    assert entries[-1]["subresource"] == "status"
    assert entries[-1]["fieldsV1"] == {"f:status": {"f:loadBalancer": {"f:ingress": {}}}}


def test_an_explicit_reset_clears_the_record_for_good() -> None:
    one = updated(None, config(data={"a": "1"}, metadata={"uid": "u"}), "m1")
    cleared = updated(one, config(data={"a": "2"}, metadata={"uid": "u", "managedFields": [{}]}), "m2", T2)
    assert "managedFields" not in cleared["metadata"]
    assert "managedFields" not in updated(cleared, config(data={"a": "3"}, metadata={"uid": "u"}), "m2")["metadata"]


def test_old_updaters_are_folded_into_one() -> None:
    live = updated(None, config(data={"k": "0"}, metadata={"uid": "u"}), "m0")
    for number in range(1, 14):
        after = config(data={**live["data"], f"k{number}": "1"}, metadata={"uid": "u"})
        live = updated(live, after, f"m{number}", f"2024-01-01T00:00:{number:02}Z")
    managers = [entry["manager"] for entry in live["metadata"]["managedFields"]]
    assert len(managers) == 10
    assert "ancient-changes" in managers
    ancient = owners(live)["ancient-changes", "Update"]
    assert ancient == {"f:data": {".": {}, "f:k": {}, "f:k1": {}, "f:k2": {}, "f:k3": {}, "f:k4": {}}}


def test_times_alone_are_no_change() -> None:
    one = updated(None, config(data={"a": "1"}), "m1", T1)
    other = copy.deepcopy(one)
    other["metadata"]["managedFields"][0]["time"] = T2
    assert settle_times(one, other) == one
    changed = {**other, "data": {"a": "2"}}
    assert settle_times(one, changed) == changed


def test_a_scale_shows_and_takes_the_owner_of_replicas() -> None:
    path = {"f:spec": {"f:replicas": {}, "f:paused": {}}}
    parent = [
        {"manager": "m0", "operation": "Update", "apiVersion": "apps/v1", "fieldsType": "FieldsV1", "fieldsV1": path}
    ]
    shown = applying.to_scale(parent)
    assert [(e["manager"], e["apiVersion"]) for e in shown] == [("m0", "autoscaling/v1")]
    taken = [{**shown[0], "manager": "m1", "operation": "Apply", "subresource": "scale"}]
    result = applying.from_scale(parent, taken, "apps/v1")
    assert [(e["manager"], e["fieldsV1"]) for e in result] == [
        ("m1", {"f:spec": {"f:replicas": {}}}),
        ("m0", {"f:spec": {"f:paused": {}}}),
    ]


# ------------------------------------------------------------------------------------------------- properties

KEYS = st.sampled_from("abc")
DATA = st.dictionaries(KEYS, st.sampled_from("12"), max_size=3)
CONTAINERS = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("abcd")}, optional={"image": st.sampled_from("ij")}),
    max_size=4,
    unique_by=lambda container: container["name"],
)
NODE = schema_of(PodTemplate).node
SETS = st.recursive(
    st.just({}), lambda inner: st.dictionaries(st.sampled_from(["f:a", "f:b", 'v:"c"']), inner, max_size=3)
)


def members(fields: Document, prefix: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    found = set()
    for element, below in fields.items():
        if element != ".":
            if fieldsets.is_member(below):
                found.add((*prefix, element))
            found |= members(below, (*prefix, element))
    return found


@given(SETS, SETS)
def test_field_sets_are_sets(left: Document, right: Document) -> None:
    assert members(fieldsets.union(left, right)) == members(left) | members(right)
    assert members(fieldsets.difference(left, right)) == members(left) - members(right)
    assert members(fieldsets.intersection(left, right)) == members(left) & members(right)
    kept = {path for path in members(left) if not any(path[: n + 1] in members(right) for n in range(len(path)))}
    assert members(fieldsets.without_below(left, right)) == kept


@given(CONTAINERS, CONTAINERS)
def test_a_merge_holds_everything_applied_and_is_stable(live: list[Document], wanted: list[Document]) -> None:
    merged = merge(template(containers=live), template(containers=wanted), NODE)
    again = merge(merged, template(containers=wanted), NODE)
    assert again == merged
    names = [container["name"] for container in merged["template"]["spec"]["containers"]]
    assert set(names) == {container["name"] for container in live + wanted}
    assert len(names) == len(set(names))
    applied_names = [container["name"] for container in wanted]
    assert [name for name in names if name in applied_names] == applied_names


@given(CONTAINERS, CONTAINERS)
def test_comparing_says_nothing_exactly_for_equal_documents(left: list[Document], right: list[Document]) -> None:
    removed, modified, added = compare(template(containers=left), template(containers=right), NODE)
    same = sorted(left, key=lambda c: c["name"]) == sorted(right, key=lambda c: c["name"])
    assert same is (not (removed or modified or added)) or not (left and right)


@given(st.lists(st.tuples(st.sampled_from(["m1", "m2"]), DATA), max_size=6))
def test_ownership_and_data_never_part(steps: list[tuple[str, dict[str, str]]]) -> None:
    """Whoever forces what they want gets it, and every field is owned by whoever wants it last or still."""
    live: Document | None = None
    wanted: dict[str, dict[str, str]] = {}
    for manager, data in steps:
        live = applied(live, config(data=data), manager, force=True)
        wanted[manager] = data
        for name, value in data.items():
            assert live["data"][name] == value
        owned = owners(live)
        assert members(owned.get((manager, "Apply"), {})) == members(
            fields_of(config(data=data), schema_of(ConfigMap).node)
        ) - {
            ("f:apiVersion",),
            ("f:kind",),
            ("f:metadata", "f:name"),
        }
        everyone = set().union(*(members(fields) for fields in owned.values()))
        assert {("f:data", f"f:{name}") for name in live.get("data", {})} == {
            path for path in everyone if len(path) == 2
        }


@given(DATA, DATA)
def test_nothing_given_to_apply_is_changed(live_data: dict[str, str], data: dict[str, str]) -> None:
    live = applied(None, config(data=live_data), "m1")
    wanted = config(data=data)
    before = copy.deepcopy((live, wanted))
    applied(live, wanted, "m1", force=True)
    assert (live, wanted) == before


def test_times_and_lists_that_go_writes_as_null_are_owned_by_whoever_makes_their_parent() -> None:
    before = {"metadata": {"name": "a"}, "spec": {}, "status": {}}
    before["metadata"]["managedFields"] = updated(None, config(data={"a": "1"}), "m0")["metadata"]["managedFields"]
    after = copy.deepcopy(before)
    after["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    entries = track_update(
        before, after, manager="m1", api_version="v1", subresource="status", now_text=T2, schema=schema_of(Pod)
    )
    ready = entries[-1]["fieldsV1"]["f:status"]["f:conditions"]['k:{"type":"Ready"}']
    assert sorted(ready) == [".", "f:lastProbeTime", "f:lastTransitionTime", "f:status", "f:type"]


def test_a_list_that_go_writes_as_null_has_been_there_before() -> None:
    pod = {"metadata": {"name": "a"}, "spec": {"containers": [{"name": "c"}]}, "status": {}}
    entries = track_update(None, pod, manager="m", api_version="v1", now_text=T1, schema=schema_of(Pod))
    assert list(entries[0]["fieldsV1"]["f:spec"]["f:containers"]) == ['k:{"name":"c"}']


def test_raw_extensions_are_owned_as_a_whole() -> None:
    revision = {"metadata": {"name": "a"}, "data": {"spec": {"x": 1}}, "revision": 1}
    entries = track_update(
        None, revision, manager="m", api_version="apps/v1", now_text=T1, schema=schema_of(ControllerRevision)
    )
    assert entries[0]["fieldsV1"] == {"f:data": {}, "f:revision": {}}


def test_an_endpoint_that_takes_little_owns_little() -> None:
    container = {"name": "c", "image": "i"}
    before = {"metadata": {"name": "a"}, "spec": {"containers": [container]}, "status": {}}
    record = track_update(None, before, manager="m0", api_version="v1", now_text=T1, schema=schema_of(Pod))
    before = applying.with_managed_fields(before, record)
    after = copy.deepcopy(before)
    after["metadata"]["labels"] = {"x": "y"}
    after["spec"]["containers"][0] |= {"image": "j", "resources": {"requests": {"cpu": "1"}}}
    entries = track_update(
        before, after, manager="m1", api_version="v1", subresource="resize", now_text=T2, schema=schema_of(Pod)
    )
    fields = {entry["manager"]: entry["fieldsV1"] for entry in entries}
    assert fields["m1"] == {
        "f:spec": {"f:containers": {'k:{"name":"c"}': {"f:resources": {".": {}, "f:requests": {".": {}, "f:cpu": {}}}}}}
    }
