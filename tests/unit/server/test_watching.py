"""Watches: where they begin, what selectors make of changes, how they end."""

from __future__ import annotations

import trio

from edgekube.store.memory import MemoryStore
from tests.server_harness import MERGE, Api, FakeExchange, config_map

MAPS = "/api/v1/namespaces/default/configmaps"


def shown(exchange: FakeExchange) -> list[tuple[str, str]]:
    return [(event["type"], event["object"]["metadata"].get("name", "")) for event in exchange.events]


async def watched(api: Api, query: str) -> FakeExchange:
    """A whole watch that its own timeout ends."""
    exchange = api.exchange("GET", f"{MAPS}?watch=true&{query}")
    await api.server.handle(exchange)
    return exchange


async def test_a_watch_goes_on_behind_its_revision(api: Api, autojump_clock: object) -> None:
    made = await api.good("POST", MAPS, config_map())
    await api.good("PATCH", f"{MAPS}/a", {"data": {"x": "z"}}, MERGE)
    await api.good("DELETE", f"{MAPS}/a")
    seen = await watched(api, f"timeoutSeconds=5&resourceVersion={made['metadata']['resourceVersion']}")
    assert shown(seen) == [("MODIFIED", "a"), ("DELETED", "a")]
    revisions = [int(event["object"]["metadata"]["resourceVersion"]) for event in seen.events]
    assert revisions == sorted(set(revisions))


async def test_without_a_revision_it_begins_with_what_is_there(api: Api, autojump_clock: object) -> None:
    await api.good("POST", MAPS, config_map())
    assert shown(await watched(api, "timeoutSeconds=5")) == [("ADDED", "a")]


async def test_a_streaming_list_ends_with_its_bookmark(api: Api, autojump_clock: object) -> None:
    await api.good("POST", MAPS, config_map())
    query = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true&timeoutSeconds=1"
    seen = await watched(api, query)
    assert shown(seen) == [("ADDED", "a"), ("BOOKMARK", "")]
    assert seen.events[1]["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}


async def test_a_bookmark_comes_before_the_end(api: Api, autojump_clock: object) -> None:
    start = api.store.revision
    seen = await watched(api, f"timeoutSeconds=5&allowWatchBookmarks=true&resourceVersion={start}")
    assert [event["type"] for event in seen.events] == ["BOOKMARK"]
    assert int(seen.events[0]["object"]["metadata"]["resourceVersion"]) >= start


async def test_selectors_turn_changes_into_coming_and_going(api: Api, autojump_clock: object) -> None:
    start = api.store.revision
    await api.good("POST", MAPS, config_map())
    for value in ("in", "in", "out"):
        await api.good(
            "PATCH",
            f"{MAPS}/a",
            {"metadata": {"labels": {"k": value}}, "data": {value: str(api.store.revision)}},
            MERGE,
        )
    seen = await watched(api, f"timeoutSeconds=2&labelSelector=k%3Din&resourceVersion={start}")
    assert shown(seen) == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")]
    gone = seen.events[2]["object"]
    assert gone["metadata"]["labels"] == {"k": "in"}
    assert int(gone["metadata"]["resourceVersion"]) == api.store.revision


async def test_live_changes_arrive(api: Api) -> None:
    exchange = api.exchange("GET", f"{MAPS}?watch=true&resourceVersion={api.store.revision}")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(api.server.handle, exchange)
        await trio.testing.wait_all_tasks_blocked()
        await api.good("POST", MAPS, config_map())
        await exchange.until(1)
        nursery.cancel_scope.cancel()
    assert shown(exchange) == [("ADDED", "a")]


async def test_what_the_window_no_longer_holds_is_gone() -> None:
    api = Api(MemoryStore(window_changes=2))
    await api.server.bootstrap()
    seen = await watched(api, "resourceVersion=1")
    assert seen.status == 200
    assert [event["type"] for event in seen.events] == ["ERROR"]
    assert seen.events[0]["object"]["code"] == 410


async def test_only_the_first_table_of_a_watch_has_heads(api: Api, autojump_clock: object) -> None:
    for name in ("a", "b"):
        await api.good("POST", MAPS, config_map(name))
    exchange = api.exchange(
        "GET", f"{MAPS}?watch=true&timeoutSeconds=1", accept="application/json;as=Table;v=v1;g=meta.k8s.io"
    )
    await api.server.handle(exchange)
    heads = [bool(event["object"].get("columnDefinitions")) for event in exchange.events]
    assert heads == [True, False]


async def test_watchers_of_one_change_share_its_bytes(api: Api, autojump_clock: object) -> None:
    start = api.store.revision
    await api.good("POST", MAPS, config_map())
    first = await watched(api, f"timeoutSeconds=1&resourceVersion={start}")
    second = await watched(api, f"timeoutSeconds=1&resourceVersion={start}")
    assert first.pieces[0] is second.pieces[0]


async def test_bare_metadata_is_watched_as_protobuf_and_a_table_is_not(api: Api) -> None:
    maps = "/api/v1/namespaces/default/configmaps"
    await api.good("POST", maps, config_map("a"))
    bare = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
    table = "application/vnd.kubernetes.protobuf;as=Table;g=meta.k8s.io;v=v1,application/json"
    seen = []
    for accept in (bare, table):
        made = api.exchange("GET", f"{maps}?watch=1&timeoutSeconds=1", accept=accept)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(api.server.handle, made)
            with trio.fail_after(120):
                while not made.pieces:
                    await made.arrived.wait()
            nursery.cancel_scope.cancel()
        seen.append((made.header("content-type"), b"PartialObjectMetadata" in made.pieces[0]))
    assert seen == [
        ("application/vnd.kubernetes.protobuf;stream=watch", True),
        ("application/json", False),
    ]
