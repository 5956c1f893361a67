"""A whole cluster as one file, and back: database, keys and certificates, manifests, configuration.

Images and containers are not in it: they come back from registries, archives or the manifests that asked for them. Volumes of
pods are not either; they belong to the workloads.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekube.errors import EnvironmentError_, StoreError, StoreLocked, UsageError
from edgekube.store import backup as databases
from edgekube.store.lockfile import Lock

FORMAT = 1
CONTENTS = "edgekube-backup.json"
DATABASE = "store.db"
DIRECTORIES = ("pki", "manifests")  # below the data directory
BESIDE = ("-wal", "-shm", ".revision")  # what belongs to one database file and must not meet another
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Contents:
    """What a backup says of itself."""

    node_name: str
    created: str
    revision: int
    objects: int
    files: dict[str, str]  # name in the archive -> SHA-256


def save(data_dir: Path, target: Path, *, node_name: str, created: str, config: Path, progress: Progress) -> Contents:
    """Write a verified backup to `target` (mode 0600), replacing it only once whole. The server may run meanwhile.

    Raises EnvironmentError_, StoreError, StoreCorrupt.
    """
    if not (data_dir / DATABASE).exists():
        raise EnvironmentError_(f"{data_dir} holds no server's data (--data-dir names another)")
    partial = target.with_name(target.name + ".partial")
    try:
        with tempfile.TemporaryDirectory(prefix=".edgekube-backup-", dir=target.absolute().parent) as scratch:
            progress("copying the database")
            copied = databases.copy(data_dir / DATABASE, Path(scratch) / DATABASE)
            sources = dict(_sources(data_dir, Path(scratch) / DATABASE, config))
            files = {name: _digest(path) for name, path in sources.items()}
            contents = Contents(node_name, created, copied.revision, copied.objects, files)
            progress(f"packing {len(files)} files")
            with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                _pack(file, contents, sources)
                file.flush()
                os.fsync(file.fileno())
            progress("reading it back")
            with tempfile.TemporaryDirectory(prefix=".edgekube-backup-", dir=target.absolute().parent) as again:
                unpack(partial, Path(again))
        partial.replace(target)
    except OSError as error:
        raise EnvironmentError_(f"cannot write {target}: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)
    return contents


def _sources(data_dir: Path, database: Path, config: Path) -> Iterator[tuple[str, Path]]:
    yield DATABASE, database
    for directory in DIRECTORIES:
        for path in sorted((data_dir / directory).rglob("*")):
            if path.is_file() and not path.is_symlink():
                yield str(path.relative_to(data_dir)), path
    if config.is_file():
        yield "config.yaml", config


def _pack(file: Any, contents: Contents, sources: dict[str, Path]) -> None:
    told = json.dumps({"format": FORMAT, "nodeName": contents.node_name, "created": contents.created,
                       "revision": contents.revision, "objects": contents.objects, "files": contents.files},
                      indent=1).encode()  # fmt: skip
    with tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as archive:
        entry = tarfile.TarInfo(CONTENTS)
        entry.size, entry.mode = len(told), 0o600
        archive.addfile(entry, io.BytesIO(told))
        for name, path in sources.items():
            archive.add(path, name, recursive=False, filter=_private)


def _private(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


def unpack(archive: Path, target: Path) -> Contents:
    """Unpack a backup into an empty directory and check every byte of it. Raises UsageError when it is not a good one."""
    try:
        with tarfile.open(archive, "r:gz") as opened:
            opened.extractall(target, filter="data")
        told = json.loads((target / CONTENTS).read_bytes())
        contents = Contents(told["nodeName"], told["created"], told["revision"], told["objects"], told["files"])
        made_as = told["format"]
    except FileNotFoundError as error:
        missing = "is not a backup of edgekube" if archive.exists() else "is not there"
        raise UsageError(f"{archive} {missing}") from error
    except (OSError, tarfile.TarError, EOFError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{archive} is not a backup of edgekube, or it is damaged: {error}") from error
    if made_as > FORMAT:
        raise UsageError(f"{archive} was made by a newer edgekube")
    for name, digest in contents.files.items():
        if not (target / name).is_file() or _digest(target / name) != digest:
            raise UsageError(f"{archive} is damaged: {name} is not what it was")
    databases.inspect(target / DATABASE)
    return contents


def restore(
    archive: Path, data_dir: Path, *, config: Path, force: bool, progress: Progress
) -> tuple[Contents, Path | None]:
    """Put a backup into a data directory no server uses. What was there is set aside (with `force`), not removed.

    Returns what was restored, and where the former data lies. Raises UsageError, EnvironmentError_, StoreLocked, StoreError.
    """
    try:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = Lock(data_dir / f"{DATABASE}.lock")
    except StoreLocked as error:
        raise EnvironmentError_(f"{error}: stop it first") from error
    except OSError as error:
        raise EnvironmentError_(f"cannot use {data_dir}: {error.strerror}") from error
    try:
        there = (data_dir / DATABASE).exists()
        if there and not force:
            raise EnvironmentError_(f"{data_dir} holds a cluster already; --force sets it aside and restores over it")
        with tempfile.TemporaryDirectory(prefix=".restoring-", dir=data_dir) as scratch:
            progress("checking the backup")
            contents = unpack(archive, Path(scratch))
            databases.make_startable(Path(scratch) / DATABASE)
            progress(f"putting {len(contents.files)} files in place")
            aside = _set_aside(data_dir) if there else None
            for name in (DATABASE, *DIRECTORIES):
                if (Path(scratch) / name).exists():
                    (Path(scratch) / name).replace(data_dir / name)
            if (Path(scratch) / "config.yaml").exists() and not config.exists():
                config.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(Path(scratch) / "config.yaml", config)
    except OSError as error:
        raise EnvironmentError_(f"cannot restore into {data_dir}: {error.strerror}") from error
    finally:
        lock.release()
    return contents, aside


def _set_aside(data_dir: Path) -> Path:
    """Move what a backup replaces out of the way; nothing of it is lost."""
    number = 1
    while (aside := data_dir / f"before-restore-{number}").exists():
        number += 1
    aside.mkdir(mode=0o700)
    moved = [DATABASE, *(DATABASE + suffix for suffix in BESIDE), f"{DATABASE}.snapshots", *DIRECTORIES]
    for name in moved:
        if (data_dir / name).exists():
            (data_dir / name).replace(aside / name)
    return aside


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StoreError(f"cannot read {path}: {error.strerror}") from error
