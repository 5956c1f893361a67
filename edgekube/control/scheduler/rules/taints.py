"""A node's NoSchedule and NoExecute taints keep away pods that do not tolerate them."""

from __future__ import annotations

from edgekube.control.scheduler.decide import Refusal, Rule
from edgekube.control.scheduler.matching import untolerated
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.pod import Pod

REFUSAL = Refusal(("node(s) had untolerated taint(s)",), helpless=True)
EFFECTS = ("NoSchedule", "NoExecute")


def prepare(pod: Pod, _: Snapshot) -> Pod:
    """Its tolerations are all that matters."""
    return pod


def refuse(pod: Pod, info: NodeInfo) -> Refusal | None:
    """Nodes with a taint nothing tolerates."""
    if not info.node.spec.taints:
        return None
    return REFUSAL if untolerated(info.node, pod.spec.tolerations, EFFECTS) is not None else None


RULE = Rule("TaintToleration", prepare, refuse)
