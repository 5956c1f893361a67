"""Paths to other nodes' pods as data: what should be in the kernel, what is there, and the commands that make up the difference. Pure.

    vxlan       route <podCIDR> via <its first address> dev <overlay> onlink, neighbour of that address = the peer's VTEP,
                forwarding entry of the VTEP = the peer's address. Nothing is learnt from packets.
    host-gw     route <podCIDR> via <the peer's address>, which must be on one link with ours.
    wireguard   route <podCIDR> dev <overlay>; who is where, the WireGuard link knows itself (`wireguard.py`).

Our routes carry a protocol number of their own; routes of others, and of clusters with other ranges, are never touched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Any

from edgekube.network.backends.peers import Peer
from edgekube.network.config import NetworkConfig

PROTOCOL = "178"  # of `ip route ... proto`; above 127 numbers are nobody's
OVERHEAD_BYTES = {"vxlan": 50, "wireguard": 60}  # outer IPv4 + UDP + VXLAN + inner Ethernet; outer IPv4 + UDP + 32
LEAST_MTU = 576


@dataclass(frozen=True, slots=True)
class Uplink:
    """The link this node's address is on."""

    name: str
    mtu: int
    addresses: tuple[IPv4Interface, ...] = ()

    def reaches(self, address: str) -> bool:
        """Whether an address is a neighbour, no router in between."""
        return any(IPv4Address(address) in own.network for own in self.addresses)


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a route leads. `via` may be empty."""

    link: str
    via: str = ""
    onlink: bool = False


@dataclass(frozen=True, slots=True)
class Paths:
    """Everything between nodes: routes by range, on the overlay neighbours (address -> MAC) and forwarding entries (MAC -> node)."""

    routes: Mapping[str, Hop] = field(default_factory=dict)
    neighbours: Mapping[str, str] = field(default_factory=dict)
    forwarding: Mapping[str, str] = field(default_factory=dict)


def pod_mtu(config: NetworkConfig, uplink: Uplink | None) -> int:
    """The MTU pods may use: what is configured, or what the backend leaves of the wire's. 0 where nothing is known."""
    if config.mtu or uplink is None or not uplink.mtu:
        return config.mtu
    return max(LEAST_MTU, uplink.mtu - OVERHEAD_BYTES.get(config.backend, 0))


def wanted(config: NetworkConfig, uplink: Uplink | None, peers: Iterable[Peer]) -> tuple[Paths, list[str]]:
    """The paths to have, and a sentence about each peer that cannot have one."""
    routes: dict[str, Hop] = {}
    neighbours: dict[str, str] = {}
    forwarding: dict[str, str] = {}
    complaints: list[str] = []
    for peer in peers:
        cidr = str(peer.pod_cidr)
        if config.backend == "vxlan":
            gateway = str(peer.pod_cidr.network_address)
            routes[cidr] = Hop(config.overlay, gateway, onlink=True)
            neighbours[gateway] = peer.mac
            forwarding[peer.mac] = peer.address
        elif config.backend == "wireguard":
            routes[cidr] = Hop(config.overlay)
        elif config.backend == "host-gw":
            if uplink is None or not uplink.reaches(peer.address):
                complaints.append(
                    f"no path to the pods of node {peer.name}: {peer.address} is not on our subnet, and host-gw needs that"
                )
                continue
            routes[cidr] = Hop(uplink.name, peer.address)
    return Paths(routes, neighbours, forwarding), complaints


