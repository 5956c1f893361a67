"""WireGuard between nodes: this node's key, and the configuration text `wg syncconf` takes.

The key is made once and stays (mode 0600, in the data directory); only its public half leaves the machine, as an annotation.
Source of the text's words: wg(8).
"""

from __future__ import annotations

import base64
import os
from collections.abc import Iterable
from pathlib import Path

from edgekube.errors import EnvironmentError_
from edgekube.network.backends.peers import Peer

PORT = 51820
KEEPALIVE_S = 25  # keeps a NAT's mapping open; some 200 KB a day and peer
MISSING = "this kernel has no WireGuard; choose another --network-backend (vxlan, host-gw) or install the module"
NO_PROGRAM = "wg is not installed, which the network backend wireguard needs; install wireguard-tools"


def private_key(path: Path) -> str:
    """This node's private key in base64, made now when there is none. Raises EnvironmentError_ for an unreadable one."""
    try:
        text = path.read_text().strip()
    except FileNotFoundError:
        text = _make(path)
    try:
        if len(base64.b64decode(text, validate=True)) == 32:
            return text
    except ValueError:
        pass
    raise EnvironmentError_(f"{path} does not hold a WireGuard key; remove it to have a new one made")


def _make(path: Path) -> str:
    raw = bytearray(os.urandom(32))
    raw[0] &= 248  # the clamping of RFC 7748, which wg does too
    raw[31] = raw[31] & 127 | 64
    text = base64.b64encode(bytes(raw)).decode()
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    return text


def public_key(private: str) -> str:
    """The public half of a private key, both in base64."""
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    key = X25519PrivateKey.from_private_bytes(base64.b64decode(private))
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def configuration(private: str, port: int, peers: Iterable[Peer]) -> str:
    """All of the link's configuration: peers left out of it are taken off the link."""
    lines = ["[Interface]", f"PrivateKey = {private}", f"ListenPort = {port}"]
    for peer in peers:
        lines += [
            "",
            "[Peer]",
            f"PublicKey = {peer.public_key}",
            f"AllowedIPs = {peer.pod_cidr}",
            f"Endpoint = {peer.address}:{port}",
            f"PersistentKeepalive = {KEEPALIVE_S}",
        ]
    return "\n".join(lines) + "\n"
