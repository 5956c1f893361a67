"""One server's whole life on virtual time: its disk, its power, and the lines that others reach it by.

The server is the real one (store on SQLite, registry, admission, RBAC, controllers, scheduler); what is made up is the disk under
it, which can be slow, full or lose power in the middle of anything, and the network, which can be slow or cut. A power cut takes
the files as they are at that instant, with a torn tail, and everything else of that life is thrown away.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

import trio

from edgekube.api.kind import Keeping, Kind
from edgekube.client.local import LocalClient
from edgekube.clock import SeededClock
from edgekube.control.config import Config
from edgekube.control.manager import Health, run_controllers
from edgekube.errors import ApiError, ConnectionFailed, StoreError
from edgekube.kinds.catalog import built_in
from edgekube.server.admission import catalog as admission
from edgekube.server.apiserver import ApiServer, Settings
from edgekube.server.auth.authorization import Authorization
from edgekube.server.auth.bootstrap import put_in_place
from edgekube.server.auth.node import open_node_authorizer
from edgekube.server.auth.node_restriction import NodeRestriction
from edgekube.server.auth.rbac import open_rbac
from edgekube.server.context import LOOPBACK, User
from edgekube.store.interface import Key, Put, Remove, Row
from edgekube.store.sqlite import SqliteStore, open_store
from tests.sim.promises import Promises

T = TypeVar("T")

MASTERS = ("system:masters", "system:authenticated")
FLUSH_S = 20.0
TORN_BYTES_AT_MOST = 6000
KINDS: dict[str, Kind[Any]] = {kind.plural: kind for kind in reversed(built_in())}  # core before events.k8s.io
# What a crash may take back: node status and events reach the disk late, leases never.
LASTING = sorted({kind.resource for kind in built_in() if kind.keeping is Keeping.DURABLE} - {"/nodes"})


class Disk:
    """Directories, one per life of the server; `slow_s` bounds a write's time, `full` refuses writes."""

    def __init__(self, root: Path, chance: random.Random) -> None:
        self._root, self._chance = root, chance
        self.life, self.slow_s, self.full = 0, 0.01, False
        self.path.mkdir(parents=True)

    @property
    def path(self) -> Path:
        """Where this life's files are."""
        return self._root / f"life-{self.life}"

    @property
    def file(self) -> Path:
        """The store."""
        return self.path / "store.db"

    def offloader(self, name: str) -> _Writes:
        """What the store does its disk work with."""
        return _Writes(self, name)

    def lose_power(self) -> None:
        """Go on with what is on the platter now; what was being written beyond it is torn."""
        old = self.path
        self.life += 1
        self.full = False
        shutil.copytree(old, self.path, ignore=shutil.ignore_patterns("*-shm", "*.lock"))
        log = self.file.with_name("store.db-wal")
        if log.exists():
            with log.open("ab") as file:
                file.write(self._chance.randbytes(self._chance.randrange(TORN_BYTES_AT_MOST)))
        if self.life > 1:
            shutil.rmtree(self._root / f"life-{self.life - 2}")

    def pause_s(self) -> float:
        """How long the next half of a write takes."""
        return self._chance.random() * self.slow_s


class _Writes:
    """An `Offloader` of one life. Power may go before and after the job: written is not yet acknowledged."""

    def __init__(self, disk: Disk, name: str) -> None:
        self._disk, self._name, self._life = disk, name, disk.life

    async def run(self, job: Callable[[], T]) -> T:
        """Call `job`, some virtual time later."""
        with trio.CancelScope(shield=True):
            await self._pause()
            if self._disk.full and self._alive and self._name == "store-writer":
                raise StoreError("database or disk is full")
            made = job()
            await self._pause()
        return made

    @property
    def _alive(self) -> bool:
        return self._disk.life == self._life

    async def _pause(self) -> None:
        if self._alive:
            await trio.sleep(self._disk.pause_s())
        else:
            await trio.lowlevel.checkpoint()

    def close(self) -> None:
        """Nothing to release."""


