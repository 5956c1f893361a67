"""What a node's network leaves behind: nothing of its own, everything of others."""

# ruff: noqa: ASYNC240 - a few small files

from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

from edgekube.network.config import NetworkConfig
from edgekube.network.podnet import CONFLIST_NAME
from edgekube.network.removal import remove_all
from tests.unit.network.backends.kernel import FakeKernel


def config_in(directory: Path, instance: str = "") -> NetworkConfig:
    return NetworkConfig(
        node_name="n1",
        node_ip="192.0.2.1",
        cluster_cidr=IPv4Network("10.42.0.0/16"),
        service_cidr=IPv4Network("10.43.0.0/16"),
        dns_ip="10.43.0.10",
        cni_conf_dir=directory / "cni" / "net.d",
        cni_state_dir=directory / "cni" / "addresses",
        wireguard_key=directory / "network" / "wireguard.key",
        instance=instance,
    )


async def a_node(kernel: FakeKernel, config: NetworkConfig, range_: str = "10.42.1.0/24") -> None:
    """What `run_network` would have made."""
    await kernel.ip(
        f"link add {config.overlay} address 02:00:00:00:00:01 type vxlan id {len(kernel.links)} dstport 8472 nolearning",
        f"route replace {range_} via {range_.removesuffix('/24')} dev {config.overlay} proto 178 onlink",
        f"addr replace {config.dns_ip}/32 dev lo",
    )
    kernel.links[config.bridge] = {"ifname": config.bridge, "mtu": 1450, "flags": ["UP"], "addresses": ["10.42.0.1/24"]}
    kernel.tables.add(config.table)
    for directory in (config.cni_conf_dir, config.cni_state_dir / "edgekube0", config.wireguard_key.parent):
        directory.mkdir(parents=True)
    (config.cni_conf_dir / CONFLIST_NAME).write_text("{}")
    config.wireguard_key.write_text("key")


async def test_everything_of_ours_goes_and_a_second_time_is_no_error(tmp_path: Path) -> None:
    kernel, config = FakeKernel(), config_in(tmp_path)
    await a_node(kernel, config)
    for _ in range(2):
        await remove_all(config, kernel)
        assert sorted(kernel.links) == ["eth0", "lo"]
        assert kernel.links["lo"]["addresses"] == ["127.0.0.1/8"]
        assert (kernel.routes, kernel.tables) == ({}, set())
        assert list(tmp_path.iterdir()) == []


async def test_routes_over_the_hosts_own_link_go_too(tmp_path: Path) -> None:
    kernel = FakeKernel()
    await kernel.ip("route replace 10.42.1.0/24 via 192.0.2.2 dev eth0 proto 178")
    await remove_all(config_in(tmp_path), kernel)
    assert kernel.routes == {}


async def test_another_cluster_on_this_machine_and_other_cni_files_stay(tmp_path: Path) -> None:
    kernel, config = FakeKernel(), config_in(tmp_path / "a", "aaaaaa")
    await a_node(kernel, config)
    kernel.tables.add("edgekube-bbbbbb")
    kernel.links["edgebbbbbb"] = {"ifname": "edgebbbbbb", "mtu": 1450, "flags": ["UP"], "addresses": ["10.99.0.1/24"]}
    await kernel.ip("route replace 10.99.1.0/24 via 10.99.1.0 dev edgebbbbbb proto 178 onlink")
    (config.cni_conf_dir / "20-other.conflist").write_text("{}")
    await remove_all(config, kernel)
    assert sorted(kernel.links) == ["edgebbbbbb", "eth0", "lo"]
    assert list(kernel.routes) == ["10.99.1.0/24"]
    assert kernel.tables == {"edgekube-bbbbbb"}
    assert [path.name for path in (tmp_path / "a").rglob("*") if path.is_file()] == ["20-other.conflist"]
