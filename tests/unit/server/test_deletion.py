"""Deletions: at once, gracefully, held back, and under conditions."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from edgekube.api.meta import DeleteOptions, ObjectMeta, Time
from edgekube.kinds.batch import job
from edgekube.kinds.core import configmap
from edgekube.kinds.core import pod as pod_kind
from edgekube.server.deletion import decide
from tests.server_harness import MERGE, Api, config_map, pod

NOW = datetime(2026, 1, 1, tzinfo=UTC)
MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


def a_map(**meta: object) -> configmap.ConfigMap:
    return configmap.ConfigMap(metadata=ObjectMeta(name="a", **meta))  # type: ignore[arg-type]


def test_what_nothing_holds_goes_at_once() -> None:
    assert decide(configmap.KIND, a_map(), DeleteOptions(), NOW).remove


@pytest.mark.parametrize(
    ("options", "finalizers"),
    [
        (DeleteOptions(), ["x.y/z"]),
        (DeleteOptions(propagation_policy="Orphan"), ["x.y/z", "orphan"]),
        (DeleteOptions(propagation_policy="Foreground"), ["x.y/z", "foregroundDeletion"]),
        (DeleteOptions(propagation_policy="Background"), ["x.y/z"]),
        (DeleteOptions(orphan_dependents=True), ["x.y/z", "orphan"]),
    ],
)
def test_finalizers_hold_and_policies_add_theirs(options: DeleteOptions, finalizers: list[str]) -> None:
    deletion = decide(configmap.KIND, a_map(finalizers=["x.y/z"]), options, NOW)
    assert not deletion.remove
    assert deletion.marked is not None
    meta = deletion.marked.metadata
    assert meta.finalizers == finalizers
    assert (meta.deletion_timestamp, meta.deletion_grace_period_seconds) == ("2026-01-01T00:00:00Z", 0)


def test_background_takes_back_an_earlier_foreground() -> None:
    item = a_map(finalizers=["foregroundDeletion"])
    assert decide(configmap.KIND, item, DeleteOptions(propagation_policy="Background"), NOW).remove


def test_jobs_leave_their_pods_unless_told_otherwise() -> None:
    item = job.Job(metadata=ObjectMeta(name="j"))
    held = decide(job.KIND, item, DeleteOptions(), NOW)
    assert held.marked is not None
    assert held.marked.metadata.finalizers == ["orphan"]
    assert decide(job.KIND, item, DeleteOptions(propagation_policy="Background"), NOW).remove


def running_pod(**meta: object) -> pod_kind.Pod:
    made = pod_kind.Pod(metadata=ObjectMeta(name="p", generation=1, **meta))  # type: ignore[arg-type]
    made.spec.node_name, made.spec.termination_grace_period_seconds = "n", 30
    return made


def test_a_running_pod_gets_its_grace() -> None:
    deletion = decide(pod_kind.KIND, running_pod(), DeleteOptions(), NOW)
    assert not deletion.remove
    assert deletion.marked is not None
    meta = deletion.marked.metadata
    assert (meta.deletion_timestamp, meta.deletion_grace_period_seconds) == ("2026-01-01T00:00:30Z", 30)
    assert meta.generation == 2


def test_grace_under_way_can_only_be_shortened() -> None:
    item = running_pod(deletion_timestamp=Time("2026-01-01T00:00:30Z"), deletion_grace_period_seconds=30)
    longer = decide(pod_kind.KIND, item, DeleteOptions(grace_period_seconds=60), NOW)
    assert (longer.marked, longer.remove) == (None, False)
    shorter = decide(pod_kind.KIND, item, DeleteOptions(grace_period_seconds=5), NOW)
    assert shorter.marked is not None
    assert shorter.marked.metadata.deletion_timestamp == "2026-01-01T00:00:05Z"
    assert decide(pod_kind.KIND, item, DeleteOptions(grace_period_seconds=0), NOW).remove


def test_a_pod_that_never_ran_goes_at_once() -> None:
    item = running_pod()
    item.spec.node_name = ""
    assert decide(pod_kind.KIND, item, DeleteOptions(), NOW).remove


async def test_the_last_finalizer_takes_the_object_along(api: Api) -> None:
    await api.good("POST", MAPS, config_map(metadata={"name": "a", "finalizers": ["x.y/z"]}))
    assert (await api.good("DELETE", f"{MAPS}/a"))["metadata"]["deletionTimestamp"]
    await api.good("PATCH", f"{MAPS}/a", {"metadata": {"finalizers": None}}, MERGE)
    assert await api.refused("GET", f"{MAPS}/a") == (404, 'configmaps "a" not found')


async def test_no_finalizer_is_added_to_what_is_going(api: Api) -> None:
    await api.good("POST", MAPS, config_map(metadata={"name": "a", "finalizers": ["x.y/z"]}))
    await api.good("DELETE", f"{MAPS}/a")
    code, words = await api.refused("PATCH", f"{MAPS}/a", {"metadata": {"finalizers": ["x.y/z", "x.y/n"]}}, MERGE)
    assert code == 422
    assert "no new finalizers can be added if the object is being deleted" in words


async def test_preconditions_are_held(api: Api) -> None:
    made = await api.good("POST", MAPS, config_map())
    wrong = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "other"}}
    code, words = await api.refused("DELETE", f"{MAPS}/a", wrong)
    assert code == 409
    assert "the UID in the precondition (other) does not match the UID in record" in words
    right = wrong | {"preconditions": {"uid": made["metadata"]["uid"]}}
    assert (await api.good("DELETE", f"{MAPS}/a", right))["status"] == "Success"


async def test_a_collection_goes_by_selector(api: Api) -> None:
    for name, labels in (("a", {"k": "v"}), ("b", {}), ("c", {"k": "v"})):
        await api.good("POST", MAPS, config_map(metadata={"name": name, "labels": labels}))
    gone = await api.good("DELETE", f"{MAPS}?labelSelector=k%3Dv")
    assert [item["metadata"]["name"] for item in gone["items"]] == ["a", "c"]
    left = await api.good("GET", MAPS)
    assert [item["metadata"]["name"] for item in left["items"]] == ["b"]


async def test_watchers_see_a_forced_deletion_in_two_steps(api: Api) -> None:
    await api.good("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    await api.good("POST", PODS, pod(nodeName="n"))
    await api.good("DELETE", f"{PODS}/p")
    start = api.store.revision
    await api.good("DELETE", f"{PODS}/p?gracePeriodSeconds=0")
    exchange = api.exchange("GET", f"{PODS}?watch=true&timeoutSeconds=1&resourceVersion={start}")
    await api.server.handle(exchange)
    assert [event["type"] for event in exchange.events] == ["MODIFIED", "DELETED"]
