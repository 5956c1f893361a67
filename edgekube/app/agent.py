"""This machine as a node: containers, pod network, services and names, over whichever client it is given.

In a server the client is in-process, an agent hands in its replica. Nothing here knows the difference.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from ipaddress import IPv4Network
from pathlib import Path
from typing import Protocol

import trio

from edgekube.app import registries
from edgekube.app.config import CLUSTER_CIDR, own_address
from edgekube.client.interface import Client
from edgekube.clock import Clock
from edgekube.kinds.core.node import Taint
from edgekube.net.address import OwnAddress
from edgekube.net.nodegate import NodeGate
from edgekube.network.config import NetworkConfig
from edgekube.network.run import run_network
from edgekube.node.config import NodeConfig
from edgekube.node.run import run_node

LOG = logging.getLogger("edgekube.node")
PLUGIN_DIRS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"))


class MachineConfig(Protocol):
    """What a node must be told, whether it belongs to a server or to an agent."""

    @property
    def node_name(self) -> str: ...
    @property
    def node_ip(self) -> str: ...
    @property
    def node_label(self) -> tuple[str, ...]: ...
    @property
    def node_taint(self) -> tuple[str, ...]: ...
    @property
    def data_dir(self) -> Path: ...
    @property
    def cluster_cidr(self) -> IPv4Network: ...
    @property
    def service_cidr(self) -> IPv4Network: ...
    @property
    def dns_ip(self) -> str: ...
    @property
    def cluster_domain(self) -> str: ...
    @property
    def network_backend(self) -> str: ...
    @property
    def instance(self) -> str: ...
    @property
    def container_runtime_endpoint(self) -> str: ...
    @property
    def pod_manifest_path(self) -> str: ...
    @property
    def resolv_conf(self) -> Path: ...
    @property
    def private_registry(self) -> Path: ...


class Running(Protocol):
    """The process a node is part of."""

    @property
    def config(self) -> MachineConfig: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def address(self) -> str: ...
    @property
    def gates(self) -> dict[str, NodeGate]: ...
    @property
    def report_s(self) -> float:
        """How often an unchanged status is written."""
        ...

    def lease_kept(self) -> bool:
        """Whether the server renews the node's Lease by itself at the moment."""
        ...

    def moved(self) -> None:
        """This machine's address changed."""

    def client(self, user: str, manager: str) -> Client: ...


@asynccontextmanager
async def node_and_network(running: Running) -> AsyncIterator[None]:
    """Run both while the block runs; entered once the node is registered and services, names and containers work."""
    config = running.config
    given = config.node_ip or running.address
    found = None if config.node_ip or given != own_address() else own_address  # what was chosen for us stays
    address = OwnAddress(given, found)
    address.on_change(running.moved)
    client = running.client(f"system:node:{config.node_name}", "edgekube-node")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(address.watch)
        told = replace(node_config(config, address), lease_kept=running.lease_kept, report_s=running.report_s)
        gate = await nursery.start(partial(run_node, client, running.clock, told))
        running.gates[config.node_name] = gate
        LOG.info("containers run on node %s", config.node_name)
        await nursery.start(run_network, client, network_config(config, address))
        yield
        running.gates.pop(config.node_name, None)
        nursery.cancel_scope.cancel()


def network_config(config: MachineConfig, address: str | OwnAddress) -> NetworkConfig:
    """What the network room is told."""
    return NetworkConfig(
        node_name=config.node_name,
        node_ip=address if isinstance(address, str) else address(),
        cluster_cidr=config.cluster_cidr,
        service_cidr=config.service_cidr,
        dns_ip=config.dns_ip,
        dns_domain=config.cluster_domain,
        cni_conf_dir=config.data_dir / "cni" / "net.d",
        cni_state_dir=config.data_dir / "cni" / "addresses",
        cni_bin_dirs=PLUGIN_DIRS,
        instance=config.instance,
        host_resolv_conf=config.resolv_conf,
        backend=config.network_backend,
        # Clusters that share a machine have ranges of their own, so their VXLANs get numbers of their own.
        vxlan_id=1 if config.cluster_cidr == CLUSTER_CIDR else int(config.cluster_cidr.network_address) >> 8,
        wireguard_key=config.data_dir / "network" / "wireguard.key",
        address_now=address if isinstance(address, OwnAddress) else None,
        on_address=address.on_change if isinstance(address, OwnAddress) else None,
    )


def node_config(config: MachineConfig, address: str | OwnAddress) -> NodeConfig:
    """What the node room is told. Raises UsageError when registries.yaml is wrong."""
    known = registries.read(config.private_registry)
    return NodeConfig(
        node_name=config.node_name,
        node_ip=address if isinstance(address, str) else address(),
        address_now=address if isinstance(address, OwnAddress) else None,
        data_dir=config.data_dir,
        cluster_dns=(config.dns_ip,),
        cluster_domain=config.cluster_domain,
        cni_conf_dir=config.data_dir / "cni" / "net.d",
        cni_bin_dir=next((path for path in PLUGIN_DIRS if (path / "bridge").exists()), PLUGIN_DIRS[0]),
        runtime_endpoint=config.container_runtime_endpoint,
        static_pods_dir=Path(config.pod_manifest_path) if config.pod_manifest_path else None,
        labels=dict(label.split("=", 1) for label in config.node_label),
        taints=tuple(_taint(text) for text in config.node_taint),
        host_resolv_conf=config.resolv_conf,
        registry_hosts_dir=registries.write(known, config.data_dir / "node" / "registries"),
        registry_credentials=registries.credentials(known),
    )


def _taint(text: str) -> Taint:
    """A taint from key=value:effect or key:effect (checked by the configuration)."""
    rest, _, effect = text.rpartition(":")
    key, _, value = rest.partition("=")
    return Taint(key=key, value=value, effect=effect)
