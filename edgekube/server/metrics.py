"""Figures about the server in Prometheus' text format, written here; no client library, no registry beyond this process.

Counters are cheap dict entries on the request path; everything else is asked for when scraped. Names are upstream's where the
meaning is the same. Source: prometheus.io exposition formats (text 0.0.4); k8s.io/apiserver pkg/endpoints/metrics.
"""

from __future__ import annotations

import os
import resource
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from edgekube.server.paths import Asked

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
BUCKETS_S = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0)
MOST_SERIES = 5_000  # paths come from outside: past this, new label sets are counted together


@dataclass(frozen=True, slots=True)
class Sample:
    """One value with its labels."""

    labels: tuple[tuple[str, str], ...]
    value: float


@dataclass(frozen=True, slots=True)
class Family:
    """A metric: what it is, and how to get its samples when scraped."""

    name: str
    type: str  # "counter", "gauge"
    help: str
    samples: Callable[[], Iterable[Sample]]


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _line(name: str, labels: Iterable[tuple[str, str]], value: float) -> str:
    shown = ",".join(f'{key}="{_escape(text)}"' for key, text in labels)
    number = str(int(value)) if value == int(value) else repr(value)
    return f"{name}{{{shown}}} {number}" if shown else f"{name} {number}"


class Metrics:
    """What is counted, and the page that shows it."""

    def __init__(self, started_s: float = 0.0) -> None:
        """`started_s`: when this process began, in seconds since the epoch."""
        self._requests: dict[tuple[str, str, str, str, str, int], int] = {}
        self._durations: dict[str, list[float]] = {}  # verb -> a count per bucket, then count and sum
        self._families: list[Family] = []
        self._started = started_s

    def add(self, family: Family) -> None:
        """Show a further metric."""
        self._families.append(family)

    def gauge(self, name: str, help_: str, value: Callable[[], float]) -> None:
        """Show one number."""
        self.add(Family(name, "gauge", help_, lambda: [Sample((), value())]))

    def request(self, asked: Asked, code: int, seconds: float) -> None:
        """Count a request that was answered."""
        key = (asked.verb, asked.group, asked.version, asked.plural, asked.subresource, code)
        if key not in self._requests and len(self._requests) >= MOST_SERIES:
            key = ("other", "", "", "", "", code)
        self._requests[key] = self._requests.get(key, 0) + 1
        if asked.verb == "watch" or code == 101:
            return
        counts = self._durations.setdefault(key[0], [0.0] * (len(BUCKETS_S) + 2))
        for position, bound in enumerate(BUCKETS_S):
            if seconds <= bound:
                counts[position] += 1
        counts[-2] += 1
        counts[-1] += seconds

    def page(self) -> bytes:
        """The text that is scraped."""
        lines = [
            "# HELP apiserver_request_total Requests by verb, resource and code.",
            "# TYPE apiserver_request_total counter",
        ]
        names = ("verb", "group", "version", "resource", "subresource", "code")
        for key, count in self._requests.items():
            labels = [(name, str(text)) for name, text in zip(names, key, strict=True)]
            lines.append(_line("apiserver_request_total", labels, count))
        lines += self._histogram()
        for family in (*self._families, *self._process()):
            lines += [f"# HELP {family.name} {family.help}", f"# TYPE {family.name} {family.type}"]
            lines += [_line(family.name, sample.labels, sample.value) for sample in family.samples()]
        return ("\n".join(lines) + "\n").encode()

    def _histogram(self) -> list[str]:
        name = "apiserver_request_duration_seconds"
        lines = [f"# HELP {name} How long answers took, without watches.", f"# TYPE {name} histogram"]
        for verb, counts in self._durations.items():
            for bound, count in zip(BUCKETS_S, counts, strict=False):
                lines.append(_line(f"{name}_bucket", (("verb", verb), ("le", str(bound))), count))
            lines.append(_line(f"{name}_bucket", (("verb", verb), ("le", "+Inf")), counts[-2]))
            lines.append(_line(f"{name}_count", (("verb", verb),), counts[-2]))
            lines.append(_line(f"{name}_sum", (("verb", verb),), counts[-1]))
        return lines

    def _process(self) -> list[Family]:
        usage = resource.getrusage(resource.RUSAGE_SELF)

        def resident() -> float:
            with open("/proc/self/statm", encoding="ascii") as statm:
                return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

        def one(name: str, kind: str, help_: str, value: float) -> Family:
            return Family(name, kind, help_, lambda: [Sample((), value)])

        return [
            one("process_cpu_seconds_total", "counter", "CPU time used.", usage.ru_utime + usage.ru_stime),
            one("process_resident_memory_bytes", "gauge", "Resident memory.", resident()),
            one("process_start_time_seconds", "gauge", "When this process began.", self._started),
        ]
