"""One process per data directory: an exclusive lock on a file, released by the kernel however the process ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from edgekube.errors import StoreLocked


class Lock:
    """Held from construction until `release`. Raises `StoreLocked` when another process (or task) has it."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(self._file, 32, 0).decode(errors="replace").strip()
            os.close(self._file)
            by = f" (process {holder})" if holder else ""
            raise StoreLocked(f"{path.parent} is in use by another edgekube server{by}") from None
        os.ftruncate(self._file, 0)
        os.pwrite(self._file, str(os.getpid()).encode(), 0)

    def release(self) -> None:
        """Let others have it. The file stays: removing it would let two processes hold two files of one name."""
        os.close(self._file)
