"""Paths are a pure function of peers, and only the difference to the kernel is sent. Texts are iproute2's own."""

from __future__ import annotations

import json
from dataclasses import replace
from ipaddress import IPv4Interface, IPv4Network
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekube.network.backends import plan
from edgekube.network.backends.peers import Peer, vtep_mac
from edgekube.network.backends.plan import Hop, Paths, Uplink
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
HOST_GW = replace(CONFIG, backend="host-gw")
UPLINK = Uplink("eth0", 1500, (IPv4Interface("192.0.2.1/24"),))
MAC = "02:00:00:00:00:02"
PEER = Peer("n2", "192.0.2.2", IPv4Network("10.42.1.0/24"), MAC)


def test_vxlan_needs_a_route_a_neighbour_and_a_forwarding_entry() -> None:
    want, complaints = plan.wanted(CONFIG, UPLINK, [PEER])
    assert complaints == []
    assert plan.difference(CONFIG, Paths(), want) == (
        [
            f"neigh replace 10.42.1.0 lladdr {MAC} dev edgekube.1 nud permanent",
            "route replace 10.42.1.0/24 via 10.42.1.0 dev edgekube.1 proto 178 onlink",
        ],
        [f"fdb replace {MAC} dev edgekube.1 dst 192.0.2.2 self permanent"],
    )


def test_host_gw_routes_through_the_node_on_our_link() -> None:
    want, complaints = plan.wanted(HOST_GW, UPLINK, [PEER])
    assert complaints == []
    assert plan.difference(HOST_GW, Paths(), want) == (
        ["route replace 10.42.1.0/24 via 192.0.2.2 dev eth0 proto 178"],
        [],
    )


@pytest.mark.parametrize("uplink", [UPLINK, None])
def test_host_gw_says_who_is_beyond_a_router(uplink: Uplink | None) -> None:
    far = replace(PEER, address="198.51.100.7")
    want, complaints = plan.wanted(HOST_GW, uplink, [far])
    assert want == Paths()
    assert complaints == [
        "no path to the pods of node n2: 198.51.100.7 is not on our subnet, and host-gw needs that",
    ]


def test_wireguard_routes_into_its_link() -> None:
    config = replace(CONFIG, backend="wireguard")
    want, _ = plan.wanted(config, UPLINK, [PEER])
    assert plan.difference(config, Paths(), want) == (["route replace 10.42.1.0/24 dev edgekube.1 proto 178"], [])


def test_without_a_backend_there_are_no_paths_and_old_ones_go() -> None:
    config = replace(CONFIG, backend="none")
    want, complaints = plan.wanted(config, UPLINK, [PEER])
    assert (want, complaints) == (Paths(), [])
    have = Paths({"10.42.1.0/24": Hop("eth0", "192.0.2.2")})
    assert plan.difference(config, have, want) == (["route del 10.42.1.0/24 via 192.0.2.2 dev eth0 proto 178"], [])


def test_a_peer_that_moved_is_pointed_to_anew_without_touching_its_route() -> None:
    before, _ = plan.wanted(CONFIG, UPLINK, [PEER])
    after, _ = plan.wanted(CONFIG, UPLINK, [replace(PEER, address="192.0.2.77")])
    assert plan.difference(CONFIG, before, after) == (
        [],
        [f"fdb replace {MAC} dev edgekube.1 dst 192.0.2.77 self permanent"],
    )


def test_a_peer_that_left_leaves_nothing() -> None:
    before, _ = plan.wanted(CONFIG, UPLINK, [PEER])
    assert plan.difference(CONFIG, before, Paths()) == (
        [
            "route del 10.42.1.0/24 via 10.42.1.0 dev edgekube.1 proto 178 onlink",
            "neigh del 10.42.1.0 dev edgekube.1",
        ],
        [f"fdb del {MAC} dev edgekube.1 dst 192.0.2.2 self"],
    )


def test_changing_the_backend_replaces_the_route_in_place() -> None:
    before, _ = plan.wanted(CONFIG, UPLINK, [PEER])
    after, _ = plan.wanted(HOST_GW, UPLINK, [PEER])
    ip, _ = plan.difference(HOST_GW, replace(before, neighbours={}, forwarding={}), after)
    assert ip == ["route replace 10.42.1.0/24 via 192.0.2.2 dev eth0 proto 178"]


ROUTES = """[{"dst":"10.42.1.0/24","gateway":"10.42.1.0","dev":"edgekube.1","flags":["onlink"]},
 {"dst":"10.99.1.0/24","gateway":"10.99.1.0","dev":"edgenet1234","flags":["onlink"]}, {"dst":"default","dev":"eth0","flags":[]}]"""
NEIGHBOURS = (
    '[{"dst":"10.42.1.0","lladdr":"02:00:00:00:00:02","state":["PERMANENT"]},{"dst":"10.42.9.0","state":["FAILED"]}]'
)
FORWARDING = (
    '[{"mac":"02:00:00:00:00:02","dst":"192.0.2.2","flags":["self"],"state":"permanent"},{"mac":"33:33:00:00:00:01"}]'
)


def test_what_the_kernel_shows_is_read_and_other_clusters_routes_are_left_alone() -> None:
    want, _ = plan.wanted(CONFIG, UPLINK, [PEER])
    assert plan.seen(CONFIG, ROUTES, NEIGHBOURS, FORWARDING) == want


def test_nothing_shown_is_nothing_there() -> None:
    assert plan.seen(CONFIG, "", "", "") == Paths()
    assert plan.seen(CONFIG, "[ ]", "[{}]", "[]") == Paths()


