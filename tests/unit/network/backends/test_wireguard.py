"""A WireGuard key is made once and kept; the configuration is compared as text. The link itself is in tests/e2e where a kernel has it."""

from __future__ import annotations

import base64
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from edgekube.errors import EnvironmentError_
from edgekube.network.backends.peers import Peer
from edgekube.network.backends.wireguard import configuration, private_key, public_key


def test_a_key_is_made_once_and_only_root_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "network" / "wireguard.key"
    made = private_key(path)
    assert private_key(path) == made
    assert path.stat().st_mode & 0o777 == 0o600
    raw = base64.b64decode(made)
    assert (len(raw), raw[0] & 7, raw[31] & 0xC0) == (32, 0, 0x40)
    assert [entry.name for entry in path.parent.iterdir()] == ["wireguard.key"]


def test_a_spoiled_key_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "wireguard.key"
    path.write_text("not a key\n")
    with pytest.raises(EnvironmentError_, match=f"{path} does not hold a WireGuard key"):
        private_key(path)


def test_the_public_half_is_that_of_rfc_7748() -> None:
    private = bytes.fromhex("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")  # section 6.1, Alice's
    public = bytes.fromhex("8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a")
    assert public_key(base64.b64encode(private).decode()) == base64.b64encode(public).decode()


def test_every_peer_has_its_key_its_range_and_its_address() -> None:
    peers = [
        Peer("n2", "192.0.2.2", IPv4Network("10.42.1.0/24"), public_key="KEY2="),
        Peer("n3", "192.0.2.3", IPv4Network("10.42.2.0/24"), public_key="KEY3="),
    ]
    assert (
        configuration("OWN=", 51820, peers)
        == """\
[Interface]
PrivateKey = OWN=
ListenPort = 51820

[Peer]
PublicKey = KEY2=
AllowedIPs = 10.42.1.0/24
Endpoint = 192.0.2.2:51820
PersistentKeepalive = 25

[Peer]
PublicKey = KEY3=
AllowedIPs = 10.42.2.0/24
Endpoint = 192.0.2.3:51820
PersistentKeepalive = 25
"""
    )
