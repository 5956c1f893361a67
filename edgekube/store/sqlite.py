"""The store on SQLite: current rows in one file, group commit, the window and the memory rows put together.

One task writes. Everything that waits when it comes round goes into one transaction (`staging` decides, `database` carries it
out on the off-loader's thread), then is published (`window`) and acknowledged, in revision order. Readers see published state
only: what a running transaction may already have put into the file is covered by the rows from before it (`_running`).

COALESCED and MEMORY rows live in an overlay over the file; the former are written, newest value only, within `flush_s` seconds
and at close. Revisions are given out below a reservation that is on disk, so that they never go back, whatever dies when.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import trio

from edgekube.errors import StoreError
from edgekube.store import overlay, snapshots
from edgekube.store.codec import Sealer
from edgekube.store.database import Database
from edgekube.store.interface import Durability, Key, Listing, Mismatch, Put, Remove, Row
from edgekube.store.lockfile import Lock
from edgekube.store.offload import Offloader, ThreadOffloader
from edgekube.store.staging import Stage, Step
from edgekube.store.window import WINDOW_BYTES, WINDOW_CHANGES, Watcher, Window

RESERVED_REVISIONS = 10_000  # per reservation: an idle cluster's leases use about as many in a day
FLUSH_S = 60.0
BATCH_OPERATIONS = 512  # beyond this a transaction only grows latency
BATCH_BYTES = 4 * 1024 * 1024
QUEUED_WRITES = 10_000  # far above what the server lets in at once
SNAPSHOT_FIRST_S = 600.0  # not while the device is still starting
SNAPSHOT_EVERY_S = 24 * 3600.0

log = logging.getLogger("edgekube.store")


class _Request:
    """One caller's operations on their way through the writer."""

    __slots__ = ("done", "durable", "error", "operations", "rows")

    def __init__(self, operations: Sequence[Put | Remove]) -> None:
        self.durable = any(operation.durability is Durability.DURABLE for operation in operations)
        if self.durable:  # all or nothing: what stands beside a durable operation is as durable
            operations = [
                operation._replace(durability=Durability.DURABLE)
                if operation.durability is Durability.COALESCED
                else operation
                for operation in operations
            ]
        self.operations = operations
        self.rows: list[Row] = []
        self.error: BaseException | None = None
        self.done = trio.Event()

    def fail(self, error: BaseException) -> None:
        self.error = error
        self.done.set()