PEERS = st.lists(
    st.builds(
        lambda number, address: Peer(
            f"n{number}", f"192.0.2.{address}", IPv4Network(f"10.42.{number}.0/24"), vtep_mac(f"n{number}")
        ),
        st.integers(2, 9),
        st.integers(2, 9),
    ),
    unique_by=lambda peer: peer.name,
)


def carried_out(have: Paths, ip: list[str], bridge: list[str]) -> Paths:
    """What a kernel would hold after these commands."""
    routes, neighbours, forwarding = dict(have.routes), dict(have.neighbours), dict(have.forwarding)
    for line in ip:
        words = line.split()
        said = dict(zip(words[3::2], words[4::2], strict=False))
        match words[:2]:
            case ["route", "replace"]:
                routes[words[2]] = Hop(said["dev"], said.get("via", ""), words[-1] == "onlink")
            case ["route", "del"]:
                del routes[words[2]]
            case ["neigh", "replace"]:
                neighbours[words[2]] = said["lladdr"]
            case ["neigh", "del"]:
                del neighbours[words[2]]
            case other:
                raise AssertionError(other)
    for line in bridge:
        words = line.split()
        if words[1] == "del":
            del forwarding[words[2]]
        else:
            forwarding[words[2]] = words[words.index("dst") + 1]
    return Paths(routes, neighbours, forwarding)


@given(PEERS, PEERS, st.sampled_from([CONFIG, HOST_GW, replace(CONFIG, backend="wireguard")]))
def test_the_difference_leads_from_anything_to_what_is_wanted(
    before: list[Peer], after: list[Peer], config: NetworkConfig
) -> None:
    have, _ = plan.wanted(config, UPLINK, before)
    want, _ = plan.wanted(config, UPLINK, after)
    reached = carried_out(have, *plan.difference(config, have, want))
    assert reached == want
    assert plan.difference(config, reached, want) == ([], [])


LINKS = json.dumps(
    [
        {"ifname": "lo", "mtu": 65536, "addr_info": [{"family": "inet", "local": "127.0.0.1", "prefixlen": 8}]},
        {"ifname": "eth0", "mtu": 1400, "addr_info": [{"family": "inet", "local": "192.0.2.1", "prefixlen": 24}]},
        {"ifname": "wlan0", "mtu": 1300, "addr_info": [{"family": "inet", "local": "198.51.100.2", "prefixlen": 24}]},
    ]
)


def test_the_uplink_is_where_the_address_is_else_where_the_default_route_leads() -> None:
    assert plan.uplink_of("198.51.100.2", LINKS, "eth0") == Uplink("wlan0", 1300, (IPv4Interface("198.51.100.2/24"),))
    found = plan.uplink_of("203.0.113.1", LINKS, "eth0")  # the address a NAT shows
    assert found is not None
    assert found.name == "eth0"
    assert plan.uplink_of("203.0.113.1", LINKS) is None


@pytest.mark.parametrize(("backend", "mtu"), [("vxlan", 1350), ("wireguard", 1340), ("host-gw", 1400), ("none", 1400)])
def test_the_backend_takes_its_share_of_the_mtu(backend: str, mtu: int) -> None:
    uplink = plan.uplink_of("192.0.2.1", LINKS)
    assert plan.pod_mtu(replace(CONFIG, backend=backend), uplink) == mtu
    assert plan.pod_mtu(replace(CONFIG, backend=backend, mtu=1280), uplink) == 1280
    assert plan.pod_mtu(replace(CONFIG, backend=backend), None) == 0


VXLAN_LINK = {
    "ifname": "edgekube.1",
    "address": vtep_mac("n1"),
    "linkinfo": {"info_kind": "vxlan", "info_data": {"id": 1, "port": 8472, "learning": False}},
}


def test_a_vxlan_link_with_another_number_port_address_or_with_learning_is_not_ours() -> None:
    assert plan.is_vxlan(VXLAN_LINK, CONFIG, vtep_mac("n1"))
    for changed in ({"id": 2}, {"port": 4789}, {"learning": True}):
        link = {**VXLAN_LINK, "linkinfo": {"info_kind": "vxlan", "info_data": {"id": 1, "port": 8472, **changed}}}
        assert not plan.is_vxlan(link, CONFIG, vtep_mac("n1"))
    assert not plan.is_vxlan(VXLAN_LINK, CONFIG, vtep_mac("n2"))
    assert not plan.is_vxlan({"address": vtep_mac("n1")}, CONFIG, vtep_mac("n1"))


def test_a_link_is_up_with_its_one_address_and_its_mtu() -> None:
    def shown(*addresses: str, flags: tuple[str, ...] = ("UP",), mtu: int = 1450) -> str:
        info = [{"local": address, "prefixlen": 32} for address in addresses]
        return json.dumps([{"ifname": "edgekube.1", "flags": flags, "mtu": mtu, "addr_info": info}])

    assert plan.is_up(shown("10.42.0.0"), "10.42.0.0/32", 1450)
    assert plan.is_up(shown("10.42.0.0", mtu=1400), "10.42.0.0/32", 0)
    assert not plan.is_up(shown("10.42.0.0", flags=()), "10.42.0.0/32", 1450)
    assert not plan.is_up(shown("10.42.0.0", mtu=1500), "10.42.0.0/32", 1450)
    assert not plan.is_up(shown("10.42.0.0", "10.42.9.0"), "10.42.0.0/32", 1450)
    assert not plan.is_up("", "10.42.0.0/32", 1450)
