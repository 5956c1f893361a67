"""Avoid nodes with PreferNoSchedule taints that the pod does not tolerate. Source: plugins/tainttoleration."""

from __future__ import annotations

from collections.abc import Sequence

from edgekube.control.scheduler.decide import Score, fewest_is_best
from edgekube.control.scheduler.matching import tolerated
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podspec import Toleration


def prepare(pod: Pod, _: Snapshot, suiting: Sequence[NodeInfo]) -> Sequence[Toleration] | None:
    """Tolerations of this effect, or of all; None where no node has such a taint."""
    if not any(taint.effect == "PreferNoSchedule" for info in suiting for taint in info.node.spec.taints):
        return None
    return [entry for entry in pod.spec.tolerations if entry.effect in ("", "PreferNoSchedule")]


def score(tolerations: Sequence[Toleration], info: NodeInfo) -> float:
    """How many taints are not tolerated."""
    taints = [taint for taint in info.node.spec.taints if taint.effect == "PreferNoSchedule"]
    return float(sum(1 for taint in taints if not tolerated(taint, tolerations)))


SCORE = Score("TaintToleration", 3, prepare, score, fewest_is_best)
