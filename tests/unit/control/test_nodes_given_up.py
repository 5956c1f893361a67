"""When nodes that cannot be heard lose their pods, how fast, and whose pods stay."""

from __future__ import annotations

from typing import Any

import pytest
import trio
from trio.testing import MockClock

from edgekube.control.config import Config
from edgekube.control.zones import ZONE, Pace, State, rate_in, state_of, zone_of
from edgekube.errors import NotFound
from edgekube.kinds.core import node as nodes
from edgekube.kinds.core.node import Node

UNREACHABLE = "node.kubernetes.io/unreachable"


def made(name: str, ready: str, zone: str = "") -> Node:
    labels = {ZONE: zone} if zone else {}
    conditions = [{"type": "Ready", "status": ready}] if ready else []
    return nodes.KIND.from_dict({"metadata": {"name": name, "labels": labels}, "status": {"conditions": conditions}})


def zone(well: int, silent: int, name: str = "") -> list[Node]:
    return [made(f"{name}w{n}", "True", name) for n in range(well)] + [
        made(f"{name}s{n}", "Unknown", name) for n in range(silent)
    ]


@pytest.mark.parametrize(
    ("well", "silent", "state"),
    [
        (3, 0, State.NORMAL),
        (1, 2, State.NORMAL),  # two are never a disruption
        (2, 3, State.PARTIAL),
        (3, 3, State.NORMAL),
        (0, 1, State.FULL),
        (0, 0, State.NORMAL),
    ],
)
def test_a_zone_is_as_many_of_its_nodes_are(well: int, silent: int, state: State) -> None:
    assert state_of(zone(well, silent), 0.55) is state


def test_a_small_zone_that_lost_most_gives_up_none_and_a_large_one_few() -> None:
    config = Config()
    small, large = zone(2, 4), zone(20, 40)
    assert rate_in(zone_of(small[0]), small, config) == 0.0
    assert rate_in(zone_of(large[0]), large, config) == config.secondary_eviction_rate
    assert rate_in(zone_of(small[0]), zone(3, 1), config) == config.eviction_rate


def test_a_zone_that_is_all_silent_is_given_up_while_another_lives() -> None:
    config = Config()
    both = [*zone(0, 3, "hall"), *zone(2, 0, "yard")]
    assert rate_in(zone_of(both[0]), both, config) == config.eviction_rate
    assert rate_in(zone_of(both[0]), [*zone(0, 3, "hall"), *zone(0, 2, "yard")], config) == 0.0


def test_nodes_are_given_up_one_after_the_other_in_each_zone() -> None:
    pace = Pace()
    assert [pace.allows("a", 0.1, now) for now in (0.0, 1.0, 9.9, 10.0, 10.1, 20.0)] == [
        True, False, False, True, False, True,
    ]  # fmt: skip
    assert pace.allows("b", 0.1, 0.0)
    assert not pace.allows("c", 0.0, 0.0)


class Site:
    """Nodes of a cluster, some of which are heard."""

    def __init__(self, cluster: Any, nursery: trio.Nursery) -> None:
        self.cluster, self._nursery = cluster, nursery
        self.heard: set[str] = set()

    async def node(self, name: str, **labels: str) -> None:
        await self.cluster.create("nodes", {"metadata": {"name": name, "labels": labels}})
        self.heard.add(name)
        await self.beat(name)

    async def beat(self, name: str) -> None:
        now = self.cluster.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": now, "lastTransitionTime": now}
        await self.cluster.patch("nodes", name, {"status": {"conditions": [ready]}}, subresource="status")

    async def keep_beating(self) -> None:
        while True:
            await trio.sleep(10)
            for name in sorted(self.heard):
                await self.beat(name)

    async def pod(self, name: str, node: str, **metadata: Any) -> Any:
        bounded = {"operator": "Exists", "effect": "NoExecute", "key": UNREACHABLE, "tolerationSeconds": 60}
        spec = {
            "nodeName": node,
            "containers": [{"name": "c", "image": "i"}],
            "tolerations": [bounded],
            "terminationGracePeriodSeconds": 0,
        }
        return await self.cluster.run_pod(
            await self.cluster.create("pods", {"metadata": {"name": name, **metadata}, "spec": spec})
        )

    async def is_there(self, name: str) -> bool:
        try:
            return (await self.cluster.get("pods", name)).metadata.deletion_timestamp is None
        except NotFound:
            return False

    async def taints(self, name: str) -> set[str]:
        return {taint.effect for taint in (await self.cluster.get("nodes", name)).spec.taints}


