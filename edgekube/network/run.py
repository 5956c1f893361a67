"""The network room's entry: follow services and endpoint slices, keep the proxy and the DNS answering from them.

`run_network` is started with the node; it needs the node's PodCIDR (from its Node object) before it can set up the bridge.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Any

import trio

from edgekube.client.follow import Cache, follow
from edgekube.client.interface import Client
from edgekube.client.replica import Replica
from edgekube.errors import ApiError, ConnectionFailed, EnvironmentError_
from edgekube.kinds.core.node import KIND as NODES
from edgekube.kinds.core.service import KIND as SERVICES
from edgekube.kinds.core.service import Service
from edgekube.kinds.discovery.endpointslice import KIND as SLICES
from edgekube.kinds.discovery.endpointslice import EndpointSlice
from edgekube.network import host, podnet
from edgekube.network.backends.mesh import Mesh
from edgekube.network.config import NetworkConfig
from edgekube.network.dns.server import DnsServer, upstreams
from edgekube.network.dns.zone import Zone, build
from edgekube.network.localendpoints import LocalEndpoints
from edgekube.network.proxy.service import Proxy

LOG = logging.getLogger("edgekube.network")
LOOK_AGAIN_S = 0.2


@dataclass(frozen=True, slots=True)
class Network:
    """The running parts, for metrics and health."""

    proxy: Proxy
    dns: DnsServer
    mesh: Mesh
    pod_cidr: IPv4Network


class _Names:
    """The zone, rebuilt on the first question after a change."""

    def __init__(
        self, domain: str, services: Callable[[], Sequence[Service]], slices: Callable[[], Sequence[EndpointSlice]]
    ) -> None:
        self._domain, self._services, self._slices = domain, services, slices
        self._zone: Zone | None = None

    def touch(self) -> None:
        self._zone = None

    def zone(self) -> Zone:
        if self._zone is None:
            self._zone = build(self._domain, self._services(), self._slices())
        return self._zone


async def wait_pod_cidr(client: Client, node: str) -> IPv4Network:
    """The node's share of the pod network, once the controllers have given it one."""
    while True:
        try:
            found = await client.get(NODES, node)
        except (ApiError, ConnectionFailed):
            found = None
        if found and found.spec.pod_cidr:
            return IPv4Network(found.spec.pod_cidr)
        await trio.sleep(LOOK_AGAIN_S)


async def run_network(
    client: Client,
    config: NetworkConfig,
    *,
    task_status: trio.TaskStatus[Network] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Pod network, service rules and DNS of this node; started when all three answer."""
    pod_cidr = await wait_pod_cidr(client, config.node_name)
    mesh = Mesh(client, config, pod_cidr)
    mtu = await mesh.prepare()
    await podnet.set_up(config, pod_cidr, mtu)
    services: Cache[Service] = Cache()
    slices: Cache[EndpointSlice] = Cache()

    def changed(*_: Any) -> None:
        proxy.touch()
        names.touch()

    local = None
    if isinstance(client, Replica):
        local = LocalEndpoints(client, config.node_name, services.list, slices.list, changed)
    endpoints = slices.list if local is None else local.slices
    names = _Names(config.dns_domain, services.list, endpoints)
    proxy = Proxy(config, services.list, endpoints, lambda: mesh.zone)
    mesh.on_zone = proxy.touch
    forward = upstreams(config.host_resolv_conf, never=(config.dns_ip,))
    dns = DnsServer(names.zone, lambda: forward)
    async with trio.open_nursery() as nursery:
        await nursery.start(_follow, client, SERVICES, services, changed)
        await nursery.start(_follow, client, SLICES, slices, changed)
        if local is not None:
            await nursery.start(local.run)
        await nursery.start(proxy.run)
        await host.ip(f"addr replace {config.dns_ip}/32 dev lo")
        await nursery.start(dns.serve, config.dns_ip)
        mesh.on_pod_cidr = lambda cidr: nursery.start_soon(_take_up, config, cidr, mtu)
        await nursery.start(mesh.run)
        LOG.info("pods get addresses from %s, names from %s", pod_cidr, config.dns_ip)
        task_status.started(Network(proxy, dns, mesh, pod_cidr))


async def _take_up(config: NetworkConfig, pod_cidr: IPv4Network, mtu: int) -> None:
    """The Node was deleted and came back with another range: pods from now on get addresses of it."""
    LOG.warning(
        "this node's pods get addresses from %s from now on; those that run keep theirs, and are cut off", pod_cidr
    )
    try:
        await podnet.set_up(config, pod_cidr, mtu)
    except EnvironmentError_ as error:
        LOG.error("the pod network could not be changed; restart edgekube: %s", error)


async def _follow(
    client: Client, kind: Any, cache: Cache[Any], changed: Any, *, task_status: trio.TaskStatus[None]
) -> None:
    await follow(client, kind, cache, on_change=changed, task_status=task_status)
