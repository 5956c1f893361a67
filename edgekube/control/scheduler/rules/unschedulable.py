"""A cordoned node takes no pods, but for those that tolerate it."""

from __future__ import annotations

from edgekube.control.scheduler.decide import Refusal, Rule
from edgekube.control.scheduler.matching import tolerated
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.node import Taint
from edgekube.kinds.core.pod import Pod

CORDONED = Taint(key="node.kubernetes.io/unschedulable", effect="NoSchedule")
REFUSAL = Refusal(("node(s) were unschedulable",), helpless=True)


def prepare(pod: Pod, _: Snapshot) -> Pod | None:
    """Nothing to check for a pod that tolerates cordons."""
    return None if tolerated(CORDONED, pod.spec.tolerations) else pod


def refuse(_: Pod, info: NodeInfo) -> Refusal | None:
    """Cordoned nodes."""
    return REFUSAL if info.node.spec.unschedulable else None


RULE = Rule("NodeUnschedulable", prepare, refuse)
