"""What a store is: rows of JSON bytes under keys, one global revision, and a bounded window of changes to watch.

The store knows nothing of kinds beyond a row's resource string and durability class, and never decodes a value.
Implementations: `store.sqlite` (default) and `store.memory` (tests, simulation); both pass tests/contract.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from typing import NamedTuple, Protocol


class Key(NamedTuple):
    """Identity of a row. `resource` is "<group>/<plural>" ("/pods", "apps/deployments"); cluster scope has namespace ""."""

    resource: str
    namespace: str
    name: str


def path_of(key: Key) -> str:
    """Where a row stands among those of its resource: lists are in the order of this text, by code point."""
    return f"{key[1]}/{key[2]}"


class Row(NamedTuple):
    """One stored object: complete JSON bytes (metadata.resourceVersion included) as of `revision`."""

    key: Key
    revision: int
    value: bytes


class Durability(enum.Enum):
    """When an acknowledged write is on disk."""

    DURABLE = "durable"  # fsynced before the answer
    COALESCED = "coalesced"  # latest value within a bounded time (node status, events)
    MEMORY = "memory"  # never (leases)


class Put(NamedTuple):
    """Create or replace. The store splices the new revision's decimal digits into `value` at byte `revision_at`.

    `expected`: 0 = must not exist, n = must be at revision n, None = whatever is there. A mismatch raises `Mismatch`.
    """

    key: Key
    value: bytes
    revision_at: int
    expected: int | None
    durability: Durability = Durability.DURABLE


class Remove(NamedTuple):
    """Delete. Watchers get `value` (the last state) with the deletion's own revision spliced at `revision_at`."""

    key: Key
    value: bytes
    revision_at: int
    expected: int | None
    durability: Durability = Durability.DURABLE


class ChangeType(enum.Enum):
    """What happened to a row."""

    ADDED = "ADDED"
    MODIFIED = "MODIFIED"
    DELETED = "DELETED"


class Change(NamedTuple):
    """One step of history. `previous` is the value before, so that selectors can tell a row entering or leaving them."""

    type: ChangeType
    row: Row
    previous: bytes | None


class Listing(NamedTuple):
    """Rows in the order of `path_of` their keys (etcd's), as of `revision`. `after` continues the listing where `limit` cut it, else None."""

    rows: Sequence[Row]
    revision: int
    after: tuple[str, str] | None
    remaining: int


class Mismatch(Exception):
    """A Put or Remove found another revision than expected. `current` is what is there (None: nothing)."""

    def __init__(self, key: Key, current: Row | None) -> None:
        super().__init__(f"{key}: unexpected revision")
        self.key, self.current = key, current


class Compacted(Exception):
    """The window no longer reaches back to the asked-for revision. `oldest` is the oldest that can be watched from."""

    def __init__(self, oldest: int) -> None:
        super().__init__(f"oldest kept revision is {oldest}")
        self.oldest = oldest


class FutureRevision(Exception):
    """The asked-for revision has not happened yet. `current` is the newest."""

    def __init__(self, current: int) -> None:
        super().__init__(f"current revision is {current}")
        self.current = current


class Watch(Protocol):
    """Changes in revision order. Iteration raises `Compacted` when this watcher fell out of the window."""

    def __aiter__(self) -> AsyncIterator[Change]: ...
    async def __anext__(self) -> Change: ...
    def take_nowait(self) -> Sequence[Change]:
        """Everything that waits, without waiting (maybe nothing). Raises `Compacted`."""
        ...

    def restart(self, after: int) -> None:
        """Go on with the changes after a revision, whatever was missed. Raises `Compacted` / `FutureRevision`."""
        ...

    def progress(self) -> int:
        """The revision up to which this watcher has been given everything that concerns it (for bookmarks)."""
        ...


class Store(Protocol):
    """The durable truth. Reads are synchronous (microseconds); writes wait for their durability class."""

    @property
    def revision(self) -> int:
        """The newest committed revision."""
        ...

    @property
    def trouble(self) -> str | None:
        """Why the last attempt to reach the disk failed; None when all is well."""
        ...

    def get(self, key: Key) -> Row | None:
        """The row now."""
        ...

    def list(
        self,
        resource: str,
        namespace: str | None = None,
        *,
        limit: int | None = None,
        after: tuple[str, str] | None = None,
        at: int | None = None,
    ) -> Listing:
        """Rows of a resource (namespace None = all), optionally as they were at revision `at` (window permitting).

        Raises `Compacted` when `at` is older than the window and `FutureRevision` when it has not happened yet.
        """
        ...

    async def write(self, operations: Sequence[Put | Remove]) -> Sequence[Row]:
        """All or nothing. Each operation gets its own revision, in order. Raises `Mismatch`, `StoreError`."""
        ...

    def watch(
        self, resource: str, namespace: str | None = None, *, name: str | None = None, after: int
    ) -> AbstractAsyncContextManager[Watch]:
        """Changes with a revision above `after`. Raises `Compacted` / `FutureRevision` on entering."""
        ...

    async def wait_revision(self, revision: int) -> None:
        """Return once `revision` is committed (caller bounds the wait)."""
        ...
