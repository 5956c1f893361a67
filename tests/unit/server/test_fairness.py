"""Priority and fairness: who belongs to which flow, and a flood that only holds itself up."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from edgekube.errors import TooManyRequests
from edgekube.net.exchange import Request
from edgekube.server import fairness
from edgekube.server.context import Attributes, User
from edgekube.server.fairness import Fairness
from edgekube.server.fairness_status import keep_statuses
from tests.server_harness import Api, config_map

EVERYBODY = "system:authenticated"


def asked(user: str = "jane", *groups: str, verb: str = "get", resource: str = "pods", **more: str) -> Attributes:
    return Attributes(user=User(user, (*groups, EVERYBODY)), verb=verb, resource=resource, namespace="default", **more)


@pytest.mark.parametrize(
    ("attributes", "level"),
    [
        (asked("root", "system:masters"), "exempt"),
        (asked("system:node:a", "system:nodes", resource="nodes"), "node-high"),
        (asked("system:node:a", "system:nodes"), "system"),
        (asked("system:serviceaccount:kube-system:dns", "system:serviceaccounts"), "workload-high"),
        (asked("system:serviceaccount:x:y", "system:serviceaccounts"), "workload-low"),
        (asked("jane"), "global-default"),
        (asked("jane", resource="", path="/healthz"), "exempt"),
    ],
)
async def test_requests_have_their_level(api: Api, attributes: Attributes, level: str) -> None:
    flow = await Fairness(api.store).flow_of(attributes)
    assert flow is not None
    assert flow.level.name == level


async def test_answers_name_schema_and_level(api: Api) -> None:
    path = "/apis/flowcontrol.apiserver.k8s.io/v1"
    schema = await api.good("GET", f"{path}/flowschemas/global-default")
    level = await api.good("GET", f"{path}/prioritylevelconfigurations/global-default")
    api.doorman.user = User("jane", (EVERYBODY,))
    made = await api.ask("GET", "/api/v1/namespaces/default/configmaps")
    assert made.header("x-kubernetes-pf-flowschema-uid") == schema["metadata"]["uid"]
    assert made.header("x-kubernetes-pf-prioritylevel-uid") == level["metadata"]["uid"]


async def test_a_new_schema_counts_for_the_next_request(api: Api) -> None:
    watched = Fairness(api.store)
    before = await watched.flow_of(asked("jane"))
    rule = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": True, "namespaces": ["*"]}
    spec: dict[str, Any] = {
        "priorityLevelConfiguration": {"name": "workload-high"},
        "matchingPrecedence": 50,
        "rules": [{"subjects": [{"kind": "User", "user": {"name": "jane"}}], "resourceRules": [rule]}],
    }
    document = {
        "apiVersion": "flowcontrol.apiserver.k8s.io/v1",
        "kind": "FlowSchema",
        "metadata": {"name": "jane"},
        "spec": spec,
    }
    await api.good("POST", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas", document)
    after = await watched.flow_of(asked("jane"))
    assert before is not None
    assert after is not None
    assert (before.level.name, after.level.name) == ("global-default", "workload-high")


async def test_a_flood_of_one_user_does_not_hold_up_another(api: Api) -> None:
    """Five hundred slow requests of one user: some work, some wait, the rest are refused; another user's is next in turn."""
    watched = Fairness(api.store)
    flood, other = await watched.flow_of(asked("flood")), await watched.flow_of(asked("jane"))
    assert flood is not None
    assert other is not None
    assert flood.level is other.level
    refused, working, go = [], [], trio.Event()

    async def slow(number: int) -> None:
        assert flood is not None
        try:
            await watched.take_seat(flood)
        except TooManyRequests as problem:
            refused.append(problem)
            return
        working.append(number)
        await go.wait()
        watched.leave(flood.level)

    order: list[str] = []

    async def quick() -> None:
        assert other is not None
        await watched.take_seat(other)
        order.append("jane")
        watched.leave(other.level)

    async with trio.open_nursery() as nursery:
        for number in range(500):
            nursery.start_soon(slow, number)
        await trio.testing.wait_all_tasks_blocked()
        level = flood.level
        at_once = len(working)
        assert 0 < at_once <= fairness.SEATS
        assert level.queued == level.hand * level.length  # no more queues than it was dealt
        assert len(refused) == 500 - at_once - level.queued
        assert refused[0].retry_after_s == 1
        figures = {family.name.removeprefix("apiserver_flowcontrol_"): family for family in watched.families()}
        turned_away = list(figures["rejected_requests_total"].samples())
        reason = (("priority_level", "global-default"), ("reason", "queue-full"))
        assert [(one.labels, one.value) for one in turned_away] == [(reason, float(len(refused)))]
        waiting = [one.value for one in figures["current_inqueue_requests"].samples() if one.value]
        assert waiting == [float(level.queued)]
        nursery.start_soon(quick)
        await trio.testing.wait_all_tasks_blocked()
        assert order == []
        ended = level.hand + 1  # each queue of the flood has one turn at most before the other user's has its own
        for _ in range(ended):
            watched.leave(level)
        await trio.testing.wait_all_tasks_blocked()
        assert order == ["jane"]
        level.busy += ended
        go.set()
    assert (flood.level.busy, flood.level.queued) == (0, 0)


