"""A local copy of one kind that keeps itself up to date: list, then watch, resume where it broke off, list again when it must.

The copy may be late, never wrong about order. What to do about a change is the business of `on_change`; this module only says
(before, after). Events say "look", they carry no duty: a listener that was busy finds the latest state in the cache.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

import trio

from edgekube.api.kind import Kind
from edgekube.api.meta import Object
from edgekube.client.interface import Client, Event
from edgekube.errors import ApiError, ConnectionFailed, Gone, ServiceUnavailable, Timeout, TooManyRequests

T = TypeVar("T", bound=Object)

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 30.0  # a server that is back is found within this
STEADY_S = 1.0  # a watch that lived this long was no failure

log = logging.getLogger("edgekube.follow")

OnChange = Callable[[T | None, T | None], None]
"""Called with (before, after) once the cache shows `after`: (None, x) born, (x, y) changed, (x, None) gone."""

Index = Callable[[T], Iterable[str]]


class Cache(Generic[T]):
    """Objects of one kind by (namespace, name), and by whatever else `indices` derive from them. Never mutate what it gives.

    `synced` is False until the first list is in. `revision` is the newest one everything up to which has been seen.
    """

    def __init__(self, indices: Mapping[str, Index[T]] | None = None) -> None:
        self.synced = False
        self.revision = ""
        self._items: dict[tuple[str, str], T] = {}
        self._spaces: dict[str, dict[str, T]] = {}
        self._indices: dict[str, Index[T]] = dict(indices or {})
        self._indexed: dict[str, dict[str, dict[tuple[str, str], T]]] = {name: {} for name in self._indices}
        self._listeners: list[OnChange[T]] = []

    def __len__(self) -> int:
        return len(self._items)

    def get(self, namespace: str, name: str) -> T | None:
        """One object, None when there is none."""
        return self._items.get((namespace, name))

    def list(self, namespace: str | None = None) -> Sequence[T]:
        """All objects, or those of one namespace."""
        if namespace is None:
            return list(self._items.values())
        return list(self._spaces.get(namespace, {}).values())

    def by(self, index: str, value: str) -> Sequence[T]:
        """The objects for which an index gave `value`."""
        return list(self._indexed[index].get(value, {}).values())

    def add_index(self, name: str, index: Index[T]) -> None:
        """Derive one more way to look objects up."""
        assert name not in self._indices, f"index {name} is there already"
        self._indices[name] = index
        self._indexed[name] = {}
        for key, item in self._items.items():
            for value in set(index(item)):
                self._indexed[name].setdefault(value, {})[key] = item

    def add_listener(self, listener: OnChange[T]) -> None:
        """Tell `listener` of every change from now on, beginning with what is here."""
        self._listeners.append(listener)
        for item in list(self._items.values()):
            listener(None, item)

    def put(self, item: T) -> None:
        """Take in a new state of an object and tell the listeners. The same revision again is not told."""
        key = (item.metadata.namespace, item.metadata.name)
        before = self._items.get(key)
        if before is not None and before.metadata.resource_version == item.metadata.resource_version:
            return
        if before is not None:
            self._unindex(key, before)
        self._items[key] = item
        self._spaces.setdefault(key[0], {})[key[1]] = item
        for name, index in self._indices.items():
            for value in set(index(item)):
                self._indexed[name].setdefault(value, {})[key] = item
        self._tell(before, item)

    def remove(self, item: T) -> None:
        """Take in that an object is gone and tell the listeners, with its last state when that is known."""
        key = (item.metadata.namespace, item.metadata.name)
        if (before := self._items.pop(key, None)) is not None:
            self._unindex(key, before)
            space = self._spaces[key[0]]
            del space[key[1]]
            if not space:
                del self._spaces[key[0]]
            self._tell(before, None)

    def replace(self, items: Sequence[T], revision: str) -> None:
        """Become exactly `items`, telling the differences."""
        staying = {(item.metadata.namespace, item.metadata.name) for item in items}
        self.revision = revision
        for key in [key for key in self._items if key not in staying]:
            self.remove(self._items[key])
        for item in items:
            self.put(item)
        self.synced = True

    def _unindex(self, key: tuple[str, str], item: T) -> None:
        for name, index in self._indices.items():
            for value in set(index(item)):
                found = self._indexed[name].get(value, {})
                found.pop(key, None)
                if not found:
                    self._indexed[name].pop(value, None)

    def _tell(self, before: T | None, after: T | None) -> None:
        for listener in self._listeners:
            listener(before, after)


async def follow(
    client: Client,
    kind: Kind[T],
    cache: Cache[T],
    *,
    on_change: OnChange[T] | None = None,
    namespace: str = "",
    labels: str = "",
    fields: str = "",
    chance: Callable[[], float] | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Keep `cache` up to date until cancelled; started once it is synced. Failures are waited out, with growing pauses.

    `chance` (a number in [0, 1)) spreads the pauses of many followers.
    """
    if on_change is not None:
        cache.add_listener(on_change)
    trouble = _Trouble(kind.plural, chance)
    started = False
    while True:
        try:
            listing = await client.list(kind, namespace, labels=labels, fields=fields)
            cache.replace(listing.items, listing.revision)
            trouble.over()
            if not started:
                started = True
                task_status.started()
            while True:
                await _watch(client, kind, cache, namespace, labels, fields, trouble)
        except Gone as error:
            log.debug("%s: listing again: %s", kind.plural, error)
            if trouble.pressing:
                await trouble.wait(error)
            else:
                trouble.pressing = True
        except (ApiError, ConnectionFailed) as error:
            await trouble.wait(error)


class _Trouble:
    """Counts failures in a row, pauses for them, and says so once."""

    def __init__(self, what: str, chance: Callable[[], float] | None) -> None:
        self._what, self._chance = what, chance
        self._failures = 0
        self.pressing = False  # a "gone" came right after a list: do not spin

    def over(self) -> None:
        """Something worked."""
        if self._failures > 2:
            log.info("%s: following again", self._what)
        self._failures = 0

    async def wait(self, error: Exception) -> None:
        """One more failure."""
        self._failures += 1
        if self._failures == 2:
            log.warning("%s: cannot follow for now: %s", self._what, error)
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(self._failures - 1, 20))
        await trio.sleep(pause if self._chance is None else pause * (1 - self._chance() / 4))


async def _watch(
    client: Client, kind: Kind[T], cache: Cache[T], namespace: str, labels: str, fields: str, trouble: _Trouble
) -> None:
    """One watch, until the server ends it or the connection does (both are resumed). Raises Gone, ApiError."""
    begun = trio.current_time()
    try:
        watching = client.watch(kind, namespace, after=cache.revision, labels=labels, fields=fields)
        async with watching as events:
            async for event in events:
                _take(cache, event)
                trouble.pressing = False
                trouble.over()
    except (ConnectionFailed, ServiceUnavailable, Timeout, TooManyRequests) as error:
        await trouble.wait(error)
    else:
        if trio.current_time() - begun < STEADY_S:
            await trouble.wait(ConnectionFailed("the watch ended at once"))
        else:
            trouble.over()


def _take(cache: Cache[T], event: Event[T]) -> None:
    if event.type == "DELETED":
        cache.remove(event.object)
    elif event.type != "BOOKMARK":
        cache.put(event.object)
    cache.revision = event.object.metadata.resource_version or cache.revision
