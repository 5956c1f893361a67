"""The shape of the database file and how it is opened: one table of current rows, one of numbers, WAL.

Only here are PRAGMAs and CREATE statements written. A file made by a newer edgekube is refused rather than guessed at. Later
shapes are reached by functions in `MIGRATIONS`, run in order inside one transaction; `user_version` counts them.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

from edgekube.errors import StoreError

BUSY_MS = 5_000  # only a maintenance command can hold the file besides us
WAL_KEPT_BYTES = 4 * 1024 * 1024


def _first_shape(connection: sqlite3.Connection) -> None:
    # A rowid table: an update of an existing object touches its row's pages alone, never the index.
    connection.execute(
        "CREATE TABLE objects (id INTEGER PRIMARY KEY, resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,"
        " revision INTEGER NOT NULL, encoding INTEGER NOT NULL, value BLOB NOT NULL)"
    )
    connection.execute("CREATE UNIQUE INDEX objects_by_key ON objects (resource, namespace, name)")
    connection.execute("CREATE TABLE numbers (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID")
    connection.execute("INSERT INTO numbers VALUES ('reserved_revision', 0)")


def _one_path(connection: sqlite3.Connection) -> None:
    # Lists come in the order of "<namespace>/<name>", which differs from that of the pair where one namespace begins another.
    connection.execute("DROP INDEX objects_by_key")
    connection.execute("ALTER TABLE objects RENAME TO old_objects")
    connection.execute(
        "CREATE TABLE objects (id INTEGER PRIMARY KEY, resource TEXT NOT NULL, path TEXT NOT NULL,"
        " revision INTEGER NOT NULL, encoding INTEGER NOT NULL, value BLOB NOT NULL)"
    )
    connection.execute(
        "INSERT INTO objects SELECT id, resource, namespace || '/' || name, revision, encoding, value FROM old_objects"
    )
    connection.execute("DROP TABLE old_objects")
    connection.execute("CREATE UNIQUE INDEX objects_by_path ON objects (resource, path)")


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (_first_shape, _one_path)


def connect_to_write(path: Path) -> sqlite3.Connection:
    """The writer's connection, schema up to date. Raises sqlite3.Error, OSError, and StoreError for a newer file."""
    # Made here, so that it and the files SQLite puts beside it are nobody else's to read.
    if not path.exists():
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        sync(path.parent)
    connection = _connect(path)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT_BYTES}")
        _migrate(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def connect_to_read(path: Path) -> sqlite3.Connection:
    """A connection that cannot write."""
    connection = _connect(path)
    connection.execute("PRAGMA query_only = 1")
    return connection


def copy(path: Path, target: Path) -> None:
    """Write a compact copy of a whole file, which may be in use. Raises StoreError."""
    try:
        source = connect_to_read(path)
        try:
            source.execute("PRAGMA query_only = 0")
            source.execute("VACUUM INTO ?", (str(target),))
        finally:
            source.close()
    except sqlite3.Error as error:
        raise StoreError(f"cannot copy the database to {target}: {error}") from error


def sync(path: Path) -> None:
    """Make sure that a file's content, or the names in a directory, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_sound(connection: sqlite3.Connection) -> bool:
    """SQLite's own quick check."""
    return connection.execute("PRAGMA quick_check(1)").fetchall() == [("ok",)]


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=32)
    connection.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
    return connection


def _migrate(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if version > len(MIGRATIONS):
        raise StoreError(f"the database was written by a newer edgekube (shape {version}, known is {len(MIGRATIONS)})")
    if version == len(MIGRATIONS):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for migrate in MIGRATIONS[version:]:
            migrate(connection)
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
