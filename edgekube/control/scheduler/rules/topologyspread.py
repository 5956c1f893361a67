"""Pods of a group spread over zones, racks or nodes, no place more than `maxSkew` ahead of the emptiest.

Source: k8s.io/kubernetes pkg/scheduler/framework/plugins/podtopologyspread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from edgekube.api.selectors import LabelQuery
from edgekube.control.scheduler.decide import Refusal, Rule
from edgekube.control.scheduler.matching import untolerated, wants_node, with_label_keys
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podspec import TopologySpreadConstraint

WORDS = "node(s) didn't match pod topology spread constraints"
UNEVEN = Refusal((WORDS,))
NO_LABEL = Refusal((f"{WORDS} (missing required label)",), helpless=True)


@dataclass(frozen=True, slots=True)
class Spread:
    """One constraint with how many matching pods each place has."""

    key: str
    max_skew: int
    counts: Mapping[str, int]
    least: int
    itself: int  # 1 when the pod counts too


def prepare(pod: Pod, snapshot: Snapshot) -> Sequence[Spread] | None:
    """Count for each binding constraint."""
    constraints = [c for c in pod.spec.topology_spread_constraints if c.when_unsatisfiable == "DoNotSchedule"]
    if not constraints:
        return None
    keys = [constraint.topology_key for constraint in constraints]
    return [_spread(pod, constraint, keys, snapshot) for constraint in constraints]


def _spread(pod: Pod, constraint: TopologySpreadConstraint, keys: Sequence[str], snapshot: Snapshot) -> Spread:
    query = with_label_keys(constraint.label_selector, pod, constraint.match_label_keys)
    counts: dict[str, int] = {}
    for info in snapshot.nodes:
        if all(key in info.labels for key in keys) and eligible(pod, constraint, info):
            place = info.labels[constraint.topology_key]
            counts[place] = counts.get(place, 0) + matching(pod, query, info)
    least = min(counts.values(), default=0)
    if constraint.min_domains is not None and len(counts) < constraint.min_domains:
        least = 0
    return Spread(
        constraint.topology_key, constraint.max_skew, counts, least, 1 if query.matches(pod.metadata.labels) else 0
    )


def eligible(pod: Pod, constraint: TopologySpreadConstraint, info: NodeInfo) -> bool:
    """Whether a node's place counts for this constraint at all."""
    if constraint.node_affinity_policy in (None, "Honor") and not wants_node(pod, info.node):
        return False
    tainted = untolerated(info.node, pod.spec.tolerations, ("NoSchedule", "NoExecute"))
    return constraint.node_taints_policy != "Honor" or tainted is None


def matching(pod: Pod, query: LabelQuery, info: NodeInfo) -> int:
    """How many pods of the group a node has; those being deleted are on their way."""
    namespace = pod.metadata.namespace
    return sum(
        1
        for other in info.pods
        if other.metadata.namespace == namespace
        and other.metadata.deletion_timestamp is None
        and query.matches(other.metadata.labels)
    )


def refuse(spreads: Sequence[Spread], info: NodeInfo) -> Refusal | None:
    """Places that would get too far ahead."""
    for spread in spreads:
        place = info.labels.get(spread.key)
        if place is None:
            return NO_LABEL
        if spread.counts.get(place, 0) + spread.itself - spread.least > spread.max_skew:
            return UNEVEN
    return None


RULE = Rule("PodTopologySpread", prepare, refuse, frozenset({"nodes", "pods"}), looks_around=True)
