"""emptyDir volumes: an empty directory that lives as long as its pod, on disk or in memory."""

from __future__ import annotations

import os

from edgekube.api.quantity import whole
from edgekube.kinds.core.volume import EmptyDirVolumeSource
from edgekube.node import mounting
from edgekube.node.volumes.volume import Mounted, Place, VolumeType

MODE = 0o777


async def mount(place: Place) -> Mounted:
    """Make the directory, or mount a tmpfs bounded by sizeLimit."""
    source = place.volume.empty_dir or EmptyDirVolumeSource()
    fresh = not place.directory.exists()
    place.directory.mkdir(parents=True, exist_ok=True)
    if source.medium == "Memory" and not mounting.is_mounted(place.directory):
        size = f"size={whole(source.size_limit)}" if source.size_limit and whole(source.size_limit) else ""
        mounting.mount("tmpfs", place.directory, "tmpfs", mounting.MS_NOSUID | mounting.MS_NODEV, size)
        fresh = True
    if fresh:
        place.directory.chmod(MODE)
        if place.group is not None:
            os.chown(place.directory, -1, place.group)
            place.directory.chmod(0o2777)
    return Mounted(place.directory)


TYPE = VolumeType("kubernetes.io~empty-dir", lambda volume: volume.empty_dir, mount)
