"""Volumes of our own provisioner: directories of this node's disk, made before the first mount and removed when asked to.

Everything here happens to direct children of one directory, by plain names, and never through a symbolic link or into a mount:
what a pod put into its volume cannot lead elsewhere. Which volume is made or removed is decided elsewhere.
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from edgekube.node import mounting

ANNOTATION = "edgekube.io/local-path"  # on the Node: the directory its volumes are made in
PROVISIONED_BY, PROVISIONER = "pv.kubernetes.io/provisioned-by", "edgekube.io/local-path"
PAGE = "/edgekube/volumes/"  # asked of the node's gate by the server alone: the directory of this name is to go
MODE, GROUP_MODE = 0o777, 0o2777


def name_in(root: Path, path: str) -> str:
    """The name of a volume's directory. Raises ValueError for a path that is not right below `root`."""
    above, _, name = path.rpartition("/")
    if above != str(root) or not is_name(name):
        raise ValueError(f'local volume path "{path}" is not below "{root}"')
    return name


def is_name(name: str) -> bool:
    """Whether this can be nothing but one entry of a directory."""
    return bool(name) and name not in (".", "..") and "/" not in name and "\0" not in name


def made(root: Path, name: str, group: int | None) -> Path:
    """The volume's directory, made if it is not there: for everybody, and for the pod's fsGroup. Raises OSError."""
    root.mkdir(parents=True, exist_ok=True, mode=0o711)
    path = root / name
    try:
        path.mkdir()
    except FileExistsError:
        pass
    else:
        path.chmod(MODE)
    held = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        now = os.fstat(held)
        if group is not None and (now.st_gid != group or not now.st_mode & stat.S_ISGID):
            os.fchown(held, -1, group)
            os.fchmod(held, stat.S_IMODE(now.st_mode) | (GROUP_MODE & 0o2070))
    finally:
        os.close(held)
    return path


def removed(root: Path, name: str) -> str:
    """Take a volume's directory away with all that is in it; what is not there counts as gone. Returns why it is not gone, or ""."""
    if not is_name(name):
        return f'"{name}" is not the name of a volume\'s directory'
    path = root / name
    try:
        if not stat.S_ISDIR(path.lstat().st_mode):
            return f"{path} is not a directory"
        if inside := mounting.mounts_below(path.resolve()):
            return f"something is mounted on {inside[0]}"
        shutil.rmtree(path)  # by directory handles: a link put in meanwhile is removed, not followed
    except FileNotFoundError:
        return "" if not os.path.lexists(path) else f"{path} changed while it was removed"
    except OSError as error:
        return str(error)
    return ""
