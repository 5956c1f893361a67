"""GET /edgekube/v1/tunnel: an agent's own connection, over which the server reaches its node (`net.tunnel`).

Only a node may open one, for itself. While it stands, the node is among `gates`, and each heartbeat renews the node's Lease here, so
that an idle agent sends a few bytes and no request. A newer connection of a node takes the place of the older: the machine may have
come back by another way before its old connection was missed.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from edgekube import errors
from edgekube.api.meta import ObjectMeta, OwnerReference, format_micro_time
from edgekube.clock import Clock
from edgekube.kinds.coordination import lease as lease_kind
from edgekube.kinds.coordination.lease import Lease, LeaseSpec
from edgekube.kinds.core import node as node_kind
from edgekube.net.exchange import Exchange, Handler
from edgekube.net.nodegate import NodeGate
from edgekube.net.tasks import beside, until
from edgekube.net.tunnel import accept_tunnel
from edgekube.server.context import Context, User
from edgekube.server.registry import Registry
from edgekube.server.stored import Stored
from edgekube.server.writing import Target

NODES, NODE_PREFIX = "system:nodes", "system:node:"
LEASE_NAMESPACE, LEASE_S = "kube-node-lease", 40

log = logging.getLogger("edgekube.tunnel")

Renew = Callable[[str], Awaitable[None]]


def node_of(user: User) -> str:
    """The node a user is, "" for anybody else."""
    return user.name.removeprefix(NODE_PREFIX) if user.name.startswith(NODE_PREFIX) and NODES in user.groups else ""


class Tunnels:
    """The tunnels that stand. `gates` is shared with whoever reaches into nodes."""

    def __init__(
        self,
        gates: dict[str, NodeGate],
        renew: Renew,
        handler: Handler,
        *,
        own: str = "",
        connected: Callable[[], Awaitable[None]],
    ) -> None:
        """`handler` answers what agents ask inside their tunnels. `own` is the server's own node, which needs no tunnel and shares
        its name with nobody. `connected` is called at each new tunnel."""
        self._gates, self._renew, self._handler = gates, renew, handler
        self._own, self._connected = own, connected
        self._scopes: dict[str, trio.CancelScope] = {}

    def __len__(self) -> int:
        return len(self._scopes)

    def close(self, node: str) -> None:
        """End a node's tunnel, if it has one."""
        if node in self._scopes:
            self._scopes[node].cancel()

    async def handle(self, exchange: Exchange, user: User) -> None:
        """Serve one agent's connection to its end. Raises Forbidden, Conflict."""
        node = node_of(user)
        if not node:
            raise errors.Forbidden(f'User "{user.name}" is not a node: only nodes open tunnels', details=False)
        if node == self._own:
            raise errors.Conflict(f"node {node} is the server itself", details=False)
        beats = _Beats(node, self._renew)
        async with accept_tunnel(exchange, node, pinged=beats.count) as (gate, gone):
            self.close(node)
            with trio.CancelScope() as scope:
                self._scopes[node], self._gates[node] = scope, gate
                log.info("node %s is connected", node)
                try:
                    await self._connected()
                    async with beside(beats.run) as nursery, until(gone):
                        nursery.start_soon(gate.carry_api, self._handler, exchange.request)
                        await trio.sleep_forever()
                finally:
                    if self._scopes.get(node) is scope:
                        del self._scopes[node], self._gates[node]
                        log.info("node %s is no longer connected", node)


class _Beats:
    """Renews a node's Lease after heartbeats; those that come while one is at it count as one."""

    def __init__(self, node: str, renew: Renew) -> None:
        self._node, self._renew = node, renew
        self._due = trio.Event()

    def count(self) -> None:
        self._due.set()

    async def run(self) -> None:
        while True:
            await self._due.wait()
            self._due = trio.Event()
            try:
                await self._renew(self._node)
            except (errors.ApiError, errors.StoreError) as error:
                log.warning("the lease of node %s is not renewed: %s", self._node, error)


class Leases:
    """Renews Leases of nodes in the store. A node that is not registered has none."""

    def __init__(self, registry: Registry, clock: Clock) -> None:
        self._registry, self._clock = registry, clock

    async def renew(self, node: str) -> None:
        """Move a node's renewTime to now."""
        now = format_micro_time(self._clock.now())
        target = Target(kind=lease_kind.KIND, namespace=LEASE_NAMESPACE, name=node)
        context = Context(user=User(NODE_PREFIX + node, (NODES, "system:authenticated")), field_manager="edgekube-node")

        async def transform(live: Stored[Any] | None) -> dict[str, Any]:
            assert live is not None
            document = lease_kind.KIND.to_dict(live.item)
            told = {"holderIdentity": node, "leaseDurationSeconds": LEASE_S, "renewTime": now}
            return document | {"spec": (document.get("spec") or {}) | told}

        try:
            await self._registry.writer.update(target, transform, context, may_create=False)
        except errors.NotFound:
            found = self._registry.cluster.find(node_kind.KIND, "", node)
            if found is None:
                return
            owner = OwnerReference(api_version="v1", kind="Node", name=node, uid=found.metadata.uid)
            fresh = Lease(
                metadata=ObjectMeta(name=node, namespace=LEASE_NAMESPACE, owner_references=[owner]),
                spec=LeaseSpec(holder_identity=node, lease_duration_seconds=LEASE_S, renew_time=now),
            )
            document = lease_kind.KIND.to_dict(fresh)
            await self._registry.create(lease_kind.KIND, LEASE_NAMESPACE, document, context)
