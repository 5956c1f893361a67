"""A whole API in memory for loops to run against, on virtual time."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from edgekube.api.kind import Kind
from edgekube.client.local import LocalClient
from edgekube.clock import SeededClock
from edgekube.control.config import Config
from edgekube.control.manager import Health, run_controllers
from edgekube.errors import ServiceUnavailable, Timeout
from edgekube.kinds.catalog import built_in
from edgekube.server.apiserver import ApiServer
from edgekube.server.context import LOOPBACK, Attributes, User
from edgekube.store.memory import MemoryStore

KINDS: dict[str, Kind[Any]] = {kind.plural: kind for kind in reversed(built_in())}  # core before events.k8s.io


class Everybody:
    """Authenticates all as the server itself and allows all."""

    async def authenticate(self, request: object) -> User:
        return LOOPBACK

    def refuse(self, attributes: Attributes) -> str | None:
        return None


class Cluster:
    """The API server, its controllers, and short ways to speak to it in plain documents."""

    def __init__(self, client: LocalClient, clock: SeededClock, health: Health) -> None:
        self.client, self.clock, self.health = client, clock, health

    async def create(self, plural: str, document: dict[str, Any], namespace: str = "default") -> Any:
        kind = KINDS[plural]
        return await self.client.create(kind, kind.from_dict(document), namespace if kind.namespaced else "")

    async def get(self, plural: str, name: str, namespace: str = "default") -> Any:
        kind = KINDS[plural]
        return await self.client.get(kind, name, namespace if kind.namespaced else "")

    async def list(self, plural: str, namespace: str = "default", **selectors: str) -> list[Any]:
        kind = KINDS[plural]
        return list((await self.client.list(kind, namespace if kind.namespaced else "", **selectors)).items)

    async def patch(
        self, plural: str, name: str, patch: dict[str, Any], namespace: str = "default", **more: Any
    ) -> Any:
        kind = KINDS[plural]
        return await self.client.patch(kind, name, namespace if kind.namespaced else "", patch, **more)

    async def delete(self, plural: str, name: str, namespace: str = "default", **more: Any) -> None:
        kind = KINDS[plural]
        await self.client.delete(kind, name, namespace if kind.namespaced else "", **more)

    async def until(self, true: Callable[[], Any], within_s: float = 120.0) -> Any:
        """Wait, in virtual time, for an async condition to give something true; returns it."""
        seen: Any = None
        with trio.move_on_after(within_s):
            while True:
                seen = await true()
                if seen:
                    return seen
                await trio.sleep(0.2)
        raise AssertionError(f"it did not happen within {within_s} s; troubles: {self.health.summary()}")

    async def run_pod(self, pod: Any, **status: Any) -> Any:
        """Do what a node would: the pod runs and is ready."""
        now = self.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
        address = f"10.42.0.{hash(pod.metadata.uid) % 250 + 2}"
        patch = {
            "status": {
                "phase": "Running",
                "podIP": address,
                "podIPs": [{"ip": address}],
                "conditions": [{"type": "Ready", "status": "True", "lastTransitionTime": now}],
                **status,
            }
        }
        return await self.patch(
            "pods", pod.metadata.name, patch, pod.metadata.namespace,
            content_type="application/strategic-merge-patch+json", subresource="status",
        )  # fmt: skip


class Flaky:
    """A client whose every third write fails, half of those after it was done: what a loop must survive."""

    def __init__(self, client: LocalClient, seed: int) -> None:
        self._client, self._chance = client, random.Random(seed)

    def __getattr__(self, name: str) -> Any:
        verb = getattr(self._client, name)
        if name in ("get", "list", "watch"):
            return verb

        async def unreliable(*arguments: Any, **more: Any) -> Any:
            asks = name == "call" and arguments[0] == "GET"
            drawn = 1.0 if asks else self._chance.random()
            if drawn < 1 / 6:
                raise ServiceUnavailable("the server is away")
            made = await verb(*arguments, **more)
            if drawn < 1 / 3:
                raise Timeout("the answer did not come in time")
            return made

        return unreliable


@asynccontextmanager
async def running(config: Config | None = None, flaky_seed: int | None = None) -> AsyncIterator[Cluster]:
    assert isinstance(trio.lowlevel.current_clock(), MockClock), "a test must name autojump_clock itself to run on it"
    clock, health = SeededClock(7), Health()
    server = ApiServer(MemoryStore(), authenticator=Everybody(), authorizer=Everybody(), clock=clock)
    await server.bootstrap()
    client = LocalClient(server.verbs, LOOPBACK, manager="kube-controller-manager")
    cluster = Cluster(client, clock, health)
    namespaces = {item.metadata.name for item in await cluster.list("namespaces")}
    for name in {"default", "kube-system"} - namespaces:
        await cluster.create("namespaces", {"metadata": {"name": name}})
    async with trio.open_nursery() as nursery:
        chosen = config or Config(ca_certificate="PEM", scheduler=False)

        async def controllers(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
            loops_client: Any = client if flaky_seed is None else Flaky(client, flaky_seed)
            await run_controllers(loops_client, clock, chosen, health=health, task_status=task_status)

        await nursery.start(controllers)
        await cluster.until(partial(cluster.list, "serviceaccounts"))
        yield cluster
        assert health.summary() is None
        nursery.cancel_scope.cancel()


@pytest.fixture
async def cluster(autojump_clock: MockClock) -> AsyncIterator[Cluster]:
    """A cluster with all controllers and no scheduler."""
    async with running() as made:
        yield made


@pytest.fixture
async def scheduled(autojump_clock: MockClock) -> AsyncIterator[Cluster]:
    """A cluster with the scheduler too."""
    async with running(Config(ca_certificate="PEM")) as made:
        yield made


@pytest.fixture(params=range(5))
async def unreliable(autojump_clock: MockClock, request: pytest.FixtureRequest) -> AsyncIterator[Cluster]:
    """A cluster with everything, whose loops cannot rely on their writes."""
    async with running(Config(ca_certificate="PEM"), flaky_seed=request.param) as made:
        yield made
