"""Which persistent volume suits a claim. Shared by the binder and the scheduler. Pure.

Source: k8s.io/component-helpers storage/volume/pv_helpers.go (FindMatchingVolume).
"""

from __future__ import annotations

from collections.abc import Iterable

from edgekube.api.quantity import whole
from edgekube.api.selectors import from_label_selector
from edgekube.kinds.core.persistentvolume import PersistentVolume
from edgekube.kinds.core.persistentvolumeclaim import PersistentVolumeClaim


def capacity(volume: PersistentVolume) -> int:
    """A volume's size in bytes."""
    return whole(volume.spec.capacity.get("storage", "0"))


def requested(claim: PersistentVolumeClaim) -> int:
    """The size a claim asks for in bytes."""
    return whole(claim.spec.resources.requests.get("storage", "0"))


def is_claimed_by(volume: PersistentVolume, claim: PersistentVolumeClaim) -> bool:
    """Whether a volume is meant for this claim (by name, or by uid once bound)."""
    reference = volume.spec.claim_ref
    if reference is None or (reference.namespace, reference.name) != (claim.metadata.namespace, claim.metadata.name):
        return False
    return not reference.uid or reference.uid == claim.metadata.uid


def best_volume(claim: PersistentVolumeClaim, volumes: Iterable[PersistentVolume]) -> PersistentVolume | None:
    """The volume meant for the claim if there is one, else the smallest free one that satisfies it."""
    wanted = requested(claim)
    query = from_label_selector(claim.spec.selector) if claim.spec.selector is not None else None
    best: PersistentVolume | None = None
    for volume in sorted(volumes, key=lambda volume: volume.metadata.name):
        if volume.metadata.deletion_timestamp is not None or (volume.spec.volume_mode or "Filesystem") != (
            claim.spec.volume_mode or "Filesystem"
        ):
            continue
        if is_claimed_by(volume, claim):
            if capacity(volume) >= wanted:
                return volume
            continue
        if volume.spec.claim_ref is not None or volume.status.phase not in ("", "Available", "Pending"):
            continue
        if volume.spec.storage_class_name != (claim.spec.storage_class_name or ""):
            continue
        if not set(claim.spec.access_modes) <= set(volume.spec.access_modes):
            continue
        if capacity(volume) < wanted or (query is not None and not query.matches(volume.metadata.labels)):
            continue
        if best is None or capacity(volume) < capacity(best):
            best = volume
    return best
