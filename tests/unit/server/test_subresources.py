"""scale, binding, eviction, and patches through them."""

from __future__ import annotations

from typing import Any

import pytest

from edgekube.server.admission.interface import Chain
from edgekube.server.auth.node_restriction import NodeRestriction
from edgekube.server.context import User
from tests.server_harness import ADMIN, APPLY, MERGE, STRATEGIC, Api, pod

DEPLOYMENT = "/apis/apps/v1/namespaces/default/deployments/d"
POD = "/api/v1/namespaces/default/pods/p"
BUDGETS = "/apis/policy/v1/namespaces/default/poddisruptionbudgets"


@pytest.fixture
async def with_objects(api: Api) -> Api:
    await api.good("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    await api.good("POST", "/api/v1/namespaces/default/pods", pod() | {"metadata": {"name": "p", "labels": {"a": "b"}}})
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}, "template": template}
    path = DEPLOYMENT.rpartition("/")[0]
    document = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "d"}, "spec": spec}
    await api.good("POST", f"{path}?fieldManager=creator", document)
    return api


async def test_a_scale_is_a_view_of_its_parent(with_objects: Api) -> None:
    seen = await with_objects.good("GET", f"{DEPLOYMENT}/scale")
    assert (seen["kind"], seen["spec"], seen["status"]) == (
        "Scale",
        {"replicas": 2},
        {"replicas": 0, "selector": "a=b"},
    )


@pytest.mark.parametrize("media", [MERGE, STRATEGIC])
async def test_patching_a_scale_changes_the_parent(with_objects: Api, media: str) -> None:
    await with_objects.good("PATCH", f"{DEPLOYMENT}/scale", {"spec": {"replicas": 5}}, media)
    parent = await with_objects.good("GET", DEPLOYMENT)
    assert (parent["spec"]["replicas"], parent["metadata"]["generation"]) == (5, 2)


async def test_a_scale_of_an_old_revision_is_a_conflict(with_objects: Api) -> None:
    stale = {"metadata": {"name": "d", "resourceVersion": "1"}, "spec": {"replicas": 1}}
    code, words = await with_objects.refused("PUT", f"{DEPLOYMENT}/scale", stale)
    assert code == 409
    assert words.startswith('Operation cannot be fulfilled on deployments.apps "d"')


async def test_applying_a_scale_asks_the_owner_of_the_replicas(with_objects: Api) -> None:
    wanted = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "d"}, "spec": {"replicas": 7}}
    code, words = await with_objects.refused("PATCH", f"{DEPLOYMENT}/scale?fieldManager=scaler", wanted, APPLY)
    assert (code, words) == (
        409,
        'Apply failed with 1 conflict: conflict with "creator" using autoscaling/v1: .spec.replicas',
    )
    await with_objects.good("PATCH", f"{DEPLOYMENT}/scale?fieldManager=scaler&force=true", wanted, APPLY)
    owners = (await with_objects.good("GET", DEPLOYMENT))["metadata"]["managedFields"]
    assert [(one["manager"], one.get("subresource", "")) for one in owners] == [("scaler", "scale"), ("creator", "")]


def binding(node: str = "n") -> dict[str, Any]:
    return {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}}


async def test_a_binding_places_a_pod_once(with_objects: Api) -> None:
    made = await with_objects.ask("POST", f"{POD}/binding", binding())
    assert (made.status, made.document["status"]) == (201, "Success")
    bound = await with_objects.good("GET", POD)
    assert bound["spec"]["nodeName"] == "n"
    assert [one["type"] for one in bound["status"]["conditions"]] == ["PodScheduled"]
    code, words = await with_objects.refused("POST", f"{POD}/binding", binding("m"))
    assert (code, words) == (
        409,
        'Operation cannot be fulfilled on pods/binding "p": pod p is already assigned to node "n"',
    )


async def run(api: Api, allowed: int) -> None:
    """The pod runs, and a budget allows so many disruptions."""
    await api.good("POST", f"{POD}/binding", binding())
    ready = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}
    await api.good("PATCH", f"{POD}/status", {"status": ready}, MERGE)
    await api.good(
        "POST",
        BUDGETS,
        {"metadata": {"name": "b"}, "spec": {"minAvailable": 1, "selector": {"matchLabels": {"a": "b"}}}},
    )
    counted = {
        "observedGeneration": 1,
        "disruptionsAllowed": allowed,
        "currentHealthy": 1,
        "desiredHealthy": 1,
        "expectedPods": 1,
    }
    await api.good("PATCH", f"{BUDGETS}/b/status", {"status": counted}, MERGE)


