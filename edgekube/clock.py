"""The only source of time, uids and chance.

Everything above takes a `Clock` from outside, so that a simulation can run whole clusters on virtual time from one seed.
`now()` is wall time (UTC) and may jump; `monotonic()` never goes back and is what leases and pauses are measured with.
"""

from __future__ import annotations

import random
import time
import uuid
from datetime import UTC, datetime, timedelta
from typing import Protocol

import trio

NAME_ALPHABET = "bcdfghjklmnpqrstvwxz2456789"  # upstream util/rand: no vowels, no look-alikes


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
