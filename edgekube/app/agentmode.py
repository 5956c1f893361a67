"""An agent, put together: identity, a client with a replica around it, this machine's node and network, the tunnel, renewal.

`edgekube agent` runs it until a signal. It needs its server only to learn what is new: everything else goes on without.
"""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import trio

from edgekube.api.meta import parse_time
from edgekube.app.agent import node_and_network
from edgekube.app.config import own_address
from edgekube.app.identity import SERVER_NAME, AgentConfig, Identity, host_and_port, identity_of
from edgekube.app.joining import AGENT_PAGE
from edgekube.app.notify import notify, watchdog
from edgekube.app.renewal import Renewal
from edgekube.app.signals import first_reason, wait_for_stop
from edgekube.client.interface import Client
from edgekube.client.remote import open_remote
from edgekube.client.replica import Replica, open_replica
from edgekube.clock import TrustedClock
from edgekube.errors import ConnectionFailed, EnvironmentError_, Forbidden, Unauthorized
from edgekube.net.nodegate import NodeGate
from edgekube.net.tls import ClientTls
from edgekube.net.tunnel import LateGate, ServerEnd, TunnelState, keep_tunnel

LOG = logging.getLogger("edgekube.agent")
FIRST_TUNNEL_S = 5.0  # a server that is not there must not keep pods from starting
UNAUTHORIZED = str(Unauthorized())
REMOVED_STATUS = 78  # EX_CONFIG: the unit file does not restart after it


@dataclass(slots=True)
class RunningAgent:
    """What the parts of an agent share; has what `app.agent.node_and_network` asks of a server."""

    config: AgentConfig
    identity: Identity
    clock: TrustedClock
    tls: ClientTls
    address: str
    replica: Client
    gates: dict[str, NodeGate] = field(default_factory=dict)
    tunnel: TunnelState = field(default_factory=TunnelState)
    report_s: float = 3600.0  # the Lease shows that we live; the rest is said when it changes

    def lease_kept(self) -> bool:
        """While the tunnel stands its heartbeats renew the Lease."""
        return self.tunnel.keeps_lease()

    def moved(self) -> None:
        """The tunnel's connection is from an address we no longer have."""
        self.tunnel.renew()

    def client(self, user: str, manager: str) -> Client:
        """The API as this node: over the wire, or out of the replica."""
        return self.replica


def run_agent(data_dir: Path, *, node_ip: str = "", resolv_conf: str = "") -> int:
    """Run the agent of a data directory until a signal; the exit status. Raises EdgekubeError when it cannot start."""
    identity = identity_of(data_dir)
    config = identity.read_config()
    if node_ip:
        config = replace(config, node_ip=node_ip)
    if resolv_conf:
        config = replace(config, resolv_conf=Path(resolv_conf))
    if os.geteuid() != 0:
        raise EnvironmentError_("running containers needs root")
    os.environ["PATH"] = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"
    with identity.locked():
        try:
            return trio.run(_main, config, identity, strict_exception_groups=True)
        except BaseExceptionGroup as group:
            raise first_reason(group) from group


async def _main(config: AgentConfig, identity: Identity) -> int:
    """The exit status. A machine that is no node any more stops its pods: they may run elsewhere by now."""
    stop, started, removed = trio.Event(), trio.Event(), trio.Event()
    async with trio.open_nursery() as nursery:
        await nursery.start(wait_for_stop, nursery.cancel_scope, stop, started)
        nursery.start_soon(watchdog)
        with trio.CancelScope() as living:
            nursery.start_soon(_end_when_removed, removed, living)
            async with AsyncExitStack() as stack:
                await _start(config, identity, stack, removed)
                started.set()
                notify("READY=1")
                LOG.info("ready")
                await stop.wait()
                notify("STOPPING=1")
                LOG.info("stopping; containers keep running")
        if removed.is_set():
            from edgekube.app.leaving import take_pods_down

            LOG.error(
                "this machine is not a node of its cluster any more: its pods are stopped; `edgekube leave` clears the rest"
            )
            await take_pods_down(config)
        nursery.cancel_scope.cancel()
    return REMOVED_STATUS if removed.is_set() else 0


async def _end_when_removed(removed: trio.Event, living: trio.CancelScope) -> None:
    await removed.wait()
    living.cancel()


