"""Following: the cache becomes and stays what the server has, whatever happens to the watch."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from edgekube.api.meta import ObjectMeta
from edgekube.client.fake import FakeVerbs
from edgekube.client.follow import LONGEST_PAUSE_S, Cache, follow
from edgekube.client.interface import Event
from edgekube.client.local import LocalClient
from edgekube.errors import ConnectionFailed, Gone, NotFound
from edgekube.kinds.core.configmap import KIND, ConfigMap
from edgekube.store.memory import MemoryStore


def config(name: str, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="default", labels={"app": name}), data=data)


def names(cache: Cache[ConfigMap]) -> list[str]:
    return sorted(item.metadata.name for item in cache.list())


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


class Flaky:
    """A client whose watches can be cut, and which can be away."""

    def __init__(self, inner: LocalClient) -> None:
        self.inner = inner
        self.lists = 0
        self.watches: list[str] = []
        self.error: Exception | None = None
        self.cut = trio.Event()

    async def list(self, kind: Any, namespace: str = "", **selection: str) -> Any:
        self.lists += 1
        if self.error:
            raise self.error
        return await self.inner.list(kind, namespace, **selection)

    @asynccontextmanager
    async def watch(self, kind: Any, namespace: str = "", *, after: str, **selection: str) -> AsyncIterator[Any]:
        self.watches.append(after)
        if self.error:
            raise self.error
        async with self.inner.watch(kind, namespace, after=after, **selection) as events:
            yield self._until_cut(events)

    async def _until_cut(self, events: Any) -> AsyncIterator[Event[Any]]:
        while True:
            got: list[Event[Any]] = []
            async with trio.open_nursery() as nursery:

                async def stop(scope: trio.CancelScope) -> None:
                    await self.cut.wait()
                    scope.cancel()

                nursery.start_soon(stop, nursery.cancel_scope)
                got.append(await events.__anext__())
                nursery.cancel_scope.cancel()
            if not got:
                raise self.error or ConnectionFailed("cut")
            yield got[0]


async def test_a_cache_fills_follows_and_tells(autojump_clock: Any, nursery: trio.Nursery) -> None:
    client = FakeVerbs().client()
    await client.create(KIND, config("a", x="1"))
    cache: Cache[ConfigMap] = Cache({"app": lambda item: [item.metadata.labels["app"]]})
    told = []

    def note(before: ConfigMap | None, after: ConfigMap | None) -> None:
        told.append((before and before.data, after and after.data))

    await nursery.start(lambda task_status: follow(client, KIND, cache, on_change=note, task_status=task_status))
    assert cache.synced
    assert names(cache) == ["a"]
    await client.create(KIND, config("b", x="2"))
    found = await client.get(KIND, "a", "default")
    found.data["x"] = "3"
    await client.update(KIND, found)
    await client.delete(KIND, "b", "default")
    await settle()
    assert told == [(None, {"x": "1"}), (None, {"x": "2"}), ({"x": "1"}, {"x": "3"}), ({"x": "2"}, None)]
    assert names(cache) == ["a"]
    assert [item.data for item in cache.by("app", "a")] == [{"x": "3"}]
    assert not cache.by("app", "b")
    assert cache.get("default", "b") is None
    assert len(cache.list("default")) == 1
    assert not cache.list("elsewhere")


async def test_a_cut_watch_resumes_where_it_was_without_listing_again(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    inner = FakeVerbs().client()
    client = Flaky(inner)
    cache: Cache[ConfigMap] = Cache()
    await nursery.start(lambda task_status: follow(client, KIND, cache, task_status=task_status))  # type: ignore[arg-type]
    made = await inner.create(KIND, config("a"))
    await settle()
    cut, client.cut = client.cut, trio.Event()
    cut.set()
    await settle()
    await inner.create(KIND, config("b"))
    await trio.sleep(1)
    assert names(cache) == ["a", "b"]
    assert client.lists == 1
    assert client.watches[1] == made.metadata.resource_version


async def test_falling_out_of_the_window_lists_again_and_tells_what_vanished(
    autojump_clock: Any, nursery: trio.Nursery
) -> None:
    inner = FakeVerbs(MemoryStore(window_changes=3)).client()
    client = Flaky(inner)
    cache: Cache[ConfigMap] = Cache()
    gone = []
    await inner.create(KIND, config("old"))
    await nursery.start(
        lambda task_status: follow(
            client,  # type: ignore[arg-type]
            KIND,
            cache,
            on_change=lambda before, after: gone.append(before.metadata.name) if before and not after else None,
            task_status=task_status,
        )
    )
    await settle()
    cut, client.cut = client.cut, trio.Event()
    cut.set()
    await settle()
    await inner.delete(KIND, "old", "default")
    for number in range(6):
        await inner.create(KIND, config(f"n{number}"))
    await trio.sleep(1)
    assert names(cache) == [f"n{number}" for number in range(6)]
    assert gone == ["old"]
    assert client.lists == 2


@pytest.mark.parametrize("error", [ConnectionFailed("nobody there"), NotFound("no such resource"), Gone("too old")])
async def test_a_server_that_is_away_is_waited_for(
    autojump_clock: Any, nursery: trio.Nursery, error: Exception
) -> None:
    inner = FakeVerbs().client()
    await inner.create(KIND, config("a"))
    client = Flaky(inner)
    client.error = error
    cache: Cache[ConfigMap] = Cache()
    nursery.start_soon(follow, client, KIND, cache)
    await trio.sleep(600)
    assert not cache.synced
    assert client.lists < 60  # pauses grow
    client.error = None
    await trio.sleep(LONGEST_PAUSE_S + 1)
    assert names(cache) == ["a"]