class SqliteStore:
    """`store.interface.Store`; made by `open_store`."""

    def __init__(
        self, database: Database, offloader: Offloader, window: Window, *, reserved: int, flush_s: float
    ) -> None:
        self._database = database
        self._offloader = offloader
        self._window = window
        self._flush_s = flush_s
        self._given = window.revision  # the last revision given out
        self._reserved = reserved  # no revision above this may be given out before a new reservation is on disk
        self._memory = overlay.Overlay()
        self._short = overlay.ShortLists()
        self._dirty: dict[Key, Row | None] = {}  # COALESCED, not on disk yet
        self._flush_at = float("inf")
        self._running: Mapping[Key, Row | None] = {}  # rows from before the transaction that runs now
        self._queue: deque[_Request] = deque()
        self._trouble: str | None = None
        self._wake = trio.Event()
        self._flushed = trio.Event()  # replaced once set
        self._closing = False

    # -- reading -------------------------------------------------------------------------------------------------------

    @property
    def revision(self) -> int:
        """The newest published revision."""
        return self._window.revision

    @property
    def trouble(self) -> str | None:
        """Why the last attempt to write to the disk failed; None when it did not."""
        return self._trouble

    def get(self, key: Key) -> Row | None:
        """The row now. Raises StoreError."""
        if key in self._running:
            return self._running[key]
        if key in self._memory:
            return self._memory.get(key)
        if key in self._window.latest:
            return self._window.latest[key]
        return self._database.get(key)

    def list(
        self,
        resource: str,
        namespace: str | None = None,
        *,
        limit: int | None = None,
        after: tuple[str, str] | None = None,
        at: int | None = None,
    ) -> Listing:
        """Rows of a resource; see `store.interface.Store.list`."""
        plain = limit is None and after is None and at is None
        if plain and (known := self._short.get(resource, namespace)) is not None:
            return Listing(known, self._window.revision, None, 0)
        over: dict[Key, Row | None] = dict(self._memory.of(resource))
        over.update((key, row) for key, row in self._running.items() if key.resource == resource)
        revision = self._window.revision
        if at is not None:
            over.update(self._window.since(at, resource))
            revision = at
        if over:
            over = overlay.within(over, namespace, after)
        database = self._database

        def below(count: int | None) -> Sequence[Row]:
            return database.list(resource, namespace, after, count, self._window.latest)

        def total() -> int:
            hidden = sum(map(database.has, over))
            shown = sum(row is not None for row in over.values())
            return database.count(resource, namespace, after) - hidden + shown

        listing = overlay.merge(below, over, revision, limit, total)
        if plain:
            self._short.keep(resource, namespace, listing.rows)
        return listing

    def watch(self, resource: str, namespace: str | None = None, *, name: str | None = None, after: int) -> Watcher:
        """Changes after a revision; see `store.interface.Store.watch`."""
        return self._window.watch(resource, namespace, name, after)

    async def wait_revision(self, revision: int) -> None:
        """Return once a revision is published."""
        await self._window.wait_revision(revision)

    # -- writing -------------------------------------------------------------------------------------------------------

    async def write(self, operations: Sequence[Put | Remove]) -> Sequence[Row]:
        """All or nothing; see `store.interface.Store.write`. A cancelled write may or may not have happened."""
        if self._closing:
            raise StoreError("the store is closed")
        request = _Request(operations)
        if not request.durable and not self._queue and not self._running and self._write_in_memory(request):
            await trio.lowlevel.checkpoint()
            return request.rows
        if len(self._queue) >= QUEUED_WRITES:
            raise StoreError("too many writes wait for the disk")
        self._queue.append(request)
        self._wake.set()
        try:
            await request.done.wait()
        except trio.Cancelled:
            if request in self._queue:
                self._queue.remove(request)
            raise
        if request.error is not None:
            raise request.error
        return request.rows

    async def flush(self) -> None:
        """Put every COALESCED row on disk, as soon as the writer comes round."""
        if self._dirty:
            self._flush_at = trio.current_time()
            self._wake.set()
            await self._flushed.wait()
        else:
            await trio.lowlevel.checkpoint()

    def _write_in_memory(self, request: _Request) -> bool:
        """Write without the disk, at once. False when a reservation is due first. Raises Mismatch, StoreError."""
        if self._given + len(request.operations) > self._reserved:
            return False
        stage = Stage(self.get, self._given)
        request.rows = stage.add(request.operations)
        self._publish(stage, {})
        return True

    async def serve(self) -> None:
        """Write what comes until `close`, then what is left, then the memory rows that are to last."""
        while True:
            if self._queue:
                await self._write_batch()
            elif self._closing:
                break
            elif trio.current_time() >= self._flush_at:
                try:
                    await self._flush(None)
                except StoreError as error:
                    log.debug("rows that are only in memory could not be written, trying again later: %s", error)
            else:
                self._wake = trio.Event()
                with trio.move_on_at(self._flush_at):
                    await self._wake.wait()
        if self._dirty or self._reserved != self._given:
            try:
                await self._flush(self._given)
            except StoreError as error:
                log.error("rows that were only in memory could not be written at the end: %s", error)

    def close(self) -> None:
        """Take no more writes and let `serve` finish."""
        self._closing = True
        self._wake.set()

    async def _write_batch(self) -> None:
        requests = self._next_requests()
        stage = Stage(self.get, self._given)
        staged, refused = [], []
        for request in requests:
            try:
                request.rows = stage.add(request.operations)
                staged.append(request)
            except (Mismatch, StoreError) as error:
                refused.append((request, error))
        durable = {step.change.row.key for step in stage.steps if step.durability is Durability.DURABLE}
        to_disk = {key: stage.rows[key] for key in stage.rows if key in durable}
        headroom = RESERVED_REVISIONS // 4 if to_disk else 0  # a transaction that runs anyway renews in good time
        reserve = stage.revision + RESERVED_REVISIONS if stage.revision + headroom > self._reserved else None
        if staged and (to_disk or reserve is not None):
            self._running = stage.published
            try:
                await self._commit(to_disk, reserve)
            except StoreError as error:
                self._running = {}
                self._given = max(self._given, min(stage.revision, self._reserved))
                self._give_up(staged, error)
                self._queue.extendleft(
                    request for request, _ in reversed(refused)
                )  # what refused them may not have happened
                return
            self._running = {}
            self._reserved = reserve or self._reserved
        self._publish(stage, to_disk)
        for request in staged:
            request.done.set()
        for request, refusal in refused:  # only now: who is told "it exists" reads next, and must find it
            request.fail(refusal)

    async def _commit(self, rows: Mapping[Key, Row | None], reserve: int | None) -> None:
        try:
            await self._offloader.run(partial(self._database.commit, rows, reserve))
        except StoreError as error:
            if self._trouble is None:  # said once, not for every writer who tries
                log.error("writes are refused: %s", error)
            self._trouble = str(error)
            raise
        if self._trouble is not None:
            log.warning("writes work again")
            self._trouble = None

    def _next_requests(self) -> Sequence[_Request]:
        requests, operations, size = [], 0, 0
        while self._queue and operations < BATCH_OPERATIONS and size < BATCH_BYTES:
            requests.append(request := self._queue.popleft())
            operations += len(request.operations)
            size += sum(len(operation.value) for operation in request.operations)
        return requests

    def _give_up(self, staged: Sequence[_Request], error: StoreError) -> None:
        """The transaction failed. Those who did not ask for the disk are tried again without the others."""
        for request in staged:
            if request.durable:
                request.fail(StoreError(str(error)))  # each raises its own
        again = [request for request in staged if not request.durable]
        if len(again) < len(staged):
            self._queue.extendleft(reversed(again))
        else:  # not even a reservation could be written
            for request in again:
                request.fail(StoreError(str(error)))

    def _publish(self, stage: Stage, on_disk: Mapping[Key, Row | None]) -> None:
        self._given = stage.revision
        for step in stage.steps:
            if step.change.row.key not in on_disk:
                self._keep_in_memory(step, stage.rows[step.change.row.key])
        for key in on_disk:
            self._memory.lift(key)
            self._dirty.pop(key, None)
        self._short.forget(step.change.row.key.resource for step in stage.steps)
        self._window.publish(stage.steps, stage.revision)

    def _keep_in_memory(self, step: Step, row: Row | None) -> None:
        key = step.change.row.key
        if row is None:
            if self._database.has(key):
                self._memory.lay(key, None)
                self._make_dirty(key, None)
            else:
                self._memory.lift(key)
                self._dirty.pop(key, None)
            return
        self._memory.lay(key, row)
        if step.durability is Durability.COALESCED:
            self._make_dirty(key, row)

    def _make_dirty(self, key: Key, row: Row | None) -> None:
        if not self._dirty:
            self._flush_at = trio.current_time() + self._flush_s
            self._wake.set()
        self._dirty[key] = row

    async def _flush(self, reserve: int | None) -> None:
        flushed, self._dirty = self._dirty, {}
        self._flush_at = float("inf")
        if not flushed and reserve is None:
            return
        try:
            await self._commit(flushed, reserve)
        except StoreError:
            self._dirty = {**flushed, **self._dirty}
            self._flush_at = trio.current_time() + self._flush_s
            raise
        finally:
            self._flushed.set()
            self._flushed = trio.Event()
        if reserve is not None:
            self._reserved = reserve
        for key, row in flushed.items():
            if key in self._memory and self._memory.get(key) is row and key not in self._dirty:
                self._memory.lift(key)


