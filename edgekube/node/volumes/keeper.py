"""The volumes of one pod: mounted before its first container, refreshed while it lives, taken away after its last.

Directories only; what containers see of them is `pods.mounts`' business.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import trio

from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.volume import Volume
from edgekube.node import mounting
from edgekube.node.volumes.catalog import type_of
from edgekube.node.volumes.volume import Mounted, Place, VolumeTrouble


def _uses(pod: Pod) -> list[Volume]:
    return list(pod.spec.volumes)


@dataclass
class Keeper:
    """`place(pod, volume, directory)` gives a volume its surroundings; `root` is the pod's own directory."""

    root: Path
    place: Callable[[Pod, Volume, Path], Place]
    mounted: dict[str, Mounted] = field(default_factory=dict)

    def _place(self, pod: Pod, volume: Volume) -> Place:
        return self.place(pod, volume, self.root / "volumes" / type_of(volume).name / volume.name)

    async def mount_all(self, pod: Pod) -> None:
        """Put every volume in place that is not. Raises VolumeTrouble naming the volume."""
        for volume in _uses(pod):
            if volume.name in self.mounted:
                continue
            try:
                self.mounted[volume.name] = await type_of(volume).mount(self._place(pod, volume))
            except (VolumeTrouble, OSError) as error:
                raise VolumeTrouble(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from None

    async def refresh_all(self, pod: Pod) -> None:
        """Bring contents up to date. Raises VolumeTrouble; what is in place stays."""
        for volume in _uses(pod):
            if volume.name in self.mounted:
                try:
                    await type_of(volume).refresh(self._place(pod, volume), self.mounted[volume.name])
                except (VolumeTrouble, OSError) as error:
                    raise VolumeTrouble(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}') from None

    async def remove_all(self) -> None:
        """Unmount what we mounted and remove the pod's directory. Never follows a mount: a volume of the node stays."""
        self.mounted.clear()
        await remove_pod_directory(self.root)


async def remove_pod_directory(root: Path) -> None:
    """Unmount everything below and remove the tree. Raises OSError when something stays mounted."""
    for point in mounting.mounts_below(root):
        mounting.unmount(point)
    if left := mounting.mounts_below(root):
        raise OSError(f"still mounted: {left[0]}")
    await trio.to_thread.run_sync(lambda: shutil.rmtree(root, ignore_errors=True))
