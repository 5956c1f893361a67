"""What only a store on disk can promise: what survives, what is only in memory, and what happens when the disk misbehaves."""

from __future__ import annotations

import json
import logging
import sqlite3
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest
import trio

from edgekube.errors import StoreCorrupt, StoreError, StoreLocked
from edgekube.store import schema, snapshots
from edgekube.store.interface import Compacted, Durability, Key, Put, Remove, Row
from edgekube.store.offload import InlineOffloader
from edgekube.store.sealing import load_sealer
from edgekube.store.sqlite import RESERVED_REVISIONS, SqliteStore, open_store

PODS = "/pods"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


def opened(path: Path, **options: Any) -> AbstractAsyncContextManager[SqliteStore]:
    return open_store(path, offloader=lambda _: InlineOffloader(), **options)


def put(name: str, text: str = "x", expected: int | None = None, durability: Durability = Durability.DURABLE) -> Put:
    return Put(Key(PODS, "default", name), f" {text}".encode(), 0, expected, durability)


def remove(name: str, durability: Durability = Durability.DURABLE) -> Remove:
    return Remove(Key(PODS, "default", name), b" gone", 0, None, durability)


def texts(store: SqliteStore) -> dict[str, str]:
    return {row.key.name: row.value.split(b" ", 1)[1].decode() for row in store.list(PODS).rows}


def content(path: Path) -> bytes:
    return path.read_bytes()


def overwrite(path: Path, data: bytes) -> None:
    path.write_bytes(data)


def stamps(path: Path) -> list[int]:
    return [path.with_name(path.name + suffix).stat().st_mtime_ns for suffix in ("", "-wal")]


def on_disk(path: Path) -> dict[str, int]:
    with sqlite3.connect(path) as connection:
        found = dict(connection.execute("SELECT substr(path, 9), revision FROM objects").fetchall())
    connection.close()
    return found


async def test_everything_but_memory_rows_survives_a_restart(path: Path) -> None:
    async with opened(path) as store:
        for durability in Durability:
            await store.write([put(durability.value, durability.value, durability=durability)])
        await store.write([put("long", "y" * 10_000)])
        last = store.revision
    async with opened(path) as store:
        assert texts(store) == {"durable": "durable", "coalesced": "coalesced", "long": "y" * 10_000}
        assert store.revision == last
        (row,) = await store.write([put("next")])
        assert row.revision == last + 1


async def test_a_coalesced_row_reaches_the_disk_within_its_time_and_once(path: Path, autojump_clock: Any) -> None:
    async with opened(path, flush_s=60) as store:
        for number in range(10):
            await store.write([put("a", str(number), durability=Durability.COALESCED)])
            await trio.sleep(5)
        assert on_disk(path) == {}
        await trio.sleep(11)
        assert on_disk(path) == {"a": 10}
        assert texts(store) == {"a": "9"}
        await store.write(
            [put("a", "later", durability=Durability.COALESCED), put("b", durability=Durability.COALESCED)]
        )
        assert on_disk(path) == {"a": 10}
        await store.flush()
        assert on_disk(path) == {"a": 11, "b": 12}
        await store.write([remove("a", Durability.COALESCED)])
        assert texts(store) == {"b": "x"}
        await trio.sleep(61)
        assert on_disk(path) == {"b": 12}


async def test_an_idle_store_writes_nothing(path: Path, autojump_clock: Any) -> None:
    async with opened(path) as store:
        await store.write([put("a")])
        before = stamps(path)
        for number in range(500):
            await store.write([put("lease", str(number), durability=Durability.MEMORY)])
            await trio.sleep(10)
        assert stamps(path) == before


async def test_revisions_of_memory_rows_do_not_come_again_after_a_crash(path: Path) -> None:
    async with opened(path) as store:
        for _ in range(RESERVED_REVISIONS + 5):
            (row,) = await store.write([put("lease", durability=Durability.MEMORY)])
        crashed = path.with_name("crashed.db")
        for suffix in ("", "-wal"):  # what a dead process leaves
            overwrite(crashed.with_name(crashed.name + suffix), content(path.with_name(path.name + suffix)))
    async with opened(crashed) as store:
        assert store.revision >= row.revision
        with pytest.raises(Compacted):
            async with store.watch(PODS, after=row.revision - 1):
                pass


async def test_a_full_disk_refuses_writes_whole_and_reading_goes_on(path: Path) -> None:
    async with opened(path) as store:
        await store.write([put("a", "before")])
        pages = 20
        store._database.limit_pages(pages)
        noise = "".join(chr(33 + number % 90) for number in range(3000))
        written = 0
        refused = ""
        while not refused:
            try:
                await store.write([put(f"n{written}", noise[written % 50 :] * 3), put(f"m{written}", noise)])
                written += 1
            except StoreError as error:
                refused = str(error)
        assert "full" in refused
        assert f"n{written}" not in texts(store)
        assert f"m{written}" not in texts(store)
        assert len(texts(store)) == 1 + 2 * written
        assert "full" in (store.trouble or "")
        await store.write([put("lease", durability=Durability.MEMORY)])  # needs no disk
        store._database.limit_pages(100_000)
        (row,) = await store.write([put("a", "after")])
        assert row.revision == store.revision
        assert texts(store)["a"] == "after"
        assert store.trouble is None
    async with opened(path) as store:
        assert texts(store)["a"] == "after"
        assert len(texts(store)) == 1 + 2 * written


