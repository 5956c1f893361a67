"""The only source of time, uids and chance.

Everything above takes a `Clock` from outside, so that a simulation can run whole clusters on virtual time from one seed.
`now()` is wall time (UTC) and may jump; `monotonic()` never goes back and is what leases and pauses are measured with. `TrustedClock`
is for machines whose clock may be wrong by years: it also knows a time that has surely come, kept on disk, and nothing is ever
called expired by any other.
"""

from __future__ import annotations

import os
import random
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol

import trio

NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # upstream util/rand: no vowels, no look-alikes

BUILT = datetime(2026, 1, 1, tzinfo=UTC)  # no clock that says less is believed
PLAUSIBLE = timedelta(days=10 * 365)  # a machine is not switched off for longer, a clock that says so is broken
KEEP_S = 3600.0  # between writes of the floor: an SD card does not notice


class Clock(Protocol):
    """Time, identity and chance."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...
    def uid(self) -> str: ...
    def suffix(self, length: int = 5) -> str: ...
    def chance(self) -> float: ...


class SystemClock:
    """The machine's clock and randomness."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def now(self) -> datetime:
        """Wall time, timezone-aware UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going back."""
        return time.monotonic()

    def uid(self) -> str:
        """A fresh random UUID."""
        return str(uuid.uuid4())

    def suffix(self, length: int = 5) -> str:
        """A random name suffix as `generateName` appends."""
        return "".join(self._random.choices(NAME_ALPHABET, k=length))

    def chance(self) -> float:
        """A number in [0, 1), for jitter."""
        return self._random.random()


class TrustedClock(SystemClock):
    """The machine's clock, corrected by what is known otherwise: the floor on disk, how long we have run, and a server's time.

    `certain()` is a time that has surely come. It moves with the seconds we run and with a clock that is synchronised, never
    because a clock merely says so: one that is years ahead for a minute must not leave anything behind.
    """

    def __init__(
        self,
        path: Path | None = None,
        *,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        steady: Callable[[], float] = time.monotonic,
        synchronised: Callable[[], bool] | None = None,
    ) -> None:
        """`path` holds the floor between runs (None: it starts at the day this was built)."""
        super().__init__()
        self._path, self._wall, self._steady = path, wall, steady
        self._asks_synchronised = synchronised or kernel_clock_is_synchronised
        self._synchronised = self._asks_synchronised()
        self._floor, self._floor_at = max(BUILT, _read_floor(path)), steady()
        self._told: datetime | None = None  # what a server said ...
        self._told_at = 0.0  # ... and when, on our steady clock

    def monotonic(self) -> float:
        """Seconds from an arbitrary start, never going back."""
        return self._steady()

    def now(self) -> datetime:
        """The best guess: the machine's clock where it may be right, else the server's time, else what is certain."""
        wall, certain = self._wall(), self.certain()
        if self._synchronised and wall >= certain:
            return wall
        if self._told is not None:
            return max(certain, self._told + timedelta(seconds=self._steady() - self._told_at))
        return wall if certain <= wall <= certain + PLAUSIBLE else certain

    def certain(self) -> datetime:
        """A time that has surely come."""
        known = self._floor + timedelta(seconds=self._steady() - self._floor_at)
        return max(known, self._wall()) if self._synchronised else known

    def learn(self, told: datetime, certain: datetime | None = None) -> None:
        """A server we have reason to believe told its time, and which time has surely come for it.

        Only the latter raises the floor: a server whose clock is years ahead for an hour must not make us refuse it for ever after.
        """
        self._told, self._told_at = told, self._steady()
        if certain is not None and certain > self.certain():
            self._floor, self._floor_at = certain, self._told_at

    def write(self) -> None:
        """Put the floor on disk. Raises OSError."""
        if self._path is None:
            return
        temporary = self._path.with_name(self._path.name + ".new")
        with open(temporary, "w") as file:  # twenty bytes, once an hour
            file.write(f"{int(self.certain().timestamp())}\n")
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self._path)

    async def keep(self) -> None:
        """Write the floor now and then, for ever."""
        while True:
            self._synchronised = self._asks_synchronised()
            try:
                self.write()
            except OSError:
                pass  # the floor on disk lags behind, which is all it may do
            await trio.sleep(KEEP_S)


def kernel_clock_is_synchronised() -> bool:
    """Whether something (NTP, PTP, a GPS) disciplines this machine's clock. Source: adjtimex(2), TIME_ERROR."""
    import ctypes

    try:
        found = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512))  # all zero: ask, change nothing
    except (OSError, AttributeError):
        return False
    return bool(0 <= found < 5)


def _read_floor(path: Path | None) -> datetime:
    try:
        return datetime.fromtimestamp(int(path.read_text()), UTC) if path is not None else BUILT
    except (OSError, ValueError, OverflowError):
        return BUILT


class SeededClock:
    """Virtual time (trio's clock, which a MockClock can drive) and chance from a seed."""

    def __init__(self, seed: int = 0, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._random = random.Random(seed)
        self._start = start
        self._skew = timedelta(0)

    def now(self) -> datetime:
        """Virtual wall time: the start plus trio's current time plus every jump so far."""
        return self._start + self._skew + timedelta(seconds=self.monotonic())

    def monotonic(self) -> float:
        """trio's current time, or 0 outside of a trio run."""
        try:
            return trio.current_time()
        except RuntimeError:
            return 0.0

    def jump(self, seconds: float) -> None:
        """Move wall time without moving monotonic time, as a wrong clock being set does."""
        self._skew += timedelta(seconds=seconds)

    def uid(self) -> str:
        """A UUID from the seed."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def suffix(self, length: int = 5) -> str:
        """A name suffix from the seed."""
        return "".join(self._random.choices(NAME_ALPHABET, k=length))

    def chance(self) -> float:
        """A number in [0, 1) from the seed."""
        return self._random.random()
