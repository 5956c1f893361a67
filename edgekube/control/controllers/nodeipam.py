"""Each node gets its own part of the cluster's pod addresses. Source: pkg/controller/nodeipam/ipam (range allocator)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from ipaddress import IPv4Network, IPv6Network, ip_network

from edgekube.control.config import Config
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core.node import Node
from edgekube.reconcile.drive import Caches, Controller, Key, Watch
from edgekube.reconcile.plan import Note, Patch, Plan, Tell, about

KIND = node_kind.KIND


@dataclass(frozen=True, slots=True)
class Seen:
    """A node without a range, and the ranges that are taken."""

    node: Node
    taken: Sequence[str]
    cluster: str
    bits: int


def reconcile(seen: Seen) -> Plan:
    """The first free range; an event when there is none."""
    found = first_free(seen.cluster, seen.bits, seen.taken)
    name = seen.node.metadata.name
    if found is None:
        message = f"Node {name} status is now: CIDRNotAvailable"
        return Plan([Tell(Note(about(KIND, seen.node), "Normal", "CIDRNotAvailable", message))], look_again_s=60)
    patch = {"metadata": {"uid": seen.node.metadata.uid}, "spec": {"podCIDR": found, "podCIDRs": [found]}}
    return Plan([Patch(kind=KIND, namespace="", name=name, patch=patch)])


def first_free(cluster: str, bits: int, taken: Sequence[str]) -> str | None:
    """The first range of `bits` in `cluster` that overlaps none of `taken`. Texts that are no networks are left out."""
    whole = ip_network(cluster)
    used: list[IPv4Network | IPv6Network] = []
    for text in taken:
        try:
            used.append(ip_network(text, strict=False))
        except ValueError:
            continue
    exact = {network for network in used if network.prefixlen == bits}
    others = [network for network in used if network.prefixlen != bits and network.version == whole.version]
    for candidate in whole.subnets(new_prefix=max(bits, whole.prefixlen)):
        if candidate not in exact and not any(candidate.overlaps(network) for network in others):
            return str(candidate)
    return None


def observe(config: Config, caches: Caches, key: Key, _: datetime) -> Seen | None:
    """Only nodes without a range."""
    node = caches.of(KIND).get("", key.name)
    if node is None or node.spec.pod_cidr or node.metadata.deletion_timestamp is not None:
        return None
    taken = [cidr for item in caches.of(KIND).list() for cidr in (item.spec.pod_cidrs or [item.spec.pod_cidr]) if cidr]
    return Seen(node, taken, config.cluster_cidr, config.node_cidr_bits)


def of_node(caches: Caches, item: Node, _: Node | None = None) -> Iterable[Key]:
    """A node without a range; when one goes, its range may be for another."""
    if not item.spec.pod_cidr:
        yield Key("", item.metadata.name)
    elif caches.of(KIND).get("", item.metadata.name) is None:
        for other in caches.of(KIND).list():
            if not other.spec.pod_cidr:
                yield Key("", other.metadata.name)


def controller(config: Config) -> Controller[Seen]:
    """The loop: one worker, so that no range is given twice."""
    return Controller(
        name="node-ipam-controller",
        watches=(Watch(KIND, of_node),),
        observe=partial(observe, config),
        reconcile=reconcile,
        sees_all=True,
    )
