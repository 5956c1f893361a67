"""Who may open a tunnel, what it is good for while it stands, and what becomes of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from edgekube import errors
from edgekube.clock import SeededClock
from edgekube.kinds.coordination import lease as lease_kind
from edgekube.kinds.core import node as node_kind
from edgekube.net.exchange import Handler
from edgekube.net.listener import serving
from edgekube.net.nodegate import NodeGate
from edgekube.net.tunnel import ServerEnd, TunnelState, connect, keep_tunnel
from edgekube.server.context import LOOPBACK, Context, User
from edgekube.server.tunnels import Leases, Tunnels
from edgekube.wire.tunnel import PATH
from tests.server_harness import Api, Doorman
from tests.streaming_fakes import FakeGate

NODE = User("system:node:n1", ("system:nodes", "system:authenticated"))


async def until(condition: Any) -> None:
    with trio.fail_after(60):
        while not condition():  # noqa: ASYNC110 - what is waited for happens behind a socket
            await trio.sleep(0.01)


class Site:
    """A server that takes tunnels, and agents' ends."""

    def __init__(self, doorman: Doorman, handler: Handler) -> None:
        self.doorman = doorman
        self.gates: dict[str, NodeGate] = {}
        self.renewed: list[str] = []
        self.tunnels = Tunnels(self.gates, self.renew, handler, own="gateway", connected=trio.lowlevel.checkpoint)
        self.port = 0
        self.nursery: trio.Nursery

    async def renew(self, node: str) -> None:
        self.renewed.append(node)

    async def join(self) -> TunnelState:
        fake, state = FakeGate(), TunnelState(1)
        fake.nursery = self.nursery
        await self.nursery.start(keep_tunnel, fake, lambda: ServerEnd("127.0.0.1", self.port), SeededClock(), state)
        return state


@asynccontextmanager
async def site(user: User = NODE) -> AsyncIterator[Site]:
    api = Api()
    api.doorman.user = user
    made = Site(api.doorman, api.server.handle)
    api.server.routes.taken_over[PATH] = made.tunnels.handle
    async with (
        trio.open_nursery() as made.nursery,
        serving(api.server.handle, hosts=("127.0.0.1",), port=0, drain_s=0) as made.port,
    ):
        yield made
        made.nursery.cancel_scope.cancel()


async def test_a_connected_node_is_reached_and_its_lease_renewed() -> None:
    async with site() as here:
        state = await here.join()
        await until(lambda: "n1" in here.gates and here.renewed[:1] == ["n1"])
        assert await here.gates["n1"].fetch("/healthz") == (200, "text/plain", b"page /healthz")
        assert state.connected
        assert len(here.tunnels) == 1
        here.doorman.user = User("somebody")  # so that it does not come back
        here.tunnels.close("n1")
        await until(lambda: not here.gates and not len(here.tunnels))
        await until(lambda: not state.connected)


async def test_a_newer_connection_takes_the_place_of_the_older() -> None:
    async with site() as here:
        first = await connect(ServerEnd("127.0.0.1", here.port))
        await until(lambda: "n1" in here.gates)
        older = here.gates["n1"]
        second = await connect(ServerEnd("127.0.0.1", here.port))
        await until(lambda: here.gates.get("n1") not in (None, older))
        newer = here.gates["n1"]
        with trio.fail_after(60):
            while await first.receive_some():  # the server hangs up
                pass
        assert here.gates == {"n1": newer}
        assert len(here.tunnels) == 1
        await trio.aclose_forcefully(first)
        await trio.aclose_forcefully(second)
        await until(lambda: not here.gates)


@pytest.mark.parametrize(
    "user", [User("system:node:n1"), User("admin", ("system:masters",)), User("x", ("system:nodes",))]
)
async def test_only_nodes_open_tunnels(user: User) -> None:
    async with site(user) as here:
        with pytest.raises(errors.Forbidden, match="only nodes open tunnels"):
            await connect(ServerEnd("127.0.0.1", here.port))
        assert here.gates == {}


async def test_an_agent_cannot_be_the_servers_own_node() -> None:
    async with site(User("system:node:gateway", ("system:nodes",))) as here:
        with pytest.raises(errors.Conflict, match="node gateway is the server itself"):
            await connect(ServerEnd("127.0.0.1", here.port))


async def test_a_heartbeat_makes_or_moves_the_lease_of_a_registered_node() -> None:
    api, clock = Api(), SeededClock()
    await api.server.bootstrap()
    registry = api.server.registry
    leases = Leases(registry, clock)
    await leases.renew("n1")
    assert registry.cluster.find(lease_kind.KIND, "kube-node-lease", "n1") is None
    made = await registry.create(node_kind.KIND, "", {"metadata": {"name": "n1"}}, Context(user=LOOPBACK))
    await leases.renew("n1")
    lease = registry.cluster.find(lease_kind.KIND, "kube-node-lease", "n1")
    assert lease is not None
    assert [owner.uid for owner in lease.metadata.owner_references] == [made.item.metadata.uid]
    assert (lease.spec.holder_identity, lease.spec.lease_duration_seconds) == ("n1", 40)
    clock.jump(10)
    await leases.renew("n1")
    later = registry.cluster.find(lease_kind.KIND, "kube-node-lease", "n1")
    assert later is not None
    assert later.spec.renew_time > lease.spec.renew_time
    assert later.metadata.uid == lease.metadata.uid
