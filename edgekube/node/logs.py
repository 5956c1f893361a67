"""Container logs in the CRI format: reading for `kubectl logs`, and rotation.

    2026-01-02T03:04:05.678901234Z stdout F a whole line
    2026-01-02T03:04:05.678901234Z stderr P part of a line

`LogFilter` is pure (bytes in, bytes out); `read_log` follows a file through rotations. Source: CRI logging format; kubelet
kuberuntime/logs (tail, since, limit, partial lines).
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import trio

from edgekube.api.meta import parse_time
from edgekube.net.nodegate import LogOptions

CHUNK_BYTES = 64 * 1024
FOLLOW_PAUSE_S = 0.2  # between looks at a quiet log
LINE_AT_MOST_BYTES = 1024 * 1024


@dataclass
class LogFilter:
    """Turns CRI log lines into what was asked for. `left` bytes may still be given; None = no bound."""

    timestamps: bool = False
    since: datetime | None = None
    stream: str = "All"
    left: int | None = None
    _inside: bool = False  # the last entry given was partial: its line goes on

    def take(self, line: bytes) -> bytes:
        """One line of the file (with or without its newline) as output; b"" when it is not wanted."""
        parts = line.rstrip(b"\n").split(b" ", 3)
        if len(parts) < 4:
            return b""
        stamp, stream, tag, text = parts
        if self.stream != "All" and stream.decode(errors="replace") != self.stream.lower():
            return b""
        if self.since is not None:
            try:
                if parse_time(stamp.decode()) < self.since:
                    return b""
            except ValueError:
                return b""
        partial = tag.split(b":")[0] == b"P"
        made = text if partial else text + b"\n"
        if self.timestamps and not self._inside:
            made = stamp + b" " + made
        self._inside = partial
        if self.left is not None:
            made = made[: self.left]
            self.left -= len(made)
        return made

    @property
    def full(self) -> bool:
        """Whether the byte bound is used up."""
        return self.left is not None and self.left <= 0


def since_moment(options: LogOptions, now: datetime) -> datetime | None:
    """From when on lines are wanted. Raises ValueError for a time that is none."""
    if options.since_seconds is not None:
        return now - timedelta(seconds=options.since_seconds)
    return parse_time(options.since_time) if options.since_time else None


def tail_offset(path: Path, lines: int) -> int:
    """Where the last so many whole lines of a file begin. A partial entry counts as part of the line it belongs to."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        position, found, rest = end, 0, b""
        if lines == 0:
            return end
        while position > 0:
            step = min(CHUNK_BYTES, position)
            position -= step
            file.seek(position)
            rest = file.read(step) + rest
            entries = rest.split(b"\n")
            found = sum(1 for entry in entries[1:-1] if _ends_line(entry)) + (1 if position == 0 else 0)
            if found > lines:
                break
        if position == 0 and rest.count(b"\n") and found <= lines:
            return 0
    return end - len(_last(rest, lines))


def _ends_line(entry: bytes) -> bool:
    parts = entry.split(b" ", 3)
    return len(parts) < 4 or parts[2].split(b":")[0] != b"P"


def _last(data: bytes, lines: int) -> bytes:
    entries = data.splitlines(keepends=True)
    wanted: list[bytes] = []
    count = 0
    for entry in reversed(entries):
        if _ends_line(entry.rstrip(b"\n")):
            count += 1
            if count > lines:
                break
        wanted.append(entry)
    return b"".join(reversed(wanted))


def last_lines(path: Path, lines: int, limit_bytes: int) -> str:
    """The end of a log as plain text, for termination messages; "" when it cannot be read."""
    try:
        offset = tail_offset(path, lines)
        with path.open("rb") as file:
            file.seek(offset)
            keep = LogFilter()
            text = b"".join(keep.take(line) for line in file)
    except OSError:
        return ""
    return text[-limit_bytes:].decode(errors="replace")


@dataclass
class _Reader:
    """A log file being read, through rotations (the name comes to mean another file)."""

    path: Path
    descriptor: int
    rest: bytes = b""
    lines: list[bytes] = field(default_factory=list)

    def read(self) -> list[bytes]:
        """Whole lines that have come since."""
        data = os.read(self.descriptor, CHUNK_BYTES)
        self.rest += data
        *whole, self.rest = self.rest.split(b"\n")
        if len(self.rest) > LINE_AT_MOST_BYTES:
            whole, self.rest = [*whole, self.rest], b""
        return whole

    def rotated(self) -> bool:
        """Whether the name means another file by now; the next `read` reads that."""
        try:
            there = os.stat(self.path)
        except FileNotFoundError:
            return False
        here = os.fstat(self.descriptor)
        if (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev):
            return False
        following = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        os.close(self.descriptor)
        self.descriptor, self.rest = following, b""
        return True


async def read_log(path: Path, options: LogOptions, now: datetime, running: Callable[[], bool]) -> AsyncIterator[bytes]:
    """The wanted part of a log in pieces. Following ends when `running()` no longer holds and all was read."""
    keep = LogFilter(
        timestamps=options.timestamps,
        since=since_moment(options, now),
        stream=options.stream,
        left=options.limit_bytes,
    )
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    reader = _Reader(path, descriptor)
    try:
        if options.tail_lines is not None:
            os.lseek(reader.descriptor, tail_offset(path, options.tail_lines), os.SEEK_SET)
        while not keep.full:
            alive = running()
            lines = reader.read()
            made = b"".join(keep.take(line) for line in lines)
            if made:
                yield made
            if lines or len(reader.rest) >= CHUNK_BYTES:
                await trio.lowlevel.checkpoint()
                continue
            if not options.follow:
                return
            if reader.rotated():
                continue
            if not alive:
                return
            await trio.sleep(FOLLOW_PAUSE_S)
    finally:
        os.close(reader.descriptor)


def rotate(path: Path, files: int, stamp: str) -> bool:
    """Rename a log away, keep `files` in all. Whether it was renamed; the runtime must then reopen it."""
    old = sorted(path.parent.glob(f"{path.name}.*"))
    for surplus in old[: max(0, len(old) - (files - 2))]:
        surplus.unlink(missing_ok=True)
    try:
        path.rename(path.with_name(f"{path.name}.{stamp}"))
    except FileNotFoundError:
        return False
    return True
