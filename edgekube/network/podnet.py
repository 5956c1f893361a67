"""The pod network of one node: a bridge, its CNI configuration, and the sysctls that routing through it needs.

CNI plugins (bridge, host-local, portmap, from the distribution) do the per-pod part when the runtime starts a sandbox. What is
made here is ours by name and goes without a trace in `removal`.
"""

from __future__ import annotations

import json
import logging
from ipaddress import IPv4Network
from typing import Any

from edgekube.errors import EnvironmentError_
from edgekube.network import host
from edgekube.network.backends import plan
from edgekube.network.config import NetworkConfig

LOG = logging.getLogger("edgekube.network")
CNI_VERSION = "0.4.0"  # what containerd 1.6 and plugins 1.1 both speak
CONFLIST_NAME = "10-edgekube.conflist"


def conflist(config: NetworkConfig, pod_cidr: IPv4Network, mtu: int) -> dict[str, Any]:
    """The CNI network list for this node's pods. Masquerading is in our own nftables table, not in the plugin's hands."""
    bridge: dict[str, Any] = {
        "type": "bridge",
        "bridge": config.bridge,
        "isGateway": True,
        "isDefaultGateway": True,
        "hairpinMode": True,
        "ipMasq": False,
        "ipam": {
            "type": "host-local",
            "dataDir": str(config.cni_state_dir),
            "ranges": [[{"subnet": str(pod_cidr)}]],
        },
    }
    if mtu:
        bridge["mtu"] = mtu
    return {
        "cniVersion": CNI_VERSION,
        "name": config.bridge,
        "plugins": [bridge, {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True}],
    }


async def set_up(config: NetworkConfig, pod_cidr: IPv4Network, mtu: int = 0) -> None:
    """Make (or take over) the bridge, set the sysctls, write the CNI configuration last: its presence means ready."""
    gateway = f"{pod_cidr.network_address + 1}"
    await host.ip(f"link add name {config.bridge} type bridge", force=True)
    await host.ip(
        f"link set dev {config.bridge} {f'mtu {mtu} ' if mtu else ''}up",
        f"addr replace {gateway}/{pod_cidr.prefixlen} dev {config.bridge}",
        # Without a default route the host could not even begin to send to a service address.
        f"route replace {config.service_cidr} dev {config.bridge} src {gateway}",
    )
    await _drop_other_addresses(config.bridge, f"{gateway}/{pod_cidr.prefixlen}")
    host.set_sysctl("net.ipv4.ip_forward", "1")
    if not host.set_sysctl("net.bridge.bridge-nf-call-iptables", "1"):
        await _load_bridge_filter()
        host.set_sysctl("net.bridge.bridge-nf-call-iptables", "1")
    for name in ("route_localnet", "forwarding"):
        host.set_sysctl(f"net/ipv4/conf/{config.bridge}/{name}", "1")
    config.cni_conf_dir.mkdir(parents=True, exist_ok=True)
    target = config.cni_conf_dir / CONFLIST_NAME
    text = json.dumps(conflist(config, pod_cidr, mtu), indent=2) + "\n"
    if not target.exists() or target.read_text() != text:
        temporary = target.with_suffix(".tmp")
        temporary.write_text(text)
        temporary.rename(target)


async def _drop_other_addresses(link: str, keep: str) -> None:
    """A node whose PodCIDR changed must not keep the old gateway address."""
    _, output = await host.run(["ip", "-json", "-4", "addr", "show", "dev", link], check=False)
    if others := plan.other_addresses(output, keep):
        await host.ip(*(f"addr del {other} dev {link}" for other in others), force=True)


async def _load_bridge_filter() -> None:
    """Without it, a reply from a pod to its neighbour would pass the bridge untranslated."""
    try:
        await host.run(["modprobe", "br_netfilter"], check=False)
    except EnvironmentError_:
        LOG.warning("modprobe is not installed; services between pods of this node need the module br_netfilter")
