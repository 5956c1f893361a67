"""How long ago something was, as tables show it ("5m3s", "2d4h").

Text in, text out: the caller says what time it is. Source of the steps: k8s.io/apimachinery pkg/util/duration.
"""

from __future__ import annotations

from edgekube.api.meta import parse_time

UNKNOWN = "<unknown>"
INVALID = "<invalid>"

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86400
YEAR_DAYS = 365
CLOCK_DRIFT_S = 2  # machines disagree by this much; a moment that little in the future counts as now


def age(timestamp_text: str | None, now_text: str) -> str:
    """The time since a moment, both RFC 3339. "<unknown>" without one, "<invalid>" for the future."""
    if not timestamp_text:
        return UNKNOWN
    return human((parse_time(now_text) - parse_time(timestamp_text)).total_seconds())


def human(seconds: float) -> str:
    """A span in at most two units, coarser the longer it is."""
    whole = int(seconds)
    if whole <= -CLOCK_DRIFT_S:
        return INVALID
    if whole < 2 * MINUTE_S:
        return f"{max(whole, 0)}s"
    if whole < 10 * MINUTE_S:
        return _two(whole, MINUTE_S, "m", 1, "s")
    if whole < 3 * HOUR_S:
        return f"{whole // MINUTE_S}m"
    if whole < 8 * HOUR_S:
        return _two(whole, HOUR_S, "h", MINUTE_S, "m")
    if whole < 2 * DAY_S:
        return f"{whole // HOUR_S}h"
    if whole < 8 * DAY_S:
        return _two(whole, DAY_S, "d", HOUR_S, "h")
    days = whole // DAY_S
    if days < 2 * YEAR_DAYS:
        return f"{days}d"
    if days < 8 * YEAR_DAYS:
        return _two(days, YEAR_DAYS, "y", 1, "d")
    return f"{days // YEAR_DAYS}y"


def _two(amount: int, large: int, large_name: str, small: int, small_name: str) -> str:
    rest = amount % large // small
    return f"{amount // large}{large_name}" + (f"{rest}{small_name}" if rest else "")
