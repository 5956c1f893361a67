"""Recorder: v1 Events about what loops did, counted instead of repeated.

Lives here: turning a `Note` into an Event or into one more count of an Event written before, joining similar ones, and holding
back a loop that talks too much. Telling never blocks and never fails the loop that tells: notes go through a bounded buffer, and
what does not fit is dropped and counted. `decide` is pure; `Recorder.run` does the writing.

Source of the rules: k8s.io/client-go tools/record (events_cache.go) for the classic form, tools/events for `modern`, which is the
form the scheduler writes (eventTime and series instead of first and last timestamps).
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import trio

from edgekube.api.meta import ObjectMeta, format_micro_time, format_time
from edgekube.client.interface import Client
from edgekube.clock import Clock
from edgekube.errors import ApiError, ConnectionFailed, NotFound
from edgekube.kinds.core import event as event_kind
from edgekube.kinds.core.event import Event, EventSource
from edgekube.reconcile.plan import Note

BUFFERED_NOTES = 1000  # as upstream's broadcaster queue; a note is small
REMEMBERED_EVENTS = 4096  # upstream's LRU size
SIMILAR_AT_MOST = 10  # similar notes within the interval before they are joined into one Event
SIMILAR_INTERVAL = timedelta(seconds=600)
BURST_PER_OBJECT = 25  # notes about one object by one source before it is slowed down
REFILL_S = 300.0  # one more note per object and source each so many seconds
ATTEMPTS = 12  # to write one Event while the server is away
PAUSE_BETWEEN_ATTEMPTS_S = 10.0
JOINED = "(combined from similar events): "

log = logging.getLogger("edgekube.events")


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who tells: the component's name, and the host it runs on (nodes only)."""

    component: str
    host: str = ""
    modern: bool = False
    action: str = ""


@dataclass(slots=True)
class _Written:
    """What is remembered of an Event written before."""

    namespace: str
    name: str
    count: int
    first: datetime


@dataclass(slots=True)
class _Similar:
    """How many different messages of one reason an object had lately."""

    messages: set[str] = field(default_factory=set)
    last: datetime | None = None


@dataclass(slots=True)
class _Allowance:
    tokens: float
    at: float


@dataclass(frozen=True, slots=True)
class _Again:
    """Count one more occurrence of an Event."""

    namespace: str
    name: str
    count: int
    message: str
    now: datetime


class Correlator:
    """Decides what to write for a note: a new Event, one more count of an old one, or nothing. No I/O, time is an argument."""

    def __init__(self) -> None:
        self._written: OrderedDict[tuple[str, ...], _Written] = OrderedDict()
        self._similar: OrderedDict[tuple[str, ...], _Similar] = OrderedDict()
        self._allowances: OrderedDict[tuple[str, ...], _Allowance] = OrderedDict()
        self._stamp = 0  # nanoseconds, part of an Event's name: never the same twice

    def decide(self, speaker: Speaker, note: Note, now: datetime, monotonic_s: float) -> Event | _Again | None:
        """The Event to create, the count to raise, or None when this object has been talked about too much."""
        if not self._allowed(speaker, note, monotonic_s):
            return None
        note = self._join(speaker, note, now)
        key = (speaker.component, speaker.host, *_identity(note), note.type, note.reason, note.message)
        if note.message.startswith(JOINED):
            key = key[:-1]
        written = self._written.get(key)
        if written is not None:
            written.count += 1
            self._written.move_to_end(key)
            return _Again(written.namespace, written.name, written.count, note.message, now)
        self._stamp = max(int(now.timestamp() * 1_000_000) * 1000, self._stamp + 1)
        event = _event(speaker, note, now, self._stamp)
        self._written[key] = _Written(event.metadata.namespace, event.metadata.name, 1, now)
        _bound(self._written)
        return event

    def forget(self, again: _Again) -> None:
        """The Event counted up is gone from the server (expired): the next occurrence makes a new one."""
        for key, written in list(self._written.items()):
            if (written.namespace, written.name) == (again.namespace, again.name):
                del self._written[key]

    def _join(self, speaker: Speaker, note: Note, now: datetime) -> Note:
        key = (speaker.component, speaker.host, *_identity(note), note.type, note.reason)
        similar = self._similar.setdefault(key, _Similar())
        self._similar.move_to_end(key)
        _bound(self._similar)
        if similar.last is None or now - similar.last > SIMILAR_INTERVAL:
            similar.messages.clear()
        similar.last = now
        similar.messages.add(note.message)
        if len(similar.messages) < SIMILAR_AT_MOST:
            return note
        while len(similar.messages) > SIMILAR_AT_MOST:
            similar.messages.pop()
        return replace(note, message=JOINED + note.message)

    def _allowed(self, speaker: Speaker, note: Note, monotonic_s: float) -> bool:
        key = (speaker.component, speaker.host, *_identity(note))
        allowance = self._allowances.setdefault(key, _Allowance(BURST_PER_OBJECT, monotonic_s))
        self._allowances.move_to_end(key)
        _bound(self._allowances)
        refilled = allowance.tokens + (monotonic_s - allowance.at) / REFILL_S
        allowance.tokens, allowance.at = min(float(BURST_PER_OBJECT), refilled), monotonic_s
        if allowance.tokens < 1:
            return False
        allowance.tokens -= 1
        return True


