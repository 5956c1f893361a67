"""The loop between nodes over a fake API and a fake kernel: whatever happens to either, the paths come out right."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from edgekube.client.fake import FakeVerbs
from edgekube.client.local import LocalClient
from edgekube.errors import ConnectionFailed, EnvironmentError_, ServiceUnavailable
from edgekube.kinds.core.node import KIND as NODES
from edgekube.network.backends.mesh import Mesh
from edgekube.network.backends.peers import own_annotations, vtep_mac
from edgekube.network.config import NetworkConfig
from tests.unit.network.backends.kernel import FakeKernel

OWN = IPv4Network("10.42.0.0/24")


def config_of(name: str = "n1", **more: Any) -> NetworkConfig:
    return replace(
        NetworkConfig(
            node_name=name,
            node_ip="192.0.2.1",
            cluster_cidr=IPv4Network("10.42.0.0/16"),
            service_cidr=IPv4Network("10.43.0.0/16"),
            dns_ip="10.43.0.10",
            cni_conf_dir=Path("/nowhere"),
            cni_state_dir=Path("/nowhere"),
        ),
        **more,
    )


async def add_node(client: LocalClient, number: int, address: str = "", **more: Any) -> None:
    """A node that has told everything about itself, unless it is the one under test."""
    name = f"n{number}"
    notes = own_annotations(config_of(name, **more), address) if address else {}
    body = {"metadata": {"name": name, "annotations": notes}, "spec": {"podCIDR": f"10.42.{number - 1}.0/24"}}
    await client.create(NODES, NODES.from_dict(body))


@asynccontextmanager
async def running(client: LocalClient, kernel: FakeKernel, config: NetworkConfig | None = None) -> AsyncIterator[Mesh]:
    mesh = Mesh(client, config or config_of(), OWN, kernel)
    await mesh.prepare()
    async with trio.open_nursery() as nursery:
        await nursery.start(mesh.run)
        yield mesh
        nursery.cancel_scope.cancel()


async def until(what: Callable[[], bool]) -> None:
    """On virtual time."""
    with trio.fail_after(600):
        while not what():  # noqa: ASYNC110 - a fake kernel tells nobody
            await trio.sleep(0.05)


async def until_told(client: LocalClient, address: str) -> None:
    """Until n1's Node says all it should."""
    want = own_annotations(config_of(), address)
    with trio.fail_after(600):
        while (await client.get(NODES, "n1")).metadata.annotations != want:  # noqa: ASYNC110
            await trio.sleep(0.05)


async def test_paths_follow_nodes_that_come_move_and_go(autojump_clock: MockClock) -> None:
    client, kernel = FakeVerbs().client(), FakeKernel()
    await add_node(client, 1)
    await add_node(client, 2, "192.0.2.2")
    async with running(client, kernel) as mesh:
        assert kernel.forwarding == {vtep_mac("n2"): "192.0.2.2"}
        assert kernel.neighbours == {"10.42.1.0": vtep_mac("n2")}
        assert [route["dst"] for route in kernel.routes.values()] == ["10.42.1.0/24"]
        await add_node(client, 3, "192.0.2.3")
        await until(lambda: len(kernel.routes) == 2)
        moved = own_annotations(config_of("n2"), "192.0.2.99")
        await client.patch(NODES, "n2", "", {"metadata": {"annotations": moved}})
        await until(lambda: kernel.forwarding[vtep_mac("n2")] == "192.0.2.99")
        await client.delete(NODES, "n3")
        await until(lambda: list(kernel.routes) == ["10.42.1.0/24"])
        assert list(kernel.forwarding) == [vtep_mac("n2")]
        assert mesh.trouble == ""


async def test_a_node_tells_of_itself_and_again_when_somebody_recreates_it(autojump_clock: MockClock) -> None:
    client, kernel = FakeVerbs().client(), FakeKernel()
    await add_node(client, 1)
    address = "192.0.2.1"

    async with running(client, kernel, config_of(address_now=lambda: address)) as mesh:
        await until_told(client, "192.0.2.1")
        await client.delete(NODES, "n1")
        await add_node(client, 1)
        await until_told(client, "192.0.2.1")
        address = "192.0.2.50"
        mesh.touch()  # as the kernel's word would
        await until_told(client, "192.0.2.50")


