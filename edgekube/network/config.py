"""What the network room must be told: addresses, ranges, names. Everything else it reads from the API."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path


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
    mtu: int = 0  # 0: as the link with the default route

    @property
    def bridge(self) -> str:
        """The pod bridge's link name (at most 15 characters)."""
        return f"edge{self.instance}"[:15] if self.instance else "edgekube0"

    @property
    def table(self) -> str:
        """The nftables table that is ours alone."""
        return f"edgekube-{self.instance}" if self.instance else "edgekube"