async def test_writers_that_wait_share_a_transaction(path: Path) -> None:
    async with opened(path) as store:
        commits = []
        commit = store._database.commit
        store._database.commit = lambda rows, reserve: (commits.append(len(rows)), commit(rows, reserve))[1]  # type: ignore[method-assign]
        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(store.write, [put(f"p{number}")])
        assert sum(commits) == 50
        assert len(commits) <= 2


async def test_a_second_process_is_kept_out(path: Path) -> None:
    async with opened(path):
        with pytest.raises(StoreLocked, match="in use by another edgekube server"):
            async with opened(path):
                pass
    async with opened(path):
        pass


async def test_readers_never_see_a_transaction_that_is_still_running(path: Path) -> None:
    class Halting(InlineOffloader):
        """Commits, then shows the moment before anybody is told."""

        def __init__(self) -> None:
            self.peek: Any = None

        async def run(self, job: Any) -> Any:
            done = job()
            if self.peek:
                self.peek()
            return done

    halting = Halting()
    async with open_store(path, offloader=lambda _: halting) as store:
        await store.write([put("a", "old"), put("b", "old")])
        seen: list[Any] = []
        halting.peek = lambda: seen.append((store.revision, texts(store), store.get(Key(PODS, "default", "a"))))
        (old,) = [row for row in store.list(PODS).rows if row.key.name == "a"]
        await store.write([put("a", "new"), remove("b"), put("c")])
        halting.peek = None
        assert seen == [(2, {"a": "old", "b": "old"}, old)]
        assert texts(store) == {"a": "new", "c": "x"}


async def test_secrets_are_unreadable_on_disk_and_bound_to_their_row(path: Path, tmp_path: Path) -> None:
    sealer = load_sealer(tmp_path / "secrets.key", frozenset({"/secrets"}))
    key = Key("/secrets", "default", "s")
    async with opened(path, sealer=sealer) as store:
        await store.write([Put(key, b" hunter2 " + b"z" * 2000, 0, None)])
    assert b"hunter2" not in content(path)
    assert b"zzzzzz" not in content(path)
    async with opened(path, sealer=load_sealer(tmp_path / "secrets.key", frozenset())) as store:
        row = store.get(key)
        assert row is not None
        assert b"hunter2" in row.value
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE objects SET path = 'default/other'")
    connection.close()
    async with opened(path, sealer=sealer) as store:
        with pytest.raises(StoreError):
            store.get(Key("/secrets", "default", "other"))
    async with opened(path) as store:
        with pytest.raises(StoreCorrupt, match="no key"):
            store.list("/secrets")


def test_a_key_file_is_private_and_can_be_rotated(tmp_path: Path) -> None:
    old = load_sealer(tmp_path / "k", frozenset({"/secrets"}))
    assert (tmp_path / "k").stat().st_mode & 0o777 == 0o600
    sealed = old.seal(b"value", b"row")
    keys = json.loads((tmp_path / "k").read_text())["keys"]
    load_sealer(tmp_path / "k2", frozenset())
    fresh = json.loads((tmp_path / "k2").read_text())["keys"][0] | {"id": 2}
    (tmp_path / "k").write_text(json.dumps({"keys": [fresh, *keys]}))
    new = load_sealer(tmp_path / "k", frozenset({"/secrets"}))
    assert new.unseal(sealed, b"row") == b"value"
    assert new.seal(b"value", b"row")[:2] == b"\0\2"
    with pytest.raises(StoreError):
        new.unseal(sealed, b"another row")
    (tmp_path / "k").write_text("{}")
    with pytest.raises(StoreError, match="cannot read the encryption key file"):
        load_sealer(tmp_path / "k", frozenset())


async def test_a_file_of_a_newer_edgekube_is_refused(path: Path) -> None:
    async with opened(path):
        pass
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {len(schema.MIGRATIONS) + 1}")
    connection.close()
    with pytest.raises(StoreError, match="newer edgekube"):
        async with opened(path):
            pass


async def test_snapshots_are_taken_kept_and_bounded(path: Path, autojump_clock: Any) -> None:
    async with opened(path, snapshot_first_s=100, snapshot_every_s=1000) as store:
        for number in range(6):
            await store.write([put("a", str(number))])
            await trio.sleep(1000)
        assert len(snapshots.found(path)) == snapshots.KEPT_SNAPSHOTS
        newest = snapshots.found(path)[0]
        await trio.sleep(5000)
        assert snapshots.found(path)[0] == newest  # nothing changed
    assert on_disk(newest) == {"a": 6}


