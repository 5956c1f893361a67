"""Copies of the database that are known to be good, and the way back to them.

A snapshot is a compact copy, checked before it counts and named after the revision it holds. A database that is damaged, or
gone while snapshots are there, is set aside and replaced by the newest snapshot that passes its check, with an error in the
log: changes after that snapshot are lost, and somebody must be told. Wall time is not used: the device's clock may be wrong.
"""

from __future__ import annotations

import logging
import re
import shutil
import sqlite3
from pathlib import Path

from edgekube.errors import StoreCorrupt, StoreError
from edgekube.store import schema
from edgekube.store.codec import Sealer
from edgekube.store.database import Database

KEPT_SNAPSHOTS = 3
NAME = re.compile(r"revision-(\d{20})\.sqlite")
BESIDE = ("", "-wal", "-shm")  # the files that make up one open database
# What says that the file itself is bad. A full disk or a missing permission is not mended by an older copy.
DAMAGE = frozenset(
    {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_IOERR_SHORT_READ}
)

log = logging.getLogger("edgekube.store")


def directory_of(path: Path) -> Path:
    """Where snapshots of a database are kept."""
    return path.with_name(path.name + ".snapshots")


def found(path: Path) -> list[Path]:
    """A database's snapshots, newest first."""
    directory = directory_of(path)
    if not directory.is_dir():
        return []
    return sorted((entry for entry in directory.iterdir() if NAME.fullmatch(entry.name)), reverse=True)


def newest_revision(path: Path) -> int:
    """The revision of the newest snapshot, 0 when there is none."""
    for snapshot in found(path):
        if match := NAME.fullmatch(snapshot.name):
            return int(match[1])
    return 0


def take(database: Database, revision: int) -> Path:
    """Make a snapshot, check it, drop the oldest. Raises StoreError and leaves the older ones alone. Blocks on the disk."""
    directory = directory_of(database.path)
    directory.mkdir(mode=0o700, exist_ok=True)
    target = directory / f"revision-{revision:020d}.sqlite"
    temporary = directory / "being-written"
    try:
        temporary.unlink(missing_ok=True)
        database.copy_to(temporary)
        if not _passes(temporary):
            raise StoreError(f"the snapshot of {database.path} does not pass its check")
        temporary.chmod(0o600)
        schema.sync(temporary)
        temporary.replace(target)
        schema.sync(directory)
    except OSError as error:
        raise StoreError(f"cannot keep a snapshot in {directory}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)
    for old in found(database.path)[KEPT_SNAPSHOTS:]:
        old.unlink(missing_ok=True)
    return target


def open_sound(path: Path, sealer: Sealer | None) -> tuple[Database, bool]:
    """The database, checked; and whether it had to be restored. Raises StoreCorrupt, StoreError."""
    if not path.exists() and found(path):
        reason = "it is gone"
    else:
        database, reason = _try(path, sealer)
        if database is not None:
            return database, False
    _restore(path, reason)
    database, reason = _try(path, sealer)
    if database is None:
        raise StoreCorrupt(f"the database {path} does not pass its check even when restored: {reason}")
    return database, True


def _try(path: Path, sealer: Sealer | None) -> tuple[Database | None, str]:
    """The database if it is sound, else None and why not. Raises StoreError for what a restore would not mend."""
    database = None
    try:
        database = Database(path, sealer)
        if database.is_sound():
            return database, ""
        reason = "it does not pass its check"
    except OSError as error:
        raise StoreError(f"cannot open {path}: {error.strerror}") from error
    except sqlite3.Error as error:
        if error.sqlite_errorcode not in DAMAGE and error.sqlite_errorcode & 0xFF not in DAMAGE:
            raise StoreError(f"cannot open {path}: {error}") from error
        reason = str(error)
    if database is not None:
        database.close()
    return None, reason


def _restore(path: Path, reason: str) -> None:
    """Put the newest good snapshot in the place of the database, which is only set aside once the copy is whole."""
    good = next((snapshot for snapshot in found(path) if _passes(snapshot)), None)
    if good is None:
        raise StoreCorrupt(f"the database {path} is damaged ({reason}) and there is no good snapshot of it")
    temporary = path.with_name(path.name + ".restoring")
    try:
        shutil.copyfile(good, temporary)
        temporary.chmod(0o600)
        schema.sync(temporary)
        for suffix in BESIDE:
            part = path.with_name(path.name + suffix)
            if part.exists():
                part.replace(path.with_name(path.name + ".damaged" + suffix))
        temporary.replace(path)
        schema.sync(path.parent)
    except OSError as error:
        raise StoreError(
            f"{path} is damaged ({reason}) and {good.name} could not be put in its place: {error}"
        ) from error
    log.error(
        "DATABASE RESTORED: %s was damaged (%s); it now holds the snapshot %s, changes made after it are lost. "
        "The damaged file is kept as %s.damaged",
        path,
        reason,
        good.name,
        path.name,
    )


def _passes(snapshot: Path) -> bool:
    try:
        connection = sqlite3.connect(snapshot.as_uri() + "?mode=ro&immutable=1", uri=True, isolation_level=None)
        try:
            return schema.is_sound(connection)
        finally:
            connection.close()
    except sqlite3.Error:
        return False
