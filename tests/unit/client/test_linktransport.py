"""A client with a tunnel asks through it, and over HTTPS of its own while it does not stand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from edgekube import errors
from edgekube.api.meta import ObjectMeta
from edgekube.client.kubeconfig import Access
from edgekube.client.remote import RemoteClient, open_remote
from edgekube.clock import SeededClock
from edgekube.kinds.core import configmap
from edgekube.kinds.core.configmap import ConfigMap
from edgekube.net.exchange import Exchange
from edgekube.net.listener import serving
from edgekube.net.tunnel import ServerEnd, TunnelState, keep_tunnel
from edgekube.server.context import User
from edgekube.server.tunnels import Tunnels
from edgekube.wire.tunnel import PATH
from tests.server_harness import Api
from tests.streaming_fakes import FakeGate

NODE = User("system:node:n1", ("system:nodes", "system:authenticated"))
SPACE = "default"


class Site:
    """A server that counts the requests that come over connections of their own, and one agent."""

    def __init__(self) -> None:
        self.api = Api()
        self.api.doorman.user = NODE
        self.state, self.gates = TunnelState(1), dict[str, Any]()
        self.tunnels = Tunnels(self.gates, self.renew, self.api.server.handle, connected=trio.lowlevel.checkpoint)
        self.api.server.routes.taken_over[PATH] = self.tunnels.handle
        self.port = 0
        self.over_https: list[str] = []
        self.client: RemoteClient
        self.nursery: trio.Nursery

    async def renew(self, node: str) -> None:
        await trio.lowlevel.checkpoint()

    async def handle(self, exchange: Exchange) -> None:
        if exchange.request.path != PATH:
            self.over_https.append(exchange.request.path)
        await self.api.server.handle(exchange)

    async def connect(self) -> None:
        fake = FakeGate()
        fake.nursery = self.nursery
        end = ServerEnd("127.0.0.1", self.port)
        await self.nursery.start(keep_tunnel, fake, lambda: end, SeededClock(), self.state)
        with trio.fail_after(60):
            await self.state.api.came_up.wait()


@asynccontextmanager
async def site() -> AsyncIterator[Site]:
    made = Site()
    await made.api.server.bootstrap()
    async with (
        trio.open_nursery() as made.nursery,
        serving(made.handle, hosts=("127.0.0.1",), port=0, drain_s=0) as made.port,
        open_remote(Access(server=f"http://127.0.0.1:{made.port}"), link=made.state.api) as made.client,
    ):
        yield made
        made.nursery.cancel_scope.cancel()


def config_map(name: str, text: str = "x") -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace=SPACE), data={"text": text})


async def test_every_verb_goes_through_the_tunnel() -> None:
    async with site() as here:
        await here.connect()
        client, kind = here.client, configmap.KIND
        made = await client.create(kind, config_map("a", "long " * 10_000))
        assert (await client.get(kind, "a", SPACE)).data == made.data
        changed = await client.patch(kind, "a", SPACE, {"data": {"text": "short"}})
        assert changed.data == {"text": "short"}
        assert (await client.update(kind, changed)).metadata.resource_version == changed.metadata.resource_version
        assert [item.metadata.name for item in (await client.list(kind, SPACE)).items] == ["a"]
        with pytest.raises(errors.NotFound, match='configmaps "b" not found'):
            await client.get(kind, "b", SPACE)
        with pytest.raises(errors.AlreadyExists):
            await client.create(kind, config_map("a"))
        assert (await client.call("GET", "/version"))["major"] == "1"
        await client.delete(kind, "a", SPACE)
        assert (await client.list(kind, SPACE)).items == []
        assert here.over_https == []


async def test_a_watch_goes_through_the_tunnel_and_ends_when_it_is_left() -> None:
    async with site() as here:
        await here.connect()
        revision = (await here.client.list(configmap.KIND, SPACE)).revision
        async with here.client.watch(configmap.KIND, SPACE, after=revision) as events:
            for name, text in (("a", "x"), ("b", "long " * 10_000)):
                await here.client.create(configmap.KIND, config_map(name, text))
                assert (await anext(events)).object.data == {"text": text}
            assert here.api.server.registry.watcher.open_watches == 1
        with trio.fail_after(60):
            while here.api.server.registry.watcher.open_watches:
                await trio.lowlevel.checkpoint()
        assert here.over_https == []


async def test_a_lost_tunnel_ends_its_watches_and_requests_go_on_over_https() -> None:
    async with site() as here:
        await here.connect()
        revision = (await here.client.list(configmap.KIND, SPACE)).revision
        async with here.client.watch(configmap.KIND, SPACE, after=revision) as events:
            here.api.doorman.user = User("admin", ("system:masters",))  # so that the tunnel does not come back
            here.tunnels.close("n1")
            with pytest.raises(errors.ConnectionFailed):
                await anext(events)
        assert (await here.client.list(configmap.KIND, SPACE)).items == []
        assert here.over_https == [f"/api/v1/namespaces/{SPACE}/configmaps"]


async def test_a_watch_begun_over_https_moves_into_the_tunnel() -> None:
    async with site() as here:
        revision = (await here.client.list(configmap.KIND, SPACE)).revision
        async with here.client.watch(configmap.KIND, SPACE, after=revision) as events:
            await here.client.create(configmap.KIND, config_map("a"))
            assert (await anext(events)).object.metadata.name == "a"
            await here.connect()
            with pytest.raises(errors.ConnectionFailed, match="moves into the tunnel"):
                await anext(events)
        before = len(here.over_https)
        async with here.client.watch(configmap.KIND, SPACE, after=revision) as events:
            assert (await anext(events)).object.metadata.name == "a"
        assert len(here.over_https) == before


async def test_what_cannot_be_done_in_a_tunnel_is_refused() -> None:
    async with site() as here:
        await here.connect()
        with pytest.raises(errors.ApiError):
            await here.client.call("POST", f"/api/v1/namespaces/{SPACE}/pods/none/exec?command=x&stdout=1")
        stream = await here.state.api.open(
            [(":method", "POST"), (":scheme", "https"), (":authority", "x"), (":path", "/%")]
        )
        with pytest.raises(trio.BrokenResourceError):
            await stream.answer()
        headers = [(":method", "POST"), (":scheme", "https"), (":authority", "x"), (":path", "/api/v1/namespaces")]
        broken = await here.state.api.open(
            [*headers, ("content-encoding", "gzip"), ("content-type", "application/json")]
        )
        await broken.send_all(b"no gzip")
        await broken.send_eof()
        assert (await broken.answer())[":status"] == "400"
        broken.give_up()