async def _start(config: AgentConfig, identity: Identity, stack: AsyncExitStack, removed: trio.Event) -> None:
    clock = TrustedClock(identity.directory / "time")
    authority = identity.authority.read_bytes()
    tls = ClientTls(authority, clock.certain)
    renewal = Renewal(config, identity, clock, tls, removed)
    renewal.show()
    tunnel, gates = TunnelState(config.heartbeat_s), dict[str, NodeGate]()
    access = identity.access(config.server)
    remote = await stack.enter_async_context(
        open_remote(access, manager="edgekube-node", tls=tls.context, refused=renewal.refused, link=tunnel.api)
    )
    host, port = host_and_port(config.server)
    end, gate = ServerEnd(host, port, tls.context, SERVER_NAME), LateGate(gates, config.node_name)
    tunnelling = await stack.enter_async_context(trio.open_nursery())
    stack.callback(tunnelling.cancel_scope.cancel)
    greeting = Greeting(config, renewal, clock)
    tunnelling.start_soon(keep_tunnel, gate, partial(greeting.way, end), clock, tunnel)
    tunnelling.start_soon(_renew_tunnel, renewal, tunnel)
    tunnelling.start_soon(renewal.keep_welcome)
    tunnelling.start_soon(_notice_refusals, tunnel, renewal)
    with trio.move_on_after(FIRST_TUNNEL_S):
        await tunnel.api.came_up.wait()  # what the node follows had better begin there
    replica = await stack.enter_async_context(
        open_replica(
            config.data_dir / "agent" / "replica.db",
            remote,
            clock,
            node_name=config.node_name,
            cluster=hashlib.sha256(authority).hexdigest(),
            probe=greeting,
        )
    )
    address = config.node_ip or own_address()
    running = RunningAgent(config, identity, clock, tls, address, replica, gates, tunnel)
    nursery = await stack.enter_async_context(trio.open_nursery())
    stack.callback(nursery.cancel_scope.cancel)
    nursery.start_soon(clock.keep)
    nursery.start_soon(renewal.keep, remote, replica)
    nursery.start_soon(_watch_tunnel, tunnel, replica)
    nursery.start_soon(_hurry_tunnel, tunnel, replica)
    await stack.enter_async_context(node_and_network(running))


async def _renew_tunnel(renewal: Renewal, tunnel: TunnelState) -> None:
    """Open the tunnel again with each new certificate, because the server judges what comes out of it by the one it was opened with."""
    while True:
        await renewal.wait_renewed()
        tunnel.renew() if tunnel.connected else tunnel.hurry()


async def _notice_refusals(tunnel: TunnelState, renewal: Renewal) -> None:
    """A tunnel that is refused for its certificate is a reason to get another one."""
    while True:
        await tunnel.wait_turn()
        if tunnel.trouble == UNAUTHORIZED:
            renewal.refused()


async def _watch_tunnel(tunnel: TunnelState, replica: Replica) -> None:
    """A tunnel that broke or came back is the first to know about the line."""
    while True:
        await tunnel.wait_turn()
        replica.look()


async def _hurry_tunnel(tunnel: TunnelState, replica: Replica) -> None:
    """A server that answers again will take a tunnel too."""
    while True:
        await replica.wait_offline()
        await replica.wait_online()
        if not tunnel.connected:
            tunnel.hurry()


class Greeting:
    """What a replica's link asks to learn whether the server is there: its time, the cluster's settings, and whether we may talk at all.

    A server too far apart in version is as good as none: it is said once, and this machine goes on by itself.
    """

    def __init__(self, config: AgentConfig, renewal: Renewal, clock: TrustedClock) -> None:
        self._config, self._renewal, self._clock = config, renewal, clock
        self.refusal = ""  # the server's words, while it does not want us

    async def __call__(self, remote: Client) -> None:
        """Greet. Raises ConnectionFailed when the server cannot, or does not want to, be talked to."""
        try:
            page = await self._ask(remote)
        except Forbidden as error:
            if self.refusal != error.message:
                LOG.error("%s", error.message)
            self.refusal = error.message
            raise ConnectionFailed(error.message) from error
        self.refusal = ""
        self._clock.learn(parse_time(page["now"]), parse_time(page["certain"]))
        if page["settings"] != self._config.cluster:
            self._config = replace(self._config, cluster=dict(page["settings"]))
            self._renewal.identity.write_config(self._config)
            LOG.warning("the cluster's settings changed; they count from the next start of this agent")

    async def _ask(self, remote: Client) -> dict[str, Any]:
        try:
            return await remote.call("GET", AGENT_PAGE)
        except Unauthorized as error:
            if not await self._renewal.come_back():
                raise ConnectionFailed("the server does not know this machine") from error
            return await remote.call("GET", AGENT_PAGE)

    def way(self, end: ServerEnd) -> ServerEnd:
        """Where the tunnel may lead. Raises ConnectionFailed while the server does not want us."""
        if self.refusal:
            raise ConnectionFailed(self.refusal)
        return end
