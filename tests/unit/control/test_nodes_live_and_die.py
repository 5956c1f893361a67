"""Node health, taints, evictions, ranges, and the pods of nodes that are gone."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from edgekube.control.controllers.nodeipam import first_free
from edgekube.errors import NotFound


async def node(cluster: Any, name: str) -> None:
    await cluster.create("nodes", {"metadata": {"name": name}})
    await beat(cluster, name)


async def beat(cluster: Any, name: str) -> None:
    now = cluster.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    await cluster.patch("nodes", name, {"status": {"conditions": [ready]}}, subresource="status")


async def taints(cluster: Any, name: str) -> set[tuple[str, str]]:
    return {(taint.key, taint.effect) for taint in (await cluster.get("nodes", name)).spec.taints}


async def test_each_node_gets_a_range_of_its_own(autojump_clock: Any, cluster: Any) -> None:
    for name in ("a", "b", "c"):
        await cluster.create("nodes", {"metadata": {"name": name}})

    async def ranged() -> Any:
        found = [item.spec.pod_cidr for item in await cluster.list("nodes")]
        return sorted(found) if all(found) else None

    assert await cluster.until(ranged) == ["10.42.0.0/24", "10.42.1.0/24", "10.42.2.0/24"]

    async def annotated() -> Any:
        return (await cluster.get("nodes", "a")).metadata.annotations

    assert await cluster.until(annotated) == {"node.alpha.kubernetes.io/ttl": "0"}


async def test_a_silent_node_becomes_unknown_and_its_pods_leave(autojump_clock: Any, cluster: Any) -> None:
    for name in ("quiet", "well"):
        await node(cluster, name)
    container = {"name": "c", "image": "i"}
    seconds = {"operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}
    for name, tolerations in (("leaves", [seconds]), ("stays", [{"operator": "Exists"}])):
        spec = {
            "nodeName": "quiet",
            "containers": [container],
            "tolerations": tolerations,
            "terminationGracePeriodSeconds": 0,
        }
        await cluster.run_pod(await cluster.create("pods", {"metadata": {"name": name}, "spec": spec}))

    async def unknown() -> Any:
        await beat(cluster, "well")
        found = await cluster.get("nodes", "quiet")
        return [c for c in found.status.conditions if c.type == "Ready" and c.status == "Unknown"]

    (condition,) = await cluster.until(unknown)
    assert condition.reason == "NodeStatusUnknown"
    assert 49 < cluster.clock.monotonic() < 65

    async def gone() -> Any:
        await beat(cluster, "well")
        try:
            await cluster.get("pods", "leaves")
        except NotFound:
            return True
        return False

    assert await cluster.until(gone)
    unreachable = "node.kubernetes.io/unreachable"
    assert await taints(cluster, "quiet") == {(unreachable, "NoSchedule"), (unreachable, "NoExecute")}
    stayed = await cluster.get("pods", "stays")
    assert [c.status for c in stayed.status.conditions if c.type == "Ready"] == ["False"]
    await beat(cluster, "quiet")

    async def healed() -> Any:
        return not await taints(cluster, "quiet")

    assert await cluster.until(healed)


async def test_when_all_nodes_are_silent_nothing_is_evicted(autojump_clock: Any, cluster: Any) -> None:
    await node(cluster, "only")

    async def tainted() -> Any:
        found = await taints(cluster, "only")
        return found if any(key.endswith("unreachable") for key, _ in found) else None

    assert await cluster.until(tainted) == {("node.kubernetes.io/unreachable", "NoSchedule")}


async def test_a_cordoned_node_is_tainted(autojump_clock: Any, cluster: Any) -> None:
    await node(cluster, "n")
    await cluster.patch("nodes", "n", {"spec": {"unschedulable": True}})

    async def tainted() -> Any:
        return ("node.kubernetes.io/unschedulable", "NoSchedule") in await taints(cluster, "n")

    assert await cluster.until(tainted, 10)


async def test_pods_of_a_deleted_node_are_ended_after_a_while(autojump_clock: Any, cluster: Any) -> None:
    await node(cluster, "n")
    spec = {"nodeName": "n", "containers": [{"name": "c", "image": "i"}]}
    await cluster.run_pod(await cluster.create("pods", {"metadata": {"name": "p"}, "spec": spec}))
    await cluster.delete("nodes", "n")
    begun = trio.current_time()

    async def gone() -> Any:
        return not await cluster.list("pods")

    await cluster.until(gone)
    assert 40 <= trio.current_time() - begun <= 65


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        ([], "10.42.0.0/24"),
        (["10.42.0.0/24", "10.42.2.0/24"], "10.42.1.0/24"),
        (["10.42.0.0/23"], "10.42.2.0/24"),
        (["nonsense", "192.168.0.0/24"], "10.42.0.0/24"),
    ],
)
def test_the_first_free_range_is_taken(taken: list[str], expected: str) -> None:
    assert first_free("10.42.0.0/16", 24, taken) == expected


@given(st.integers(0, 16))
def test_ranges_never_overlap_and_end_with_the_cluster(number: int) -> None:
    taken: list[str] = []
    for _ in range(number):
        found = first_free("10.42.0.0/20", 24, taken)
        assert found is not None
        assert found not in taken
        taken.append(found)
    assert (first_free("10.42.0.0/20", 24, taken) is None) == (number == 16)
