"""Cron schedules: what they mean, what is refused in which words, when they are due."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekube.kinds.batch.schedule import parse

MONDAY = datetime(2026, 3, 2, 10, 30, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "due"),
    [
        ("* * * * *", "2026-03-02 10:31"),
        ("*/15 * * * *", "2026-03-02 10:45"),
        ("30 10 * * *", "2026-03-03 10:30"),
        ("0 0 1 1 *", "2027-01-01 00:00"),
        ("0 12 * * sun", "2026-03-08 12:00"),
        ("0 12 * * 1-5", "2026-03-02 12:00"),
        ("5/20 * * * *", "2026-03-02 10:45"),
        ("0 0 13 * FRI", "2026-03-06 00:00"),
        ("0 0 29 2 *", "2028-02-29 00:00"),
        ("0 0 1 JAN,jul ?", "2026-07-01 00:00"),
        ("@hourly", "2026-03-02 11:00"),
        ("@weekly", "2026-03-08 00:00"),
        ("@every 90s", "2026-03-02 10:31"),
    ],
)
def test_a_schedule_is_due_next(text: str, due: str) -> None:
    found = parse(text).next_after(MONDAY)
    assert found is not None
    assert found.strftime("%Y-%m-%d %H:%M") == due


def test_a_day_that_never_comes_is_never_due() -> None:
    assert parse("0 0 30 2 *").next_after(MONDAY) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty spec string"),
        ("* * * *", "expected exactly 5 fields, found 4: [* * * *]"),
        ("60 * * * *", "end of range (60) above maximum (59): 60"),
        ("* * 0 * *", "beginning of range (0) below minimum (1): 0"),
        ("5-1 * * * *", "beginning of range (5) beyond end of range (1): 5-1"),
        ("*/0 * * * *", "step of range should be a positive number: */0"),
        ("1-2-3 * * * *", "too many hyphens: 1-2-3"),
        ("1/2/3 * * * *", "too many slashes: 1/2/3"),
        ("x * * * *", 'failed to parse int from x: strconv.Atoi: parsing "x": invalid syntax'),
        ("@fortnightly", "unrecognized descriptor: @fortnightly"),
        ("@every soon", 'failed to parse duration @every soon: time: invalid duration "soon"'),
    ],
)
def test_a_bad_schedule_is_refused_in_upstreams_words(text: str, words: str) -> None:
    with pytest.raises(ValueError, match="^" + words.translate({ord(c): f"\\{c}" for c in "[]()*+?."}) + "$"):
        parse(text)


@given(
    st.datetimes(min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1)),
    st.integers(0, 59),
    st.integers(0, 23),
    st.integers(1, 28),
)
def test_what_is_due_is_later_and_fits(moment: datetime, minute: int, hour: int, day: int) -> None:
    due = parse(f"{minute} {hour} {day} * *").next_after(moment)
    assert due is not None
    assert due > moment
    assert (due.minute, due.hour, due.day, due.second) == (minute, hour, day, 0)
