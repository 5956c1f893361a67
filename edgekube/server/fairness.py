"""API priority and fairness: a flood from one client waits for itself, and everybody else gets through.

Requests are classified by FlowSchemas into priority levels. A level has a number of seats; who finds none waits in one of the
level's queues, chosen among a few that its flow is dealt (so that one flow cannot fill them all), and queues take turns. Full
queues and long waits end in 429. Masters are exempt; a request that finds a seat pays one look-up. Seats are fewer than upstream's,
for one process works on all of them.

Source: k8s.io/apiserver pkg/util/flowcontrol and pkg/server/filters/priority-and-fairness.go.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from math import ceil
from typing import Any

import trio

from edgekube import errors
from edgekube.kinds.flowcontrol import flowschema, prioritylevelconfiguration
from edgekube.server.admission.kept import Kept
from edgekube.server.context import Attributes
from edgekube.server.fairness_config import distinguisher, in_order, matches
from edgekube.server.metrics import Family, Sample
from edgekube.store.interface import Store

SEATS = 120  # of all levels together
WAIT_S = 15.0  # upstream: a quarter of the request's time
REMEMBERED = 2048  # classifications
SCHEMA_HEADER, LEVEL_HEADER = "X-Kubernetes-PF-FlowSchema-UID", "X-Kubernetes-PF-PriorityLevel-UID"
TOO_MANY = "Too many requests, please try again later."


class _Waiter:
    """One request in a queue."""

    __slots__ = ("granted", "seated")

    def __init__(self) -> None:
        self.seated, self.granted = trio.Event(), False


@dataclass(slots=True)
class _Queue:
    """Requests of the flows it was dealt to. `turns`: how often it was served; the least served comes next."""

    waiting: deque[_Waiter] = field(default_factory=deque)
    turns: int = 0


@dataclass(slots=True)
class Level:
    """A priority level at work. `queues` is empty where it refuses instead of queueing."""

    name: str
    uid: str
    exempt: bool = False
    seats: int = 0
    lendable: int = 0
    borrowable: int = SEATS
    hand: int = 1
    length: int = 0
    queues: list[_Queue] = field(default_factory=list)
    busy: int = 0  # requests being worked on
    queued: int = 0
    refused: dict[str, int] = field(default_factory=dict)  # by upstream's reason

    def refuse(self, reason: str) -> errors.TooManyRequests:
        """The 429, counted."""
        self.refused[reason] = self.refused.get(reason, 0) + 1
        return errors.TooManyRequests(TOO_MANY, retry_after_s=1)

    def dealt(self, flow: str) -> list[_Queue]:
        """The queues of a flow: the same for every request of it, and hardly ever all those of another."""
        seed, left, hand = zlib.crc32(flow.encode()) * 2654435761 % 2**61, list(self.queues), []
        for _ in range(min(self.hand, len(left))):
            seed, at = divmod(seed, len(left))
            hand.append(left.pop(at))
        return hand


@dataclass(frozen=True, slots=True)
class Flow:
    """What a request was classified as."""

    level: Level
    name: str
    headers: tuple[tuple[str, str], ...]


class Fairness:
    """One per server."""

    def __init__(self, store: Store) -> None:
        self._schemas = Kept(store, flowschema.KIND, self._new_schemas)
        self._configurations = Kept(store, prioritylevelconfiguration.KIND, self._new_levels)
        self._levels: dict[str, Level] = {}
        self._known: dict[Any, Flow | None] = {}

    def _new_schemas(self, schemas: Sequence[Any]) -> list[Any]:
        self._known.clear()
        return in_order(schemas)

    def _new_levels(self, configurations: Sequence[Any]) -> dict[str, Level]:
        """Levels keep who is busy and who waits in them; a queue that is gone has nobody new."""
        self._known.clear()
        shares = sum(_shares(one) for one in configurations) or 1
        levels = {}
        for one in configurations:
            present = self._levels.get(one.metadata.name)
            if present is None or present.uid != one.metadata.uid:
                present = Level(one.metadata.name, one.metadata.uid)
            _configure(present, one, shares)
            levels[one.metadata.name] = present
        self._levels = levels
        return levels

    async def flow_of(self, asked: Attributes) -> Flow | None:
        """What a request belongs to; None where nothing is configured at all."""
        schemas, levels = await self._schemas.now(), await self._configurations.now()
        user = asked.user
        about = (asked.group, asked.resource, asked.subresource, asked.namespace) if asked.resource else asked.path
        key = (user.name, user.groups, asked.verb, about)
        try:
            return self._known[key]
        except KeyError:
            pass
        found = None
        for schema in schemas:
            level = levels.get(schema.spec.priority_level_configuration.name)
            if level is not None and matches(schema, asked):
                name = f"{schema.metadata.name}\0{distinguisher(schema, asked)}"
                headers = ((SCHEMA_HEADER, schema.metadata.uid), (LEVEL_HEADER, level.uid))
                found = Flow(level, name, headers)
                break
        if len(self._known) >= REMEMBERED:
            self._known.clear()
        self._known[key] = found
        return found

    async def take_seat(self, flow: Flow) -> None:
        """Wait for a seat; give it back with `leave`. Raises TooManyRequests."""
        level = flow.level
        if level.exempt or (not level.queued and self._has_seat(level)):
            level.busy += 1
            return
        if not level.queues:
            raise level.refuse("concurrency-limit")
        queue = min(level.dealt(flow.name), key=lambda one: len(one.waiting))
        if len(queue.waiting) >= level.length:
            raise level.refuse("queue-full")
        await self._wait(level, queue)

    async def _wait(self, level: Level, queue: _Queue) -> None:
        waiter = _Waiter()
        if not queue.waiting:  # an idle queue does not save up turns
            queue.turns = max(queue.turns, min((one.turns for one in level.queues if one.waiting), default=0))
        queue.waiting.append(waiter)
        level.queued += 1
        try:
            with trio.move_on_after(WAIT_S):
                await waiter.seated.wait()
        except BaseException:
            self._give_up(level, queue, waiter)
            raise
        if not waiter.granted:
            self._give_up(level, queue, waiter)
            raise level.refuse("time-out")

    def families(self) -> list[Family]:
        """Figures, by upstream's names."""

        def each(value: str) -> Callable[[], list[Sample]]:
            return lambda: [
                Sample((("priority_level", one.name),), float(getattr(one, value))) for one in self._levels.values()
            ]

        def refused() -> list[Sample]:
            return [
                Sample((("priority_level", one.name), ("reason", reason)), float(count))
                for one in self._levels.values()
                for reason, count in one.refused.items()
            ]

        start = "apiserver_flowcontrol"
        return [
            Family(f"{start}_current_executing_requests", "gauge", "Requests being worked on.", each("busy")),
            Family(f"{start}_current_inqueue_requests", "gauge", "Requests that wait for a seat.", each("queued")),
            Family(f"{start}_nominal_limit_seats", "gauge", "Seats of a level.", each("seats")),
            Family(f"{start}_rejected_requests_total", "counter", "Requests turned away with 429.", refused),
        ]

    def _give_up(self, level: Level, queue: _Queue, waiter: _Waiter) -> None:
        if waiter.granted:
            self.leave(level)
        else:
            queue.waiting.remove(waiter)
            level.queued -= 1

    def leave(self, level: Level) -> None:
        """Give a seat back; whoever may have it now gets it."""
        level.busy -= 1
        if level.queued:
            self._seat(level)
        elif any(one.queued for one in self._levels.values()):
            for one in self._levels.values():  # a seat that was borrowed, or may be now
                self._seat(one)

    def _seat(self, level: Level) -> None:
        while level.queued and self._has_seat(level):
            queue = min((one for one in level.queues if one.waiting), key=lambda one: one.turns)
            waiter = queue.waiting.popleft()
            queue.turns += 1
            level.queued -= 1
            level.busy += 1
            waiter.granted = True
            waiter.seated.set()

    def _has_seat(self, level: Level) -> bool:
        if level.busy < level.seats:
            return True
        spare = 0
        for one in self._levels.values():
            if one is not level and not one.exempt:
                spare += min(one.lendable, one.seats - one.busy)  # less than nothing where that one borrows itself
        return level.busy - level.seats < min(spare, level.borrowable)


def _shares(configuration: Any) -> int:
    limited = configuration.spec.limited
    return (limited.nominal_concurrency_shares or 0) if limited is not None else 0


def _configure(level: Level, configuration: Any, shares: int) -> None:
    limited = configuration.spec.limited
    level.exempt = limited is None
    if limited is None:
        level.queues = []
        return
    level.seats = ceil(SEATS * _shares(configuration) / shares)
    level.lendable = level.seats * (limited.lendable_percent or 0) // 100
    percent = limited.borrowing_limit_percent
    level.borrowable = SEATS if percent is None else level.seats * percent // 100
    queuing = limited.limit_response.queuing
    wanted = queuing.queues if queuing is not None else 0
    if queuing is not None:
        level.hand, level.length = queuing.hand_size, queuing.queue_length_limit
    if wanted != len(level.queues):
        kept = [one for one in level.queues if one.waiting][: max(wanted, level.queued)]
        level.queues = kept + [_Queue() for _ in range(wanted - len(kept))]
