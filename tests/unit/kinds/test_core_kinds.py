"""The smaller kinds of the core group: configuration, namespaces, nodes, storage, bounds and events."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from edgekube.api.kind import Kind
from edgekube.api.meta import Quantity
from edgekube.api.quantity import canonical
from edgekube.kinds.core.configmap import KIND as CONFIG_MAP
from edgekube.kinds.core.endpoints import KIND as ENDPOINTS
from edgekube.kinds.core.event import KIND as EVENT
from edgekube.kinds.core.limitrange import KIND as LIMIT_RANGE
from edgekube.kinds.core.namespace import KIND as NAMESPACE
from edgekube.kinds.core.node import KIND as NODE
from edgekube.kinds.core.persistentvolume import KIND as VOLUME
from edgekube.kinds.core.persistentvolumeclaim import KIND as CLAIM
from edgekube.kinds.core.quantities import round_up_to_milli
from edgekube.kinds.core.resourcequota import KIND as QUOTA
from edgekube.kinds.core.secret import KIND as SECRET

NOW = "2026-01-01T01:00:00Z"


def made(kind: Kind[Any], body: dict[str, Any]) -> Any:
    """A defaulted and prepared object called x."""
    item = kind.from_dict({"metadata": {"name": "x", "namespace": "d"} | body.pop("metadata", {})} | body)
    kind.default(item)
    kind.prepare_create(item)
    return item


def fields(kind: Kind[Any], body: dict[str, Any]) -> list[str]:
    return [one.field for one in kind.rules(made(kind, body))]


def changes(kind: Kind[Any], before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    return [one.field for one in kind.update_rules(made(kind, after), made(kind, before))]


def row(kind: Kind[Any], item: Any) -> list[Any]:
    return [column.value(item, NOW) for column in kind.columns if column.name not in ("Name", "Age")]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [("100m", "100m"), ("0.0001", "1m"), ("1500u", "2m"), ("1e-4", "1e-3"), ("1Gi", "1Gi"), ("1.5Gi", "1536Mi")],
)
def test_amounts_have_three_decimals_at_most(value: str, expected: str) -> None:
    assert round_up_to_milli(Quantity(canonical(value))) == expected


def test_text_given_to_a_secret_becomes_bytes_and_wins() -> None:
    item = made(SECRET, {"data": {"a": encoded("old"), "b": encoded("b")}, "stringData": {"a": "new"}})
    assert (item.type, item.data, item.string_data) == ("Opaque", {"a": b"new", "b": b"b"}, {})


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"type": "kubernetes.io/dockerconfigjson"}, ["data[.dockerconfigjson]"]),
        ({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "[]"}}, ["data[.dockerconfigjson]"]),
        ({"type": "kubernetes.io/dockerconfigjson", "stringData": {".dockerconfigjson": "{}"}}, []),
        ({"type": "kubernetes.io/basic-auth", "stringData": {"username": ""}}, []),
        ({"type": "example.com/own"}, []),
        ({"stringData": {"..a": "x"}}, ["data[..a]"]),
        ({"stringData": {"a": "x" * (1024 * 1024 + 1)}}, ["data"]),
    ],
)  # fmt: skip
def test_a_typed_secret_holds_what_its_type_promises(body: dict[str, Any], expected: list[str]) -> None:
    assert fields(SECRET, body) == expected


def test_a_secret_keeps_its_type() -> None:
    assert changes(SECRET, {"type": "a.io/b"}, {"type": "a.io/c"}) == ["type"]


def test_a_key_is_text_or_binary_not_both() -> None:
    assert fields(CONFIG_MAP, {"data": {"a": "1"}, "binaryData": {"a": encoded("1")}}) == ["data[a]"]


def test_an_immutable_config_map_stays_as_it_is() -> None:
    before = {"immutable": True, "data": {"a": "1"}}
    assert changes(CONFIG_MAP, dict(before), dict(before)) == []
    assert changes(CONFIG_MAP, dict(before), {"data": {"a": "2"}}) == ["immutable", "data"]
    assert changes(CONFIG_MAP, {"data": {"a": "1"}}, {"data": {"a": "2"}}) == []


def test_a_namespace_is_labelled_and_finished_by_the_server() -> None:
    item = made(NAMESPACE, {"status": {"phase": "Terminating"}})
    assert item.metadata.labels == {"kubernetes.io/metadata.name": "x"}
    assert (item.spec.finalizers, item.status.phase) == (["kubernetes"], "Active")


def test_finalizers_of_a_namespace_change_through_finalize_only() -> None:
    old, new = made(NAMESPACE, {}), made(NAMESPACE, {})
    new.spec.finalizers = []
    NAMESPACE.prepare_update(new, old)
    assert new.spec.finalizers == ["kubernetes"]


def test_the_phase_of_a_namespace_follows_its_deletion() -> None:
    item = made(NAMESPACE, {})
    item.status.phase = "Terminating"
    assert [one.field for one in NAMESPACE.status_rules(item, item)] == ["status.Phase"]


def test_everything_of_a_node_is_allocatable_unless_it_says_less() -> None:
    item = made(NODE, {"status": {"capacity": {"cpu": "4", "memory": "1000Ki"}}, "spec": {"podCIDR": "10.42.0.0/24"}})
    assert item.status.allocatable == {"cpu": "4", "memory": "1000Ki"}
    assert item.spec.pod_cidrs == ["10.42.0.0/24"]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {"podCIDR": "10.0.0.0/24"}, []),
        ({"podCIDR": "10.0.0.0/24"}, {}, ["spec.podCIDRs"]),
        ({"podCIDR": "10.0.0.0/24"}, {"podCIDR": "10.0.1.0/24"}, ["spec.podCIDRs"]),
        ({"providerID": "a://b"}, {"providerID": "a://c"}, ["spec.providerID"]),
    ],
)
def test_a_node_keeps_its_network_and_identity(before: Any, after: Any, expected: list[str]) -> None:
    assert changes(NODE, {"spec": before}, {"spec": after}) == expected


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"podCIDRs": ["10.0.0.0/24", "fd00::/64"]}, []),
        ({"podCIDRs": ["10.0.0.0/24", "10.0.1.0/24"]}, ["spec.podCIDRs"]),
        ({"taints": [{"key": "a", "effect": "Nope"}]}, ["metadata.taints[0].effect"]),
        ({"taints": [{"key": "a", "effect": ""}]}, ["metadata.taints[0].effect"]),
    ],
)
def test_what_a_node_cannot_have_is_refused(spec: dict[str, Any], expected: list[str]) -> None:
    assert fields(NODE, {"spec": spec}) == expected


def test_a_node_is_shown_with_its_roles_and_addresses() -> None:
    item = made(
        NODE,
        {
            "metadata": {"labels": {"node-role.kubernetes.io/edge": "", "kubernetes.io/role": "old"}},
            "status": {
                "conditions": [{"type": "Ready", "status": "Unknown"}],
                "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
                "nodeInfo": {"kubeletVersion": "v1", "kernelVersion": "6.1", "osImage": "Debian"},
            },
        },
    )
    assert row(NODE, item) == ["NotReady", "edge,old", "v1", "10.0.0.1", "<none>", "Debian", "6.1", "<unknown>"]


@pytest.mark.parametrize(
    ("subset", "expected"),
    [
        ({}, ["subsets[0]"]),
        ({"notReadyAddresses": [{"ip": "10.0.0.1"}]}, []),
        ({"addresses": [{"ip": "nope"}]}, ["subsets[0].addresses[0].ip", "subsets[0].addresses[0].ip"]),
        ({"addresses": [{"ip": "10.0.0.1"}], "ports": [{"port": 1}, {"port": 2, "name": "b"}]}, ["subsets[0].ports[0].name"]),
    ],
)  # fmt: skip
def test_endpoints_are_addresses_others_can_use(subset: dict[str, Any], expected: list[str]) -> None:
    assert fields(ENDPOINTS, {"subsets": [subset]}) == expected


def claim(**spec: Any) -> dict[str, Any]:
    base = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}, "storageClassName": "fast"}
    return {"spec": base | spec}


def bound(item: Any, size: str = "2Gi") -> Any:
    item.status.phase = "Bound"
    item.status.capacity = {"storage": Quantity(size)}
    return item


def test_a_claim_may_be_given_a_volume_once() -> None:
    assert changes(CLAIM, claim(), claim(volumeName="v")) == []
    assert changes(CLAIM, claim(volumeName="v"), claim(volumeName="w")) == ["spec"]


def test_a_claim_without_a_class_may_be_given_one() -> None:
    without = claim()
    del without["spec"]["storageClassName"]
    assert changes(CLAIM, without, claim()) == []
    assert changes(CLAIM, claim(), claim(storageClassName="slow")) == ["spec"]


@pytest.mark.parametrize(("size", "expected"), [("3Gi", []), ("1Gi", ["spec.resources.requests.storage"])])
def test_a_bound_claim_grows_and_never_shrinks_below_what_is_there(size: str, expected: list[str]) -> None:
    new = bound(made(CLAIM, claim(resources={"requests": {"storage": size}})))
    assert [one.field for one in CLAIM.update_rules(new, bound(made(CLAIM, claim())))] == expected


def test_an_unbound_claim_does_not_grow() -> None:
    assert changes(CLAIM, claim(), claim(resources={"requests": {"storage": "3Gi"}})) == ["spec"]


def test_a_source_of_data_is_told_in_both_fields() -> None:
    item = made(CLAIM, claim(dataSource={"kind": "PersistentVolumeClaim", "name": "other"}))
    assert (item.spec.data_source_ref.kind, item.spec.data_source_ref.name) == ("PersistentVolumeClaim", "other")
    foreign = made(CLAIM, claim(dataSource={"apiGroup": "x.io", "kind": "Backup", "name": "b"}))
    assert foreign.spec.data_source is foreign.spec.data_source_ref is None
    modern = made(CLAIM, claim(dataSourceRef={"apiGroup": "x.io", "kind": "Backup", "name": "b"}))
    assert modern.spec.data_source.kind == "Backup"


def volume(**spec: Any) -> dict[str, Any]:
    base = {
        "accessModes": ["ReadWriteOnce"],
        "capacity": {"storage": "1Gi"},
        "csi": {"driver": "d.io", "volumeHandle": "h"},
    }
    return {"spec": base | spec}


def test_a_volume_keeps_its_source_but_may_gain_a_secret() -> None:
    secret = {"name": "s", "namespace": "n"}
    csi = {"driver": "d.io", "volumeHandle": "h"}
    assert changes(VOLUME, volume(), volume(csi=csi | {"controllerExpandSecretRef": secret})) == []
    assert changes(VOLUME, volume(), volume(csi=csi | {"volumeHandle": "i"})) == ["spec.persistentvolumesource"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"csi": None, "local": {"path": "/d"}}, ["spec.nodeAffinity"]),
        ({"csi": None, "nfs": {"server": "s", "path": "/x"}, "volumeAttributesClassName": "gold"}, ["spec.csi"]),
        ({"accessModes": ["ReadWriteOnce", "ReadWriteOncePod"]}, ["spec.accessModes"]),
        ({"capacity": {"storage": "0"}}, ["spec.capacity[storage]"]),
        ({"volumeMode": "Tape"}, ["spec.volumeMode"]),
    ],
)
def test_what_a_volume_cannot_be_is_refused(spec: dict[str, Any], expected: list[str]) -> None:
    whole = volume(**spec)
    whole["spec"] = {key: value for key, value in whole["spec"].items() if value is not None}
    assert fields(VOLUME, whole) == expected


def test_bounds_leave_room_between_them() -> None:
    limit = {"type": "Container", "min": {"cpu": "1"}, "default": {"cpu": "500m"}, "max": {"cpu": "2"}}
    assert fields(LIMIT_RANGE, {"spec": {"limits": [limit]}}) == [
        "spec.limits[0].defaultRequest[cpu]",
        "spec.limits[0].default[cpu]",
    ]
    ratio = {"type": "Pod", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "3"}}
    assert fields(LIMIT_RANGE, {"spec": {"limits": [ratio]}}) == ["spec.limits[0].maxLimitRequestRatio[cpu]"]
    assert fields(LIMIT_RANGE, {"spec": {"limits": [{"type": "PersistentVolumeClaim"}]}}) == ["spec.limits[0].limits"]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"hard": {"requests.nvidia.com/gpu": "1", "count/pods": "5", "limits.memory": "1Gi"}}, []),
        ({"hard": {"limits.example": "1"}}, ["spec.hard[limits.example]", "spec.hard[limits.example]"]),
        ({"hard": {"pods": "1"}, "scopes": ["BestEffort"]}, []),
        ({"hard": {"cpu": "1"}, "scopes": ["BestEffort"]}, ["spec.scopes"]),
        (
            {"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}},
            ["spec.scopeSelector.matchExpressions.values"],
        ),
        (
            {"scopeSelector": {"matchExpressions": [{"scopeName": "Terminating", "operator": "In", "values": ["a"]}]}},
            ["spec.scopeSelector.matchExpressions.operator"],
        ),
    ],
)
def test_a_quota_counts_what_its_scopes_can_hold(spec: dict[str, Any], expected: list[str]) -> None:
    assert fields(QUOTA, {"spec": spec}) == expected


def test_a_quota_shows_requests_and_limits_apart() -> None:
    item = made(QUOTA, {})
    item.status.hard = {"pods": Quantity("5"), "limits.cpu": Quantity("2")}
    item.status.used = {"pods": Quantity("1")}
    assert row(QUOTA, item) == ["pods: 1/5", "limits.cpu: 0/2"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"involvedObject": {"namespace": "d"}}, []),
        ({"involvedObject": {"kind": "Node"}}, ["involvedObject.namespace"]),
        ({"involvedObject": {"kind": "Node"}, "metadata": {"namespace": "default"}}, []),
        (
            {"involvedObject": {"namespace": "d"}, "eventTime": "2026-01-01T00:00:00Z", "reportingComponent": "a"},
            ["reportingInstance", "action", "reason"],
        ),
    ],
)
def test_events_live_with_what_they_are_about(body: dict[str, Any], expected: list[str]) -> None:
    assert fields(EVENT, body) == expected


def test_a_series_of_events_is_shown_with_its_count_and_last_time() -> None:
    item = made(
        EVENT,
        {
            "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{a}"},
            "eventTime": "2026-01-01T00:00:00Z",
            "series": {"count": 4, "lastObservedTime": "2026-01-01T00:59:50Z"},
            "type": "Warning",
            "reason": "BackOff",
            "message": " again \n",
            "source": {"component": "kubelet", "host": "n"},
        },
    )
    assert [column.value(item, NOW) for column in EVENT.columns] == [
        "10s", "Warning", "BackOff", "pod/p", "spec.containers{a}", "kubelet, n", "again", "60m", 4, "x",
    ]  # fmt: skip
