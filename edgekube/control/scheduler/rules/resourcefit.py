"""A node must have left what a pod requests, and room for one more pod."""

from __future__ import annotations

from edgekube.control.scheduler import amounts
from edgekube.control.scheduler.amounts import Amounts
from edgekube.control.scheduler.decide import Refusal, Rule
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.pod import Pod

ORDER = {"cpu": 0, "memory": 1, "ephemeral-storage": 2}


def prepare(pod: Pod, _: Snapshot) -> Amounts:
    """What it requests."""
    return amounts.of_pod(pod)


def refuse(requests: Amounts, info: NodeInfo) -> Refusal | None:
    """Nodes that lack something; `helpless` when even an empty node of this size would."""
    reasons: list[str] = []
    helpless = False
    if len(info.pods) + 1 > info.allocatable.get("pods", 0):
        reasons.append("Too many pods")
        helpless = info.allocatable.get("pods", 0) < 1
    for name in sorted(requests, key=lambda name: (ORDER.get(name, 3), name)):
        asked, has = requests[name], info.allocatable.get(name, 0)
        if asked and asked > has - info.requested.get(name, 0):
            reasons.append(f"Insufficient {name}")
            helpless = helpless or asked > has
    return Refusal(tuple(reasons), helpless) if reasons else None


RULE = Rule("NodeResourcesFit", prepare, refuse, frozenset({"nodes", "pods"}))
