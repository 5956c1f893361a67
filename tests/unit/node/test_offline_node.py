"""A node that is cut off goes on, tells what it missed to tell when the server is back, and puts right what was said of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from edgekube.client.fake import FakeVerbs
from edgekube.client.follow import Cache, follow
from edgekube.client.replica import Replica, is_local, open_replica
from edgekube.clock import SeededClock
from edgekube.errors import ConnectionFailed
from edgekube.kinds.core import node as nodes
from edgekube.kinds.core import pod as pods
from edgekube.kinds.core.node import Node, NodeStatus
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podstatus import PodCondition, PodStatus
from edgekube.node import machine
from edgekube.node.config import NodeConfig
from edgekube.node.pods.statuses import StatusWriter
from edgekube.node.registration import Registration, Vitals, describe
from edgekube.node.runtime.cri import Version
from edgekube.store.interface import Key
from edgekube.store.memory import MemoryStore
from edgekube.store.offload import InlineOffloader

MACHINE = machine.Machine(1, 1 << 30, 1 << 30, 100, "", "", "", "", "", "amd64", "edge", 0)


class Wire:
    """A server and a line to it."""

    def __init__(self) -> None:
        self.verbs = FakeVerbs(MemoryStore())
        self.cut = False
        self.writes = 0
        self._watches: set[trio.CancelScope] = set()

    def __getattr__(self, verb: str) -> Any:
        async def ask(*parts: Any, **more: Any) -> Any:
            await trio.lowlevel.checkpoint()
            if self.cut:
                raise ConnectionFailed("cut")
            self.writes += verb in ("update", "patch", "create")
            return await getattr(self.verbs.client(), verb)(*parts, **more)

        return ask

    @asynccontextmanager
    async def watch(self, *parts: Any, **more: Any) -> AsyncIterator[Any]:
        if self.cut:
            raise ConnectionFailed("cut")
        async with self.verbs.client().watch(*parts, **more) as events:
            with trio.CancelScope() as scope:
                self._watches.add(scope)
                yield events
            if scope.cancelled_caught:
                raise ConnectionFailed("cut")

    def break_line(self) -> None:
        self.cut = True
        for scope in self._watches:
            scope.cancel()
        self._watches.clear()


@asynccontextmanager
async def replica_of(wire: Wire, directory: Path) -> AsyncIterator[Replica]:
    opening = open_replica(
        directory / "replica.db",
        wire,  # type: ignore[arg-type]
        SeededClock(),
        node_name="edge",
        offloader=lambda _: InlineOffloader(),
    )
    async with opening as replica:
        yield replica


async def until(true: Any) -> None:
    with trio.fail_after(600):
        while not true():  # noqa: ASYNC110 what is waited for has no event
            await trio.sleep(0.5)


def status(ip: str = "10.1.0.2", *, ready: str = "True", phase: str = "Running") -> PodStatus:
    conditions = [PodCondition(type=type_, status=ready) for type_ in ("Ready", "ContainersReady")]
    return PodStatus(phase=phase, pod_ip=ip, conditions=conditions)


class Kubelet:
    """What of a node writes statuses: the cache of its pods and a writer."""

    def __init__(self, client: Any) -> None:
        self.pods: Cache[Pod] = Cache()
        self.writer = StatusWriter(client, self.pods.get)
        self._client = client

    async def run(self, task_status: Any) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.writer.run)
            await nursery.start(self._follow)
            task_status.started()

    async def _follow(self, task_status: Any) -> None:
        await follow(
            self._client,
            pods.KIND,
            self.pods,
            on_change=lambda _, after: after and self.writer.compare(after),
            fields="spec.nodeName=edge",
            task_status=task_status,
        )

    def pod(self, name: str) -> Pod:
        found = self.pods.get("default", name)
        assert found is not None
        return found


async def bind(wire: Wire, name: str) -> Pod:
    document = {"metadata": {"name": name, "namespace": "default"}, "spec": {"nodeName": "edge", "containers": []}}
    return await wire.verbs.client().create(pods.KIND, pods.KIND.from_dict(document))


def stored(wire: Wire, name: str) -> PodStatus:
    row = wire.verbs.store.get(Key("/pods", "default", name))
    assert row is not None
    return pods.KIND.from_json(row.value).status


async def test_what_many_pods_came_to_while_cut_off_is_shown_here_at_once_and_told_later(
    tmp_path: Path, autojump_clock: Any
) -> None:
    wire = Wire()
    for number in range(20):
        await bind(wire, f"web-{number}")
    async with replica_of(wire, tmp_path) as replica, trio.open_nursery() as nursery:
        kubelet = Kubelet(replica)
        await nursery.start(kubelet.run)
        wire.break_line()
        replica.look()
        await replica.wait_offline()
        begun = trio.current_time()
        for number in range(20):
            kubelet.writer.publish(kubelet.pod(f"web-{number}"), status(f"10.1.0.{number}"))
        await until(lambda: all(kubelet.pod(f"web-{n}").status.pod_ip == f"10.1.0.{n}" for n in range(20)))
        assert trio.current_time() - begun < 5
        kubelet.writer.publish(kubelet.pod("web-0"), status("10.1.0.99"))
        await until(lambda: kubelet.pod("web-0").status.pod_ip == "10.1.0.99")
        wire.cut, wire.writes = False, 0
        await until(lambda: stored(wire, "web-0").pod_ip == "10.1.0.99")
        await until(lambda: all(stored(wire, f"web-{n}").pod_ip for n in range(20)))
        await until(lambda: not any(is_local(item.metadata.resource_version) for item in kubelet.pods.list()))
        assert wire.writes == 20  # the newest of each, once
        nursery.cancel_scope.cancel()


async def test_a_pod_that_is_called_unready_since_its_node_was_away_is_put_right(
    tmp_path: Path, autojump_clock: Any
) -> None:
    wire = Wire()
    await bind(wire, "web")
    async with replica_of(wire, tmp_path) as replica, trio.open_nursery() as nursery:
        kubelet = Kubelet(replica)
        await nursery.start(kubelet.run)
        kubelet.writer.publish(kubelet.pod("web"), status())
        await until(lambda: stored(wire, "web").phase == "Running")
        wire.break_line()
        replica.look()
        await replica.wait_offline()
        live = await wire.verbs.client().get(pods.KIND, "web", "default")
        live.status = status(ready="False")
        live.status.conditions.append(PodCondition(type="DisruptionTarget", status="True"))
        await wire.verbs.client().update(pods.KIND, live, subresource="status")
        wire.cut = False
        await until(lambda: [c.status for c in stored(wire, "web").conditions if c.type == "Ready"] == ["True"])
        assert [c.status for c in stored(wire, "web").conditions if c.type == "DisruptionTarget"] == ["True"]
        wire.writes = 0
        await trio.sleep(60)
        assert wire.writes == 0
        nursery.cancel_scope.cancel()


async def test_a_pod_that_was_ended_by_somebody_else_stays_ended(tmp_path: Path, autojump_clock: Any) -> None:
    wire = Wire()
    await bind(wire, "web")
    async with replica_of(wire, tmp_path) as replica, trio.open_nursery() as nursery:
        kubelet = Kubelet(replica)
        await nursery.start(kubelet.run)
        kubelet.writer.publish(kubelet.pod("web"), status())
        await until(lambda: stored(wire, "web").phase == "Running")
        live = await wire.verbs.client().get(pods.KIND, "web", "default")
        live.status = status(phase="Failed")
        await wire.verbs.client().update(pods.KIND, live, subresource="status")
        await until(lambda: kubelet.pod("web").status.phase == "Failed")
        kubelet.writer.publish(kubelet.pod("web"), status("10.1.0.3"))
        await until(lambda: stored(wire, "web").pod_ip == "10.1.0.3")
        assert stored(wire, "web").phase == "Failed"
        nursery.cancel_scope.cancel()


# ---- the Node itself


def registration(client: Any, clock: SeededClock) -> Registration:
    config = NodeConfig(node_name="edge", node_ip="10.0.0.1", data_dir=Path("/nowhere"), labels={"room": "hall"})

    async def look(last: NodeStatus) -> NodeStatus:
        return describe(config, MACHINE, Version("fake", "1"), Vitals(), [], last, clock.now())

    return Registration(client, clock, config, MACHINE, look, lambda *_: None)


async def test_a_node_that_boots_while_cut_off_goes_on_and_registers_later(tmp_path: Path, autojump_clock: Any) -> None:
    wire = Wire()
    old = Node()
    old.metadata.name = "edge"
    await wire.verbs.client().create(nodes.KIND, old)
    async with replica_of(wire, tmp_path) as replica:
        await replica.get(nodes.KIND, "edge")
    wire.break_line()
    async with replica_of(wire, tmp_path) as replica, trio.open_nursery() as nursery:
        mine = registration(replica, wire.verbs.clock)  # type: ignore[arg-type]
        with trio.fail_after(30):
            known = await mine.register()
        assert known.metadata.uid == (await wire.verbs.client().get(nodes.KIND, "edge")).metadata.uid
        nursery.start_soon(mine.keep_reporting)
        wire.cut = False
        with trio.fail_after(120):
            while (await wire.verbs.client().get(nodes.KIND, "edge")).metadata.labels.get("room") != "hall":  # noqa: ASYNC110
                await trio.sleep(1)
        nursery.cancel_scope.cancel()


async def test_a_node_that_was_called_unknown_says_at_once_that_it_is_ready(autojump_clock: Any) -> None:
    verbs = FakeVerbs(MemoryStore())
    mine = registration(verbs.client(), verbs.clock)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        await mine.register()
        nursery.start_soon(mine.keep_reporting)
        cache: Cache[Node] = Cache()
        cache.add_listener(mine.compare)
        nursery.start_soon(follow, verbs.client(), nodes.KIND, cache)
        await until(lambda: cache.synced)
        gone = await verbs.client().get(nodes.KIND, "edge")
        for condition in gone.status.conditions:
            condition.status = "Unknown"
        await verbs.client().update(nodes.KIND, gone, subresource="status")
        begun = trio.current_time()

        def ready() -> bool:
            found = cache.get("", "edge")
            return found is not None and all(c.status != "Unknown" for c in found.status.conditions)

        await trio.testing.wait_all_tasks_blocked()
        await until(ready)
        assert trio.current_time() - begun < 5
        nursery.cancel_scope.cancel()
