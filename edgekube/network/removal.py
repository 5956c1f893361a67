"""Taking the network of a node off its machine: links, routes, rules, the DNS address, CNI files. Needs no cluster and no server.

Every step goes on past what is not there, so it may be run twice, after a crash, or on a machine that never was a node. Sysctls stay
as they are: whether anything else forwards packets here is not known. Pods must be gone first; their veths end with the bridge's.
"""

from __future__ import annotations

import shutil

from edgekube.errors import EnvironmentError_
from edgekube.network import host as real_host
from edgekube.network.backends import plan
from edgekube.network.backends.mesh import Host
from edgekube.network.config import NetworkConfig
from edgekube.network.podnet import CONFLIST_NAME


async def remove_all(config: NetworkConfig, host: Host = real_host) -> None:
    """Nothing of ours is left in the kernel or on disk. Raises EnvironmentError_ only when `ip` or `nft` is not installed."""
    await host.run(["nft", "delete", "table", "ip", config.table], check=False)
    await remove_routes(config, host)
    await host.ip(
        f"link del dev {config.overlay}",
        f"link del dev {config.bridge}",
        f"addr del {config.dns_ip}/32 dev lo",
        force=True,
    )
    (config.cni_conf_dir / CONFLIST_NAME).unlink(missing_ok=True)
    shutil.rmtree(config.cni_state_dir, ignore_errors=True)
    config.wireguard_key.unlink(missing_ok=True)
    for directory in (config.cni_conf_dir, config.cni_conf_dir.parent, config.wireguard_key.parent):
        try:
            directory.rmdir()  # only where nobody else keeps things
        except OSError:
            pass


async def remove_routes(config: NetworkConfig, host: Host = real_host) -> None:
    """Routes to other nodes' pods, whatever backend made them."""
    status, routes = await host.run(["ip", "-json", "-4", "route", "show", "proto", plan.PROTOCOL], check=False)
    if status == 0:
        ip, _ = plan.difference(config, plan.seen(config, routes), plan.Paths())
        if ip:
            await host.ip(*ip, force=True)


async def tear_down(config: NetworkConfig) -> bool:
    """`remove_all`, for callers that go on whatever happens: False where the programs it takes are missing."""
    try:
        await remove_all(config)
    except EnvironmentError_:
        return False
    return True