def difference(config: NetworkConfig, have: Paths, want: Paths) -> tuple[list[str], list[str]]:
    """Lines for `ip -batch` and `bridge -batch`. What packets need on the overlay comes before the route that sends them there."""
    link = config.overlay
    ip = [f"route del {_route(cidr, hop)}" for cidr, hop in have.routes.items() if cidr not in want.routes]
    ip += [f"neigh del {address} dev {link}" for address in have.neighbours if address not in want.neighbours]
    ip += [
        f"neigh replace {address} lladdr {mac} dev {link} nud permanent"
        for address, mac in want.neighbours.items()
        if have.neighbours.get(address) != mac
    ]
    ip += [f"route replace {_route(cidr, hop)}" for cidr, hop in want.routes.items() if have.routes.get(cidr) != hop]
    bridge = [
        f"fdb del {mac} dev {link} dst {node} self"
        for mac, node in have.forwarding.items()
        if mac not in want.forwarding
    ]
    bridge += [
        f"fdb replace {mac} dev {link} dst {node} self permanent"
        for mac, node in want.forwarding.items()
        if have.forwarding.get(mac) != node
    ]
    return ip, bridge


def _route(cidr: str, hop: Hop) -> str:
    via = f" via {hop.via}" if hop.via else ""
    return f"{cidr}{via} dev {hop.link} proto {PROTOCOL}{' onlink' if hop.onlink else ''}"


def seen(config: NetworkConfig, routes: str, neighbours: str = "", forwarding: str = "") -> Paths:
    """The paths in the kernel, from the JSON words of `ip route show proto ..`, `ip neigh show dev ..`, `bridge fdb show dev ..`."""
    found: dict[str, Hop] = {}
    for entry in _entries(routes):
        cidr = str(entry.get("dst", ""))
        if "/" in cidr and IPv4Network(cidr).subnet_of(config.cluster_cidr):
            onlink = "onlink" in (entry.get("flags") or ())
            found[cidr] = Hop(str(entry.get("dev", "")), str(entry.get("gateway", "")), onlink)
    return Paths(
        found,
        {
            str(e["dst"]): str(e["lladdr"])
            for e in _entries(neighbours)
            if "PERMANENT" in e.get("state", ()) and "lladdr" in e
        },
        {str(e["mac"]): str(e["dst"]) for e in _entries(forwarding) if "dst" in e},
    )


def uplink_of(address: str, links: str, default_link: str = "") -> Uplink | None:
    """The link an address is on, from `ip -json -4 addr show`; else the named one; else None."""
    fallback = None
    for entry in _entries(links):
        own = tuple(
            IPv4Interface(f"{each['local']}/{each['prefixlen']}")
            for each in entry.get("addr_info", ())
            if each.get("family", "inet") == "inet" and "local" in each
        )
        made = Uplink(str(entry.get("ifname", "")), int(entry.get("mtu", 0)), own)
        if any(str(each.ip) == address for each in own):
            return made
        if made.name and made.name == default_link:
            fallback = made
    return fallback


def is_vxlan(entry: Mapping[str, Any], config: NetworkConfig, mac: str) -> bool:
    """Whether a link, as `ip -json -d link show` tells of it, is the VXLAN end we would make."""
    data = entry.get("linkinfo", {})
    inner = data.get("info_data", {})
    return (
        data.get("info_kind") == "vxlan"
        and inner.get("id") == config.vxlan_id
        and inner.get("port") == config.vxlan_port
        and not inner.get("learning", False)
        and entry.get("address") == mac
    )


def is_up(links: str, address: str, mtu: int) -> bool:
    """Whether a link, as `ip -json -4 addr show dev` tells of it, is up with this address alone and this MTU (0: any)."""
    return any(
        "UP" in entry.get("flags", ()) and (not mtu or entry.get("mtu") == mtu) and _addresses(entry) == [address]
        for entry in _entries(links)
    )


def other_addresses(links: str, address: str) -> list[str]:
    """What a link has besides `address`: a node whose range changed must not keep the old one."""
    return [other for entry in _entries(links) for other in _addresses(entry) if other != address]


def _addresses(entry: Mapping[str, Any]) -> list[str]:
    return [f"{each['local']}/{each['prefixlen']}" for each in entry.get("addr_info", ()) if "local" in each]


def _entries(text: str) -> list[dict[str, Any]]:
    """iproute2 prints nothing at all for an empty list, and {} for what does not apply."""
    return [entry for entry in json.loads(text or "[]") if isinstance(entry, dict) and entry]
