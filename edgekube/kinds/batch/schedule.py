"""Cron schedules: five fields or a shorthand, read once into sets of minutes, hours, days, months and weekdays.

Pure: when the next moment is, is computed from a moment given. Words of errors and what is accepted follow the library
upstream uses. Source: github.com/robfig/cron (ParseStandard).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

FIELD_NAMES = ("minute", "hour", "dom", "month", "dow")
BOUNDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
MONTHS = {
    name: at
    for at, name in enumerate(["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"], 1)
}
WEEKDAYS = {name: at for at, name in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
SHORTHANDS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
SEARCH_DAYS_MAX = 5 * 366  # a schedule that has not come round by then never does (30 February)
_UNITS_S = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is due. `every_s` is set for "@every 5m" and then all there is."""

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    any_day: bool = True  # the day-of-month field was * or ?
    any_weekday: bool = True
    every_s: int = 0

    def next_after(self, moment: datetime) -> datetime | None:
        """The first due moment later than this one, in its time zone; None when there is none in five years."""
        if self.every_s:
            return moment.replace(microsecond=0) + timedelta(seconds=self.every_s)
        start = moment.replace(second=0, microsecond=0) + timedelta(minutes=1)
        for day in range(SEARCH_DAYS_MAX):
            date = (start + timedelta(days=day)).date()
            if date.month not in self.months or not self._fits_day(date.day, (date.weekday() + 1) % 7):
                continue
            for hour in sorted(self.hours):
                for minute in sorted(self.minutes):
                    due = start.replace(year=date.year, month=date.month, day=date.day, hour=hour, minute=minute)
                    if due >= start:
                        return due
        return None

    def _fits_day(self, day: int, weekday: int) -> bool:
        """Two restricted day fields are alternatives, as in every cron."""
        if self.any_day or self.any_weekday:
            return day in self.days and weekday in self.weekdays
        return day in self.days or weekday in self.weekdays


def parse(text: str) -> Schedule:
    """A schedule from its text. Raises ValueError in upstream's words."""
    if not text:
        raise ValueError("empty spec string")
    if text.startswith(("TZ=", "CRON_TZ=")):
        zone, _, rest = text.partition(" ")
        if not rest:
            raise ValueError(f"provided bad location {zone.partition('=')[2]}")
        text = rest.strip()
    if text.startswith("@"):
        return _shorthand(text)
    fields = text.split()
    if len(fields) != len(FIELD_NAMES):
        raise ValueError(f"expected exactly 5 fields, found {len(fields)}: [{' '.join(fields)}]")
    minutes, hours, days, months, weekdays = (frozenset(_field(one, at)) for at, one in enumerate(fields))
    return Schedule(minutes, hours, days, months, weekdays, _is_any(fields[2]), _is_any(fields[4]))


def _is_any(field: str) -> bool:
    return any(part.partition("/")[0] in ("*", "?") for part in field.split(","))


def _shorthand(text: str) -> Schedule:
    if text in SHORTHANDS:
        return parse(SHORTHANDS[text])
    if text.startswith("@every "):
        seconds = _go_duration(text.removeprefix("@every "))
        if seconds is None:
            raise ValueError(
                f'failed to parse duration {text}: time: invalid duration "{text.removeprefix("@every ")}"'
            )
        return Schedule(every_s=max(1, int(seconds)))
    raise ValueError(f"unrecognized descriptor: {text}")


def _go_duration(text: str) -> float | None:
    """Seconds of "1h30m"; None for bad syntax."""
    total, rest = 0.0, text.lstrip("+")
    if not rest:
        return None
    while rest:
        digits = len(rest) - len(rest.lstrip("0123456789."))
        number, rest = rest[:digits], rest[digits:]
        unit = next((one for one in sorted(_UNITS_S, key=len, reverse=True) if rest.startswith(one)), "")
        try:
            total += float(number) * _UNITS_S[unit]
        except (ValueError, KeyError):
            return None
        rest = rest[len(unit) :]
    return total


def _field(text: str, at: int) -> Iterator[int]:
    for part in text.split(","):
        if part:
            yield from _range(part, at)


def _range(text: str, at: int) -> Iterator[int]:
    least, most = BOUNDS[at]
    span, *steps = text.split("/")
    ends = span.split("-")
    if ends[0] in ("*", "?"):
        start, end = least, most
    else:
        start = _value(ends[0], at)
        if len(ends) > 2:
            raise ValueError(f"too many hyphens: {text}")
        end = _value(ends[1], at) if len(ends) == 2 else start
    if len(steps) > 1:
        raise ValueError(f"too many slashes: {text}")
    step = 1
    if steps:
        step = _number(steps[0])
        if len(ends) == 1:  # "5/15" means from 5 on
            end = most
    if start < least:
        raise ValueError(f"beginning of range ({start}) below minimum ({least}): {text}")
    if end > most:
        raise ValueError(f"end of range ({end}) above maximum ({most}): {text}")
    if start > end:
        raise ValueError(f"beginning of range ({start}) beyond end of range ({end}): {text}")
    if step == 0:
        raise ValueError(f"step of range should be a positive number: {text}")
    yield from range(start, end + 1, step)


def _value(text: str, at: int) -> int:
    words = MONTHS if FIELD_NAMES[at] == "month" else WEEKDAYS if FIELD_NAMES[at] == "dow" else {}
    return words[text.lower()] if text.lower() in words else _number(text)


def _number(text: str) -> int:
    if not (text.isascii() and text.lstrip("+-").isdigit()):
        raise ValueError(f'failed to parse int from {text}: strconv.Atoi: parsing "{text}": invalid syntax')
    number = int(text)
    if number < 0:
        raise ValueError(f"negative number ({number}) not allowed: {text}")
    return number
