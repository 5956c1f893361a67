"""nodeSelector and required node affinity."""

from __future__ import annotations

from edgekube.control.scheduler.decide import Refusal, Rule
from edgekube.control.scheduler.matching import wants_node
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.pod import Pod

REFUSAL = Refusal(("node(s) didn't match Pod's node affinity/selector",), helpless=True)


def prepare(pod: Pod, _: Snapshot) -> Pod | None:
    """Only pods that say which nodes they want."""
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity is not None else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity is not None else None
    return pod if pod.spec.node_selector or required is not None else None


def refuse(pod: Pod, info: NodeInfo) -> Refusal | None:
    """Nodes it does not want."""
    return None if wants_node(pod, info.node) else REFUSAL


RULE = Rule("NodeAffinity", prepare, refuse)