@asynccontextmanager
async def open_store(
    path: str | Path,
    *,
    sealer: Sealer | None = None,
    offloader: Callable[[str], Offloader] = ThreadOffloader,
    flush_s: float = FLUSH_S,
    window_changes: int = WINDOW_CHANGES,
    window_bytes: int = WINDOW_BYTES,
    snapshot_first_s: float = SNAPSHOT_FIRST_S,
    snapshot_every_s: float = SNAPSHOT_EVERY_S,
) -> AsyncIterator[SqliteStore]:
    """The store in the file `path`, made when it is not there. Leaving writes everything that is to last.

    `offloader` makes one from a name. Raises StoreLocked, StoreCorrupt, StoreError.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = Lock(path.with_name(path.name + ".lock"))
    except OSError as error:
        raise StoreError(f"cannot use {path.parent}: {error.strerror}") from error
    try:
        database, restored = snapshots.open_sound(path, sealer)
        writer = offloader("store-writer")
        try:
            revision = database.reserved_revision()
            if restored:
                revision = max(revision, database.revision_floor())
            window = Window(revision, changes=window_changes, size_bytes=window_bytes)
            store = SqliteStore(database, writer, window, reserved=revision, flush_s=flush_s)
            async with trio.open_nursery() as nursery:
                copying = trio.CancelScope()
                nursery.start_soon(_shielded, store.serve)
                nursery.start_soon(
                    partial(_keep_snapshots, copying, store, database, offloader, snapshot_first_s, snapshot_every_s)
                )
                try:
                    yield store
                finally:
                    copying.cancel()
                    store.close()
        finally:
            writer.close()
            database.close()
    finally:
        lock.release()


async def _shielded(serve: Callable[[], Any]) -> None:
    """Writing ends by being told to, never in the middle."""
    with trio.CancelScope(shield=True):
        await serve()


async def _keep_snapshots(
    scope: trio.CancelScope,
    store: SqliteStore,
    database: Database,
    offloader: Callable[[str], Offloader],
    first_s: float,
    every_s: float,
) -> None:
    with scope:
        await trio.sleep(first_s)
        while True:
            revision = store.revision
            if revision > snapshots.newest_revision(database.path):
                copier = offloader("store-snapshots")
                try:
                    await copier.run(partial(snapshots.take, database, revision))
                except StoreError as error:
                    log.error("no snapshot was taken: %s", error)
                finally:
                    copier.close()
            await trio.sleep(every_s)
