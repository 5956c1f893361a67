"""Files projected into a directory so that readers see all of a new version or all of the old: the `..data` link swap.

    volume/..2026_01_02_03_04_05.678/key     the files of one version
    volume/..data -> ..2026_01_02_03_04_05.678   replaced by rename(2), atomically
    volume/key -> ..data/key                 what containers open

Source: kubelet volume/util/atomic_writer.go (layout, which applications rely on).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from edgekube.node import mounting
from edgekube.node.volumes.volume import Mounted, Place

DATA, NEXT = "..data", "..data_tmp"


@dataclass(frozen=True, slots=True)
class PayloadFile:
    """One file. `user` None: root."""

    data: bytes
    mode: int
    user: int | None = None


Payload = Mapping[str, PayloadFile]


def current(directory: Path) -> dict[str, bytes] | None:
    """The files of the version in place; None when there is none."""
    try:
        version = directory / os.readlink(directory / DATA)
    except OSError:
        return None
    return {str(path.relative_to(version)): path.read_bytes() for path in version.rglob("*") if path.is_file()}


def project(directory: Path, payload: Payload, group: int | None = None) -> bool:
    """Make `directory` show exactly `payload`. Whether anything changed. Paths are relative and checked by validation."""
    directory.mkdir(parents=True, exist_ok=True)
    before = current(directory)
    if before is not None and before == {name: file.data for name, file in payload.items()}:
        return False
    version = Path(tempfile.mkdtemp(prefix="..", dir=directory))
    version.chmod(0o755)
    for name, file in payload.items():
        target = version / name
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
        target.write_bytes(file.data)
        target.chmod(file.mode | (0o440 if group is not None else 0))
        if group is not None or file.user is not None:
            os.chown(target, -1 if file.user is None else file.user, -1 if group is None else group)
    old = os.readlink(directory / DATA) if (directory / DATA).is_symlink() else None
    (directory / NEXT).unlink(missing_ok=True)
    (directory / NEXT).symlink_to(version.name)
    (directory / NEXT).rename(directory / DATA)
    wanted = {PurePosixPath(name).parts[0] for name in payload}
    for top in wanted:
        if not (directory / top).is_symlink():
            (directory / top).symlink_to(f"{DATA}/{top}")
    for entry in directory.iterdir():
        if not entry.name.startswith("..") and entry.name not in wanted:
            entry.unlink()
    if old is not None:
        shutil.rmtree(directory / old, ignore_errors=True)
    return True


def in_memory(place: Place, payload: Payload) -> Mounted:
    """A payload on a small tmpfs: secrets and tokens never reach the disk."""
    place.directory.mkdir(parents=True, exist_ok=True)
    if not mounting.is_mounted(place.directory):
        flags = mounting.MS_NOSUID | mounting.MS_NODEV
        mounting.mount("tmpfs", place.directory, "tmpfs", flags, "mode=0755")
    project(place.directory, payload, place.group)
    return Mounted(place.directory, read_only=True)


def on_disk(place: Place, payload: Payload) -> Mounted:
    """A payload in a plain directory."""
    project(place.directory, payload, place.group)
    return Mounted(place.directory, read_only=True)
