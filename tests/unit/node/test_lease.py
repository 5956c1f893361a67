"""The node's Lease is renewed by the node itself only while nobody else does."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from edgekube.client.fake import FakeVerbs
from edgekube.kinds.coordination import lease as lease_kind
from edgekube.kinds.core.node import NodeStatus
from edgekube.node import machine
from edgekube.node.config import NodeConfig
from edgekube.node.registration import LEASE_NAMESPACE, RENEW_S, Registration


async def same(status: NodeStatus) -> NodeStatus:
    return status


async def test_a_lease_that_the_server_renews_is_left_to_it(autojump_clock: trio.testing.MockClock) -> None:
    kept = True
    verbs = FakeVerbs()
    client = verbs.client()
    config = NodeConfig(node_name="n1", node_ip="10.0.0.1", data_dir=Path("/nowhere"), lease_kept=lambda: kept)
    seen = machine.Machine(1, 1, 1, 1, "", "", "", "", "", "amd64", "n1", 0)
    registration = Registration(client, verbs.clock, config, seen, same, lambda *_: None)

    async def now() -> lease_kind.Lease:
        return await client.get(lease_kind.KIND, "n1", LEASE_NAMESPACE)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(registration.keep_lease)
        await trio.sleep(RENEW_S / 2)
        first = await now()  # made by the node all the same: only it knows when it is registered
        await client.update(lease_kind.KIND, first)  # the server writes: the node's copy is old now
        await trio.sleep(3 * RENEW_S)
        assert (await now()).spec.renew_time == first.spec.renew_time
        kept = False
        await trio.sleep(RENEW_S)
        renewed = (await now()).spec.renew_time
        assert renewed is not None
        assert first.spec.renew_time is not None
        assert renewed > first.spec.renew_time
        nursery.cancel_scope.cancel()
