"""The promises have teeth: each is broken on purpose, and is seen to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from edgekube.clock import SeededClock
from edgekube.store.interface import Durability, Key, Put
from edgekube.store.memory import MemoryStore
from edgekube.store.offload import InlineOffloader
from edgekube.store.sqlite import open_store
from tests.sim.promises import JOBS, PODS, SETS, Broken, Promises
from tests.sim.simulation import Story, simulate
from tests.sim.world import Disk, World

POD = Key(PODS, "default", "web-1")


def pod(*, uid: str = "u1", node: str = "node-1", phase: str = "Running", owner: str = "", cpu: str = "100m") -> Any:
    owners = [{"uid": owner, "controller": True}] if owner else []
    containers = [{"name": "main", "resources": {"requests": {"cpu": cpu}}}]
    metadata = {"uid": uid, "name": "web-1", "ownerReferences": owners}
    return {"metadata": metadata, "spec": {"nodeName": node, "containers": containers}, "status": {"phase": phase}}


class Publishing:
    """A store that publishes what a test says to a `Promises`."""

    def __init__(self, promises: Promises) -> None:
        self._promises, self._store = promises, MemoryStore()

    async def put(self, key: Key, document: Any) -> None:
        value = json.dumps({"": "", **document}).encode()
        async with self._store.watch(key.resource, after=self._store.revision) as watch:
            await self._store.write([Put(key, value, value.index(b': ""') + 3, None)])
            for change in watch.take_nowait():
                self._promises._saw(change)


@pytest.fixture
def promises() -> Promises:
    return Promises(SeededClock(0))


async def test_a_finished_pod_that_runs_again_is_seen(promises: Promises) -> None:
    store = Publishing(promises)
    await store.put(POD, pod(phase="Succeeded"))
    with pytest.raises(Broken, match="was Succeeded and is Running"):
        await store.put(POD, pod(phase="Running"))


async def test_a_pod_that_changes_nodes_is_seen(promises: Promises) -> None:
    store = Publishing(promises)
    await store.put(POD, pod(node=""))
    await store.put(POD, pod(node="node-1"))
    with pytest.raises(Broken, match="was on node-1 and is on node-2"):
        await store.put(POD, pod(node="node-2"))


async def test_a_pod_that_is_evicted_from_an_autonomous_node_is_seen(promises: Promises) -> None:
    promises.autonomous.add("node-1")
    evicted = pod()
    evicted["status"]["conditions"] = [{"type": "DisruptionTarget", "reason": "DeletionByTaintManager"}]
    with pytest.raises(Broken, match="was evicted from node-1"):
        await Publishing(promises).put(POD, evicted)


async def test_one_pod_too_many_is_seen(promises: Promises) -> None:
    store = Publishing(promises)
    await store.put(Key(SETS, "default", "web"), {"metadata": {"uid": "set", "name": "web"}, "spec": {"replicas": 1}})
    await store.put(POD, pod(owner="set"))
    with pytest.raises(Broken, match="one too many: 2 of 1"):
        await store.put(POD._replace(name="web-2"), pod(uid="u2", owner="set"))


async def test_a_node_with_more_than_it_can_hold_is_seen(promises: Promises) -> None:
    promises.node_milli_cpu = 150
    store = Publishing(promises)
    await store.put(POD, pod())
    with pytest.raises(Broken, match="want 200 milli cpu, 150 are there"):
        await store.put(POD._replace(name="web-2"), pod(uid="u2"))


async def test_a_job_that_counts_wrongly_is_seen(promises: Promises) -> None:
    status = {"succeeded": 3, "conditions": [{"type": "Complete", "status": "True"}]}
    document = {"metadata": {"uid": "job", "name": "sum"}, "spec": {"completions": 2}, "status": status}
    with pytest.raises(Broken, match="complete with 3 of 2"):
        await Publishing(promises).put(Key(JOBS, "default", "sum"), document)


async def test_containers_in_the_wrong_place_are_seen(promises: Promises) -> None:
    store = Publishing(promises)
    await store.put(POD, pod())
    with pytest.raises(Broken, match="bound to 'node-1' and started on node-2"):
        promises.started("u1", "default/web-1", "node-2")
    promises.started("u1", "default/web-1", "node-1")
    await store.put(POD, pod(uid="u2", node="node-2"))
    with pytest.raises(Broken, match="runs on node-1 as u1 and is started on node-2"):
        promises.started("u2", "default/web-1", "node-2")
    promises.stopped("u1")
    promises.ended("u1")
    with pytest.raises(Broken, match="ran to its end"):
        promises.started("u1", "default/web-1", "node-1")


def test_writes_that_a_crash_took_are_seen(promises: Promises) -> None:
    other = POD._replace(name="web-2")
    promises.power_lost({POD: 5, other: 7}, {other}, 7)
    promises.power_back({POD: 5}, 7)
    with pytest.raises(Broken, match="was at revision 5 and is at None"):
        promises.power_back({other: 7}, 7)
    with pytest.raises(Broken, match="went back from revision 7 to 6"):
        promises.power_back({POD: 5, other: 6}, 7)
    with pytest.raises(Broken, match="revisions went back"):
        promises.power_back({POD: 5, other: 7}, 6)
    promises.acknowledged(other, 8)
    with pytest.raises(Broken, match="acknowledged at revision 8"):
        promises.power_back({POD: 5, other: 7}, 8)


async def test_a_disk_without_power_keeps_what_was_written_and_no_more(tmp_path: Path, autojump_clock: Any) -> None:
    disk = Disk(tmp_path / "disk", World(1, tmp_path / "world").chance)
    async with open_store(disk.file, offloader=disk.offloader) as store:
        await store.write([Put(POD, b'{"":""}', 5, 0)])
        await store.write([Put(POD._replace(name="late"), b'{"":""}', 5, 0, Durability.COALESCED)])
        disk.lose_power()
    async with open_store(disk.file, offloader=lambda _: InlineOffloader()) as store:
        assert [row.key for row in store.list(PODS).rows] == [POD]


@pytest.fixture
def forgetful_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that says yes and goes on with an older state after the next power cut."""
    lose_power = Disk.lose_power

    def forget(disk: Disk) -> None:
        file = disk.file.with_name("store.db-wal")
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
        lose_power(disk)

    monkeypatch.setattr(Disk, "lose_power", forget)


@pytest.mark.usefixtures("forgetful_disk")
def test_a_whole_story_fails_on_a_disk_that_lies(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BaseExceptionGroup) as caught:
        simulate(Story(seed=5, faults=("crash_server",), lasts_s=60.0))
    assert caught.group_contains(Broken, match="after the power cut|revisions went back|acknowledged at")
    assert "a promise was broken in Story(seed=5" in capsys.readouterr().out
