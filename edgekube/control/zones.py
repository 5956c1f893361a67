"""Which silent nodes may be given up, and how fast: a zone that loses most of its nodes has lost its network, not its nodes.

Pure but for `Pace`, which remembers when it last said yes. Source: k8s.io/kubernetes pkg/controller/nodelifecycle
(ComputeZoneState, handleDisruption, ReducedQPSFunc) and its rate limited queues (one node at a time, then one every 1/rate seconds).
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from edgekube.control.config import Config
from edgekube.kinds.core.node import Node

REGION, ZONE = "topology.kubernetes.io/region", "topology.kubernetes.io/zone"
FEW = 2  # so many silent nodes are never a disruption


class State(Enum):
    """How a zone is."""

    NORMAL = "Normal"
    PARTIAL = "PartialDisruption"
    FULL = "FullDisruption"


def zone_of(node: Node) -> str:
    """The zone's name, region included; nodes without labels are one zone."""
    labels = node.metadata.labels
    return f"{labels.get(REGION, '')}/{labels.get(ZONE, '')}"


def is_ready(node: Node) -> bool:
    """Whether the node says so, and is heard."""
    return any(one.type == "Ready" and one.status == "True" for one in node.status.conditions)


def state_of(nodes: Iterable[Node], unhealthy_share: float) -> State:
    """The state of a zone from all its nodes."""
    answers = [is_ready(node) for node in nodes]
    silent = answers.count(False)
    if silent and silent == len(answers):
        return State.FULL
    if silent > FEW and silent / len(answers) >= unhealthy_share:
        return State.PARTIAL
    return State.NORMAL


def rate_in(zone: str, nodes: Iterable[Node], config: Config) -> float:
    """Nodes of this zone that may be given up per second; none when no zone is left that is not fully silent."""
    zones: dict[str, list[Node]] = {}
    for node in nodes:
        zones.setdefault(zone_of(node), []).append(node)
    states = {name: state_of(members, config.unhealthy_zone_share) for name, members in zones.items()}
    if all(state is State.FULL for state in states.values()):
        return 0.0
    if states.get(zone) is State.PARTIAL:
        return config.secondary_eviction_rate if len(zones[zone]) > config.large_cluster_nodes else 0.0
    return config.eviction_rate


class Pace:
    """Says yes at most so often, zone by zone."""

    def __init__(self) -> None:
        self._again_at: dict[str, float] = {}

    def allows(self, zone: str, rate: float, now_s: float) -> bool:
        """Whether one more node may be given up now; a yes counts."""
        if rate <= 0 or now_s < self._again_at.get(zone, float("-inf")):
            return False
        self._again_at[zone] = now_s + 1 / rate
        return True
