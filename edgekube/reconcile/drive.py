"""The one loop all controllers share: take a key, observe, decide, carry out, and wait for the cache to see what was written.

Lives here: acting on plans and reading one's own writes. What is decided, and about which kinds, is not known here.

A controller is data (`Controller`): what it watches, which key a change points at, how to take a snapshot (`observe`) and a pure
`reconcile`. Failures of a single key never end the loop: the key is retried with growing pauses, and `troubles` says so.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import trio

from edgekube.api.kind import Kind
from edgekube.api.meta import Object
from edgekube.client.interface import Client
from edgekube.clock import Clock
from edgekube.errors import AlreadyExists, ApiError, Conflict, ConnectionFailed, NotFound, ServiceUnavailable
from edgekube.reconcile.events import Recorder, Speaker
from edgekube.reconcile.plan import Action, Call, Create, Delete, Note, Outcome, Patch, Plan, Tell, Update
from edgekube.reconcile.queue import KeyQueue

T = TypeVar("T", bound=Object)
T_co = TypeVar("T_co", bound=Object, covariant=True)
Seen = TypeVar("Seen")

CREATES_AT_ONCE = 16  # the last step of a slow start: 1, 2, 4, 8, 16, 16, ...
UNSEEN_WRITE_PAUSE_S = 0.05  # a write's own event wakes its key; this is for when it points elsewhere
UNSEEN_WRITE_LIMIT_S = 30.0  # then act on what there is: level, not edge


class Key(NamedTuple):
    """What a loop works on: an object by name. `namespace` is "" for cluster scope."""

    namespace: str
    name: str


ALL_KEYS = Key("", "")


class CacheView(Protocol[T_co]):
    """What loops use of `client.follow.Cache`."""

    def get(self, namespace: str, name: str) -> T_co | None: ...
    def list(self, namespace: str | None = None) -> Sequence[T_co]: ...
    def by(self, index: str, value: str) -> Sequence[T_co]: ...


class Caches(Protocol):
    """One cache per kind, shared by all loops."""

    def of(self, kind: Kind[T]) -> CacheView[T]: ...
    def has(self, kind: Kind[Any]) -> bool: ...


Change = Callable[[Caches, Any, Any], Iterable[Key]]
"""(caches, new or last state, previous state or None) -> keys to look at."""


@dataclass(frozen=True, slots=True)
class Watch:
    """A kind a controller follows, and the keys one of its changes points at."""

    kind: Kind[Any]
    keys: Change


@dataclass(frozen=True, kw_only=True)
class Controller(Generic[Seen]):
    """One loop, as data. `observe` returns None when there is nothing to do for the key (the object is gone).

    `inquire` is for the few that must ask the server itself (not a cache) before deciding. `manager` names the field manager.
    """

    name: str
    watches: Sequence[Watch]
    observe: Callable[[Caches, Key, datetime], Seen | None]
    reconcile: Callable[[Seen], Plan]
    inquire: Callable[[Client, Seen], Awaitable[Seen]] | None = None
    workers: int = 1
    seeds: Sequence[Key] = ()  # keys looked at once at start, whatever the caches hold
    sees_all: bool = (
        False  # a decision depends on what was written for other keys too: wait for all of this loop's writes
    )
    lists_for: Sequence[Kind[Any]] = ()  # kinds observed without their changes pointing at a key


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a loop that is not key by key is given."""

    client: Client
    caches: Caches
    clock: Clock
    recorder: Recorder
    troubles: Troubles


@dataclass(frozen=True, kw_only=True)
class Service:
    """A loop with a shape of its own. `run` never returns."""

    name: str
    follows: Sequence[Kind[Any]]
    run: Callable[[Surroundings], Awaitable[None]]


class Troubles(Protocol):
    """Where a loop says how it fares: `trouble` None is well."""

    def report(self, part: str, trouble: str | None) -> None: ...


@dataclass(slots=True)
class _Expected:
    """A write whose echo the cache has not shown yet."""

    kind: Kind[Any]
    namespace: str
    name: str
    uid: str
    revision: int  # 0: a deletion

    def seen(self, caches: Caches) -> bool:
        if not caches.has(self.kind):
            return True
        cache: Any = caches.of(self.kind)
        now = cache.get(self.namespace, self.name)
        if now is not None and now.metadata.uid == self.uid:
            if self.revision:
                return int(now.metadata.resource_version or 0) >= self.revision
            return now.metadata.deletion_timestamp is not None
        if not self.revision:
            return True
        reached = getattr(
            cache, "revision", ""
        )  # absent: it may have been deleted meanwhile; only the cache's revision can tell
        return bool(reached) and str(reached).isdigit() and int(reached) >= self.revision