async def test_a_server_that_is_away_is_told_later(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    verbs, kernel = FakeVerbs(), FakeKernel()
    client = verbs.client()
    await add_node(client, 1)
    left = [ServiceUnavailable("away"), ConnectionFailed("cut off")]
    patch = client.patch

    async def failing_twice(*arguments: Any, **more: Any) -> Any:
        if left:
            raise left.pop()
        return await patch(*arguments, **more)

    monkeypatch.setattr(client, "patch", failing_twice)
    async with running(client, kernel) as mesh:
        await until_told(client, "192.0.2.1")
        assert mesh.trouble == ""
    assert left == []


async def test_a_link_somebody_deleted_is_made_again(autojump_clock: MockClock) -> None:
    client, kernel = FakeVerbs().client(), FakeKernel()
    await add_node(client, 1)
    await add_node(client, 2, "192.0.2.2")
    async with running(client, kernel):
        before = (dict(kernel.routes), dict(kernel.neighbours), dict(kernel.forwarding))
        kernel.drop_link("edgekube.1")
        assert kernel.routes == {}
        await until(lambda: (kernel.routes, kernel.neighbours, kernel.forwarding) == before)
        assert kernel.links["edgekube.1"]["addresses"] == ["10.42.0.0/32"]
        assert kernel.links["edgekube.1"]["mtu"] == 1450
        assert kernel.sysctls["net/ipv4/conf/edgekube.1/rp_filter"] == "2"


async def test_what_an_earlier_life_left_is_corrected_and_what_is_right_is_not_touched(
    autojump_clock: MockClock,
) -> None:
    client, kernel = FakeVerbs().client(), FakeKernel()
    await add_node(client, 1)
    await add_node(client, 2, "192.0.2.2")
    async with running(client, kernel):
        pass
    kernel.routes["10.42.9.0/24"] = {"dst": "10.42.9.0/24", "dev": "edgekube.1", "flags": ["onlink"]}
    kernel.lines.clear()
    async with running(client, kernel):
        assert kernel.lines == ["route del 10.42.9.0/24 dev edgekube.1 proto 178 onlink"]
        await trio.sleep(1000)  # refreshes look, and leave alone what is well
        assert len(kernel.lines) == 1


async def test_the_number_taken_by_another_link_is_said_and_waited_for(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    client, kernel = FakeVerbs().client(), FakeKernel()
    await add_node(client, 1)
    await add_node(client, 2, "192.0.2.2")
    await kernel.ip("link add flannel.1 address 02:00:00:00:00:09 type vxlan id 1 dstport 8472 nolearning")
    with caplog.at_level(logging.WARNING):
        async with running(client, kernel) as mesh:
            assert mesh.trouble == (
                "another VXLAN link of this machine has the number 1 on UDP port 8472; give one of them another port"
            )
            kernel.drop_link("flannel.1")
            await until(lambda: mesh.trouble == "")
            assert len(kernel.routes) == 1
    assert caplog.text.count("another VXLAN link") == 1


async def test_what_the_kernel_refuses_is_trouble_until_it_does_not(autojump_clock: MockClock) -> None:
    client, kernel = FakeVerbs().client(), FakeKernel()
    await add_node(client, 1)
    await add_node(client, 2, "192.0.2.2")
    kernel.refuses = ["route replace"]
    async with running(client, kernel) as mesh:
        assert mesh.trouble == "not accepted: route replace 10.42.1.0/24 via 10.42.1.0 dev edgekube.1 proto 178 onlink"
        kernel.refuses = []
        await until(lambda: mesh.trouble == "")
        assert list(kernel.routes) == ["10.42.1.0/24"]


async def test_a_new_range_of_our_own_is_taken_up(autojump_clock: MockClock) -> None:
    client, kernel = FakeVerbs().client(), FakeKernel()
    await add_node(client, 1)
    heard: list[IPv4Network] = []
    async with running(client, kernel) as mesh:
        mesh.on_pod_cidr = heard.append
        await until_told(client, "192.0.2.1")
        await client.delete(NODES, "n1")
        body = {"metadata": {"name": "n1"}, "spec": {"podCIDR": "10.42.7.0/24"}}
        await client.create(NODES, NODES.from_dict(body))
        await until(lambda: kernel.links["edgekube.1"]["addresses"] == ["10.42.7.0/32"])
        assert heard == [IPv4Network("10.42.7.0/24")]


async def test_host_gw_leaves_no_overlay_and_says_once_who_is_too_far(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    client, kernel = FakeVerbs().client(), FakeKernel()
    await add_node(client, 1)
    await add_node(client, 2, "192.0.2.2", backend="host-gw")
    await add_node(client, 3, "198.51.100.3", backend="host-gw")
    await kernel.ip("link add edgekube.1 address 02:00:00:00:00:09 type vxlan id 1 dstport 8472 nolearning")
    with caplog.at_level(logging.WARNING):
        async with running(client, kernel, config_of(backend="host-gw")) as mesh:
            assert "edgekube.1" not in kernel.links
            assert mesh.mtu == 1500
            assert kernel.routes == {
                "10.42.1.0/24": {"dst": "10.42.1.0/24", "dev": "eth0", "gateway": "192.0.2.2", "flags": []}
            }
            await trio.sleep(1000)
    assert caplog.text.count("198.51.100.3 is not on our subnet") == 1


async def test_wireguard_is_configured_with_every_peer_and_again_after_its_link_was_lost(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    client, kernel = FakeVerbs().client(), FakeKernel()
    key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
    await add_node(client, 1)
    await client.create(
        NODES,
        NODES.from_dict(
            {
                "metadata": {
                    "name": "n2",
                    "annotations": own_annotations(config_of("n2", backend="wireguard"), "192.0.2.2", key),
                },
                "spec": {"podCIDR": "10.42.1.0/24"},
            }
        ),
    )
    config = config_of(backend="wireguard", wireguard_key=tmp_path / "wireguard.key")
    async with running(client, kernel, config) as mesh:
        assert f"PublicKey = {key}\nAllowedIPs = 10.42.1.0/24\nEndpoint = 192.0.2.2:51820\n" in kernel.wireguard
        assert kernel.links["edgekube.1"]["mtu"] == 1440
        assert kernel.routes["10.42.1.0/24"] == {"dst": "10.42.1.0/24", "dev": "edgekube.1", "flags": []}
        kernel.wireguard = ""
        kernel.drop_link("edgekube.1")
        await until(lambda: key in kernel.wireguard and "10.42.1.0/24" in kernel.routes)
        assert mesh.trouble == ""
    own = (await client.get(NODES, "n1")).metadata.annotations["edgekube.io/backend-data"]
    assert '"PublicKey"' in own


async def test_a_kernel_or_a_machine_without_wireguard_is_named(tmp_path: Path) -> None:
    config = config_of(backend="wireguard", wireguard_key=tmp_path / "wireguard.key")
    kernel = FakeKernel()
    kernel.programs = set()
    with pytest.raises(EnvironmentError_, match="wg is not installed"):
        await Mesh(FakeVerbs().client(), config, OWN, kernel).prepare()
    kernel = FakeKernel()
    kernel.lacks = {"wireguard"}
    with pytest.raises(EnvironmentError_, match="this kernel has no WireGuard; choose another --network-backend"):
        await Mesh(FakeVerbs().client(), config, OWN, kernel).prepare()


async def test_the_nodes_zone_is_known_and_a_change_is_told(autojump_clock: MockClock) -> None:
    client, kernel = FakeVerbs().client(), FakeKernel()
    await add_node(client, 1)
    heard: list[str] = []
    async with running(client, kernel) as mesh:
        assert mesh.zone == ""
        mesh.on_zone = lambda: heard.append(mesh.zone)
        await until_told(client, "192.0.2.1")
        await client.patch(NODES, "n1", "", {"metadata": {"labels": {"topology.kubernetes.io/zone": "hall-3"}}})
        await until(lambda: heard == ["hall-3"])
