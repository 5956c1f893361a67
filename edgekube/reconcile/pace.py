"""How long to wait after a failure: pauses that double up to a bound, with jitter when chance is given.

Only arithmetic here; nobody sleeps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

FIRST_PAUSE_S = 0.02  # a lost race is retried at once; upstream starts at 5 ms, which on a small board is spinning
LONGEST_PAUSE_S = 300.0  # as upstream would (1000 s) is too long for a machine nobody watches


@dataclass(frozen=True, slots=True)
class Pace:
    """Exponential pauses: `first_s`, doubled with each further failure, never above `longest_s`."""

    first_s: float = FIRST_PAUSE_S
    longest_s: float = LONGEST_PAUSE_S
    chance: Callable[[], float] | None = None  # [0, 1); shortens a pause by up to a quarter, so that herds spread

    def pause(self, failures: int) -> float:
        """Seconds to wait after `failures` (at least 1) failures in a row."""
        assert failures >= 1
        pause = min(self.longest_s, self.first_s * 2.0 ** min(failures - 1, 62))
        return pause if self.chance is None else pause * (1 - self.chance() / 4)
