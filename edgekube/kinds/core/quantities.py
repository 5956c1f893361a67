"""What the API does to resource amounts before they are stored, and how they compare.

Source: SetDefaults_ResourceList in upstream's pkg/apis/core/v1/defaults.go.
"""

from __future__ import annotations

import re
from decimal import ROUND_UP, Context, Decimal

from edgekube.api.meta import Quantity
from edgekube.api.quantity import amount, format_amount

_MILLI = Decimal("0.001")
_WIDE = Context(prec=1000, Emax=2000, Emin=-2000)  # amounts may have more digits than Decimal keeps by default
_EXPONENT = re.compile(r"[eE][+-]?\d+$")


def round_up_to_milli(value: Quantity) -> Quantity:
    """The amount with nothing finer than a thousandth, in the notation it came in."""
    exact = amount(value)
    rounded = exact.quantize(_MILLI, ROUND_UP, _WIDE)
    if exact == rounded:
        return value
    return Quantity(format_amount(rounded, "exponent" if _EXPONENT.search(value) else "decimal"))


def round_up_all(amounts: dict[str, Quantity]) -> None:
    """Round every amount of a list in place."""
    for name, value in amounts.items():
        amounts[name] = round_up_to_milli(value)


def is_fraction(value: str) -> bool:
    """Whether an amount is not a whole number."""
    exact = amount(value)
    return exact != exact.to_integral_value()
