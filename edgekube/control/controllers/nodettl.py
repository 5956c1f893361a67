"""How long nodes may keep Secrets and ConfigMaps before asking again, by the size of the cluster: an annotation on each node.

Source: k8s.io/kubernetes pkg/controller/ttl/ttl_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from edgekube.control.config import Config
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core.node import Node
from edgekube.reconcile.drive import Caches, Controller, Key, Watch
from edgekube.reconcile.plan import NOTHING, Patch, Plan

KIND = node_kind.KIND
ANNOTATION = "node.alpha.kubernetes.io/ttl"
STEPS = ((100, 0), (500, 15), (1000, 30), (2000, 60))  # up to so many nodes, so many seconds
LONGEST_S = 300


@dataclass(frozen=True, slots=True)
class Seen:
    """A node and how many there are."""

    node: Node
    nodes: int


def reconcile(seen: Seen) -> Plan:
    """Write it where it differs."""
    seconds = str(next((seconds for most, seconds in STEPS if seen.nodes <= most), LONGEST_S))
    metadata = seen.node.metadata
    if metadata.annotations.get(ANNOTATION) == seconds or metadata.deletion_timestamp is not None:
        return NOTHING
    patch = {"metadata": {"annotations": {ANNOTATION: seconds}}}
    return Plan([Patch(kind=KIND, namespace="", name=metadata.name, patch=patch)])


def observe(caches: Caches, key: Key, _: datetime) -> Seen | None:
    """The node and the size of the cluster."""
    node = caches.of(KIND).get("", key.name)
    return Seen(node, len(caches.of(KIND).list())) if node is not None else None


def of_node(_: Caches, item: Node, previous: Node | None = None) -> Iterable[Key]:
    """New nodes, and those whose annotation changed."""
    before = previous.metadata.annotations.get(ANNOTATION) if previous is not None else None
    if before is None or before != item.metadata.annotations.get(ANNOTATION):
        yield Key("", item.metadata.name)


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(name="ttl-controller", watches=(Watch(KIND, of_node),), observe=observe, reconcile=reconcile)