async def test_pods_of_an_autonomous_node_stay_but_count_as_not_ready(autojump_clock: MockClock, cluster: Any) -> None:
    async with trio.open_nursery() as nursery:
        site = Site(cluster, nursery)
        nursery.start_soon(site.keep_beating)
        await site.node("server")
        await site.node("kiosk", **{"edgekube.io/autonomy": "true"})
        await site.node("box")
        await site.pod("on-kiosk", "kiosk")
        await site.pod("labelled", "box", labels={"edgekube.io/autonomy": "true"})
        await site.pod("ordinary", "box")
        site.heard -= {"kiosk", "box"}

        async def moved() -> Any:
            return not await site.is_there("ordinary")

        assert await cluster.until(moved, 400)
        await trio.sleep(3600)
        for name in ("on-kiosk", "labelled"):
            assert await site.is_there(name)
            found = await cluster.get("pods", name)
            assert [one.status for one in found.status.conditions if one.type == "Ready"] == ["False"]
        await cluster.patch("nodes", "kiosk", {"metadata": {"labels": {"edgekube.io/autonomy": None}}})

        async def gone() -> Any:
            return not await site.is_there("on-kiosk")

        assert await cluster.until(gone)
        nursery.cancel_scope.cancel()


async def test_an_autonomous_node_is_emptied_by_other_taints(autojump_clock: MockClock, cluster: Any) -> None:
    async with trio.open_nursery() as nursery:
        site = Site(cluster, nursery)
        await site.node("kiosk", **{"edgekube.io/autonomy": "true"})
        await site.pod("web", "kiosk")
        taint = {"key": "out-for-repair", "effect": "NoExecute"}
        await cluster.patch("nodes", "kiosk", {"spec": {"taints": [taint]}})

        async def gone() -> Any:
            return not await site.is_there("web")

        assert await cluster.until(gone)
        nursery.cancel_scope.cancel()


async def test_when_most_nodes_of_a_small_site_fall_silent_none_is_emptied(
    autojump_clock: MockClock, cluster: Any
) -> None:
    async with trio.open_nursery() as nursery:
        site = Site(cluster, nursery)
        nursery.start_soon(site.keep_beating)
        for number in range(6):
            await site.node(f"n{number}")
            await site.pod(f"p{number}", f"n{number}")
        site.heard -= {"n2", "n3", "n4", "n5"}
        await trio.sleep(1200)
        assert [await site.is_there(f"p{number}") for number in range(6)] == [True] * 6
        assert all([await site.taints(f"n{number}") == {"NoSchedule"} for number in range(2, 6)])
        site.heard |= {"n3", "n4", "n5"}

        async def only_one() -> Any:
            return not await site.is_there("p2")

        assert await cluster.until(only_one, 400)
        assert [await site.is_there(f"p{number}") for number in (0, 1, 3, 4, 5)] == [True] * 5
        nursery.cancel_scope.cancel()


async def test_pods_on_a_node_out_of_service_are_taken_for_dead(autojump_clock: MockClock, cluster: Any) -> None:
    async with trio.open_nursery() as nursery:
        site = Site(cluster, nursery)
        nursery.start_soon(site.keep_beating)
        await site.node("server")
        await site.node("box")
        made = await site.pod("data", "box")
        await cluster.patch("pods", made.metadata.name, {"metadata": {"finalizers": ["test.io/hold"]}})
        await site.pod("web", "box")
        site.heard.discard("box")

        async def leaving() -> Any:
            return not await site.is_there("data")

        assert await cluster.until(leaving, 400)
        await trio.sleep(600)
        assert (await cluster.get("pods", "data")).status.phase == "Running"
        taints = [{"key": "node.kubernetes.io/out-of-service", "effect": "NoExecute", "value": "nodeshutdown"}]
        spec = (await cluster.get("nodes", "box")).spec
        kept = [{"key": one.key, "effect": one.effect} for one in spec.taints]
        await cluster.patch("nodes", "box", {"spec": {"taints": kept + taints}})

        async def failed() -> Any:
            return (await cluster.get("pods", "data")).status.phase == "Failed"

        assert await cluster.until(failed)
        nursery.cancel_scope.cancel()


async def test_a_pod_that_is_ready_again_on_a_node_that_is_not_is_left_so(
    autojump_clock: MockClock, cluster: Any
) -> None:
    async with trio.open_nursery() as nursery:
        site = Site(cluster, nursery)
        await site.node("box")
        found = await site.pod("web", "box")
        now = cluster.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        unready = {"type": "Ready", "status": "False", "lastHeartbeatTime": now, "lastTransitionTime": now}
        await cluster.patch("nodes", "box", {"status": {"conditions": [unready]}}, subresource="status")

        async def marked() -> Any:
            pod = await cluster.get("pods", "web")
            return [one for one in pod.status.conditions if one.type == "Ready" and one.status == "False"]

        await cluster.until(marked)
        await trio.sleep(5)
        await cluster.run_pod(found)
        await trio.sleep(30)
        assert not await marked()
        nursery.cancel_scope.cancel()