@dataclass(slots=True)
class Hands:
    """What acting needs: the client, the event recorder, the clock, and what this loop wrote but has not seen yet."""

    client: Client
    caches: Caches
    recorder: Recorder
    clock: Clock
    speaker: Speaker
    _expected: dict[Key, tuple[float, list[_Expected]]] = field(default_factory=dict)

    def caught_up(self, key: Key) -> bool:
        """Whether the caches have seen all that was written for `key` (or so long ago that waiting makes no sense)."""
        if key not in self._expected:
            return True
        since, writes = self._expected[key]
        writes[:] = [write for write in writes if not write.seen(self.caches)]
        if writes and self.clock.monotonic() - since < UNSEEN_WRITE_LIMIT_S:
            return False
        del self._expected[key]
        return True

    def _expect(self, key: Key, kind: Kind[Any], made: Object, *, gone: bool = False) -> None:
        metadata = made.metadata
        revision = 0 if gone else int(metadata.resource_version or 0)
        _, writes = self._expected.setdefault(key, (self.clock.monotonic(), []))
        writes.append(_Expected(kind, metadata.namespace, metadata.name, metadata.uid, revision))
        self._expected[key] = (self.clock.monotonic(), writes)

    async def carry_out(self, key: Key, plan: Plan) -> Outcome:
        """Do a plan. A Conflict is raised at once. A failed Create leaves out its like, a failed Update, Patch or Call all that
        follows, a failed Delete nothing; `finish` is given the errors, and the outcome tells of them."""
        outcome = await self._do_all(key, plan.actions)
        if plan.finish is not None:
            last = await self._do_all(key, plan.finish(outcome))
            outcome = Outcome([*outcome.errors, *last.errors], [*outcome.untried, *last.untried])
        return outcome

    async def _do_all(self, key: Key, actions: Sequence[Action]) -> Outcome:
        errors: list[tuple[Action, ApiError]] = []
        untried: list[Action] = []
        position = 0
        while position < len(actions):
            batch, step = [actions[position]], 1
            if isinstance(actions[position], Create | Delete):
                batch = _run_of_same(actions, position)
            position += len(batch)
            done = 0
            while done < len(batch):  # slow start: one failure (a quota, usually) does not become a hundred
                part = batch[done : done + step]
                failed = await self._do_at_once(key, part)
                errors += failed
                done += len(part)
                if failed and isinstance(part[0], Create):
                    untried += batch[done:]
                    break
                if failed and not isinstance(part[0], Delete):  # what follows may depend on it
                    return Outcome(errors, [*untried, *actions[position:]])
                step = min(step * 2, CREATES_AT_ONCE)
        return Outcome(errors, untried)

    async def _do_at_once(self, key: Key, actions: Sequence[Action]) -> list[tuple[Action, ApiError]]:
        errors: list[tuple[Action, ApiError]] = []
        if len(actions) == 1:
            await self._try(key, actions[0], errors)
        else:
            async with trio.open_nursery() as nursery:
                for action in actions:
                    nursery.start_soon(self._try, key, action, errors)
        for _, error in errors:
            if isinstance(error, Conflict):
                raise error
        return errors

    async def _try(self, key: Key, action: Action, errors: list[tuple[Action, ApiError]]) -> None:
        if isinstance(action, Tell):
            self.recorder.tell(self.speaker, action.note)
            return
        try:
            name = await self._do(key, action)
        except (ApiError, ConnectionFailed) as raised:
            error = raised if isinstance(raised, ApiError) else ServiceUnavailable(str(raised))
            errors.append((action, error))
            if action.failed is not None:
                self._tell(action.failed, error=error.message)
        else:
            if action.done is not None:
                self._tell(action.done, name=name)

    async def _do(self, key: Key, action: Create | Update | Patch | Delete | Call) -> str:
        client = self.client
        made: Object
        if isinstance(action, Create):
            try:
                made = await client.create(action.kind, action.item, action.item.metadata.namespace)
            except AlreadyExists:
                if not action.may_exist:
                    raise
                return action.item.metadata.name
            self._expect(key, action.kind, made)
            return made.metadata.name
        if isinstance(action, Update):
            made = await client.update(action.kind, action.item, subresource=action.subresource)
            self._expect(key, action.kind, made)
            return made.metadata.name
        if isinstance(action, Patch):
            try:
                made = await client.patch(
                    action.kind,
                    action.name,
                    action.namespace,
                    action.patch,  # type: ignore[arg-type]
                    content_type=action.content_type,
                    subresource=action.subresource,
                )
            except NotFound:
                if not action.may_miss:
                    raise
                return action.name
            self._expect(key, action.kind, made)
            return action.name
        if isinstance(action, Delete):
            await self._delete(key, action)
            return action.name
        await client.call(action.method, action.path, dict(action.body) if action.body is not None else None)
        return ""

    async def _delete(self, key: Key, action: Delete) -> None:
        try:
            await self.client.delete(
                action.kind,
                action.name,
                action.namespace,
                uid=action.uid,
                revision=action.revision,
                grace_s=action.grace_s,
                propagation=action.propagation,
            )
        except NotFound:
            return
        except Conflict:
            if action.revision:
                raise
            return  # another uid: what was meant is gone
        cached = (
            self.caches.of(action.kind).get(action.namespace, action.name) if self.caches.has(action.kind) else None
        )
        if cached is not None and (not action.uid or cached.metadata.uid == action.uid):
            self._expect(key, action.kind, cached, gone=True)

    def _tell(self, note: Note, **values: str) -> None:
        message = note.message
        for placeholder, value in values.items():
            message = message.replace("{" + placeholder + "}", value)
        self.recorder.tell(self.speaker, Note(note.about, note.type, note.reason, message))


