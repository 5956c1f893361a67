"""Pods that wait for a node: the most important first, the refused ones aside until something they lack changes.

Keyed by (namespace, name). Time is `now`, in seconds that never go back.
Source: k8s.io/kubernetes pkg/scheduler/backend/queue/scheduling_queue.go.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import count

from edgekube.reconcile.drive import Key

FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 10.0
LEFT_BEHIND_S = 300.0  # a refused pod is looked at again after this, whatever has (not) happened


@dataclass(slots=True)
class _Entry:
    priority: int
    since: int  # the order in which pods came
    attempts: int = 0
    ready_at: float = 0.0  # end of the pause after its last refusal
    rules: frozenset[str] = frozenset()
    state: str = "active"  # active, worked, pausing, refused
    look_at: float = float("inf")  # when time alone brings it back


class Waiting:
    """The scheduling queue. Nothing here waits itself: `next` answers at once, `wake_at` says when to ask again."""

    def __init__(self) -> None:
        self._entries: dict[Key, _Entry] = {}
        self._active: list[tuple[int, int, Key]] = []
        self._later: list[tuple[float, int, Key]] = []  # by the time they are due; entries that moved on are skipped
        self._refused: dict[Key, None] = {}  # those that an event may bring back
        self._order = count()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def add(self, key: Key, priority: int) -> None:
        """A pod wants a node (again, with changes): look at it at once."""
        entry = self._entries.get(key)
        if entry is None:
            entry = self._entries[key] = _Entry(priority, next(self._order))
        entry.priority = priority
        self._activate(key, entry)

    def remove(self, key: Key) -> None:
        """The pod is gone, placed, or not ours."""
        self._entries.pop(key, None)
        self._refused.pop(key, None)

    def refused(self, key: Key, rules: Iterable[str], now: float) -> None:
        """No node suited; these rules said so."""
        entry = self._entries.get(key)
        if entry is None:
            return
        self._count(entry, now)
        entry.state, entry.rules = "refused", frozenset(rules)
        self._refused[key] = None
        self._due(key, entry, now + LEFT_BEHIND_S)

    def failed(self, key: Key, now: float) -> None:
        """A node suited but could not be taken: try again after a pause."""
        entry = self._entries.get(key)
        if entry is not None:
            self._count(entry, now)
            self._pause(key, entry)

    def wake(self, rules: frozenset[str], now: float) -> None:
        """Something changed that these rules look at: pods they refused get another look, when their pause is over."""
        for key in list(self._refused):
            entry = self._entries[key]
            if entry.rules & rules or not entry.rules:
                if entry.ready_at <= now:
                    self._activate(key, entry)
                else:
                    self._pause(key, entry)

    def next(self, now: float) -> Key | None:
        """The pod to look at now, None when there is none."""
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            entry = self._entries.get(key)
            if entry is not None and entry.look_at == due:
                self._activate(key, entry)
        while self._active:
            _, _, key = heapq.heappop(self._active)
            active = self._entries.get(key)
            if active is not None and active.state == "active":
                active.state = "worked"
                return key
        return None

    def wake_at(self) -> float:
        """When `next` may have something by time alone (infinity: never)."""
        while self._later:
            due, _, key = self._later[0]
            entry = self._entries.get(key)
            if entry is not None and entry.look_at == due:
                return due
            heapq.heappop(self._later)
        return float("inf")

    def _count(self, entry: _Entry, now: float) -> None:
        entry.attempts += 1
        entry.ready_at = now + min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(entry.attempts - 1, 10))

    def _pause(self, key: Key, entry: _Entry) -> None:
        entry.state = "pausing"
        self._refused.pop(key, None)
        self._due(key, entry, entry.ready_at)

    def _due(self, key: Key, entry: _Entry, at: float) -> None:
        entry.look_at = at
        heapq.heappush(self._later, (at, next(self._order), key))

    def _activate(self, key: Key, entry: _Entry) -> None:
        entry.state, entry.look_at = "active", float("inf")
        self._refused.pop(key, None)
        heapq.heappush(self._active, (-entry.priority, entry.since, key))
