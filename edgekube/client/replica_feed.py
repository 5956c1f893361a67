"""One watch of the server, shared by everybody on this node who follows the same selection.

A reader joins after the revision of its list: what it missed comes from the last events, or it is told to list again. Events that its
list already showed are left out, so a reader never sees an object go back. What a feed is fed with is the business of its owner.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import trio

from edgekube.client.interface import Event
from edgekube.client.replica_rows import LOCAL, Selection, number
from edgekube.errors import ApiError, ConnectionFailed, Gone

RECENT_EVENTS = 64  # enough for who listed a moment ago
WAITING_AT_MOST = 10_000


class Reader(AsyncIterator[Event[Any]]):
    """One follower's end."""

    def __init__(self, after: int) -> None:
        self.after = after
        self._waiting: deque[Event[Any]] = deque()
        self._news = trio.Event()
        self._ended: ApiError | ConnectionFailed | None = None

    def give(self, event: Event[Any]) -> None:
        """One event more; one who does not read is told to list again."""
        if len(self._waiting) >= WAITING_AT_MOST:
            self._waiting.clear()
            self.end(Gone("too many events are waiting to be read"))
            return
        self._waiting.append(event)
        self._news.set()

    def end(self, error: ApiError | ConnectionFailed) -> None:
        """No more; what waits is read first."""
        self._ended = error
        self._news.set()

    async def __anext__(self) -> Event[Any]:
        await trio.lowlevel.checkpoint()
        while not self._waiting:
            if self._ended is not None:
                raise self._ended
            self._news = trio.Event()
            await self._news.wait()
        return self._waiting.popleft()


class Feed:
    """The readers of a selection, and where they are. It runs while it has readers."""

    def __init__(self, selection: Selection, revision: int) -> None:
        self.selection = selection
        self.revision = revision
        self.scope = trio.CancelScope()
        self._complete_from = revision  # every event after this is in `_recent`
        self._recent: deque[tuple[int, Event[Any]]] = deque()
        self._readers: set[Reader] = set()
        self._local = 0

    @property
    def is_read(self) -> bool:
        """Whether anybody reads."""
        return bool(self._readers)

    def join(self, after: int) -> Reader:
        """A new reader. Raises Gone when it has missed too much."""
        if after < self._complete_from:
            raise Gone(f"too old resource version: {after} ({self._complete_from})")
        reader = Reader(after)
        for at, event in self._recent:
            if at > after:
                reader.give(event)
        self._readers.add(reader)
        return reader

    def leave(self, reader: Reader) -> None:
        """A reader is done."""
        self._readers.discard(reader)

    def give(self, event: Event[Any]) -> None:
        """Something the server told; bookmarks move everybody on."""
        at = number(event.object.metadata.resource_version)
        self.revision = max(self.revision, at)
        if event.type != "BOOKMARK":
            self._recent.append((at, event))
            if len(self._recent) > RECENT_EVENTS:
                self._complete_from = self._recent.popleft()[0]
        for reader in list(self._readers):
            if at > reader.after:
                reader.give(event)

    def give_local(self, item: Any) -> None:
        """Something this node said of an object of its own; `item` is the reader's to keep."""
        self._local += 1
        item.metadata.resource_version = f"{self.revision}{LOCAL}{self._local}"
        for reader in list(self._readers):
            reader.give(Event("MODIFIED", item))

    def end(self, error: ApiError | ConnectionFailed) -> None:
        """Everybody is told why."""
        for reader in list(self._readers):
            own = ApiError.from_status(error.to_status()) if isinstance(error, ApiError) else type(error)(str(error))
            reader.end(own)
        self._readers.clear()
