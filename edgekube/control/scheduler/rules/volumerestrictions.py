"""A volume that may be used once is not used twice: ReadWriteOncePod claims, and disks that can hang on one node's pod only.

Source: k8s.io/kubernetes pkg/scheduler/framework/plugins/volumerestrictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekube.control.scheduler.decide import Refusal, Rule
from edgekube.control.scheduler.rules.volumebinding import claim_names
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.volume import Volume

IN_USE = Refusal(("node has pod using PersistentVolumeClaim with the same name and ReadWriteOncePod access mode",))
DISK_TAKEN = Refusal(("node(s) had no available disk",))
ONCE = "ReadWriteOncePod"


@dataclass(frozen=True, slots=True)
class State:
    """Claims only one pod may use, whether some pod does, and disks that are used on the node itself."""

    namespace: str
    once: frozenset[str]
    disks: Sequence[Volume]


def prepare(pod: Pod, snapshot: Snapshot) -> State | None:
    """Pods without such volumes do not care."""
    namespace = pod.metadata.namespace
    claims = ((name, snapshot.claims.get((namespace, name))) for name in claim_names(pod))
    once = frozenset(name for name, claim in claims if claim is not None and ONCE in (claim.spec.access_modes or ()))
    disks = [volume for volume in pod.spec.volumes if _disk(volume) is not None]
    return State(namespace, once, disks) if once or disks else None


def refuse(state: State, info: NodeInfo) -> Refusal | None:
    """Nodes whose pods have what only one may have."""
    for other in info.pods:
        if state.once and other.metadata.namespace == state.namespace and state.once.intersection(claim_names(other)):
            return IN_USE
        if any(_clash(mine, theirs) for mine in state.disks for theirs in other.spec.volumes):
            return DISK_TAKEN
    return None


def _disk(volume: Volume) -> tuple[object, ...] | None:
    """What names a disk that is used directly, and whether only for reading; None for any other volume."""
    if (gce := volume.gce_persistent_disk) is not None:
        return "gce", gce.pd_name, gce.read_only
    if (iscsi := volume.iscsi) is not None:
        return "iscsi", iscsi.iqn, iscsi.read_only
    if (rbd := volume.rbd) is not None:
        return "rbd", f"{sorted(rbd.monitors or ())} {rbd.pool} {rbd.image}", rbd.read_only
    if (ebs := volume.aws_elastic_block_store) is not None:
        return "aws", ebs.volume_id, False
    return None


def _clash(one: Volume, other: Volume) -> bool:
    mine, theirs = _disk(one), _disk(other)
    if mine is None or theirs is None:
        return False
    return mine[:2] == theirs[:2] and not (mine[2] and theirs[2])


RULE = Rule("VolumeRestrictions", prepare, refuse, frozenset({"nodes", "pods", "persistentvolumeclaims"}))