async def test_a_damaged_database_is_replaced_by_the_newest_good_snapshot_loudly(
    path: Path, autojump_clock: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(path, snapshot_first_s=1, snapshot_every_s=10) as store:
        await store.write([put("a", "first")])
        await trio.sleep(2)
        await store.write([put("a", "second")])
        await trio.sleep(10)
        (lost,) = await store.write([put("a", "lost")])
    newest, older = snapshots.found(path)
    overwrite(newest, b"scratched" * 1000)
    overwrite(path, content(path)[:4096] + b"\xff" * 20_000)
    with caplog.at_level(logging.ERROR):
        async with opened(path) as store:
            assert texts(store) == {"a": "first"}
            assert store.revision >= lost.revision, "revisions went back"
            (row,) = await store.write([put("b")])
            assert row.revision > lost.revision
    assert "DATABASE RESTORED" in caplog.text
    assert older.name in caplog.text
    assert path.with_name("state.db.damaged").exists()


async def test_a_damaged_database_without_a_snapshot_is_said_and_left_alone(path: Path) -> None:
    async with opened(path) as store:
        await store.write([put(f"p{number}", "z" * 50) for number in range(500)])
    damaged = content(path)[:8192] + b"\x00\xff" * 20_000
    overwrite(path, damaged)
    with pytest.raises(StoreCorrupt, match="no good snapshot"):
        async with opened(path):
            pass
    assert content(path) == damaged


async def test_a_cancelled_write_that_waits_is_withdrawn(path: Path) -> None:
    class Held(InlineOffloader):
        """Commits when let go."""

        def __init__(self) -> None:
            self.go = trio.Event()

        async def run(self, job: Any) -> Any:
            await self.go.wait()
            return await super().run(job)

    held = Held()
    async with open_store(path, offloader=lambda _: held) as store, trio.open_nursery() as nursery:
        nursery.start_soon(store.write, [put("first")])
        await trio.testing.wait_all_tasks_blocked()
        with trio.CancelScope() as scope:
            nursery.start_soon(_cancel_when_blocked, scope)
            await store.write([put("withdrawn")])
        assert scope.cancelled_caught
        held.go.set()
        await store.write([put("last")])
        assert texts(store) == {"first": "x", "last": "x"}


async def _cancel_when_blocked(scope: trio.CancelScope) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()


async def test_closing_writes_what_waits_and_then_refuses(path: Path) -> None:
    written: list[Row] = []
    async with opened(path) as store, trio.open_nursery() as nursery:

        async def one() -> None:
            written.extend(await store.write([put("a"), put("b", durability=Durability.COALESCED)]))

        nursery.start_soon(one)
    with pytest.raises(StoreError, match="closed"):
        await store.write([put("c")])
    assert set(on_disk(path)) == {"a", "b"}
    assert len(written) == 2


async def test_nobody_else_can_read_what_is_kept(path: Path, autojump_clock: Any) -> None:
    async with opened(path, snapshot_first_s=1) as store:
        await store.write([put("a")])
        await trio.sleep(2)
        files = [entry for entry in sorted(path.parent.rglob("*")) if entry.is_file()]
        assert len(files) == 6
        assert {entry.stat().st_mode & 0o077 for entry in files} == {0}


async def test_what_a_snapshot_would_not_mend_restores_nothing(
    path: Path, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(path, snapshot_first_s=1) as store:
        await store.write([put("a", "old")])
        await trio.sleep(2)
        await store.write([put("a", "new")])
    connect = schema.connect_to_write

    def full(_: Path) -> sqlite3.Connection:
        error = sqlite3.OperationalError("database or disk is full")
        error.sqlite_errorcode = sqlite3.SQLITE_FULL
        raise error

    monkeypatch.setattr(schema, "connect_to_write", full)
    with pytest.raises(StoreError, match="full"):
        async with opened(path):
            pass
    monkeypatch.setattr(schema, "connect_to_write", connect)
    async with opened(path) as store:
        assert texts(store) == {"a": "new"}


async def test_a_restore_that_cannot_be_finished_leaves_the_damaged_file_where_it_is(
    path: Path, autojump_clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(path, snapshot_first_s=1) as store:
        await store.write([put("a", "old")])
        await trio.sleep(2)
    damaged = b"not a database at all" * 500
    overwrite(path, damaged)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshots.shutil, "copyfile", full)
    with pytest.raises(StoreError, match="No space left"):
        async with opened(path):
            pass
    assert content(path) == damaged


async def test_a_directory_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    overwrite(tmp_path / "file", b"")
    with pytest.raises(StoreError, match="cannot use"):
        async with opened(tmp_path / "file" / "state.db"):
            pass


async def test_a_file_of_the_first_shape_is_brought_up_to_date(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        schema.MIGRATIONS[0](connection)
        connection.execute("PRAGMA user_version = 1")
        connection.execute("INSERT INTO objects VALUES (1, '/pods', 'default', 'a', 7, 0, ?)", (b"7 old",))
        connection.execute("UPDATE numbers SET value = 9")
    connection.close()
    async with opened(path) as store:
        assert texts(store) == {"a": "old"}
        assert store.revision == 9
        (row,) = await store.write([put("a", "new", 7)])
        assert row.revision == 10