def _run_of_same(actions: Sequence[Action], start: int) -> list[Action]:
    first = actions[start]
    end = start
    while end < len(actions) and type(actions[end]) is type(first) and actions[end].kind is first.kind:  # type: ignore[union-attr]
        end += 1
    return list(actions[start:end])


async def drive(controller: Controller[Any], keys: KeyQueue[Key], hands: Hands, troubles: Troubles) -> None:
    """Work keys for ever. Run as many of these on one queue as the controller has workers."""
    log = logging.getLogger(f"edgekube.control.{controller.name}")
    troubled: set[Key] = set()
    async for key in keys:
        turn = ALL_KEYS if controller.sees_all else key
        if not hands.caught_up(turn):
            keys.settle(key, again_in_s=UNSEEN_WRITE_PAUSE_S)
            continue
        try:
            plan = await _decide(controller, key, hands)
            outcome = await hands.carry_out(turn, plan) if plan is not None else Outcome()
        except (Conflict, NotFound) as error:  # someone wrote first, or deleted: look again
            log.debug("%s/%s: %s", key.namespace, key.name, error)
            keys.retry(key)
        except (ApiError, ConnectionFailed) as error:
            log.info("%s/%s: %s", key.namespace, key.name, error)
            keys.retry(key)
        except Exception as error:  # our mistake; the other keys must not suffer from it
            log.exception("%s/%s could not be worked", key.namespace, key.name)
            keys.retry(key)
            troubled.add(key)
            troubles.report(controller.name, f"{key.namespace}/{key.name}: {type(error).__name__}: {error}")
        else:
            if outcome.error is not None and is_namespace_going(outcome.error):
                log.debug("%s/%s: %s", key.namespace, key.name, outcome.error)
                keys.settle(key)  # nothing more can be made there, and what is there goes
            elif outcome.error is not None:
                level = logging.DEBUG if isinstance(outcome.error, NotFound) else logging.INFO
                log.log(level, "%s/%s: %s", key.namespace, key.name, outcome.error)
                keys.retry(key)
            else:
                keys.settle(key, again_in_s=plan.look_again_s if plan is not None else None)
            if key in troubled:
                troubled.discard(key)
                if not troubled:
                    troubles.report(controller.name, None)


async def _decide(controller: Controller[Any], key: Key, hands: Hands) -> Plan | None:
    seen = controller.observe(hands.caches, key, hands.clock.now())
    if seen is not None and controller.inquire is not None:
        seen = await controller.inquire(hands.client, seen)
    return controller.reconcile(seen) if seen is not None else None


def is_namespace_going(error: ApiError) -> bool:
    """Whether something was refused because its namespace is being deleted."""
    return any(cause.reason == "NamespaceTerminating" for cause in error.causes)


def own_key(_: Caches, item: Object, __: Object | None = None) -> Iterable[Key]:
    """The key of the changed object itself."""
    yield Key(item.metadata.namespace, item.metadata.name)


def path_of(kind: Kind[Any], namespace: str, name: str, subresource: str = "") -> str:
    """The HTTP path of an object."""
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    where = f"/namespaces/{namespace}" if namespace and kind.namespaced else ""
    return f"{root}{where}/{kind.plural}/{name}" + (f"/{subresource}" if subresource else "")
