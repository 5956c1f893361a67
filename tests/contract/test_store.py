"""What any store promises, run on every implementation."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio

from edgekube.store.interface import (
    ChangeType,
    Compacted,
    Durability,
    FutureRevision,
    Key,
    Mismatch,
    Put,
    Remove,
    Row,
    Store,
)
from edgekube.store.memory import open_memory
from edgekube.store.offload import InlineOffloader
from edgekube.store.sqlite import open_store

Opener = Callable[..., AbstractAsyncContextManager[Any]]
PODS = "/pods"


@pytest.fixture(params=["memory", "sqlite-inline", "sqlite-thread"])
def opener(request: pytest.FixtureRequest, tmp_path: Path) -> Opener:
    if request.param == "memory":
        return open_memory
    if request.param == "sqlite-inline":
        return functools.partial(open_store, tmp_path / "state.db", offloader=lambda _: InlineOffloader())
    return functools.partial(open_store, tmp_path / "state.db")


@pytest.fixture
async def store(opener: Opener) -> AsyncIterator[Store]:
    async with opener() as opened:
        yield opened


DURABILITIES = pytest.mark.parametrize("durability", list(Durability))
HEAD, TAIL = b'{"metadata":{"resourceVersion":"', b'"},"spec":"'


def key(name: str, namespace: str = "default", resource: str = PODS) -> Key:
    return Key(resource, namespace, name)


def put(name: str, text: str = "x", expected: int | None = None, *, namespace: str = "default", **more: Any) -> Put:
    value = HEAD + TAIL + text.encode() + b'"}'
    return Put(key(name, namespace, more.pop("resource", PODS)), value, len(HEAD), expected, **more)


def remove(name: str, expected: int | None = None, **more: Any) -> Remove:
    return Remove(key(name, more.pop("namespace", "default")), HEAD + TAIL + b'gone"}', len(HEAD), expected, **more)


def text(row: Row | None) -> str:
    assert row is not None
    assert row.value.startswith(HEAD + str(row.revision).encode() + TAIL)
    return row.value.split(TAIL)[1][:-2].decode()


def names(rows: Any) -> list[str]:
    return [row.key.name for row in rows]


@DURABILITIES
async def test_what_is_put_can_be_read_with_its_revision_in_place(store: Store, durability: Durability) -> None:
    (row,) = await store.write([put("a", "one", 0, durability=durability)])
    assert row.revision == store.revision
    assert text(store.get(key("a"))) == "one"
    assert store.get(key("a")) == row
    assert store.list(PODS).rows == [row]
    assert store.get(key("b")) is None


@DURABILITIES
async def test_an_expected_revision_is_checked(store: Store, durability: Durability) -> None:
    (first,) = await store.write([put("a", "1", 0, durability=durability)])
    with pytest.raises(Mismatch) as caught:
        await store.write([put("a", "2", 0, durability=durability)])
    assert caught.value.current == first
    with pytest.raises(Mismatch):
        await store.write([put("a", "2", first.revision - 1, durability=durability)])
    (second,) = await store.write([put("a", "2", first.revision, durability=durability)])
    assert second.revision > first.revision
    with pytest.raises(Mismatch):
        await store.write([remove("a", first.revision, durability=durability)])
    await store.write([remove("a", second.revision, durability=durability)])
    assert store.get(key("a")) is None
    assert not store.list(PODS).rows
    with pytest.raises(Mismatch) as caught:
        await store.write([remove("a", durability=durability)])
    assert caught.value.current is None


async def test_several_operations_are_all_or_nothing(store: Store) -> None:
    await store.write([put("a")])
    before = store.revision
    with pytest.raises(Mismatch):
        await store.write([put("b"), remove("a"), put("c", expected=77)])
    assert names(store.list(PODS).rows) == ["a"]
    assert store.revision == before
    rows = await store.write([put("b"), remove("a"), put("c", expected=0)])
    assert [row.revision for row in rows] == [before + 1, before + 2, before + 3]
    assert names(store.list(PODS).rows) == ["b", "c"]


async def test_operations_of_one_write_see_each_other(store: Store) -> None:
    first, second = await store.write([put("a", "1", 0), put("a", "2", store.revision + 1)])
    assert (text(first), text(second), text(store.get(key("a")))) == ("1", "2", "2")


async def test_who_is_told_that_a_key_exists_can_read_it(store: Store) -> None:
    found: list[Row | None] = []

    async def attempt() -> None:
        try:
            await store.write([put("a", expected=0)])
        except Mismatch:
            found.append(store.get(key("a")))

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(attempt)
    assert [row is not None for row in found] == [True] * 9


@DURABILITIES
async def test_of_two_writers_expecting_the_same_revision_one_wins(store: Store, durability: Durability) -> None:
    (row,) = await store.write([put("a", "0")])
    outcomes = []

    async def attempt(number: int) -> None:
        try:
            await store.write([put("a", str(number), row.revision, durability=durability)])
            outcomes.append("won")
        except Mismatch:
            outcomes.append("lost")

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(attempt, number)
    assert sorted(outcomes) == ["lost"] * 19 + ["won"]


async def test_lists_are_ordered_scoped_and_merged_over_durabilities(store: Store) -> None:
    kinds = list(Durability)
    for number in range(12):
        await store.write([put(f"p{number:02}", namespace=f"n{number % 2}", durability=kinds[number % 3])])
    await store.write([put("other", resource="/nodes", namespace="")])
    listing = store.list(PODS)
    assert [(row.key.namespace, row.key.name) for row in listing.rows] == sorted(
        (f"n{number % 2}", f"p{number:02}") for number in range(12)
    )
    assert listing.revision == store.revision
    assert names(store.list(PODS, "n1").rows) == [f"p{number:02}" for number in range(1, 12, 2)]
    assert names(store.list("/nodes").rows) == ["other"]


@DURABILITIES
async def test_rows_are_in_the_order_of_their_paths(store: Store, durability: Durability) -> None:
    for namespace in ("team", "team-2", "a", "team2", ""):
        await store.write([put(name, namespace=namespace, durability=durability) for name in ("b", "a", "a-1", "a.b")])
    places = [f"{row.key.namespace}/{row.key.name}" for row in store.list(PODS).rows]
    assert places == sorted(places)
    assert places.index("team-2/a") < places.index("team/a") < places.index("team2/a")
    page = store.list(PODS, limit=9)
    assert [*page.rows, *store.list(PODS, after=page.after).rows] == list(store.list(PODS).rows)
    for namespace in ("team", "", "a"):
        assert names(store.list(PODS, namespace).rows) == ["a", "a-1", "a.b", "b"]


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 11, 12, 13])
async def test_pages_join_up_to_the_whole(store: Store, limit: int) -> None:
    kinds = list(Durability)
    for number in range(12):
        await store.write([put(f"p{number:02}", namespace=f"n{number % 2}", durability=kinds[number % 3])])
    for number in (3, 4, 5):  # hide one row of each durability
        await store.write([remove(f"p{number:02}", namespace=f"n{number % 2}", durability=kinds[number % 3])])
    whole = store.list(PODS).rows
    assert len(whole) == 9
    gathered: list[Row] = []
    after = None
    while True:
        page = store.list(PODS, limit=limit, after=after, at=store.revision)
        gathered += page.rows
        assert page.remaining == len(whole) - len(gathered)
        if (after := page.after) is None:
            break
    assert gathered == list(whole)


async def test_a_list_at_an_older_revision_shows_what_was_there(store: Store) -> None:
    for number in range(6):
        await store.write([put(f"p{number}", "old", durability=list(Durability)[number % 3])])
    then, old = store.revision, store.list(PODS).rows
    await store.write([put("p0", "new"), remove("p1"), put("p9", "born"), put("p2", "new")])
    await store.write([put("p1", "reborn"), put("p2", "newer"), remove("p9"), put("zz", resource="/other")])
    listing = store.list(PODS, at=then)
    assert list(listing.rows) == list(old)
    assert listing.revision == then
    page = store.list(PODS, at=then, limit=4)
    assert list(page.rows) == list(old)[:4]
    assert page.remaining == 2
    assert list(store.list(PODS, at=then, after=page.after).rows) == list(old)[4:]
    with pytest.raises(FutureRevision):
        store.list(PODS, at=store.revision + 1)


async def test_a_watch_gives_each_change_once_in_order(store: Store) -> None:
    start = store.revision
    await store.write([put("a", "1")])
    seen = []
    async with store.watch(PODS, after=start) as watch:

        async def look() -> None:
            async for change in watch:
                seen.append((change.type, change.row.key.name, change.row.revision))
                if change.row.key.name == "end":
                    return

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            await store.write([put("a", "2"), put("n", resource="/nodes"), put("b", "1", durability=Durability.MEMORY)])
            await store.write([remove("a"), put("end", durability=Durability.COALESCED)])
        assert watch.progress() == store.revision
    assert [(type_, name) for type_, name, _ in seen] == [
        (ChangeType.ADDED, "a"),
        (ChangeType.MODIFIED, "a"),
        (ChangeType.ADDED, "b"),
        (ChangeType.DELETED, "a"),
        (ChangeType.ADDED, "end"),
    ]
    revisions = [revision for *_, revision in seen]
    assert revisions == sorted(set(revisions))


async def test_a_change_carries_the_value_before(store: Store) -> None:
    start = store.revision
    (first,) = await store.write([put("a", "1")])
    (second,) = await store.write([put("a", "2")])
    (third,) = await store.write([remove("a")])
    async with store.watch(PODS, after=start) as watch:
        changes = [await watch.__anext__() for _ in range(3)]
    assert [change.previous for change in changes] == [None, first.value, second.value]
    assert [change.row for change in changes] == [first, second, third]


async def test_watches_are_scoped_by_namespace_and_name(store: Store) -> None:
    start = store.revision
    await store.write([put("a", namespace="n1"), put("b", namespace="n1"), put("a", namespace="n2")])
    async with store.watch(PODS, "n1", after=start) as space, store.watch(PODS, "n1", name="b", after=start) as one:
        assert [(await space.__anext__()).row.key.name for _ in range(2)] == ["a", "b"]
        assert (await one.__anext__()).row.key.name == "b"
        await store.write([put("a", namespace="n2"), put("b", "end", namespace="n1")])
        assert text((await space.__anext__()).row) == "end"
        assert text((await one.__anext__()).row) == "end"


async def test_watching_or_listing_before_the_window_is_compacted(opener: Opener) -> None:
    async with opener(window_changes=5) as store:
        start = store.revision
        for number in range(8):
            await store.write([put("a", str(number))])
        with pytest.raises(Compacted) as caught:
            async with store.watch(PODS, after=start):
                pass
        assert caught.value.oldest == start + 3
        with pytest.raises(Compacted):
            store.list(PODS, at=start + 2)
        async with store.watch(PODS, after=start + 3) as watch:
            assert text((await watch.__anext__()).row) == "3"
        with pytest.raises(FutureRevision):
            async with store.watch(PODS, after=store.revision + 1):
                pass


async def test_a_slow_watcher_is_told_and_a_quick_one_is_not(opener: Opener) -> None:
    async with (
        opener(window_changes=5) as store,
        store.watch(PODS, after=store.revision) as slow,
        store.watch(PODS, after=store.revision) as quick,
    ):
        for number in range(8):
            await store.write([put("a", str(number))])
            assert text((await quick.__anext__()).row) == str(number)
        with pytest.raises(Compacted):
            await slow.__anext__()


async def test_waiting_for_a_revision_ends_when_it_is_there(store: Store) -> None:
    target = store.revision + 2
    reached = []

    async def wait() -> None:
        await store.wait_revision(target)
        reached.append(store.revision)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await store.write([put("a")])
        assert not reached
        await store.write([put("b")])
    assert reached == [target]
    await store.wait_revision(1)


async def test_many_writers_at_once_all_arrive(store: Store) -> None:
    rows: list[Row] = []

    async def write(number: int) -> None:
        durability = list(Durability)[number % 3]
        rows.extend(await store.write([put(f"p{number:03}", "y" * number * 20, 0, durability=durability)]))

    async with trio.open_nursery() as nursery:
        for number in range(100):
            nursery.start_soon(write, number)
    assert len({row.revision for row in rows}) == 100
    assert list(store.list(PODS).rows) == sorted(rows)
    assert all(store.get(row.key) == row for row in rows)


async def test_a_key_may_change_its_durability(store: Store) -> None:
    await store.write([put("a", "1", durability=Durability.COALESCED)])
    await store.write([put("a", "2", durability=Durability.DURABLE)])
    await store.write([put("a", "3", durability=Durability.COALESCED)])
    assert text(store.get(key("a"))) == "3"
    assert names(store.list(PODS).rows) == ["a"]
    await store.write([remove("a", durability=Durability.DURABLE)])
    assert store.get(key("a")) is None
    await store.write([put("a", "4", 0, durability=Durability.MEMORY)])
    await store.write([put("a", "5", durability=Durability.DURABLE)])
    await store.write([remove("a", durability=Durability.MEMORY)])
    assert store.get(key("a")) is None
    assert not store.list(PODS).rows
