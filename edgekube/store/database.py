"""The database file as rows: read on the caller's thread, written in one transaction per batch wherever the caller runs it.

Knows SQL and encodings; knows nothing of revisions being given out, windows or waiting writers.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekube.errors import StoreCorrupt, StoreError
from edgekube.store import codec, schema
from edgekube.store.interface import Key, Row, path_of

UPSERT = (
    "INSERT INTO objects (resource, path, revision, encoding, value) VALUES (?, ?, ?, ?, ?)"
    " ON CONFLICT (resource, path)"
    " DO UPDATE SET revision = excluded.revision, encoding = excluded.encoding, value = excluded.value"
)
DELETE = "DELETE FROM objects WHERE resource = ? AND path = ?"
GET = "SELECT revision, encoding, value FROM objects WHERE resource = ? AND path = ?"
HAS = "SELECT 1 FROM objects WHERE resource = ? AND path = ?"


class Database:
    """One open file: a connection that writes (used by one thread at a time) and one that reads."""

    def __init__(self, path: Path, sealer: codec.Sealer | None) -> None:
        """Open, creating the file when there is none. Raises sqlite3.Error, StoreError."""
        self.path = path
        self._sealer = sealer
        self._floor_path = path.with_name(path.name + ".revision")
        self._writer = schema.connect_to_write(path)
        try:
            self._reader = schema.connect_to_read(path)
        except BaseException:
            self._writer.close()
            raise

    def close(self) -> None:
        """Release the file (the log is folded into it)."""
        self._reader.close()
        self._writer.close()

    def reserved_revision(self) -> int:
        """No revision above this was ever given out by this file."""
        found = self._reader.execute("SELECT value FROM numbers WHERE name = 'reserved_revision'").fetchone()
        highest = self._reader.execute("SELECT max(revision) FROM objects").fetchone()[0]
        return max(found[0] if found else 0, highest or 0)

    def revision_floor(self) -> int:
        """The same, as kept beside the file, for when the file itself had to be replaced by an older one."""
        try:
            return int(self._floor_path.read_text())
        except (OSError, ValueError):
            return 0

    def get(self, key: Key) -> Row | None:
        """One row. Raises StoreError."""
        try:
            found = self._reader.execute(GET, (key.resource, path_of(key))).fetchone()
        except sqlite3.Error as error:
            raise StoreError(f"cannot read {'/'.join(key)}: {error}") from error
        if found is None:
            return None
        revision, encoding, value = found
        return Row(key, revision, codec.unpack(key, encoding, value, self._sealer) if encoding else value)

    def list(
        self,
        resource: str,
        namespace: str | None,
        after: tuple[str, str] | None,
        limit: int | None,
        known: Mapping[Key, Row | None],
    ) -> list[Row]:
        """Rows in order; those that `known` has at the same revision are not unpacked again. Raises StoreError."""
        where, values = _range(resource, namespace, after)
        query = f"SELECT path, revision, encoding, value FROM objects WHERE {where} ORDER BY path"
        if limit is not None:
            query, values = query + " LIMIT ?", [*values, limit]
        rows, sealer, unpack = [], self._sealer, codec.unpack
        for path, revision, encoding, value in self._fetch(query, values):
            place, _, name = path.partition("/")
            key = Key(resource, place, name)
            if encoding:
                row = known.get(key)
                if row is None or row[1] != revision:
                    row = Row(key, revision, unpack(key, encoding, value, sealer))
            else:
                row = Row(key, revision, value)
            rows.append(row)
        return rows

    def count(self, resource: str, namespace: str | None, after: tuple[str, str] | None) -> int:
        """How many rows `list` without a limit would give."""
        where, values = _range(resource, namespace, after)
        counted: int = self._fetch(f"SELECT count(*) FROM objects WHERE {where}", values)[0][0]
        return counted

    def has(self, key: Key) -> bool:
        """Whether the file has a row, without reading it."""
        return bool(self._fetch(HAS, (key.resource, path_of(key))))

    def commit(self, rows: Mapping[Key, Row | None], reserve: int | None) -> None:
        """Put and remove (None) rows and move the reservation, in one fsynced transaction. Raises StoreError: nothing done."""
        sealer = self._sealer
        packed = [
            (key.resource, path_of(key), row.revision, *codec.pack(key, row.value, sealer))
            for key, row in rows.items()
            if row is not None
        ]
        removed = [(key.resource, path_of(key)) for key, row in rows.items() if row is None]
        writer = self._writer
        try:
            if reserve is not None:
                self._keep_floor(reserve)
            writer.execute("BEGIN IMMEDIATE")
            try:
                if removed:
                    writer.executemany(DELETE, removed)
                if packed:
                    writer.executemany(UPSERT, packed)
                if reserve is not None:
                    writer.execute("UPDATE numbers SET value = ? WHERE name = 'reserved_revision'", (reserve,))
                writer.execute("COMMIT")
            except BaseException:
                if writer.in_transaction:
                    writer.execute("ROLLBACK")
                raise
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"cannot write to {self.path}: {error}") from error

    def copy_to(self, target: Path) -> None:
        """Write a compact copy of the whole file. May run beside reads and writes. Raises StoreError."""
        schema.copy(self.path, target)

    def is_sound(self) -> bool:
        """Whether the file passes SQLite's quick check."""
        return schema.is_sound(self._reader)

    def limit_pages(self, pages: int) -> None:
        """Let the file grow no further than this, as a full disk would (tests)."""
        self._writer.execute(f"PRAGMA max_page_count = {pages:d}")

    def _fetch(self, query: str, values: Iterable[object]) -> Sequence[tuple[Any, ...]]:
        try:
            return self._reader.execute(query, tuple(values)).fetchall()
        except sqlite3.DatabaseError as error:
            made = StoreCorrupt if "malformed" in str(error) else StoreError
            raise made(f"cannot read from {self.path}: {error}") from error

    def _keep_floor(self, revision: int) -> None:
        temporary = self._floor_path.with_name(self._floor_path.name + ".new")
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(str(revision))
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._floor_path)


def _range(resource: str, namespace: str | None, after: tuple[str, str] | None) -> tuple[str, list[object]]:
    where, values = "resource = ?", [resource]
    if namespace is not None:
        where, values = (
            where + " AND path >= ? AND path < ?",
            [*values, f"{namespace}/", f"{namespace}0"],
        )  # 0 follows /
    if after is not None:
        where, values = where + " AND path > ?", [*values, "/".join(after)]
    return where, list(values)
