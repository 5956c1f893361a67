"""A volume of some zone is used in that zone: the labels of bound volumes are wishes about the node.

Source: k8s.io/kubernetes pkg/scheduler/framework/plugins/volumezone.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgekube.control.scheduler.decide import Refusal, Rule
from edgekube.control.scheduler.rules.volumebinding import claim_names
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.pod import Pod

REFUSAL = Refusal(("node(s) had no available volume zone",), helpless=True)
NEW, OLD = "topology.kubernetes.io", "failure-domain.beta.kubernetes.io"
KEYS = tuple(f"{domain}/{part}" for domain in (NEW, OLD) for part in ("zone", "region"))
BETWEEN_ZONES = "__"  # a volume may be in several

Wish = tuple[str, frozenset[str]]


def prepare(pod: Pod, snapshot: Snapshot) -> Sequence[Wish] | None:
    """The zones and regions of the pod's bound volumes."""
    wishes: list[Wish] = []
    for name in claim_names(pod):
        claim = snapshot.claims.get((pod.metadata.namespace, name))
        volume = snapshot.volumes.get(claim.spec.volume_name) if claim is not None else None
        if volume is not None:
            labels = volume.metadata.labels
            wishes += [(key, frozenset(labels[key].split(BETWEEN_ZONES))) for key in KEYS if key in labels]
    return wishes or None


def refuse(wishes: Sequence[Wish], info: NodeInfo) -> Refusal | None:
    """Nodes elsewhere; a cluster whose nodes have no such labels has one zone only."""
    labels = info.labels
    if not any(key in labels for key in KEYS):
        return None
    for key, values in wishes:
        other = key.replace(OLD, NEW) if key.startswith(OLD) else key.replace(NEW, OLD)
        if labels.get(key, labels.get(other)) not in values:
            return REFUSAL
    return None


RULE = Rule("VolumeZone", prepare, refuse, frozenset({"nodes", "persistentvolumeclaims", "persistentvolumes"}))
