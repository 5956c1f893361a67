"""Cron schedules: five fields, names, steps, `@daily` and `@every`, in a time zone.

Pure; broken schedules raise ValueError. Source: the syntax of github.com/robfig/cron v3 (standard parser), as upstream uses it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

MONTHS = {
    name: number
    for number, name in enumerate(
        ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1
    )
}
DAYS = {name: number for number, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
FURTHEST = timedelta(days=5 * 366)  # a schedule with nothing within five years never happens (February 30th)
_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 0.001, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is due. `every_s` set: at fixed intervals; else at the minutes all fields allow."""

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    any_day: bool = True  # the day-of-month field is a star
    any_weekday: bool = True
    every_s: float = 0.0

    def after(self, moment: datetime, zone: tzinfo) -> datetime | None:
        """The first due moment strictly after `moment` (aware); None when there is none for years."""
        if self.every_s:
            return (moment + timedelta(seconds=self.every_s)).replace(microsecond=0)
        local = moment.astimezone(zone).replace(second=0, microsecond=0, fold=0) + timedelta(minutes=1)
        end = local + FURTHEST
        while local < end:
            if local.month not in self.months:
                local = _first_of_next_month(local)
            elif not self._is_day(local):
                local = local.replace(hour=0, minute=0) + timedelta(days=1)
            elif local.hour not in self.hours:
                local = local.replace(minute=0) + timedelta(hours=1)
            elif local.minute not in self.minutes:
                local += timedelta(minutes=1)
            else:
                found = local.astimezone(moment.tzinfo)
                if found > moment:
                    return found
                local += timedelta(minutes=1)  # a local time that comes twice, the clock having been put back
        return None

    def _is_day(self, local: datetime) -> bool:
        day, weekday = local.day in self.days, (local.weekday() + 1) % 7 in self.weekdays
        return (day and weekday) if self.any_day or self.any_weekday else (day or weekday)


def _first_of_next_month(local: datetime) -> datetime:
    year, month = (local.year + 1, 1) if local.month == 12 else (local.year, local.month + 1)
    return local.replace(year=year, month=month, day=1, hour=0, minute=0)


def parse(text: str) -> Schedule:
    """A schedule from its text. Raises ValueError."""
    text = text.strip()
    if text.startswith("@every "):
        seconds = _duration_s(text.removeprefix("@every ").strip())
        return Schedule(every_s=max(1.0, float(int(seconds))))
    fields = MACROS.get(text, text).split()
    if len(fields) != 5:
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: {fields}")
    minutes, hours, days, months, weekdays = fields
    return Schedule(
        _field(minutes, 0, 59),
        _field(hours, 0, 23),
        _field(days, 1, 31),
        _field(months, 1, 12, MONTHS),
        _field(weekdays, 0, 6, DAYS),
        _is_star(days),
        _is_star(weekdays),
    )


def _is_star(text: str) -> bool:
    return any(part.split("/")[0] in ("*", "?") for part in text.split(","))


def _field(text: str, least: int, most: int, names: dict[str, int] | None = None) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        span, _, step_text = part.partition("/")
        if span in ("*", "?"):
            first, last = least, most
        else:
            first_text, _, last_text = span.partition("-")
            first = _number(first_text, names)
            last = _number(last_text, names) if last_text else (most if step_text else first)
        step = int(step_text) if step_text.isdigit() else (0 if "/" in part else 1)
        if step < 1 or not least <= first <= last <= most:
            raise ValueError(f"value out of range ({least} - {most}): {part}")
        found.update(range(first, last + 1, step))
    return frozenset(found)


def _number(text: str, names: dict[str, int] | None) -> int:
    if names is not None and text.lower() in names:
        return names[text.lower()]
    if not text.isdigit():
        raise ValueError(f"failed to parse int from {text}")
    return int(text)


def _duration_s(text: str) -> float:
    parts = re.findall(r"(\d+(?:\.\d*)?)(ns|us|µs|ms|h|m|s)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"failed to parse duration @every {text}")
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)
