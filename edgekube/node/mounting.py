"""mount(2) and umount(2) without a child process, and paths inside volumes that users cannot lead astray.

Only Linux calls here, for the few mounts a node makes itself: tmpfs for secrets and memory volumes, binds for sub-paths.
"""

from __future__ import annotations

import ctypes
import os
import stat
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_BIND, MS_REC = 1, 2, 4, 8, 4096, 16384
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8


@cache
def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: str | Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2). Raises OSError."""
    result = _libc().mount(
        source.encode(), os.fsencode(target), kind.encode() or None, ctypes.c_ulong(flags), options.encode() or None
    )
    if result:
        number = ctypes.get_errno()
        raise OSError(number, f"mount {source} on {target}: {os.strerror(number)}")


def unmount(target: str | Path) -> None:
    """Take the top mount off `target`, busy or not. What is not mounted is left alone."""
    if _libc().umount2(os.fsencode(target), MNT_DETACH | UMOUNT_NOFOLLOW):
        number = ctypes.get_errno()
        if number not in (22, 2):  # EINVAL: not a mount point; ENOENT
            raise OSError(number, f"unmount {target}: {os.strerror(number)}")


def mounts_below(directory: Path) -> list[Path]:
    """Mount points inside a directory (or on it), the deepest first."""
    inside = f"{directory}/"
    found = []
    with open("/proc/self/mountinfo") as table:
        for line in table:
            point = line.split(" ", 5)[4].encode().decode("unicode_escape")
            if point.startswith(inside) or point == str(directory):
                found.append(Path(point))
    return sorted(found, key=lambda path: len(path.parts), reverse=True)


def is_mounted(point: Path) -> bool:
    """Whether something is mounted on a path."""
    return point in mounts_below(point)


class EscapesVolume(ValueError):
    """A sub-path leads out of its volume."""


def open_inside(root: Path, relative: str, *, create_mode: int = 0o750) -> int:
    """A path descriptor (O_PATH) of `root/relative`, following links only as long as they stay inside `root`.

    Missing directories are made. Every component is opened on its own without following links, after the links were
    resolved, so that a link swapped in meanwhile makes this fail and never lead out. Raises EscapesVolume, OSError.
    """
    if PurePosixPath(relative).is_absolute() or ".." in PurePosixPath(relative).parts:
        raise EscapesVolume(f"subPath {relative!r} must be relative and without '..'")
    real_root = os.path.realpath(root)
    real = os.path.realpath(os.path.join(real_root, relative))
    if real != real_root and not real.startswith(real_root + os.sep):
        raise EscapesVolume(f"subPath {relative!r} is outside of the volume")
    current = os.open(real_root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in PurePosixPath(os.path.relpath(real, real_root)).parts:
            try:
                following = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
            except FileNotFoundError:
                os.mkdir(part, create_mode, dir_fd=current)
                following = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=current)
            os.close(current)
            current = following
            if stat.S_ISLNK(os.fstat(current).st_mode):
                raise EscapesVolume(f"subPath {relative!r} changed while it was opened")
    except BaseException:
        os.close(current)
        raise
    return current


def bind_descriptor(descriptor: int, target: Path) -> None:
    """Bind what an O_PATH descriptor names onto `target`, which is made to fit (file or directory)."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if stat.S_ISDIR(os.fstat(descriptor).st_mode):
        target.mkdir(exist_ok=True)
    else:
        target.touch()
    mount(f"/proc/self/fd/{descriptor}", target, flags=MS_BIND | MS_REC)
