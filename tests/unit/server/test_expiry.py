"""Events go an hour after they were last written, whatever the clock says."""

from __future__ import annotations

import json
from typing import Any

import trio

from edgekube.clock import SeededClock
from edgekube.server.expiry import EVENTS, SWEEP_S, TTL_S, expire_events, sweep
from edgekube.store.interface import ChangeType, Durability, Key, Put
from edgekube.store.memory import MemoryStore


async def happen(store: MemoryStore, name: str) -> None:
    document = {
        "kind": "Event",
        "metadata": {"name": name, "resourceVersion": "@"},
        "involvedObject": {"resourceVersion": "1"},
    }
    text = json.dumps(document, separators=(",", ":"))
    key = Key(EVENTS, "default", name)
    await store.write([Put(key, text.replace("@", "").encode(), text.index("@"), None, Durability.COALESCED)])


def names(store: MemoryStore) -> list[str]:
    return [row.key.name for row in store.list(EVENTS).rows]


async def test_an_event_goes_an_hour_after_it_last_happened(autojump_clock: Any, nursery: trio.Nursery) -> None:
    store, clock = MemoryStore(), SeededClock()
    nursery.start_soon(expire_events, store, clock)
    await happen(store, "once")
    await happen(store, "again")
    await trio.sleep(TTL_S / 2)
    clock.jump(100 * TTL_S)
    await happen(store, "again")
    await trio.sleep(TTL_S / 2 - SWEEP_S)
    assert names(store) == ["again", "once"]
    async with store.watch(EVENTS, after=store.revision) as watch:
        await trio.sleep(3 * SWEEP_S)
        assert names(store) == ["again"]
        change = await watch.__anext__()
    assert change.type is ChangeType.DELETED
    gone = json.loads(change.row.value)
    assert gone["metadata"] == {"name": "once", "resourceVersion": str(change.row.revision)}
    assert gone["involvedObject"] == {"resourceVersion": "1"}
    await trio.sleep(TTL_S)
    assert names(store) == []


async def test_when_something_shouts_the_oldest_go_early() -> None:
    store = MemoryStore()
    for number in range(450):
        await happen(store, f"e{number:03}")
    assert await sweep(store, 0, most=100) == 350
    assert names(store) == [f"e{number:03}" for number in range(350, 450)]
    assert await sweep(store, 0, most=100) == 0
