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
    attempts: int = 0
    ready_at: float = 0.0  # end of the pause after its last refusal
    refused_at: float = 0.0
    rules: frozenset[str] = frozenset()
    state: str = "active"  # active, pausing, refused


class Waiting:
    """The scheduling queue. Nothing here waits itself: `next` answers at once, `wake_at` says when to ask again."""

    def __init__(self) -> None:
        self._entries: dict[Key, _Entry] = {}
        self._active: list[tuple[int, int, Key]] = []
        self._order = count()

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, key: Key) -> bool:
        return key in self._entries

    def add(self, key: Key, priority: int) -> None:
        """A pod wants a node (again, with changes): look at it at once."""
        entry = self._entries.setdefault(key, _Entry(priority))
        entry.priority = priority
        self._activate(key, entry)

    def remove(self, key: Key) -> None:
        """The pod is gone, placed, or not ours."""
        self._entries.pop(key, None)

    def refused(self, key: Key, rules: Iterable[str], now: float) -> None:
        """No node suited; these rules said so."""
        entry = self._entries.get(key)
        if entry is None:
            return
        entry.attempts += 1
        pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(entry.attempts - 1, 10))
        entry.state, entry.rules = "refused", frozenset(rules)
        entry.refused_at, entry.ready_at = now, now + pause

    def failed(self, key: Key, now: float) -> None:
        """A node suited but could not be taken: try again after a pause."""
        self.refused(key, (), now)
        if (entry := self._entries.get(key)) is not None:
            entry.state = "pausing"

    def wake(self, rules: frozenset[str], now: float) -> None:
        """Something changed that these rules look at: pods they refused get another look, when their pause is over."""
        for key, entry in self._entries.items():
            if entry.state == "refused" and (entry.rules & rules or not entry.rules):
                if entry.ready_at <= now:
                    self._activate(key, entry)
                else:
                    entry.state = "pausing"

    def next(self, now: float) -> Key | None:
        """The pod to look at now, None when there is none."""
        for key, entry in self._entries.items():
            paused = entry.state == "pausing" and entry.ready_at <= now
            left_behind = entry.state == "refused" and entry.refused_at + LEFT_BEHIND_S <= now
            if paused or left_behind:
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
        times = [entry.ready_at for entry in self._entries.values() if entry.state == "pausing"]
        times += [entry.refused_at + LEFT_BEHIND_S for entry in self._entries.values() if entry.state == "refused"]
        return min(times, default=float("inf"))

    def _activate(self, key: Key, entry: _Entry) -> None:
        entry.state = "active"
        heapq.heappush(self._active, (-entry.priority, next(self._order), key))
