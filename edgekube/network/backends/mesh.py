"""The loop that keeps the paths to other nodes' pods: Node objects and the kernel in, `ip`, `bridge` and `wg` commands out.

Level, not edge: each pass looks at what is in the kernel and sends the difference, so a link that somebody deleted, an address that
changed and a node that came back are one case. A pass that fails is retried with growing pauses; pods of this node do not notice.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from ipaddress import IPv4Network
from typing import Protocol

import trio

from edgekube.client.follow import Cache, follow
from edgekube.client.interface import Client
from edgekube.errors import ApiError, ConnectionFailed, EnvironmentError_
from edgekube.kinds.core.node import KIND as NODES
from edgekube.kinds.core.node import Node
from edgekube.net.rtnetlink import hear_changes
from edgekube.network import host as real_host
from edgekube.network.backends import plan, wireguard
from edgekube.network.backends.peers import (
    BACKEND_DATA,
    BACKEND_TYPE,
    PUBLIC_IP,
    Peer,
    own_annotations,
    peers,
    vtep_mac,
)
from edgekube.network.config import NetworkConfig

LOG = logging.getLogger("edgekube.network")
COLLECT_S = 0.1
RETRY_LEAST_S = 0.5
RETRY_MOST_S = 30.0
REFRESH_S = 300.0
ZONE = "topology.kubernetes.io/zone"
TAKEN = "another VXLAN link of this machine has the number {id} on UDP port {port}; give one of them another port"


class Host(Protocol):
    """What of `network.host` is used here; nothing else touches the machine."""

    async def run(self, arguments: Sequence[str], text: str = "", *, check: bool = True) -> tuple[int, str]: ...

    async def ip(self, *lines: str, force: bool = False) -> None: ...

    async def bridge(self, *lines: str, force: bool = False) -> None: ...

    def set_sysctl(self, name: str, value: str) -> bool: ...

    def installed(self, program: str) -> bool: ...


class Mesh:
    """This node's side of the network between nodes."""

    def __init__(self, client: Client, config: NetworkConfig, pod_cidr: IPv4Network, host: Host = real_host) -> None:
        self._client, self._config, self.pod_cidr, self._host = client, config, pod_cidr, host
        self._nodes: Cache[Node] = Cache()
        self._dirty, self._news = trio.Event(), trio.Event()
        self.mtu = config.mtu
        self._key = ""
        self._configured = ""  # what wg was told last
        self._said: set[str] = set()
        self.peers: tuple[Peer, ...] = ()
        self.trouble = ""
        self.passes = 0
        self.zone = ""  # the node's
        self.on_pod_cidr: Callable[[IPv4Network], None] = lambda _: None
        self.on_zone: Callable[[], None] = lambda: None

    def touch(self) -> None:
        """Something changed: look again soon."""
        self._dirty.set()
        self._news.set()

    # --- links ---

    async def prepare(self) -> int:
        """Make this node's end; the MTU pods may use (0: the kernel's default). Raises EnvironmentError_ where the machine lacks what
        the chosen backend needs; what may pass by itself is left to the loop."""
        config = self._config
        if config.backend == "wireguard":
            self._key = wireguard.private_key(config.wireguard_key)
            if not await self._make_wireguard():
                raise EnvironmentError_(wireguard.MISSING)
            if not self._host.installed("wg"):
                raise EnvironmentError_(wireguard.NO_PROGRAM)
        elif config.backend != "vxlan":
            await self._host.ip(f"link del dev {config.overlay}", force=True)  # of an earlier configuration
        self.mtu = plan.pod_mtu(config, await self._uplink())
        return self.mtu

    async def link_up(self) -> None:
        """The overlay link as it should be, made anew where it is missing or another. Looks before it touches: each touch is news."""
        config = self._config
        if config.backend == "vxlan":
            if not await self._vxlan_is_right():
                await self._host.ip(f"link del dev {config.overlay}", force=True)
                await self._make_vxlan()
        elif config.backend == "wireguard":
            if not await self._make_wireguard():
                raise EnvironmentError_(wireguard.MISSING)
        else:
            return
        own = f"{self.pod_cidr.network_address}/32"
        _, links = await self._host.run(["ip", "-json", "-4", "addr", "show", "dev", config.overlay], check=False)
        if plan.is_up(links, own, self.mtu):
            return
        await self._host.ip(
            f"addr replace {own} dev {config.overlay}",
            f"link set dev {config.overlay} {f'mtu {self.mtu} ' if self.mtu else ''}up",
        )
        if others := plan.other_addresses(links, own):
            await self._host.ip(*(f"addr del {other} dev {config.overlay}" for other in others), force=True)
        self._host.set_sysctl(f"net/ipv4/conf/{config.overlay}/forwarding", "1")
        # A node may answer from its own address what came in for a pod's: the way back need not be the way there.
        self._host.set_sysctl(f"net/ipv4/conf/{config.overlay}/rp_filter", "2")

    async def _vxlan_is_right(self) -> bool:
        config = self._config
        status, text = await self._host.run(["ip", "-json", "-d", "link", "show", "dev", config.overlay], check=False)
        found = json.loads(text or "[]") if status == 0 else []
        return any(plan.is_vxlan(entry, config, vtep_mac(config.node_name)) for entry in found)

    async def _make_vxlan(self) -> None:
        config = self._config
        try:
            # No fixed local address: the outer packet takes the route's, which follows an address change by itself.
            await self._host.ip(
                f"link add {config.overlay} address {vtep_mac(config.node_name)} type vxlan id {config.vxlan_id} "
                f"dstport {config.vxlan_port} nolearning",
                f"link set dev {config.overlay} addrgenmode none",
            )
        except EnvironmentError_ as error:
            if "exists" in str(error):
                raise EnvironmentError_(TAKEN.format(id=config.vxlan_id, port=config.vxlan_port)) from error
            raise

    async def _make_wireguard(self) -> bool:
        """False where the kernel cannot."""
        link = self._config.overlay
        status, text = await self._host.run(["ip", "-json", "-d", "link", "show", "dev", link], check=False)
        found = json.loads(text or "[]") if status == 0 else []
        if any(entry.get("linkinfo", {}).get("info_kind") == "wireguard" for entry in found):
            return True
        await self._host.ip(f"link del dev {link}", force=True)
        self._configured = ""
        status, _ = await self._host.run(["ip", "link", "add", link, "type", "wireguard"], check=False)
        return status == 0

    async def _uplink(self) -> plan.Uplink | None:
        _, links = await self._host.run(["ip", "-json", "-4", "addr", "show"], check=False)
        _, routes = await self._host.run(["ip", "-json", "-4", "route", "show", "default"], check=False)
        ways = json.loads(routes or "[]")
        return plan.uplink_of(self._config.address, links, str(ways[0].get("dev", "")) if ways else "")

    # --- the loop ---

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the paths until cancelled; started once the first pass is through, well or not."""
        if self._config.on_address is not None:
            self._config.on_address(self.touch)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(hear_changes, self.touch)
            await nursery.start(lambda task_status: follow(
                self._client, NODES, self._nodes, on_change=self._changed, task_status=task_status
            ))  # fmt: skip
            nursery.start_soon(self._publish)
            await self._keep(task_status)

    def _changed(self, before: Node | None, after: Node | None) -> None:
        if before is None or after is None or facts(before) != facts(after):
            self.touch()
        if after is not None and after.metadata.name == self._config.node_name:
            zone = after.metadata.labels.get(ZONE, "")
            if zone != self.zone:
                self.zone = zone
                self.on_zone()

    async def _keep(self, task_status: trio.TaskStatus[None]) -> None:
        pause, started = RETRY_LEAST_S, False
        while True:
            self._dirty = trio.Event()
            try:
                await self.look()
                self.trouble, pause = "", RETRY_LEAST_S
            except EnvironmentError_ as error:
                if str(error) != self.trouble:
                    LOG.warning("the network between nodes is not as it should be, trying on: %s", error)
                self.trouble = str(error)
            if not started:
                started = True
                task_status.started()
            with trio.move_on_after(REFRESH_S if not self.trouble else pause):
                await self._dirty.wait()
                await trio.sleep(COLLECT_S)
            if self.trouble:
                pause = min(2 * pause, RETRY_MOST_S)

    async def look(self) -> None:
        """One pass. Raises EnvironmentError_ when something could not be put right."""
        config = self._config
        self.passes += 1
        self._follow_own_range()
        await self.link_up()
        found, complaints = peers(config, self._nodes.list())
        want, more = plan.wanted(config, await self._uplink(), found)
        self._complain([*complaints, *more])
        if config.backend == "wireguard":
            await self._configure_wireguard(found)
        ip, bridge = plan.difference(config, await self.observe(), want)
        if ip or bridge:
            await self._carry_out(ip, bridge)
            left = [line for lines in plan.difference(config, await self.observe(), want) for line in lines]
            if left:
                raise EnvironmentError_(f"not accepted: {left[0]}" + (f" and {len(left) - 1} more" if left[1:] else ""))
            LOG.info("paths to %d other nodes' pods", len(want.routes))
        self.peers = tuple(found)

    async def _carry_out(self, ip: list[str], bridge: list[str]) -> None:
        """Entries first, then the routes that use them; what fails shows in the next observation."""
        if bridge:
            await self._host.bridge(*bridge, force=True)
        if ip:
            await self._host.ip(*ip, force=True)

    async def observe(self) -> plan.Paths:
        """What is in the kernel."""
        link = self._config.overlay
        _, routes = await self._host.run(["ip", "-json", "-4", "route", "show", "proto", plan.PROTOCOL])
        if self._config.backend != "vxlan":
            return plan.seen(self._config, routes)
        _, neighbours = await self._host.run(["ip", "-json", "-4", "neigh", "show", "dev", link, "nud", "permanent"])
        _, forwarding = await self._host.run(["bridge", "-json", "fdb", "show", "dev", link])
        return plan.seen(self._config, routes, neighbours, forwarding)

    async def _configure_wireguard(self, found: list[Peer]) -> None:
        text = wireguard.configuration(self._key, self._config.wireguard_port, found)
        if text != self._configured:
            await self._host.run(["wg", "syncconf", self._config.overlay, "/dev/stdin"], text)
            self._configured = text

    def _follow_own_range(self) -> None:
        """A Node that was deleted and came back may have been given another range."""
        own = self._nodes.get("", self._config.node_name)
        if own is not None and own.spec.pod_cidr and IPv4Network(own.spec.pod_cidr) != self.pod_cidr:
            self.pod_cidr = IPv4Network(own.spec.pod_cidr)
            self.on_pod_cidr(self.pod_cidr)

    def _complain(self, complaints: list[str]) -> None:
        """Each sentence once, until it is no longer true."""
        for text in complaints:
            if text not in self._said:
                LOG.warning("%s", text)
        self._said = set(complaints)

    # --- telling others ---

    async def _publish(self) -> None:
        """Keep this node's annotations saying what is so."""
        public_key = wireguard.public_key(self._key) if self._key else ""
        pause, told = RETRY_LEAST_S, ""
        while True:
            self._news = trio.Event()
            try:
                await self.publish(public_key)
                pause, told = RETRY_LEAST_S, ""
            except (ApiError, ConnectionFailed) as error:
                if told != str(error):  # a server may be away for days
                    LOG.info("others are not told of this node's address: %s", error)
                told = str(error)
                await trio.sleep(pause)
                pause = min(2 * pause, RETRY_MOST_S)
                continue
            with trio.move_on_after(REFRESH_S):
                await self._news.wait()
            await trio.sleep(COLLECT_S)

    async def publish(self, public_key: str = "") -> bool:
        """Write the annotations if they differ; whether they did."""
        own = self._nodes.get("", self._config.node_name)
        want = own_annotations(self._config, self._config.address, public_key)
        if own is None or all(own.metadata.annotations.get(name) == value for name, value in want.items()):
            return False
        await self._client.patch(NODES, self._config.node_name, "", {"metadata": {"annotations": want}})
        return True


def facts(node: Node) -> tuple[str, ...]:
    """What of a Node matters here."""
    notes = node.metadata.annotations
    told = (notes.get(name, "") for name in (BACKEND_TYPE, BACKEND_DATA, PUBLIC_IP))
    return (node.metadata.uid, node.spec.pod_cidr, *told)
