"""Copies of a database for elsewhere, made while a server writes to it, and made fit to be started from again.

Lives here: what a copy must be to count, and that revisions never go back for clients that remember those of after the copy.
Archives and what else a cluster is made of are not known here.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from edgekube.errors import StoreCorrupt, StoreError
from edgekube.store import schema

#: Clients may have seen revisions given out after the copy was made. A restored database begins above all it can have given
#: out meanwhile: a thousand writes a second for a week.
SKIPPED_REVISIONS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Copy:
    """What a copy holds."""

    revision: int
    objects: int
    size_bytes: int


def copy(database: Path, target: Path) -> Copy:
    """Write a compact, checked copy. The database may be in use. Raises StoreError. Blocks on the disk."""
    if not database.exists():
        raise StoreError(f"there is no database at {database}")
    target.unlink(missing_ok=True)
    schema.copy(database, target)
    target.chmod(0o600)
    schema.sync(target)
    return inspect(target)


def inspect(path: Path) -> Copy:
    """Check a copy and say what it holds. Raises StoreCorrupt when it is not a sound database of ours."""
    try:
        connection = sqlite3.connect(path.as_uri() + "?mode=ro&immutable=1", uri=True, isolation_level=None)
        try:
            if not schema.is_sound(connection):
                raise StoreCorrupt(f"{path.name} does not pass its check")
            objects, newest = connection.execute("SELECT count(*), max(revision) FROM objects").fetchone()
            reserved = connection.execute("SELECT value FROM numbers WHERE name = 'reserved_revision'").fetchone()
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreCorrupt(f"{path.name} is not a database of edgekube: {error}") from error
    return Copy(max(newest or 0, reserved[0] if reserved else 0), objects, path.stat().st_size)


def make_startable(path: Path) -> int:
    """Move a restored database's revisions beyond any that were given out after it was copied; the first one now."""
    beginning = inspect(path).revision + SKIPPED_REVISIONS
    try:
        connection = sqlite3.connect(path, isolation_level=None)
        try:
            connection.execute("UPDATE numbers SET value = ? WHERE name = 'reserved_revision'", (beginning,))
        finally:
            connection.close()
    except sqlite3.Error as error:
        raise StoreError(f"cannot prepare {path.name}: {error}") from error
    schema.sync(path)
    return beginning
