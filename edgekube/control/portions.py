"""Numbers given absolutely or in percent. Source: k8s.io/apimachinery util/intstr."""

from __future__ import annotations

import math


def portion(value: int | str | None, total: int, *, round_up: bool) -> int:
    """`value` of `total`: a number as it is, "25%" as that part. Raises ValueError for other text."""
    if value is None:
        return 0
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        raise ValueError(f"invalid value for IntOrString: {value!r} is not a percentage")
    exact = int(value[:-1]) * total / 100
    return math.ceil(exact) if round_up else math.floor(exact)


def surge_and_unavailable(surge: int | str | None, unavailable: int | str | None, wanted: int) -> tuple[int, int]:
    """How many pods there may be above, and missing below, `wanted` in a rolling update; never both zero."""
    above = portion(surge, wanted, round_up=True)
    below = portion(unavailable, wanted, round_up=False)
    return (above, below) if above or below else (0, 1)
