"""A pod goes where its volumes can be: bound ones say where, unbound ones must be waiting for exactly this decision.

Source: k8s.io/kubernetes pkg/scheduler/framework/plugins/volumebinding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgekube.control.binding import best_volume
from edgekube.control.scheduler.decide import Hopeless, Refusal, Rule
from edgekube.control.scheduler.matching import selector_matches
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.persistentvolume import PersistentVolume
from edgekube.kinds.core.persistentvolumeclaim import PersistentVolumeClaim
from edgekube.kinds.core.pod import Pod

WRONG_NODE = Refusal(("node(s) had volume node affinity conflict",), helpless=True)
NO_VOLUME = Refusal(("node(s) didn't find available persistent volumes to bind",), helpless=True)
NO_SUCH = Refusal(("node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)",), helpless=True)
NO_PROVISIONER = "kubernetes.io/no-provisioner"
SELECTED_NODE = "volume.kubernetes.io/selected-node"
LOCAL_PATH = "edgekube.io/local-path"  # our own provisioner
LOCAL_PATH_ROOT = "edgekube.io/local-path"  # annotation of a Node: the directory it makes such volumes in


@dataclass(frozen=True, slots=True)
class State:
    """The pod's claims: volumes of the bound ones (None: missing), and the ones that wait for a node."""

    bound: Sequence[PersistentVolume | None]
    waiting: Sequence[PersistentVolumeClaim]
    snapshot: Snapshot


def claim_names(pod: Pod) -> list[str]:
    """The claims a pod mounts."""
    names = [volume.persistent_volume_claim.claim_name for volume in pod.spec.volumes if volume.persistent_volume_claim]
    names += [f"{pod.metadata.name}-{volume.name}" for volume in pod.spec.volumes if volume.ephemeral]
    return names


def waits_for_node(claim: PersistentVolumeClaim, snapshot: Snapshot) -> bool:
    """Whether the claim's class binds only once a pod has been placed."""
    storage_class = snapshot.classes.get(claim.spec.storage_class_name or "")
    return storage_class is not None and storage_class.volume_binding_mode == "WaitForFirstConsumer"


def prepare(pod: Pod, snapshot: Snapshot) -> State | None:
    """Sort the claims. Raises Hopeless when one is missing or not bound though it should be."""
    names = claim_names(pod)
    if not names:
        return None
    bound: list[PersistentVolume | None] = []
    waiting: list[PersistentVolumeClaim] = []
    for name in names:
        claim = snapshot.claims.get((pod.metadata.namespace, name))
        if claim is None:
            raise Hopeless(f'persistentvolumeclaim "{name}" not found')
        if claim.metadata.deletion_timestamp is not None:
            raise Hopeless(f'persistentvolumeclaim "{name}" is being deleted')
        if claim.status.phase == "Lost":
            raise Hopeless(
                f'persistentvolumeclaim "{name}" bound to non-existent persistentvolume "{claim.spec.volume_name}"'
            )
        if claim.spec.volume_name and claim.status.phase == "Bound":
            bound.append(snapshot.volumes.get(claim.spec.volume_name))
        elif waits_for_node(claim, snapshot) and not claim.spec.volume_name:
            waiting.append(claim)
        else:
            raise Hopeless("pod has unbound immediate PersistentVolumeClaims")
    return State(bound, waiting, snapshot)


def refuse(state: State, info: NodeInfo) -> Refusal | None:
    """Nodes the volumes cannot be used on."""
    for volume in state.bound:
        if volume is None:
            return NO_SUCH
        affinity = volume.spec.node_affinity
        if (
            affinity is not None
            and affinity.required is not None
            and not selector_matches(affinity.required, info.node)
        ):
            return WRONG_NODE
    taken: set[str] = set()
    for claim in state.waiting:
        volume = volume_for(claim, info, state.snapshot, taken)
        if volume is not None:
            taken.add(volume.metadata.name)
        elif not _can_be_made(claim, info, state.snapshot):
            return NO_VOLUME
    return None


def volume_for(
    claim: PersistentVolumeClaim, info: NodeInfo, snapshot: Snapshot, taken: set[str]
) -> PersistentVolume | None:
    """The smallest free volume that satisfies a claim on this node."""
    here = [
        volume
        for volume in snapshot.volumes.values()
        if volume.metadata.name not in taken
        and (
            volume.spec.node_affinity is None
            or volume.spec.node_affinity.required is None
            or selector_matches(volume.spec.node_affinity.required, info.node)
        )
    ]
    return best_volume(claim, here)


def _can_be_made(claim: PersistentVolumeClaim, info: NodeInfo, snapshot: Snapshot) -> bool:
    storage_class = snapshot.classes.get(claim.spec.storage_class_name or "")
    if storage_class is None or storage_class.provisioner in ("", NO_PROVISIONER):
        return False
    if storage_class.provisioner == LOCAL_PATH and not info.node.metadata.annotations.get(LOCAL_PATH_ROOT):
        return False
    selected = claim.metadata.annotations.get(SELECTED_NODE)
    return selected is None or selected == info.name


RULE = Rule(
    "VolumeBinding",
    prepare,
    refuse,
    frozenset({"nodes", "persistentvolumeclaims", "persistentvolumes", "storageclasses"}),
)
