"""A node must have left what a pod requests, and room for one more pod."""

from __future__ import annotations

from collections.abc import Sequence

from edgekube.control.scheduler.decide import Refusal, Rule
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.pod import Pod

ORDER = {"cpu": 0, "memory": 1, "ephemeral-storage": 2}


Asked = Sequence[tuple[str, int]]


def prepare(pod: Pod, snapshot: Snapshot) -> Asked:
    """What it requests, in the order in which lacking things are told."""
    requests = snapshot.summaries.of(pod).requests
    asked = ((name, value) for name, value in requests.items() if value)
    return sorted(asked, key=lambda one: (ORDER.get(one[0], 3), one[0]))


def refuse(asked: Asked, info: NodeInfo) -> Refusal | None:
    """Nodes that lack something; `helpless` when even an empty node of this size would."""
    reasons: list[str] = []
    helpless = False
    allocatable, requested = info.allocatable, info.requested
    if len(info.pods) >= allocatable.get("pods", 0):
        reasons.append("Too many pods")
        helpless = allocatable.get("pods", 0) < 1
    for name, value in asked:
        has = allocatable.get(name, 0)
        if value > has - requested.get(name, 0):
            reasons.append(f"Insufficient {name}")
            helpless = helpless or value > has
    return Refusal(tuple(reasons), helpless) if reasons else None


RULE = Rule("NodeResourcesFit", prepare, refuse, frozenset({"nodes", "pods"}))
