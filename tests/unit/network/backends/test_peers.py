"""What nodes tell each other, and which of it is believed."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekube.kinds.core.node import KIND as NODES
from edgekube.kinds.core.node import Node
from edgekube.network.backends.peers import Peer, own_annotations, peers, vtep_mac
from edgekube.network.config import NetworkConfig

CONFIG = NetworkConfig(
    node_name="n1",
    node_ip="192.0.2.1",
    cluster_cidr=IPv4Network("10.42.0.0/16"),
    service_cidr=IPv4Network("10.43.0.0/16"),
    dns_ip="10.43.0.10",
    cni_conf_dir=Path("/nowhere"),
    cni_state_dir=Path("/nowhere"),
)
KEY = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="


def node(name: str, cidr: str = "10.42.1.0/24", **annotations: str) -> Node:
    notes = {f"edgekube.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return NODES.from_dict({"metadata": {"name": name, "annotations": notes}, "spec": {"podCIDR": cidr}})


def vxlan(name: str, address: str, cidr: str, **more: str) -> Node:
    data = json.dumps({"VNI": 1, "VtepMAC": vtep_mac(name)})
    return node(name, cidr, **{"backend_type": "vxlan", "backend_data": data, "public_ip": address, **more})


def test_a_node_tells_its_backend_its_vtep_and_its_address() -> None:
    assert own_annotations(CONFIG, "192.0.2.1") == {
        "edgekube.io/backend-type": "vxlan",
        "edgekube.io/backend-data": f'{{"VNI":1,"VtepMAC":"{vtep_mac("n1")}"}}',
        "edgekube.io/public-ip": "192.0.2.1",
    }


def test_a_wireguard_node_tells_its_public_key() -> None:
    told = own_annotations(replace(CONFIG, backend="wireguard"), "192.0.2.1", KEY)
    assert json.loads(told["edgekube.io/backend-data"]) == {"PublicKey": KEY}


@given(st.text(min_size=1, max_size=40), st.text(min_size=1, max_size=40))
def test_a_vtep_address_is_local_unicast_and_of_one_node(one: str, other: str) -> None:
    first = int(vtep_mac(one)[:2], 16)
    assert first & 3 == 2
    assert (vtep_mac(one) == vtep_mac(other)) == (one == other)


def test_what_one_node_writes_another_reads() -> None:
    told = own_annotations(replace(CONFIG, node_name="n2"), "192.0.2.2")
    other = NODES.from_dict({"metadata": {"name": "n2", "annotations": told}, "spec": {"podCIDR": "10.42.1.0/24"}})
    assert peers(CONFIG, [other]) == ([Peer("n2", "192.0.2.2", IPv4Network("10.42.1.0/24"), vtep_mac("n2"))], [])


def test_we_are_no_peer_of_ourselves_and_a_node_just_born_is_none_yet() -> None:
    nodes = [vxlan("n1", "192.0.2.1", "10.42.0.0/24"), vxlan("n2", "192.0.2.2", ""), node("n3")]
    assert peers(CONFIG, nodes) == ([], [])


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"backend_type": "host-gw"}, "its backend is host-gw, ours vxlan"),
        ({"public_ip": "gw2"}, "unreadable addresses '10.42.1.0/24', 'gw2'"),
        ({"public_ip": "fd00::1"}, "unreadable addresses '10.42.1.0/24', 'fd00::1'"),
        ({"backend_data": "{"}, "its annotation edgekube.io/backend-data is not an object"),
        ({"backend_data": "[]"}, "its annotation edgekube.io/backend-data is not an object"),
        ({"backend_data": "{}"}, "'' is no hardware address"),
        ({"backend_data": '{"VtepMAC":"02:00 dev eth0"}'}, "'02:00 dev eth0' is no hardware address"),
    ],
)
def test_a_node_that_tells_nonsense_gets_no_path_and_a_sentence(changed: dict[str, Any], said: str) -> None:
    found, complaints = peers(CONFIG, [vxlan("n2", "192.0.2.2", "10.42.1.0/24", **changed)])
    assert found == []
    assert complaints == [f"no path to the pods of node n2: {said}"]


def test_a_range_outside_the_clusters_is_not_routed() -> None:
    found, complaints = peers(CONFIG, [vxlan("n2", "192.0.2.2", "192.168.0.0/24")])
    assert found == []
    assert complaints == ["no path to the pods of node n2: 192.168.0.0/24 is outside 10.42.0.0/16"]


@pytest.mark.parametrize("key", ["", "short", KEY[:-1], "x\nAllowedIPs = 0.0.0.0/0"])
def test_a_wireguard_peer_needs_a_whole_key(key: str) -> None:
    told = {"backend_type": "wireguard", "backend_data": json.dumps({"PublicKey": key}), "public_ip": "192.0.2.2"}
    found, complaints = peers(replace(CONFIG, backend="wireguard"), [node("n2", **told)])
    assert found == []
    assert complaints == [f"no path to the pods of node n2: {key!r} is no WireGuard key"]
