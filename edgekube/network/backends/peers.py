"""What nodes tell each other about the pod network, and who is worth a path: annotations in, `Peer`s out. Pure.

Each node writes its own annotations and reads everybody's; there is no other channel. Source of the scheme (an annotation each for
the backend's type, its data and the public address): flannel's kube subnet manager, under names of ours.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError

from edgekube.kinds.core.node import Node
from edgekube.network.config import NetworkConfig

BACKEND_TYPE = "edgekube.io/backend-type"
BACKEND_DATA = "edgekube.io/backend-data"
PUBLIC_IP = "edgekube.io/public-ip"


@dataclass(frozen=True, slots=True)
class Peer:
    """Another node that can be reached: `mac` for vxlan, `public_key` for wireguard."""

    name: str
    address: str
    pod_cidr: IPv4Network
    mac: str = ""
    public_key: str = ""


def vtep_mac(node_name: str) -> str:
    """The hardware address of a node's end of the VXLAN. It follows from the name, so that a reboot changes nothing for others."""
    digest = hashlib.sha256(f"edgekube vtep {node_name}".encode()).digest()
    return ":".join(f"{byte:02x}" for byte in (digest[0] & 0xFC | 0x02, *digest[1:6]))


def own_annotations(config: NetworkConfig, address: str, public_key: str = "") -> dict[str, str]:
    """What this node says about itself."""
    data: dict[str, object] = {}
    if config.backend == "vxlan":
        data = {"VNI": config.vxlan_id, "VtepMAC": vtep_mac(config.node_name)}
    elif config.backend == "wireguard":
        data = {"PublicKey": public_key}
    return {
        BACKEND_TYPE: config.backend,
        BACKEND_DATA: json.dumps(data, separators=(",", ":")),
        PUBLIC_IP: address,
    }


def peers(config: NetworkConfig, nodes: Iterable[Node]) -> tuple[list[Peer], list[str]]:
    """Every other node with a path to it, and a sentence about each that has told too little or something else than we use."""
    found: list[Peer] = []
    complaints: list[str] = []
    for node in sorted(nodes, key=lambda item: item.metadata.name):
        if node.metadata.name == config.node_name or not node.spec.pod_cidr:
            continue  # ourselves, or a node just born
        made = _peer(config, node)
        if isinstance(made, Peer):
            found.append(made)
        elif made:
            complaints.append(f"no path to the pods of node {node.metadata.name}: {made}")
    return found, complaints


def _peer(config: NetworkConfig, node: Node) -> Peer | str:
    notes = node.metadata.annotations
    kind = notes.get(BACKEND_TYPE, "")
    if not kind:
        return ""  # it has joined a moment ago and will tell
    if kind != config.backend:
        return f"its backend is {kind}, ours {config.backend}"
    try:
        cidr = IPv4Network(node.spec.pod_cidr)
        address = str(IPv4Address(notes.get(PUBLIC_IP, "")))
    except (AddressValueError, NetmaskValueError, ValueError):
        return f"unreadable addresses {node.spec.pod_cidr!r}, {notes.get(PUBLIC_IP, '')!r}"
    if not cidr.subnet_of(config.cluster_cidr):
        return f"{cidr} is outside {config.cluster_cidr}"
    try:
        data = json.loads(notes.get(BACKEND_DATA, ""))
        mac, key = str(data.get("VtepMAC", "")).lower(), str(data.get("PublicKey", ""))
    except (ValueError, AttributeError):
        return f"its annotation {BACKEND_DATA} is not an object"
    if kind == "vxlan" and not _is_mac(mac):
        return f"{mac!r} is no hardware address"
    if kind == "wireguard" and not _is_key(key):
        return f"{key!r} is no WireGuard key"
    return Peer(node.metadata.name, address, cidr, mac, key)


def _is_mac(text: str) -> bool:
    parts = text.split(":")
    return len(parts) == 6 and all(len(part) == 2 and set(part) <= set("0123456789abcdef") for part in parts)


def _is_key(text: str) -> bool:
    import binascii

    try:
        return len(binascii.a2b_base64(text.encode("ascii"), strict_mode=True)) == 32
    except ValueError:
        return False
