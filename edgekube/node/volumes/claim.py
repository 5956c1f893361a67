"""persistentVolumeClaim volumes (and ephemeral ones, which are claims by another name): bound volumes that lie on this node."""

from __future__ import annotations

import os
from pathlib import Path

from edgekube.kinds.core import persistentvolume, persistentvolumeclaim
from edgekube.kinds.core.volume import Volume
from edgekube.node import localvolumes
from edgekube.node.volumes.host_path import ready
from edgekube.node.volumes.volume import Mounted, Place, VolumeTrouble, VolumeType


def _claim(place: Place) -> tuple[str, bool]:
    if place.volume.persistent_volume_claim is not None:
        return place.volume.persistent_volume_claim.claim_name, place.volume.persistent_volume_claim.read_only
    return f"{place.pod.metadata.name}-{place.volume.name}", False


async def mount(place: Place) -> Mounted:
    """Find the volume behind the claim."""
    name, read_only = _claim(place)
    namespace = place.pod.metadata.namespace
    claim = await place.objects.need(persistentvolumeclaim.KIND, namespace, name)
    if claim is None:
        raise VolumeTrouble(f'error getting PVC "{namespace}/{name}": persistentvolumeclaim "{name}" not found')
    if claim.status.phase != "Bound" or not claim.spec.volume_name:
        raise VolumeTrouble(f'PVC "{namespace}/{name}" is not bound')
    volume = await place.objects.need(persistentvolume.KIND, "", claim.spec.volume_name)
    if volume is None:
        raise VolumeTrouble(f'persistentvolume "{claim.spec.volume_name}" not found')
    try:
        if volume.spec.host_path is not None:
            path = ready(volume.spec.host_path)
        elif volume.spec.local is not None and is_ours(volume):
            made = localvolumes.made(place.local_volumes, _name(place, volume.spec.local.path), place.group)
            return Mounted(made, read_only=read_only)
        elif volume.spec.local is not None:
            path = Path(volume.spec.local.path)
            if not path.exists():
                raise VolumeTrouble(f'local volume path "{path}" does not exist')
        else:
            raise VolumeTrouble(f'persistentvolume "{claim.spec.volume_name}" is of a type this node cannot mount')
        if place.group is not None and volume.spec.local is not None:
            os.chown(path, -1, place.group)
            path.chmod(path.stat().st_mode | 0o2070)
    except OSError as error:
        raise VolumeTrouble(str(error)) from None
    return Mounted(path, read_only=read_only)


def is_ours(volume: persistentvolume.PersistentVolume) -> bool:
    """Whether our own provisioner made it: then its directory is this node's to make."""
    return volume.metadata.annotations.get(localvolumes.PROVISIONED_BY) == localvolumes.PROVISIONER


def _name(place: Place, path: str) -> str:
    try:
        return localvolumes.name_in(place.local_volumes, path)
    except ValueError as error:
        raise VolumeTrouble(str(error)) from None


def _source(volume: Volume) -> object:
    return volume.persistent_volume_claim or volume.ephemeral


TYPE = VolumeType("kubernetes.io~local-volume", _source, mount)