class Witnessed:
    """A store whose writes in flight are known, for judging what a power cut may have left."""

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self.in_flight: dict[int, Sequence[Put | Remove]] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def write(self, operations: Sequence[Put | Remove]) -> Sequence[Row]:
        """As `Store.write`."""
        self.in_flight[id(operations)] = operations
        try:
            return await self._store.write(operations)
        finally:
            del self.in_flight[id(operations)]

    def lasting(self) -> dict[Key, int]:
        """Everything that must outlast a crash, with its revision."""
        return {row.key: row.revision for resource in LASTING for row in self._store.list(resource).rows}

    def touched(self) -> set[Key]:
        """Keys that a write under way may or may not have changed."""
        return {operation.key for operations in self.in_flight.values() for operation in operations}


class World:
    """A server that is started again whenever it dies. `api` is None while it is down."""

    def __init__(self, seed: int, root: Path, *, lease_every_s: float = 10.0, pause_s: float = 12.0) -> None:
        self.lease_every_s, self.pause_s = lease_every_s, pause_s
        self.nursery: trio.Nursery | None = None
        self.chance = random.Random(f"world {seed}")
        self.clock = SeededClock(seed)
        self.disk = Disk(root, random.Random(f"disk {seed}"))
        self.promises = Promises(self.clock)
        self.api: ApiServer | None = None
        self.store: Witnessed | None = None
        self.health = Health()
        self.lines: list[Line] = []
        self.crashes = 0
        self._power = trio.CancelScope()
        self._up = trio.Event()
        self._outage_s = 0.0

    def line(self, *, latency_s: float = 0.02) -> Line:
        """A way to the server, for somebody outside of it."""
        made = Line(self, latency_s)
        self.lines.append(made)
        return made

    def client(self, user: str, *groups: str, latency_s: float = 0.02) -> LocalClient:
        """The API as somebody far away has it; an administrator unless groups are named."""
        return LocalClient(
            self.line(latency_s=latency_s), User(user, groups or MASTERS), manager=user.rpartition(":")[2]
        )

    def keys_in(self, namespace: str) -> list[str]:
        """Everything the store holds in a namespace, and the namespace itself."""
        assert self.store is not None
        found = ["namespace"] if self.store.get(Key("/namespaces", "", namespace)) else []
        for resource in LASTING:
            found += ["/".join(row.key) for row in self.store.list(resource, namespace).rows]
        return found

    def watch_over(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run something beside the story, for as long as it is told."""
        assert self.nursery is not None
        self.nursery.start_soon(task)

    async def wait_up(self) -> None:
        """Until the server answers."""
        await self._up.wait()

    def crash(self, outage_s: float) -> None:
        """Cut the power; it comes back after `outage_s`."""
        if self.store is None:
            return
        self.promises.power_lost(self.store.lasting(), self.store.touched(), self.store.revision)
        self.crashes += 1
        self.disk.lose_power()
        self.api = self.store = None
        self._outage_s = outage_s
        self._up = trio.Event()
        for line in self.lines:
            line.drop()
        self._power.cancel()

    async def serve(self) -> None:
        """Live, die, and live again, until cancelled."""
        while True:
            with trio.CancelScope() as self._power:
                await self._live()
            if not self._power.cancelled_caught:
                raise AssertionError("the server ended by itself")
            await trio.sleep(self._outage_s)

    async def _live(self) -> None:
        async with open_store(self.disk.file, offloader=self.disk.offloader, flush_s=FLUSH_S) as inner:
            store = Witnessed(inner)
            self.promises.power_back(store.lasting(), inner.revision)
            async with trio.open_nursery() as nursery:
                for resource in self.promises.resources:
                    await nursery.start(self.promises.witness, inner, resource)
                async with open_rbac(store) as rbac, open_node_authorizer(store) as nodes:
                    self.store = store
                    await self._run_server(store, Authorization(nodes, rbac))

    async def _run_server(self, store: Witnessed, authorization: Authorization) -> None:
        settings, self.health = Settings(), Health()
        api = ApiServer(
            store,
            authenticator=_Nobody(),
            authorizer=authorization,
            clock=self.clock,
            settings=settings,
            admission=(*admission.built_in(self.clock, settings), NodeRestriction()),
        )
        await api.bootstrap()
        await put_in_place(LocalClient(api.verbs, LOOPBACK, manager="kube-apiserver"))
        self.api = api
        self._up.set()
        await run_controllers(
            self.client("system:kube-controller-manager", latency_s=0.0),
            self.clock,
            Config(ca_certificate="PEM", api_addresses=("10.0.0.1",), node_grace_s=5 * self.lease_every_s),
            health=self.health,
            scheduler_client=self.client("system:kube-scheduler", latency_s=0.0),
        )


class _Nobody:
    """No request comes over HTTP here."""

    async def authenticate(self, request: object) -> User:
        raise AssertionError("nobody speaks HTTP in a simulation")


class Line:
    """`client.local.Verbs` over a network: slow, and gone when it is cut or the server is.

    What was asked before a cut may have happened, though no answer came.
    """

    def __init__(self, world: World, latency_s: float) -> None:
        self._world, self._latency_s = world, latency_s
        self._open: set[trio.CancelScope] = set()
        self._watches: set[_Events] = set()
        self.cut = False

    def drop(self) -> None:
        """End every request and watch on this line now."""
        for scope in list(self._open):
            scope.cancel()
        self.break_watches()

    def break_watches(self) -> None:
        """End the watches on this line."""
        for watch in list(self._watches):
            watch.end()

    async def _travel(self) -> None:
        if self._latency_s:
            await trio.sleep(self._world.chance.random() * self._latency_s)
        if self.cut or self._world.api is None:
            raise ConnectionFailed("no way to the server")

    async def _ask(self, ask: Callable[[Any], Awaitable[T]]) -> T:
        await self._travel()
        api = self._world.api
        assert api is not None
        with trio.CancelScope() as scope:
            self._open.add(scope)
            try:
                answer = await ask(api.verbs)
            finally:
                self._open.discard(scope)
        if scope.cancelled_caught or self._world.api is not api:
            raise ConnectionFailed("the server went away")
        await self._travel()
        return answer

    async def get(self, *parts: Any) -> bytes:
        return await self._ask(lambda verbs: verbs.get(*parts))

    async def list(self, *parts: Any, **more: Any) -> tuple[Sequence[bytes], str]:
        return await self._ask(lambda verbs: verbs.list(*parts, **more))

    @asynccontextmanager
    async def watch(self, *parts: Any, **more: Any) -> AsyncIterator[AsyncIterator[tuple[str, bytes]]]:
        await self._travel()
        api = self._world.api
        assert api is not None
        async with api.verbs.watch(*parts, **more) as events:
            watch = _Events(events)
            self._watches.add(watch)
            try:
                yield watch
            finally:
                self._watches.discard(watch)

    async def create(self, asker: Any, kind: Kind[Any], *parts: Any, **more: Any) -> bytes:
        return self._acknowledged(kind, await self._ask(lambda verbs: verbs.create(asker, kind, *parts, **more)))

    async def update(self, asker: Any, kind: Kind[Any], *parts: Any, **more: Any) -> bytes:
        return self._acknowledged(kind, await self._ask(lambda verbs: verbs.update(asker, kind, *parts, **more)))

    async def patch(self, asker: Any, kind: Kind[Any], *parts: Any, **more: Any) -> bytes:
        return self._acknowledged(kind, await self._ask(lambda verbs: verbs.patch(asker, kind, *parts, **more)))

    async def delete(self, *parts: Any) -> bytes | None:
        return await self._ask(lambda verbs: verbs.delete(*parts))

    async def call(self, *parts: Any) -> dict[str, Any]:
        return await self._ask(lambda verbs: verbs.call(*parts))

    def _acknowledged(self, kind: Kind[Any], value: bytes) -> bytes:
        metadata = kind.from_json(value).metadata
        key = Key(kind.resource, metadata.namespace, metadata.name)
        self._world.promises.acknowledged(key, int(metadata.resource_version))
        return value


class _Events(AsyncIterator[tuple[str, bytes]]):
    """A watch that can be ended from outside, as a connection that breaks."""

    def __init__(self, events: AsyncIterator[tuple[str, bytes]]) -> None:
        self._events = events
        self._ended = False
        self._waiting: trio.CancelScope | None = None

    def end(self) -> None:
        self._ended = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def __anext__(self) -> tuple[str, bytes]:
        if self._ended:
            raise ConnectionFailed("the watch broke")
        with trio.CancelScope() as self._waiting:
            return await self._events.__anext__()
        raise ConnectionFailed("the watch broke")


async def insist(attempt: Callable[[], Awaitable[T]], *, pause_s: float = 1.0) -> T:
    """Try again until the server says yes, or no for a reason of its own."""
    while True:
        try:
            return await attempt()
        except ConnectionFailed:
            pass
        except ApiError as error:
            if error.code < 500 and error.code not in (409, 429):
                raise
        await trio.sleep(pause_s)
