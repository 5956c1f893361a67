"""Watching: what changes, from where the client says, through its selectors.

Turns the store's changes into events in wire bytes: an object that enters a selector is ADDED, one that leaves it DELETED
with its former content; bookmarks say how far the watcher has seen. No HTTP and no output forms; each change is encoded once.
Source: k8s.io/apiserver pkg/storage/cacher (cache_watcher.go) and the API concepts page on watches.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import trio

from edgekube import errors
from edgekube.api.kind import ENCODER, Kind
from edgekube.server import answers
from edgekube.server.listing import Lister, Selector
from edgekube.server.options import ListOptions, revision
from edgekube.server.stored import ready, revision_of, to_wire, with_revision
from edgekube.store.interface import Change, ChangeType, Compacted, FutureRevision, Store, Watch

BOOKMARK_BEFORE_END_S = 2.0
INITIAL_EVENTS_END = "k8s.io/initial-events-end"
ENCODED_EVENTS = 512  # frames kept for the other watchers of the same change


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """One event: its type, the object in wire bytes, and the revision of the change."""

    type: str
    value: bytes
    revision: int


def bookmark(kind: Kind[Any], at: int, *, initial: bool = False) -> WatchEvent:
    """An event that only says how far the watcher has seen."""
    metadata: dict[str, Any] = {"resourceVersion": str(at)}
    if initial:
        metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
    document = kind.to_dict(kind.type(kind=kind.name, api_version=kind.api_version)) | {"metadata": metadata}
    return WatchEvent("BOOKMARK", ENCODER.encode(document), at)


class FrameCache:
    """The JSON frame of an event, made once however many watchers it goes to."""

    def __init__(self, limit: int = ENCODED_EVENTS) -> None:
        self._limit = limit
        self._kept: OrderedDict[tuple[str, str, int], tuple[bytes, bytes]] = OrderedDict()

    def frame(self, kind: Kind[Any], event: WatchEvent) -> bytes:
        """`{"type":...,"object":...}` and a line end."""
        key = (kind.api_version, event.type, event.revision)
        found = self._kept.get(key)
        if found is not None and found[0] == event.value:
            return found[1]
        made = b'{"type":"%b","object":%b}\n' % (event.type.encode(), event.value)
        self._kept[key] = (event.value, made)
        if len(self._kept) > self._limit:
            self._kept.popitem(last=False)
        return made


def too_old(asked: int, oldest: int) -> errors.Gone:
    """The watch must begin again with a list."""
    return errors.Gone(f"too old resource version: {asked} ({oldest})", details=False)


class _Events(AsyncIterator[WatchEvent]):
    """The iterator a watcher is given. Ends at the deadline; raises Gone when the watcher fell behind the window."""

    def __init__(
        self,
        kind: Kind[Any],
        watch: Watch,
        selector: Selector,
        options: ListOptions,
        first: list[WatchEvent],
        start: int,
    ) -> None:
        self._kind, self._watch, self._selector, self._options = kind, watch, selector, options
        self._first, self._seen = first[::-1], start
        now = trio.current_time()
        self._end = now + options.timeout_s if options.timeout_s else float("inf")
        self._mark = self._next_mark(now)
        self._wait: trio.CancelScope | None = None
        self._ending = False
        self._left: Iterator[Change] | None = None  # once it is to end: what is still to be told

    def end(self) -> None:
        """No more than what happened so far: the client is to list again."""
        self._ending = True
        if self._wait is not None:
            self._wait.cancel()

    async def _next(self) -> Change | None:
        """The next change; None when it is time for a bookmark, or for the end. Raises Gone."""
        try:
            if self._ending:
                await trio.lowlevel.checkpoint()
                self._left = self._left or iter(self._watch.take_nowait())
                return next(self._left, None)
            with trio.move_on_at(min(self._mark, self._end)) as self._wait:
                return await self._watch.__anext__()
        except Compacted as gone:
            raise too_old(self._seen, gone.oldest) from None
        return None

    def _next_mark(self, now: float) -> float:
        if not self._options.bookmarks:
            return float("inf")
        before_end = self._end - BOOKMARK_BEFORE_END_S
        return min(now + self._options.bookmark_every_s, before_end) if now < before_end else float("inf")

    async def __anext__(self) -> WatchEvent:
        if self._first:
            await trio.lowlevel.checkpoint()
            return self._first.pop()
        while True:
            change = await self._next()
            if change is not None:
                self._seen = change.row.revision
                if self._kind.ahead is not None:
                    await ready(self._kind, filter(None, (change.row.value, change.previous)))
                if (event := self._event(change)) is not None:
                    return event
                continue
            now = trio.current_time()
            if self._left is not None or now >= self._end:
                raise StopAsyncIteration
            if self._ending:  # woken by that: what is left comes first
                continue
            self._mark = self._next_mark(now)
            return bookmark(self._kind, max(self._seen, self._watch.progress()))

    def _event(self, change: Change) -> WatchEvent | None:
        value, at = to_wire(self._kind, change.row.value), change.row.revision
        if self._options.everything:
            return WatchEvent(change.type.value, value, at)
        before = to_wire(self._kind, change.previous) if change.previous is not None else None
        was = before is not None and self._selector.matches(change.row.key, -at, before)
        if change.type is ChangeType.DELETED:
            return WatchEvent("DELETED", value, at) if was else None
        if self._selector.matches(change.row.key, at, value):
            return WatchEvent("MODIFIED" if was else "ADDED", value, at)
        if was and before is not None:
            return WatchEvent("DELETED", with_revision(before, at), at)
        return None


class Watcher:
    """Opens watches over one store."""

    def __init__(self, store: Store, lister: Lister) -> None:
        self._store, self._lister = store, lister
        self.open_watches = 0
        self._custom: dict[tuple[str, str, str], set[_Events]] = {}

    def end(self, kind: Kind[Any]) -> None:
        """End all watches of a custom kind, which is not what it was."""
        for events in self._custom.get((kind.group, kind.version, kind.plural), ()):
            events.end()

    @asynccontextmanager
    async def watch(
        self, kind: Kind[Any], namespace: str, options: ListOptions
    ) -> AsyncIterator[AsyncIterator[WatchEvent]]:
        """Events of a kind; `namespace` "" means all. Raises Gone and Timeout on entering, ApiError 500 for a malformed revision."""
        first, after = await self._start(kind, namespace, options)
        name = options.fields.exact("metadata.name")
        async with AsyncExitStack() as stack:
            opened = self._store.watch(kind.resource, namespace or None, name=name, after=after)
            try:
                watch = await stack.enter_async_context(opened)
            except Compacted as gone:
                raise too_old(after, gone.oldest) from None
            except FutureRevision as future:
                raise answers.revision_too_large(after, future.current) from None
            self.open_watches += 1
            events = _Events(kind, watch, self._lister.selector(kind, options), options, first, after)
            alike = self._custom.setdefault((kind.group, kind.version, kind.plural), set()) if kind.custom else None
            if alike is not None:
                alike.add(events)
            try:
                yield events
            finally:
                self.open_watches -= 1
                if alike is not None:
                    alike.discard(events)

    async def _start(self, kind: Kind[Any], namespace: str, options: ListOptions) -> tuple[list[WatchEvent], int]:
        """The synthetic events a watch begins with, and the revision to go on from."""
        try:
            asked = revision(options.revision) if options.revision else 0
        except ValueError as problem:
            raise errors.ApiError(str(problem), details=False) from None
        initial = options.initial_events if options.initial_events is not None else not asked
        if not initial:
            return [], asked or self._store.revision
        await self._lister.wait(asked)
        page = await self._lister.list(kind, namespace, ListOptions(labels=options.labels, fields=options.fields))
        events = [WatchEvent("ADDED", value, revision_of(value)) for value in page.values]
        if options.initial_events and options.bookmarks:
            events.append(bookmark(kind, page.revision, initial=True))
        return events, page.revision
