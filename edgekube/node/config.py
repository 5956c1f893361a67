"""What the node room must be told. Everything else it reads from the API, the machine and the runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgekube.kinds.core.node import Taint

LOG_FILE_LIMIT_BYTES = 10 * 1024 * 1024
LOG_FILES_PER_CONTAINER = 5
PODS_AT_MOST = 110


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeConfig:
    """`data_dir` holds everything of this node; `runtime_endpoint` "" means a containerd of our own."""

    node_name: str
    node_ip: str
    data_dir: Path
    cluster_dns: tuple[str, ...] = ()
    cluster_domain: str = "cluster.local"
    cni_conf_dir: Path = Path("/etc/cni/net.d")
    cni_bin_dir: Path = Path("/usr/lib/cni")
    runtime_endpoint: str = ""
    containerd: str = "containerd"
    registry_hosts_dir: Path | None = None
    registry_credentials: str = field(default="", repr=False)  # TOML for our own containerd
    run_dir: Path | None = None  # sockets and state of this boot; default below data_dir
    log_dir: Path | None = None  # pod logs; default below data_dir
    log_links_dir: Path | None = None  # e.g. /var/log/containers, where log shippers look
    static_pods_dir: Path | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Taint, ...] = ()
    pods_at_most: int = PODS_AT_MOST
    reserved: Mapping[str, str] = field(default_factory=dict)  # taken off what pods may have, e.g. {"memory": "100Mi"}
    host_resolv_conf: Path = Path("/etc/resolv.conf")
    log_file_limit_bytes: int = LOG_FILE_LIMIT_BYTES
    log_files: int = LOG_FILES_PER_CONTAINER
    report_s: float = 300.0  # the status is written this often even when nothing changed, as upstream
    lease_kept: Callable[[], bool] = lambda: False  # whether the server renews our Lease by itself at the moment
    cgroup_mount: Path = Path("/sys/fs/cgroup")
    version: str = "v1.36.0"
    address_now: Callable[[], str] | None = None  # where the node's address may change while it runs

    @property
    def address(self) -> str:
        """The node's address now."""
        return self.address_now() if self.address_now else self.node_ip

    @property
    def root(self) -> Path:
        """The node's own directory."""
        return self.data_dir / "node"

    @property
    def pods_dir(self) -> Path:
        """One directory per pod uid."""
        return self.root / "pods"

    @property
    def volumes_dir(self) -> Path:
        """Directories that claims of class local-path are given."""
        return self.data_dir.absolute() / "volumes"

    @property
    def images_dir(self) -> Path:
        """Image archives imported at start."""
        return self.data_dir / "images"

    @property
    def logs(self) -> Path:
        """Where pods log."""
        return self.log_dir or self.root / "logs"

    @property
    def state(self) -> Path:
        """Sockets and state of this boot."""
        return self.run_dir or self.root / "run"
