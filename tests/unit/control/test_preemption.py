"""Who goes so that a more important pod can stay: tables, properties over made-up clusters, and the loop that acts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekube.control.scheduler.decide import Chosen, Refused, decide
from edgekube.control.scheduler.preempt import Nothing, Sacrifice, preempt
from edgekube.control.scheduler.rules.catalog import RULES
from edgekube.control.scheduler.scores.catalog import SCORES
from edgekube.control.scheduler.snapshot import Snapshot, Summaries, node_info
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.policy import poddisruptionbudget as budget_kind


def pod(
    name: str, priority: int = 0, cpu: str = "1", node: str = "", started: str = "", labels: Any = None, **spec: Any
) -> Pod:
    status: dict[str, Any] = spec.pop("status", {})
    if started:
        status["startTime"] = f"2024-05-01T{started}:00Z"
    metadata = {"name": name, "namespace": "default", "uid": name, "labels": labels or {"app": name}}
    containers = [{"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}]
    return pod_kind.KIND.from_dict(
        {
            "metadata": {**metadata, **spec.pop("metadata", {})},
            "spec": {"nodeName": node, "priority": priority, "containers": containers, **spec},
            "status": status,
        }
    )


def cluster(nodes: Sequence[str], running: Sequence[Pod], cpu: str = "2", **more: Any) -> Snapshot:
    infos = []
    for name in nodes:
        node = node_kind.KIND.from_dict(
            {
                "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
                "status": {"allocatable": {"cpu": cpu, "pods": "10"}},
            }
        )
        infos.append(node_info(node, [one for one in running if one.spec.node_name == name], Summaries()))
    return Snapshot(infos, {"default": {}}, **more)


def budget(allowed: int, app: str, **status: Any) -> Any:
    return budget_kind.KIND.from_dict(
        {
            "metadata": {"name": f"for-{app}", "namespace": "default"},
            "spec": {"selector": {"matchLabels": {"app": app}}},
            "status": {"disruptionsAllowed": allowed, **status},
        }
    )


def outcome(asked: Pod, seen: Snapshot) -> Sacrifice | Nothing:
    refused = decide(asked, seen, RULES, SCORES, lambda: 0.0)
    assert isinstance(refused, Refused)
    return preempt(asked, seen, RULES, refused, lambda: 0.0)


def victims(asked: Pod, seen: Snapshot) -> tuple[str, list[str]]:
    found = outcome(asked, seen)
    assert isinstance(found, Sacrifice), found
    return found.node, [victim.metadata.name for victim in found.victims]


NEWCOMER = pod("new", 100, "2")


def test_only_less_important_pods_go_and_no_more_than_must() -> None:
    running = [pod("a", 10, "1", "n"), pod("b", 20, "1", "n")]
    assert victims(pod("new", 100, "1"), cluster(["n"], running)) == ("n", ["a"])
    assert victims(NEWCOMER, cluster(["n"], running)) == ("n", ["b", "a"])


def test_of_equal_priority_the_one_that_runs_longest_stays() -> None:
    running = [pod("old", 10, "1", "n", "08:00"), pod("young", 10, "1", "n", "09:00")]
    assert victims(pod("new", 100, "1"), cluster(["n"], running)) == ("n", ["young"])


@pytest.mark.parametrize(
    ("here", "there", "better"),
    [
        ([("a", 50, "09:00")], [("b", 10, "08:00")], "there"),
        ([("a", 10, "09:00"), ("b", 10, "09:00")], [("c", 10, "08:00")], "there"),
        ([("a", -5, "09:00"), ("b", -5, "09:00")], [("c", -5, "08:00")], "there"),
        ([("a", 10, "08:00")], [("b", 10, "09:00")], "there"),
        ([("a", 10, "09:00")], [("b", 10, "09:00")], "here"),
    ],
    ids=["least important victim", "smallest sum", "fewest, though all are below zero", "youngest", "else the first"],
)
def test_the_node_that_suffers_least_is_taken(here: Any, there: Any, better: str) -> None:
    running = [
        pod(name, priority, str(2 // len(group)), node, started)
        for node, group in (("here", here), ("there", there))
        for name, priority, started in group
    ]
    assert victims(NEWCOMER, cluster(["here", "there"], running))[0] == better


def test_a_spent_budget_is_kept_where_another_node_serves() -> None:
    running = [pod("a", 5, "2", "here", labels={"app": "kept"}), pod("b", 10, "2", "there")]
    assert victims(NEWCOMER, cluster(["here", "there"], running, budgets=[budget(0, "kept")])) == ("there", ["b"])
    assert victims(NEWCOMER, cluster(["here", "there"], running, budgets=[budget(1, "kept")])) == ("here", ["a"])


def test_on_one_node_pods_of_a_spent_budget_stay_before_more_important_ones() -> None:
    running = [pod("kept", 1, "1", "n"), pod("free", 50, "1", "n")]
    seen = cluster(["n"], running, budgets=[budget(0, "kept")])
    assert victims(pod("new", 100, "1"), seen) == ("n", ["free"])


def test_a_budget_is_broken_only_when_nothing_else_helps() -> None:
    found = outcome(NEWCOMER, cluster(["n"], [pod("kept", 1, "2", "n")], budgets=[budget(0, "kept")]))
    assert isinstance(found, Sacrifice)
    assert found.violations == 1


def test_a_pod_whose_eviction_a_budget_has_granted_already_counts_as_free() -> None:
    granted = budget(0, "kept", disruptedPods={"kept": "2024-05-01T10:00:00Z"})
    found = outcome(NEWCOMER, cluster(["n"], [pod("kept", 1, "2", "n")], budgets=[granted]))
    assert isinstance(found, Sacrifice)
    assert found.violations == 0


@pytest.mark.parametrize(
    ("asked", "running", "words"),
    [
        (pod("new", 100, "2", preemptionPolicy="Never"), [pod("a", 1, "2", "n")], "not eligible due to preemptionPolicy=Never."),
        (NEWCOMER, [pod("a", 100, "2", "n")], "0/1 nodes are available: 1 No preemption victims found for incoming pod."),
        (pod("new", 100, "3"), [pod("a", 1, "2", "n")], "0/1 nodes are available: 1 Preemption is not helpful for scheduling."),
        (
            NEWCOMER,
            [pod("a", 1, "1", "n"), pod("b", 200, "1", "n")],
            "0/1 nodes are available: 1 Insufficient cpu.",
        ),
    ],
    ids=["never", "nobody less important", "the node is too small anyway", "even all of them would not be enough"],
)  # fmt: skip
def test_where_nobody_can_be_sent_away_the_words_say_why(asked: Pod, running: Sequence[Pod], words: str) -> None:
    found = outcome(asked, cluster(["n"], running))
    assert isinstance(found, Nothing)
    assert found.words == words


LEAVING = {
    "metadata": {"deletionTimestamp": "2024-05-01T10:00:00Z", "deletionGracePeriodSeconds": 30},
    "status": {"conditions": [{"type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler"}]},
}


def test_who_waits_for_its_victims_claims_no_more_of_them() -> None:
    asked = pod("new", 100, "2", status={"nominatedNodeName": "n"})
    running = [pod("a", 1, "2", "n", **LEAVING), pod("b", 1, "2", "m")]
    found = outcome(asked, cluster(["n", "m"], running))
    assert found == Nothing("not eligible due to a terminating pod on the nominated node.")


def test_anti_affinity_of_a_less_important_pod_is_cleared_out_of_the_way() -> None:
    term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "new"}}}
    away = {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
    running = [pod("hermit", 1, "100m", "n", affinity=away), pod("other", 1, "100m", "n")]
    assert victims(pod("new", 100, "1"), cluster(["n"], running)) == ("n", ["hermit"])


def test_a_promised_place_is_kept_from_less_important_pods_only() -> None:
    promised = pod("promised", 100, "2", status={"nominatedNodeName": "n"})
    seen = cluster(["n"], [], nominated={"n": [promised]})
    refused = decide(pod("weaker", 50, "1"), seen, RULES, SCORES, lambda: 0.0)
    assert isinstance(refused, Refused)
    assert refused.message == "0/1 nodes are available: 1 Insufficient cpu."
    assert isinstance(decide(pod("stronger", 200, "1"), seen, RULES, SCORES, lambda: 0.0), Chosen)
    chosen = decide(promised, seen, RULES, SCORES, lambda: 0.0)
    assert isinstance(chosen, Chosen)


pods_running = st.lists(
    st.tuples(st.integers(-2, 5), st.sampled_from([250, 500, 1000, 1500]), st.sampled_from("abc")), max_size=12
)


@given(pods_running, st.integers(0, 5), st.sampled_from([500, 1000, 2000]), st.integers(0, 2))
def test_victims_are_less_important_enough_and_none_too_many(
    existing: list[tuple[int, int, str]], importance: int, cpu: int, allowed: int
) -> None:
    running: list[Pod] = []
    used = dict.fromkeys("abc", 0)
    for number, (priority, milli, node) in enumerate(existing):
        if used[node] + milli <= 2000:
            used[node] += milli
            running.append(pod(f"p{number}", priority, f"{milli}m", node, labels={"app": f"g{number % 2}"}))
    seen = cluster("abc", running, budgets=[budget(allowed, "g0")])
    asked = pod("new", importance, f"{cpu}m")
    refused = decide(asked, seen, RULES, SCORES, lambda: 0.0)
    if isinstance(refused, Chosen):
        assert used[refused.node] + cpu <= 2000
        return
    found = preempt(asked, seen, RULES, refused, lambda: 0.0)
    possible = {
        node
        for node in "abc"
        if cpu <= 2000 - sum(_milli(one) for one in running if one.spec.node_name == node and _kept(one, importance))
    }
    if isinstance(found, Nothing):
        assert not possible
        return
    gone = {victim.metadata.name for victim in found.victims}
    assert gone
    assert all((victim.spec.priority or 0) < importance for victim in found.victims)
    left = [one for one in running if one.spec.node_name == found.node and one.metadata.name not in gone]
    free = 2000 - sum(map(_milli, left))
    assert free >= cpu
    assert all(free - _milli(victim) < cpu for victim in found.victims), "one of them could have stayed"


def _milli(one: Pod) -> int:
    text = (one.spec.containers or [])[0].resources.requests["cpu"]
    return int(text.removesuffix("m")) if text.endswith("m") else int(text) * 1000


def _kept(one: Pod, importance: int) -> bool:
    return (one.spec.priority or 0) >= importance


# ------------------------------------------------------------------------------------------------- the loop


async def ready_node(cluster: Any, name: str) -> None:
    amounts = {"cpu": "2", "memory": "1Gi", "pods": "10"}
    await cluster.create("nodes", {"metadata": {"name": name}, "status": {"allocatable": amounts}})
    conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]
    status = {"allocatable": amounts, "capacity": amounts, "conditions": conditions}
    await cluster.patch("nodes", name, {"status": status}, subresource="status")
    await cluster.patch("nodes", name, {"spec": {"taints": None}})


def wanted(name: str, cpu: str, class_name: str = "", **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    chosen = {"priorityClassName": class_name} if class_name else {}
    return {"metadata": {"name": name}, "spec": {"containers": [container], **chosen, **spec}}


async def classes(cluster: Any) -> None:
    for name, value in (("low", 10), ("high", 1000)):
        await cluster.create("priorityclasses", {"metadata": {"name": name}, "value": value})


async def placed(cluster: Any, name: str) -> str:
    return str((await cluster.get("pods", name)).spec.node_name)


async def test_a_more_important_pod_takes_the_place_of_another(autojump_clock: Any, scheduled: Any) -> None:
    await classes(scheduled)
    await ready_node(scheduled, "n")
    await scheduled.create("pods", wanted("weak", "2", "low"))
    await scheduled.until(lambda: placed(scheduled, "weak"))
    await scheduled.create("pods", wanted("strong", "2", "high"))

    async def leaving() -> Any:
        weak = await scheduled.get("pods", "weak")
        return weak if weak.metadata.deletion_timestamp else None

    weak = await scheduled.until(leaving)
    (disrupted,) = [one for one in weak.status.conditions if one.type == "DisruptionTarget"]
    assert (disrupted.status, disrupted.reason) == ("True", "PreemptionByScheduler")
    assert disrupted.message == "default-scheduler: preempting to accommodate a higher priority pod"
    strong = await scheduled.get("pods", "strong")
    assert strong.status.nominated_node_name == "n"
    (said,) = [one for one in strong.status.conditions if one.type == "PodScheduled"]
    assert said.message == "0/1 nodes are available: 1 Insufficient cpu."
    await scheduled.create("pods", wanted("small", "1", "low"))
    await scheduled.delete("pods", "weak", grace_s=0)
    assert await scheduled.until(lambda: placed(scheduled, "strong"), 30) == "n"
    assert await placed(scheduled, "small") == ""

    async def told() -> Any:
        return [one for one in await scheduled.list("events") if one.reason == "Preempted"]

    (event,) = await scheduled.until(told)
    assert event.message == f"Preempted by pod {strong.metadata.uid} on node n"


async def test_a_promise_is_taken_back_when_it_is_of_no_use(autojump_clock: Any, scheduled: Any) -> None:
    await classes(scheduled)
    await ready_node(scheduled, "n")
    await scheduled.create("pods", wanted("weak", "2", "low"))
    await scheduled.until(lambda: placed(scheduled, "weak"))
    await scheduled.create("pods", wanted("strong", "2", "high"))

    async def promised() -> Any:
        return (await scheduled.get("pods", "strong")).status.nominated_node_name == "n"

    await scheduled.until(promised)
    await scheduled.patch("nodes", "n", {"spec": {"unschedulable": True}})
    await scheduled.delete("pods", "weak", grace_s=0)

    async def forgotten() -> Any:
        return (await scheduled.get("pods", "strong")).status.nominated_node_name == ""

    assert await scheduled.until(forgotten, 60)
    assert await placed(scheduled, "strong") == ""


async def test_pods_of_another_scheduler_are_left_alone(autojump_clock: Any, scheduled: Any) -> None:
    await ready_node(scheduled, "n")
    await scheduled.create("pods", wanted("theirs", "1", schedulerName="somebody-else"))
    await scheduled.create("pods", wanted("ours", "1"))
    await scheduled.until(lambda: placed(scheduled, "ours"))
    assert await placed(scheduled, "theirs") == ""
