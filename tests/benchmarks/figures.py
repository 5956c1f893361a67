"""A figure with its unit and budget, and how processes are measured (Linux /proc)."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass
class Figure:
    """One measured number. `budget` is what the design allows ("" = none); `beside` what it is to be compared with."""

    name: str
    value: float
    unit: str
    budget: str = ""
    beside: str = ""

    def line(self) -> str:
        number = f"{self.value:,.0f}" if abs(self.value) >= 100 else f"{self.value:.2f}"
        budget = f"   (budget {self.budget})" if self.budget else ""
        beside = f"   {self.beside}" if self.beside else ""
        return f"{self.name:<58}{number:>12} {self.unit}{budget}{beside}"


def pss_mib(pid: int) -> float:
    """Proportional set size in MiB."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("no Pss line")


def cpu_s(pid: int) -> float:
    """CPU seconds used so far, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def written_bytes(pid: int) -> int:
    """Bytes this process caused to be written to storage."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("write_bytes")))


def settle(pid: int, *, most_s: float = 120.0) -> None:
    """Return once a process has used less than a tenth of a core for two seconds: what it was still busy with is done."""
    deadline = time.monotonic() + most_s
    while time.monotonic() < deadline:
        before = cpu_s(pid)
        time.sleep(2)
        if cpu_s(pid) - before < 0.2:
            return