class Recorder:
    """Takes notes from any loop; one task (`run`) writes them."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._correlator = Correlator()
        self._send, self._receive = trio.open_memory_channel[tuple[Speaker, Note, datetime]](BUFFERED_NOTES)
        self.dropped = 0

    def tell(self, speaker: Speaker, note: Note) -> None:
        """Write an Event soon. Never blocks; when the buffer is full the note is dropped and counted in `dropped`."""
        try:
            self._send.send_nowait((speaker, note, self._clock.now()))
        except trio.WouldBlock:
            self.dropped += 1

    async def run(self) -> None:
        """Write notes for ever. While the server is away an Event is tried again, then given up."""
        async for speaker, note, now in self._receive:
            decided = self._correlator.decide(speaker, note, now, self._clock.monotonic())
            if decided is not None:
                await self._write(speaker, note, decided)

    async def _write(self, speaker: Speaker, note: Note, decided: Event | _Again) -> None:
        for _ in range(ATTEMPTS):
            try:
                if isinstance(decided, Event):
                    await self._client.create(event_kind.KIND, decided, decided.metadata.namespace)
                else:
                    await self._count_up(speaker, decided)
                return
            except NotFound as error:
                if isinstance(decided, Event):  # the namespace is gone
                    log.debug("no event written: %s", error)
                    return
                now = decided.now
                self._correlator.forget(decided)
                again = self._correlator.decide(speaker, note, now, self._clock.monotonic())
                if again is None:
                    return
                decided = again
            except ApiError as error:  # a terminating namespace, a rule broken: trying again would not help
                log.debug("no event written: %s", error)
                return
            except ConnectionFailed:
                await trio.sleep(PAUSE_BETWEEN_ATTEMPTS_S)

    async def _count_up(self, speaker: Speaker, again: _Again) -> None:
        patch: dict[str, Any]
        if speaker.modern:
            patch = {"series": {"count": again.count, "lastObservedTime": format_micro_time(again.now)}}
        else:
            patch = {"count": again.count, "lastTimestamp": format_time(again.now), "message": again.message}
        await self._client.patch(event_kind.KIND, again.name, again.namespace, patch)


def _event(speaker: Speaker, note: Note, now: datetime, stamp: int) -> Event:
    about = note.about
    event = Event(
        metadata=ObjectMeta(name=f"{about.name}.{stamp:x}", namespace=about.namespace or "default"),
        involved_object=about,
        reason=note.reason,
        message=note.message,
        type=note.type,
        reporting_component=speaker.component,
        reporting_instance=speaker.host,
    )
    if speaker.modern:
        event.event_time = format_micro_time(now)
        event.action = speaker.action
        event.reporting_instance = speaker.host or speaker.component
    else:
        event.source = EventSource(component=speaker.component, host=speaker.host)
        event.first_timestamp = event.last_timestamp = format_time(now)
        event.count = 1
    return event


def _identity(note: Note) -> tuple[str, ...]:
    about = note.about
    return (about.kind, about.namespace, about.name, about.uid, about.api_version, about.field_path)


def _bound(remembered: OrderedDict[tuple[str, ...], Any]) -> None:
    while len(remembered) > REMEMBERED_EVENTS:
        remembered.popitem(last=False)
