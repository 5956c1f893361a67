"""Events are forgotten an hour after they were last written, and the oldest of them when there are far too many.

The age of a row is told by its revision: what the store's revision was an hour ago is remembered, not when each event came. So a
clock that jumps expires nothing, and nothing is decoded. After a restart, events live up to an hour longer. Watchers see
ordinary deletions. Source: kube-apiserver --event-ttl.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence

import trio

from edgekube.clock import Clock
from edgekube.errors import StoreError
from edgekube.store.interface import Durability, Mismatch, Remove, Row, Store

EVENTS = "/events"
TTL_S = 3600.0
SWEEP_S = 300.0
PAGE = 200  # rows removed together
EVENTS_MOST = 10_000  # beyond this, something is shouting: the oldest go early

log = logging.getLogger(__name__)


class Ages:
    """Which revision was the newest how long ago."""

    def __init__(self, ttl_s: float) -> None:
        self._ttl_s = ttl_s
        self._marks: deque[tuple[float, int]] = deque()

    def mark(self, now_s: float, revision: int) -> None:
        """Remember this moment; moments before the one that counts are dropped."""
        self._marks.append((now_s, revision))
        while len(self._marks) > 1 and self._marks[1][0] <= now_s - self._ttl_s:
            self._marks.popleft()

    def expired(self, now_s: float) -> int:
        """Rows up to this revision were last written longer ago than the time to live."""
        moment, revision = self._marks[0]
        return revision if moment <= now_s - self._ttl_s else 0


async def expire_events(store: Store, clock: Clock) -> None:
    """Sweep for as long as the server runs. Never ends."""
    ages = Ages(TTL_S)
    while True:
        ages.mark(clock.monotonic(), store.revision)
        try:
            await sweep(store, ages.expired(clock.monotonic()))
        except StoreError as error:
            log.warning("events could not be forgotten, trying again later: %s", error)
        await trio.sleep(SWEEP_S)


async def sweep(store: Store, expired: int, most: int = EVENTS_MOST) -> int:
    """Remove the events last written at or before a revision, and the oldest above `most`. Returns how many went."""
    revisions = sorted(row.revision for page in _pages(store) for row in page)
    if len(revisions) > most:
        expired = max(expired, revisions[len(revisions) - most - 1])
    gone = 0
    if revisions and revisions[0] <= expired:
        for page in _pages(store):
            old = [_removal(row) for row in page if row.revision <= expired]
            gone += await _remove(store, old)
    return gone


def _pages(store: Store) -> Iterator[Sequence[Row]]:
    after = None
    while True:
        page = store.list(EVENTS, limit=PAGE, after=after)
        yield page.rows
        if (after := page.after) is None:
            return


async def _remove(store: Store, removals: Sequence[Remove]) -> int:
    if not removals:
        return 0
    try:
        return len(await store.write(removals))
    except Mismatch:  # one of them happened again just now: it and its page wait for the next sweep
        return 0


def _removal(row: Row) -> Remove:
    mark = b'"resourceVersion":"'
    at = row.value.index(mark) + len(
        mark
    )  # the object's own comes first: metadata stands before everything an event is about
    end = row.value.index(b'"', at)
    return Remove(row.key, row.value[:at] + row.value[end:], at, row.revision, Durability.COALESCED)
