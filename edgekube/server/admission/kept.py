"""Objects of one kind that admission needs at every write, exact to the last committed one.

A watch on the store is drained, without waiting, before each look: a configuration that was acknowledged counts for the very
next request, and where nothing changed a look costs one call. What is made of the objects is given from outside.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from edgekube.api.kind import Kind
from edgekube.store.interface import Compacted, Store, Watch

T = TypeVar("T")


class Kept(Generic[T]):
    """`make` turns all objects of a kind, in the order of their names, into what is kept. It must not raise."""

    def __init__(self, store: Store, kind: Kind[Any], make: Callable[[Sequence[Any]], T]) -> None:
        self._store, self._kind, self._make = store, kind, make
        self._watch: Watch | None = None
        self._made: T

    async def now(self) -> T:
        """What the objects of this moment make."""
        if self._watch is None:
            # for as long as the store lives: there is nothing to end before it
            watching = self._store.watch(self._kind.resource, after=self._read())
            self._watch = await watching.__aenter__()
            return self._made
        try:
            if self._watch.take_nowait():
                self._read()
        except Compacted:
            self._watch.restart(self._read())
        return self._made

    def _read(self) -> int:
        listing = self._store.list(self._kind.resource)
        self._made = self._make([self._kind.from_json(row.value) for row in listing.rows])
        return listing.revision
