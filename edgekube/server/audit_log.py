"""The audit log's file: lines in, a file out that is put aside when it is full. Nobody waits for the disk.

Lines wait in memory, a bounded number of them, and are written by a thread, as many at once as there are; what does not fit is
counted and said. Names of files put aside are those of upstream's library (audit-2026-01-02T15-04-05.000.log).
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import trio

log = logging.getLogger(__name__)

WAITING_BYTES_MOST = 16 * 1024 * 1024
MIB = 1024 * 1024
DAY_S = 86400.0


class AuditFile:
    """One file and those put aside. `megabytes`: when it is full; `backups` and `days`: what is kept of the old (0: all)."""

    def __init__(self, path: str, *, megabytes: int = 100, backups: int = 0, days: int = 0) -> None:
        self._path = None if path == "-" else Path(path)
        self._most_bytes = (megabytes or 100) * MIB
        self._backups, self._days = backups, days
        self._waiting: list[bytes] = []
        self._waiting_bytes = self._lost = 0
        self._arrived = trio.Event()

    def append(self, line: bytes) -> None:
        """One line, without its end. Never waits."""
        if self._waiting_bytes + len(line) > WAITING_BYTES_MOST:
            self._lost += 1
            return
        self._waiting.append(line)
        self._waiting_bytes += len(line)
        self._arrived.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write what comes. Never ends; when cancelled, what waits is written first."""
        task_status.started()
        try:
            while True:
                await self._arrived.wait()
                self._arrived = trio.Event()
                await self._flush()
        finally:
            if self._waiting:
                await self._flush()

    async def _flush(self) -> None:
        lines, self._waiting, self._waiting_bytes = self._waiting, [], 0
        lost, self._lost = self._lost, 0
        if lost:
            log.warning("%d audit events were lost: the disk does not keep up", lost)
        try:
            with trio.CancelScope(shield=True):  # lines that were taken are written
                await trio.to_thread.run_sync(self.write, lines)
        except OSError as problem:
            log.error("the audit log %s cannot be written: %s", self._path, problem.strerror)

    def write(self, lines: Sequence[bytes]) -> None:
        """Lines into the file, which is put aside whenever the next would not fit. Raises OSError."""
        if self._path is None:
            sys.stdout.buffer.write(b"".join(line + b"\n" for line in lines))
            sys.stdout.buffer.flush()
            return
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        position = 0
        while position < len(lines):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            with os.fdopen(descriptor, "ab") as file:
                size, start = file.tell(), position
                while position < len(lines) and (
                    size + len(lines[position]) < self._most_bytes or (position == start and not size)
                ):
                    size += len(lines[position]) + 1
                    position += 1
                file.write(b"".join(line + b"\n" for line in lines[start:position]))
            if position < len(lines):
                self._put_aside()

    def _put_aside(self) -> None:
        assert self._path is not None
        now = datetime.now(UTC)
        while (old := self._old(now)).exists():
            now = datetime.fromtimestamp(now.timestamp() + 0.001, UTC)
        self._path.rename(old)
        self._clear()

    def _old(self, moment: datetime) -> Path:
        assert self._path is not None
        stamp = moment.strftime("%Y-%m-%dT%H-%M-%S.") + f"{moment.microsecond // 1000:03d}"
        return self._path.with_name(f"{self._path.stem}-{stamp}{self._path.suffix}")

    def _clear(self) -> None:
        """Remove what is too much or too old."""
        assert self._path is not None
        pattern = f"{self._path.stem}-????-??-??T??-??-??.???{self._path.suffix}"
        old = sorted(self._path.parent.glob(pattern), reverse=True)
        dropped = set(old[self._backups :]) if self._backups else set()
        if self._days:
            oldest = time.time() - self._days * DAY_S
            dropped |= {path for path in old if path.stat().st_mtime < oldest}
        for path in dropped:
            path.unlink(missing_ok=True)
