"""A pod that names its node goes nowhere else."""

from __future__ import annotations

from edgekube.control.scheduler.decide import Refusal, Rule
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.pod import Pod

REFUSAL = Refusal(("node(s) didn't match the requested node name",), helpless=True)


def prepare(pod: Pod, _: Snapshot) -> str | None:
    """The node asked for."""
    return pod.spec.node_name or None


def refuse(name: str, info: NodeInfo) -> Refusal | None:
    """All others."""
    return None if info.name == name else REFUSAL


RULE = Rule("NodeName", prepare, refuse)