async def test_who_waits_too_long_is_sent_away(api: Api, autojump_clock: trio.testing.MockClock) -> None:
    watched = Fairness(api.store)
    flow = await watched.flow_of(asked("flood"))
    assert flow is not None
    taken = 0
    while not flow.level.queued and taken < fairness.SEATS:
        with trio.move_on_after(0.001) as patience:
            await watched.take_seat(flow)
            taken += 1
        if patience.cancelled_caught:
            break
    assert flow.level.queued == 0  # who left the queue is forgotten
    began = trio.current_time()
    with pytest.raises(TooManyRequests):
        await watched.take_seat(flow)
    assert trio.current_time() - began == fairness.WAIT_S
    assert (flow.level.busy, flow.level.queued) == (taken, 0)


async def test_levels_that_only_refuse(api: Api) -> None:
    watched = Fairness(api.store)
    flow = await watched.flow_of(Attributes(user=User("nobody", ("system:unauthenticated",)), verb="get", path="/x"))
    assert flow is not None
    await api.good("DELETE", "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/global-default")
    flow = await watched.flow_of(Attributes(user=User("nobody", ("system:unauthenticated",)), verb="get", path="/x"))
    assert flow is not None
    assert flow.level.name == "catch-all"
    while flow.level.busy < flow.level.seats:
        await watched.take_seat(flow)
    flow.level.borrowable = 0
    with pytest.raises(TooManyRequests):
        await watched.take_seat(flow)


async def test_the_server_turns_floods_away_with_429(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    made = await api.ask("GET", "/api/v1/namespaces/default/configmaps")
    assert made.status == 200

    async def full(*_: Any) -> None:
        raise TooManyRequests(fairness.TOO_MANY, retry_after_s=1)

    assert api.server.routes.fairness is not None
    monkeypatch.setattr(api.server.routes.fairness, "take_seat", full)
    made = await api.ask("POST", "/api/v1/namespaces/default/configmaps", config_map("a"))
    assert (made.status, made.header("retry-after")) == (429, "1")
    assert made.document["message"] == "Too many requests, please try again later."


async def test_schemas_say_whether_they_lead_anywhere(api: Api) -> None:
    path = "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas/global-default"

    async def told() -> tuple[str, str]:
        await trio.testing.wait_all_tasks_blocked()
        (one,) = (await api.good("GET", path))["status"]["conditions"]
        return one["status"], one["reason"]

    async with trio.open_nursery() as nursery:
        await nursery.start(keep_statuses, api.server.registry)
        assert await told() == ("False", "Found")
        level = "/apis/flowcontrol.apiserver.k8s.io/v1/prioritylevelconfigurations/global-default"
        await api.good("DELETE", level)
        assert await told() == ("True", "NotFound")
        nursery.cancel_scope.cancel()


async def test_while_one_user_floods_the_server_others_are_served(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six hundred writes that somebody slow must approve: some wait, some are turned away, another's request is answered."""
    users = {
        "flood": User("flood", (EVERYBODY,)),
        "robot": User("system:serviceaccount:x:robot", ("system:serviceaccounts", EVERYBODY)),
    }

    async def authenticate(request: Request) -> User:
        return users[request.header("x-user")]

    monkeypatch.setattr(api.doorman, "authenticate", authenticate)
    go, validate = trio.Event(), api.server.registry.admission.validate

    async def slowly(review: Any) -> None:
        await go.wait()
        await validate(review)

    monkeypatch.setattr(api.server.registry.admission, "validate", slowly)
    path = "/api/v1/namespaces/default/configmaps"
    flood = [api.exchange("POST", path, config_map(f"c{number}"), x_user="flood") for number in range(600)]
    async with trio.open_nursery() as nursery:
        for one in flood:
            nursery.start_soon(api.server.handle, one)
        await trio.testing.wait_all_tasks_blocked()
        turned_away = [one for one in flood if one.status == 429]
        assert turned_away
        assert {one.header("retry-after") for one in turned_away} == {"1"}
        assert not [one for one in flood if one.status not in (0, 429)]
        other = await api.ask("GET", path, x_user="robot")
        assert other.status == 200
        go.set()
    assert {one.status for one in flood} == {201, 429}
    listed = await api.ask("GET", path, x_user="robot")
    assert len(listed.document["items"]) == 600 - len(turned_away)
