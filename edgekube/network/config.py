"""What the network room must be told: addresses, ranges, names. Everything else it reads from the API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

BACKENDS = ("vxlan", "host-gw", "wireguard", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkConfig:
    """`instance` tells several servers on one host apart: it names the bridge and the nftables table."""

    node_name: str
    node_ip: str
    cluster_cidr: IPv4Network
    service_cidr: IPv4Network
    dns_ip: str
    dns_domain: str = "cluster.local"
    cni_conf_dir: Path
    cni_state_dir: Path  # host-local keeps its leases here
    cni_bin_dirs: tuple[Path, ...] = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))
    instance: str = ""
    host_resolv_conf: Path = Path("/etc/resolv.conf")
    mtu: int = 0  # of pods; 0: what the link with the node's address leaves after the backend took its share
    backend: str = "vxlan"  # how pods reach other nodes': one of BACKENDS
    vxlan_id: int = 1
    vxlan_port: int = 8472
    wireguard_port: int = 51820
    wireguard_key: Path = Path("/var/lib/edgekube/network/wireguard.key")
    address_now: Callable[[], str] | None = None  # where a node's address may change while it runs
    on_address: Callable[[Callable[[], None]], None] | None = None  # who wants to hear of that, says so here

    @property
    def address(self) -> str:
        """This node's address now."""
        return self.address_now() if self.address_now else self.node_ip

    @property
    def overlay(self) -> str:
        """The link that carries pods' packets to other nodes, of backends that have one (at most 15 characters)."""
        return f"edgenet{self.instance}"[:15] if self.instance else "edgekube.1"

    @property
    def bridge(self) -> str:
        """The pod bridge's link name (at most 15 characters)."""
        return f"edge{self.instance}"[:15] if self.instance else "edgekube0"

    @property
    def table(self) -> str:
        """The nftables table that is ours alone."""
        return f"edgekube-{self.instance}" if self.instance else "edgekube"
