"""Counting probe results: a verdict turns only after so many results in a row. Pure.

Source: kubelet prober/worker.go and results (thresholds, what is assumed before the first verdict).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from edgekube.kinds.core.container import Probe

DEFAULT_PERIOD_S = 10
DEFAULT_TIMEOUT_S = 1
DEFAULT_FAILURES = 3


@dataclass(frozen=True, slots=True)
class Tally:
    """Results of one probe so far. `verdict` None: none yet."""

    verdict: bool | None = None
    last: bool | None = None
    in_a_row: int = 0

    def note(self, passed: bool, probe: Probe) -> Tally:
        """Count one more result."""
        in_a_row = self.in_a_row + 1 if passed == self.last else 1
        counted = replace(self, last=passed, in_a_row=in_a_row)
        enough = (probe.success_threshold or 1) if passed else (probe.failure_threshold or DEFAULT_FAILURES)
        return replace(counted, verdict=passed) if in_a_row >= enough else counted
