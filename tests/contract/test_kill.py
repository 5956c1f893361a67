"""A writer is killed, again and again, in the middle of everything it does: nothing acknowledged is lost, revisions never go back.

The writers are real processes, forked here and ended with SIGKILL at a random moment under load. Each first says what it found on
disk, then reports every acknowledgement as it gets it; the parent holds what was found against what had been acknowledged.
"""

from __future__ import annotations

import contextlib
import os
import random
import select
import signal
import time
from pathlib import Path

import trio

from edgekube.store.interface import Durability, Key, Put, Remove
from edgekube.store.sqlite import SqliteStore, open_store

KILLS = 200
WRITERS = 12
KEYS_PER_WRITER = 4
LONGEST_LIFE_S = 0.06  # of a writer, once it writes
LINE_BYTES = 512  # below PIPE_BUF: a line is written whole or not at all


def tell(pipe: int, *words: object) -> None:
    line = " ".join(map(str, words)).encode() + b"\n"
    assert len(line) <= LINE_BYTES
    os.write(pipe, line)


async def write(store: SqliteStore, pipe: int, writer: int, chance: random.Random) -> None:
    """Create, change and remove a few keys for ever; `count` in the value grows with each write."""
    count = int(time.monotonic_ns())
    while True:
        count += 1
        key = Key("/pods", "default", f"w{writer}-{chance.randrange(KEYS_PER_WRITER)}")
        value = b"%d %s" % (count, b"x" * chance.randrange(5_000))
        if store.get(key) is not None and chance.random() < 0.15:
            tell(pipe, "trying", key.name, 0)
            (row,) = await store.write([Remove(key, value, 0, None)])
            tell(pipe, "acked", key.name, 0, row.revision)
        elif chance.random() < 0.2:
            memory = Key("/leases", "default", f"w{writer}")
            (row,) = await store.write([Put(memory, b"lease", 0, None, Durability.MEMORY)])
            tell(pipe, "acked", "-", 0, row.revision)
        else:
            tell(pipe, "trying", key.name, count)
            (row,) = await store.write([Put(key, value, 0, None)])
            tell(pipe, "acked", key.name, count, row.revision)


async def live(path: Path, pipe: int, seed: int) -> None:
    async with open_store(path) as store, trio.open_nursery() as nursery:
        tell(pipe, "revision", store.revision)
        for row in store.list("/pods").rows:
            # The revision was put before the first byte of the value.
            digits = str(row.revision).encode()
            assert row.value.startswith(digits)
            tell(pipe, "found", row.key.name, row.value[len(digits) :].split()[0].decode())
        tell(pipe, "ready")
        chance = random.Random(seed)
        for writer in range(WRITERS):
            nursery.start_soon(write, store, pipe, writer, random.Random(chance.random()))


def fork_writer(path: Path, seed: int) -> tuple[int, int]:
    """(process id, the pipe it reports on)."""
    reading, writing = os.pipe()
    if pid := os.fork():
        os.close(writing)
        return pid, reading
    status = 1
    try:
        os.close(reading)
        trio.run(live, path, writing, seed)
    except BaseException as error:
        with contextlib.suppress(OSError):
            tell(writing, "failed", repr(error)[:400].replace("\n", " "))
    finally:
        os._exit(status)


class Lines:
    """What a writer reports, line by line; a line that death cut short does not count."""

    def __init__(self, pipe: int) -> None:
        self._pipe, self._rest = pipe, b""

    def more(self, timeout_s: float) -> list[list[str]] | None:
        """What came within the time; None at the end."""
        ready, _, _ = select.select([self._pipe], [], [], timeout_s)
        if not ready:
            return []
        if not (data := os.read(self._pipe, 1 << 20)):
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [line.decode().split(" ") for line in lines]


class Promises:
    """What was acknowledged so far, and the check of what a new writer finds: that, or what was being tried at death."""

    def __init__(self) -> None:
        self.heard = 0
        self._newest = self._newest_at_start = 0
        self._acked: dict[str, int] = {}  # key -> count of its row; 0: removed
        self._trying: dict[str, int] = {}
        self._found: dict[str, int] = {}

    def hear(self, words: list[str]) -> bool:
        """Take one line; True when the writer has told all it found."""
        match words:
            case ["trying", key, count]:
                self._trying[key] = int(count)
            case ["acked", key, count, revision]:
                self.heard += 1
                assert int(revision) > self._newest_at_start, "a revision was given out twice"
                self._newest = max(self._newest, int(revision))
                if key != "-":
                    assert self._trying.pop(key) == int(count)
                    self._acked[key] = int(count)
            case ["revision", revision]:
                assert int(revision) >= self._newest, "the revision went back"
                self._newest = self._newest_at_start = int(revision)
                self._found = {}
            case ["found", key, count]:
                self._found[key] = int(count)
            case ["ready"]:
                self._compare()
                return True
            case _:
                raise AssertionError(" ".join(words))
        return False

    def _compare(self) -> None:
        for key in self._acked.keys() | self._found.keys():
            found, acked = self._found.get(key, 0), self._acked.get(key, 0)
            assert found in (acked, self._trying.get(key, acked)), f"{key}: {found} found, {acked} acknowledged"
        self._acked, self._trying = dict(self._found), {}


def test_two_hundred_kills_under_load_lose_nothing(tmp_path: Path) -> None:
    path, promises = tmp_path / "state.db", Promises()
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    for number in range(KILLS + 1):
        pid, pipe = fork_writer(path, chance.randrange(1 << 30))
        lines, deadline = Lines(pipe), time.monotonic() + 30
        try:
            while (heard := lines.more(5)) is not None:
                if [words for words in heard if promises.hear(words)]:
                    deadline = time.monotonic() + chance.random() * LONGEST_LIFE_S
                    break
            else:
                raise AssertionError("the writer ended by itself")
            while number < KILLS and (left := deadline - time.monotonic()) > 0:
                for words in lines.more(left) or ():
                    promises.hear(words)
        finally:
            os.kill(pid, signal.SIGKILL)
            assert os.waitpid(pid, 0)[1] == signal.SIGKILL
        while heard := lines.more(5):  # what it said before it died
            for words in heard:
                promises.hear(words)
        os.close(pipe)
    assert promises.heard > 10 * KILLS, "that was no load"
