"""One cache per kind, shared by all loops of a process, kept by one `follow` each.

Lives here: which kinds are followed, how narrowly, and who is told of changes. What a change means is not known here.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import trio

from edgekube.api.kind import Kind
from edgekube.api.meta import Object
from edgekube.client.follow import Cache, Index, OnChange, follow
from edgekube.client.interface import Client
from edgekube.reconcile.pace import Pace

T = TypeVar("T", bound=Object)

AGAIN = Pace(first_s=1.0, longest_s=60.0)

log = logging.getLogger("edgekube.caches")


class SlimCache(Cache[T]):
    """A cache of objects without `managedFields`, often half of an object. A write that leaves them out keeps them as stored."""

    def put(self, item: T) -> None:
        """Take in a freshly decoded object (nobody else has it yet)."""
        item.metadata.managed_fields = []
        super().put(item)


class SharedCaches:
    """Say what is wanted (`want`, `listen`) first, then `run`; `of` gives a kind's cache at any time."""

    def __init__(self, client: Client, *, chance: Callable[[], float] | None = None) -> None:
        self._client, self._chance = client, chance
        self._caches: dict[tuple[str, str], Cache[Any]] = {}
        self._kinds: dict[tuple[str, str], Kind[Any]] = {}
        self._narrow: dict[tuple[str, str], Mapping[str, str]] = {}
        self._indexed: set[tuple[tuple[str, str], str]] = set()

    def want(self, kind: Kind[T], *, indices: Mapping[str, Index[T]] | None = None, **narrow: str) -> Cache[T]:
        """Follow a kind, perhaps only a part of it (`namespace`, `labels`, `fields`). Asking again adds what is missing."""
        key = (kind.group, kind.plural)
        cache = self._caches.get(key)
        if cache is None:
            cache = self._caches[key] = SlimCache()
            self._kinds[key] = kind
            self._narrow[key] = narrow
        for name, index in (indices or {}).items():
            if (key, name) not in self._indexed:
                self._indexed.add((key, name))
                cache.add_index(name, index)
        return cache

    def listen(self, kind: Kind[T], on_change: OnChange[T]) -> None:
        """Be told (before, after) of each change of a kind."""
        self.want(kind).add_listener(on_change)

    def of(self, kind: Kind[T]) -> Cache[T]:
        """The cache of a kind that was asked for. Raises KeyError otherwise."""
        return self._caches[kind.group, kind.plural]

    def has(self, kind: Kind[Any]) -> bool:
        """Whether a kind is followed."""
        return (kind.group, kind.plural) in self._caches

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep all caches until cancelled; started once every one is synced."""
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as starting:
                for key, cache in self._caches.items():
                    starting.start_soon(self._start, nursery, key, cache)
            task_status.started()

    async def _start(self, nursery: trio.Nursery, key: tuple[str, str], cache: Cache[Any]) -> None:
        async def keep(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            narrow, failures = self._narrow[key], 0
            while True:  # what `follow` itself cannot wait out is our mistake; one kind must not take the others down
                try:
                    await follow(
                        self._client,
                        self._kinds[key],
                        cache,
                        namespace=narrow.get("namespace", ""),
                        labels=narrow.get("labels", ""),
                        fields=narrow.get("fields", ""),
                        chance=self._chance,
                        task_status=trio.TASK_STATUS_IGNORED if cache.synced else task_status,
                    )
                except Exception:
                    failures += 1
                    log.exception("following %s failed", self._kinds[key].plural)
                    await trio.sleep(AGAIN.pause(failures))

        await nursery.start(keep)
