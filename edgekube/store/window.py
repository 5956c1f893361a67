"""The recent past, in memory: a bounded window of changes that watches are served from.

Changes are published after they are committed, in revision order, once for all watchers, who share the same bytes. A watcher
that has not taken a change by the time the window drops it is told `Compacted`: it never holds memory or others up. Nothing
here knows where rows are kept.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import NamedTuple

import outcome
import trio

from edgekube.store.interface import Change, ChangeType, Compacted, FutureRevision, Key, Row
from edgekube.store.staging import Step

WINDOW_CHANGES = 10_000
WINDOW_BYTES = 8 * 1024 * 1024


class _Entry(NamedTuple):
    change: Change
    before: Row | None
    size: int


class Watcher:
    """One watch: a filter and the changes it has not taken yet (references into the window). Iterated by one task."""

    __slots__ = ("_after", "_fallen", "_name", "_namespace", "_pending", "_resource", "_task", "_window")

    def __init__(self, window: Window, resource: str, namespace: str | None, name: str | None, after: int) -> None:
        self._window = window
        self._resource, self._namespace, self._name = resource, namespace, name
        self._after = after
        self._pending: deque[Change] = deque()
        self._task: trio.lowlevel.Task | None = None
        self._fallen = False

    async def __aenter__(self) -> Watcher:
        self._window.join(self, self._resource, self._after)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._window.leave(self, self._resource)
        self._pending.clear()

    def __aiter__(self) -> Watcher:
        return self

    async def __anext__(self) -> Change:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._pending:
            if self._fallen:
                raise Compacted(self._window.oldest)
            assert self._task is None, "a watch is iterated by one task"
            self._task = trio.lowlevel.current_task()
            await trio.lowlevel.wait_task_rescheduled(self._abort)
        return self._pending.popleft()

    def take_nowait(self) -> list[Change]:
        """Everything that waits, at once (may be nothing). Raises Compacted."""
        if self._fallen:
            raise Compacted(self._window.oldest)
        taken = list(self._pending)
        self._pending.clear()
        return taken

    def restart(self, after: int) -> None:
        """Go on with the changes after a revision, whatever was missed. Raises Compacted, FutureRevision."""
        self._pending.clear()
        self._fallen = False
        self._window.join(self, self._resource, after)

    def progress(self) -> int:
        """The revision up to which everything that concerns this watcher has been taken."""
        return self._pending[0].row.revision - 1 if self._pending else self._window.revision

    def wants(self, key: Key) -> bool:
        """Whether a change of this row (of the watched resource) passes the filter."""
        return (self._namespace is None or key.namespace == self._namespace) and (
            self._name is None or key.name == self._name
        )

    def give(self, change: Change) -> None:
        """Add a change and wake the watcher."""
        if not self._fallen:
            self._pending.append(change)
            self.wake()

    def wake(self) -> None:
        """Let a waiting `__anext__` look again."""
        if self._task is not None:
            task, self._task = self._task, None
            trio.lowlevel.reschedule(task, outcome.Value(None))

    def fall(self, oldest: int) -> bool:
        """Called when the window no longer reaches back to what waits here: end this watch. False when it does."""
        if self._pending and self._pending[0].row.revision <= oldest:
            self._fallen = True
            self._pending.clear()
            self.wake()
            return True
        return False

    @property
    def lagging(self) -> bool:
        """Whether changes wait to be taken."""
        return bool(self._pending)

    def _abort(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._task = None
        return trio.lowlevel.Abort.SUCCEEDED


class Window:
    """Changes after `oldest`, up to `revision`. `latest` holds the current row of every key changed within."""

    def __init__(self, revision: int, *, changes: int = WINDOW_CHANGES, size_bytes: int = WINDOW_BYTES) -> None:
        self.oldest = revision
        self.revision = revision
        self.latest: dict[Key, Row | None] = {}
        self._bound_changes, self._bound_bytes = changes, size_bytes
        self._entries: deque[_Entry] = deque()
        self._bytes = 0
        self._watchers: dict[str, dict[Watcher, None]] = {}
        self._lagging: dict[Watcher, None] = {}
        self._waiting: list[tuple[int, trio.Event]] = []

    def publish(self, steps: Iterable[Step], revision: int) -> None:
        """Committed changes become visible, in order, up to `revision`."""
        assert revision >= self.revision
        for change, before, _ in steps:
            key = change.row.key
            shared = self.latest.get(key) is before
            size = len(change.row.value) + (0 if before is None or shared else len(before.value))
            self._entries.append(_Entry(change, before, size))
            self._bytes += size
            self.latest[key] = None if change.type is ChangeType.DELETED else change.row
            for watcher in self._watchers.get(key.resource, ()):
                if watcher.wants(key):
                    watcher.give(change)
                    self._lagging[watcher] = None
        self.revision = revision
        self._shrink()
        if self._waiting:
            for _, event in (waiting := [pair for pair in self._waiting if pair[0] <= revision]):
                event.set()
            self._waiting = [pair for pair in self._waiting if pair not in waiting]

    def since(self, revision: int, resource: str) -> dict[Key, Row | None]:
        """The rows of a resource as they were at `revision`, where they changed since. Raises Compacted, FutureRevision."""
        self._check(revision)
        then: dict[Key, Row | None] = {}
        for entry in reversed(self._entries):
            if entry.change.row.revision <= revision:
                break
            if entry.change.row.key.resource == resource:
                then[entry.change.row.key] = entry.before
        return then

    def watch(self, resource: str, namespace: str | None, name: str | None, after: int) -> Watcher:
        """A watch, to be entered."""
        return Watcher(self, resource, namespace, name, after)

    def join(self, watcher: Watcher, resource: str, after: int) -> None:
        """Start serving a watcher with everything after a revision. Raises Compacted, FutureRevision."""
        self._check(after)
        backlog: list[Change] = []
        for entry in reversed(self._entries):
            change = entry.change
            if change.row.revision <= after:
                break
            if change.row.key.resource == resource and watcher.wants(change.row.key):
                backlog.append(change)
        for change in reversed(backlog):
            watcher.give(change)
        if backlog:
            self._lagging[watcher] = None
        self._watchers.setdefault(resource, {})[watcher] = None

    def leave(self, watcher: Watcher, resource: str) -> None:
        """Stop serving a watcher."""
        of_resource = self._watchers.get(resource, {})
        of_resource.pop(watcher, None)
        if not of_resource:
            self._watchers.pop(resource, None)
        self._lagging.pop(watcher, None)

    async def wait_revision(self, revision: int) -> None:
        """Return once `revision` is published."""
        if revision <= self.revision:
            await trio.lowlevel.checkpoint()
            return
        entry = (revision, trio.Event())
        self._waiting.append(entry)
        try:
            await entry[1].wait()
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)

    def _check(self, revision: int) -> None:
        if revision < self.oldest:
            raise Compacted(self.oldest)
        if revision > self.revision:
            raise FutureRevision(self.revision)

    def _shrink(self) -> None:
        dropped: list[_Entry] = []
        while len(self._entries) > self._bound_changes or (self._bytes > self._bound_bytes and len(self._entries) > 1):
            dropped.append(entry := self._entries.popleft())
            self._bytes -= entry.size
        self._forget(dropped)
        self._lagging = {watcher: None for watcher in self._lagging if watcher.lagging} if dropped else self._lagging
        if dropped:
            self.oldest = dropped[-1].change.row.revision
            for watcher in [watcher for watcher in self._lagging if watcher.fall(self.oldest)]:
                del self._lagging[watcher]

    def _forget(self, dropped: Sequence[_Entry]) -> None:
        for entry in dropped:
            key = entry.change.row.key
            row = self.latest.get(key)
            if row is entry.change.row or (row is None and entry.change.type is ChangeType.DELETED):
                self.latest.pop(key, None)
