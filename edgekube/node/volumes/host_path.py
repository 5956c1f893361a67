"""hostPath volumes: a path of the node itself, checked or made as its type asks."""

from __future__ import annotations

import stat
from pathlib import Path

from edgekube.kinds.core.volume import HostPathVolumeSource
from edgekube.node.volumes.volume import Mounted, Place, VolumeTrouble, VolumeType

_CHECKS = {
    "Directory": (stat.S_ISDIR, "directory"),
    "File": (stat.S_ISREG, "file"),
    "Socket": (stat.S_ISSOCK, "socket"),
    "CharDevice": (stat.S_ISCHR, "character device"),
    "BlockDevice": (stat.S_ISBLK, "block device"),
}


def ready(source: HostPathVolumeSource) -> Path:
    """The path, made if its type says so. Raises VolumeTrouble when it is not what it should be."""
    path, kind = Path(source.path), source.type or ""
    if kind == "DirectoryOrCreate":
        if not path.exists():
            path.mkdir(parents=True, mode=0o755)
        kind = "Directory"
    elif kind == "FileOrCreate":
        if not path.exists():
            path.touch(mode=0o644)
        kind = "File"
    if kind in _CHECKS:
        matches, words = _CHECKS[kind]
        if not path.exists() or not matches(path.stat().st_mode):
            raise VolumeTrouble(f"hostPath type check failed: {source.path} is not a {words}")
    elif not path.exists():
        path.mkdir(parents=True, mode=0o755)  # the runtime would make it, owned by root, just the same
    return path


async def mount(place: Place) -> Mounted:
    """Check the path."""
    assert place.volume.host_path is not None
    try:
        return Mounted(ready(place.volume.host_path))
    except OSError as error:
        raise VolumeTrouble(str(error)) from None


TYPE = VolumeType("kubernetes.io~host-path", lambda volume: volume.host_path, mount)
