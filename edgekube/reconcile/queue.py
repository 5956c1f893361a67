"""KeyQueue: which keys want to be looked at, and when.

Lives here: the promises that one key is never worked by two workers at once, that a key added while it is being worked is
worked again afterwards, and that a key that keeps failing waits longer each time. May only live here: these promises; what a
key means is not known. Keys, not objects, are queued: whoever works a key looks at the newest state then.

Source of the semantics: k8s.io/client-go util/workqueue (rate limiting queue).
"""

from __future__ import annotations

import heapq
from collections.abc import AsyncIterator, Hashable
from itertools import count
from typing import Generic, TypeVar

import trio

from edgekube.reconcile.pace import Pace

K = TypeVar("K", bound=Hashable)
SETTLING_S = 0.05  # a write that failed for us may have been done: its event is given time to come in


class KeyQueue(Generic[K]):
    """A set of keys waiting, in order of arrival. One instance per loop; any number of workers take from it.

    Each key taken (by iteration or `take`) must be given back with exactly one of `settle` or `retry`.
    """

    def __init__(self, pace: Pace | None = None) -> None:
        self._pace = pace or Pace()
        self._ready: dict[K, None] = {}  # insertion-ordered set
        self._worked: set[K] = set()
        self._again: set[K] = set()  # added while being worked
        self._later: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}  # the earliest entry in `_later` that counts, per key
        self._order = count()
        self._failures: dict[K, int] = {}
        self._changed = trio.Event()

    def __len__(self) -> int:
        """How many keys are ready (not those waiting for a time, nor those being worked)."""
        return len(self._ready)

    def add(self, key: K) -> None:
        """Look at `key` as soon as a worker is free. Adding twice is adding once."""
        self._drop_later(key)
        if key in self._worked:
            self._again.add(key)
        elif key not in self._ready:
            self._ready[key] = None
            self._wake()

    def add_after(self, key: K, seconds: float) -> None:
        """Look at `key` after a while. Of several times the earliest holds."""
        if seconds <= 0:
            self.add(key)
            return
        due = trio.current_time() + seconds
        if key in self._ready or key in self._again or self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._later, (due, next(self._order), key))
        self._wake()

    def settle(self, key: K, again_in_s: float | None = None) -> None:
        """The key was worked well: forget its failures, and look again after a while if asked."""
        self._failures.pop(key, None)
        self._give_back(key)
        if again_in_s is not None:
            self.add_after(key, again_in_s)

    def retry(self, key: K) -> float:
        """The key could not be worked: look again after a pause that grows with each failure. Returns the pause.

        A key that was added meanwhile waits only for what the failed attempt may have done after all to be seen.
        """
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause = self._pace.pause(failures)
        if key in self._again:
            self._again.discard(key)
            pause = min(pause, SETTLING_S)
        self._give_back(key)
        self.add_after(key, pause)
        return pause

    def failures(self, key: K) -> int:
        """How often in a row the key could not be worked."""
        return self._failures.get(key, 0)

    async def take(self) -> K:
        """The next key that is ready; waits for one."""
        while True:
            self._promote()
            if self._ready:
                key = next(iter(self._ready))
                del self._ready[key]
                self._worked.add(key)
                return key
            changed = self._changed
            with trio.move_on_at(self._later[0][0] if self._later else float("inf")):
                await changed.wait()

    def __aiter__(self) -> AsyncIterator[K]:
        return self

    async def __anext__(self) -> K:
        return await self.take()

    def _give_back(self, key: K) -> None:
        assert key in self._worked, f"{key} was not taken"
        self._worked.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _promote(self) -> None:
        now = trio.current_time()
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            if self._due.get(key) == due:
                self.add(key)

    def _drop_later(self, key: K) -> None:
        self._due.pop(key, None)
        while self._later and self._due.get(self._later[0][2]) != self._later[0][0]:
            heapq.heappop(self._later)

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
