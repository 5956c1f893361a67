"""The store without a disk, for tests and simulation: the same contract, everything gone with the process.

`fail_next` makes the next write fail as a full disk would.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import trio

from edgekube.errors import StoreError
from edgekube.store import overlay
from edgekube.store.interface import Key, Listing, Put, Remove, Row
from edgekube.store.staging import Stage
from edgekube.store.window import WINDOW_BYTES, WINDOW_CHANGES, Watcher, Window


class MemoryStore:
    """`store.interface.Store` in a dict."""

    def __init__(
        self, *, revision: int = 0, window_changes: int = WINDOW_CHANGES, window_bytes: int = WINDOW_BYTES
    ) -> None:
        self._rows: dict[str, dict[Key, Row]] = {}
        self._window = Window(revision, changes=window_changes, size_bytes=window_bytes)
        self._failure = ""

    @property
    def revision(self) -> int:
        """The newest revision."""
        return self._window.revision

    @property
    def trouble(self) -> str | None:
        """Memory has no trouble."""
        return None

    def fail_next(self, reason: str = "no space left on device") -> None:
        """Refuse the next write with a StoreError."""
        self._failure = reason

    def get(self, key: Key) -> Row | None:
        """The row now."""
        return self._rows.get(key.resource, {}).get(key)

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
        over: dict[Key, Row | None] = {}
        revision = self.revision
        if at is not None:
            over = overlay.within(self._window.since(at, resource), namespace, after)
            revision = at
        found = self._rows.get(resource, {}).items()
        rows = [row for key, row in found if namespace is None or key.namespace == namespace]
        rows.sort(key=overlay.place_of)
        if after is not None:
            rows = rows[bisect_right(rows, "/".join(after), key=overlay.place_of) :]

        def total() -> int:
            hidden = sum(row.key in over for row in rows)
            return len(rows) - hidden + sum(row is not None for row in over.values())

        return overlay.merge(lambda count: rows[:count], over, revision, limit, total)

    async def write(self, operations: Sequence[Put | Remove]) -> Sequence[Row]:
        """All or nothing; see `store.interface.Store.write`."""
        await trio.lowlevel.checkpoint()
        if self._failure:
            reason, self._failure = self._failure, ""
            raise StoreError(reason)
        stage = Stage(self.get, self.revision)
        written = stage.add(operations)
        for key, row in stage.rows.items():
            if row is None:
                self._rows[key.resource].pop(key, None)
            else:
                self._rows.setdefault(key.resource, {})[key] = row
        self._window.publish(stage.steps, stage.revision)
        return written

    def watch(self, resource: str, namespace: str | None = None, *, name: str | None = None, after: int) -> Watcher:
        """Changes after a revision; see `store.interface.Store.watch`."""
        return self._window.watch(resource, namespace, name, after)

    async def wait_revision(self, revision: int) -> None:
        """Return once a revision is there."""
        await self._window.wait_revision(revision)


@asynccontextmanager
async def open_memory(*, window_changes: int = WINDOW_CHANGES) -> AsyncIterator[MemoryStore]:
    """A fresh store, in the shape of `sqlite.open_store`."""
    yield MemoryStore(window_changes=window_changes)