async def test_a_budget_holds_an_eviction_back(with_objects: Api) -> None:
    await run(with_objects, allowed=0)
    made = await with_objects.ask("POST", f"{POD}/eviction", {"metadata": {"name": "p"}})
    assert (made.status, made.document["reason"]) == (429, "TooManyRequests")
    assert made.document["details"]["causes"] == [
        {"reason": "DisruptionBudget", "message": "The disruption budget b needs 1 healthy pods and has 1 currently"}
    ]


async def test_an_eviction_spends_from_its_budget(with_objects: Api) -> None:
    await run(with_objects, allowed=1)
    made = await with_objects.ask("POST", f"{POD}/eviction", {"metadata": {"name": "p"}})
    assert made.status == 201
    status = (await with_objects.good("GET", f"{BUDGETS}/b"))["status"]
    assert (status["disruptionsAllowed"], list(status["disruptedPods"])) == (0, ["p"])
    assert (await with_objects.good("GET", POD))["metadata"]["deletionTimestamp"]


async def test_what_is_not_there_is_not_found(with_objects: Api) -> None:
    assert (await with_objects.refused("GET", f"{POD}/scale"))[0] == 404
    assert (await with_objects.refused("POST", f"{DEPLOYMENT}/scale", {}))[0] == 405
    assert (await with_objects.refused("GET", f"{POD}/binding"))[0] == 405


async def test_a_node_evicts_only_what_runs_on_it_and_before_any_budget_is_spent(with_objects: Api) -> None:
    await run(with_objects, allowed=1)
    registry = with_objects.server.registry
    registry.admission = Chain((NodeRestriction(),), registry.cluster)
    with_objects.doorman.user = User("system:node:other", ("system:nodes", "system:authenticated"))
    code, words = await with_objects.refused("POST", f"{POD}/eviction", {"metadata": {"name": "p"}})
    assert code == 403
    assert words.endswith('node "other" can only evict pods with spec.nodeName set to itself')
    with_objects.doorman.user = ADMIN
    assert (await with_objects.good("GET", f"{BUDGETS}/b"))["status"]["disruptionsAllowed"] == 1


async def test_a_write_through_a_scale_that_changes_nothing_still_moves_who_owns_the_replicas(
    with_objects: Api,
) -> None:
    same = {"metadata": {"name": "d"}, "spec": {"replicas": 2}}

    async def owners() -> list[tuple[str, bool, bool]]:
        found = (await with_objects.good("GET", DEPLOYMENT))["metadata"]["managedFields"]
        return [
            (
                one["manager"],
                "f:replicas" in one["fieldsV1"].get("f:spec", {}),
                "f:template" in one["fieldsV1"]["f:spec"],
            )
            for one in found
        ]

    before = (await with_objects.good("GET", DEPLOYMENT))["metadata"]["resourceVersion"]
    first = await with_objects.good("PUT", f"{DEPLOYMENT}/scale", same)
    assert first["metadata"]["resourceVersion"] != before
    assert await owners() == [("creator", True, False), ("creator", False, True)]
    second = await with_objects.good("PATCH", f"{DEPLOYMENT}/scale", {"spec": {"replicas": 2}}, MERGE)
    assert await owners() == [("creator", False, True)]
    third = await with_objects.good("PATCH", f"{DEPLOYMENT}/scale", {"spec": {"replicas": 2}}, MERGE)
    assert third["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


async def test_data_of_a_revision_is_the_text_it_was_written_as(api: Api) -> None:
    path = "/apis/apps/v1/namespaces/default/controllerrevisions"
    spaced = b'{"metadata": {"name": "spaced"}, "revision": 1, "data": {"b": [1, null], "a": "x"}}'
    compact = b'{"metadata":{"name":"compact"},"revision":1,"data":{"a":"x","b":[1,null]}}'
    for body in (spaced, compact):
        assert (await api.ask("POST", path, body)).status == 201
    assert (await api.good("PATCH", f"{path}/compact", {"revision": 2}, MERGE))["revision"] == 2
    code, words = await api.refused("PATCH", f"{path}/spaced", {"revision": 2}, MERGE)
    assert (code, words) == (
        422,
        'ControllerRevision.apps "spaced" is invalid: data: Invalid value: {"a":"x","b":[1,null]}: field is immutable',
    )
    assert (await api.good("GET", f"{path}/spaced"))["data"] == {"b": [1, None], "a": "x"}
