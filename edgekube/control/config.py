"""What controllers must be told from outside, as data."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # rules and scores are loaded with the scheduler, not with its settings
    from edgekube.control.scheduler.profiles import Profile


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Settings of the control loops. Timings are upstream's defaults."""

    ca_certificate: str = ""  # PEM text published as kube-root-ca.crt
    cluster_cidr: str = "10.42.0.0/16"
    service_cidr: str = "10.43.0.0/16"
    node_cidr_bits: int = 24
    api_addresses: tuple[str, ...] = ()  # endpoints of the `kubernetes` service; empty: leave them alone
    api_port: int = 6443
    node_grace_s: float = 50.0  # without a Lease renewal a node is Unknown
    node_startup_grace_s: float = 60.0  # for a node that has never said anything
    eviction_rate: float = 0.1  # nodes a second that are given up, in a zone that is well
    secondary_eviction_rate: float = 0.01  # in a zone that is not, of a large cluster; a small one gives up none then
    large_cluster_nodes: int = 50
    unhealthy_zone_share: float = 0.55
    terminated_pods_kept: int = 12500
    scheduler: bool = True
    scheduler_profiles: tuple[Profile, ...] = ()  # none: the default profile alone
    own_node: str = ""  # the server's own machine: nobody else may join under its name
    # (PEM request, signer name, seconds it may live, usages) -> PEM certificate; None: certificates are signed elsewhere
    sign: Callable[[bytes, str, float, Sequence[str]], bytes] | None = None
    connected: Callable[[str], bool] | None = None  # whether a node of this name has its tunnel open right now
    manifests_dir: Path | None = None  # whose files are applied and pruned; None: nowhere
    # (node, name of a volume's directory) -> why the node has not taken it away, "" when it has; None: nobody to ask
    remove_volume: Callable[[str, str], Awaitable[str]] | None = None
