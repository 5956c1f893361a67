"""Resource amounts: parse, canonical text, arithmetic. Source: k8s.io/apimachinery pkg/api/resource/quantity.go."""

from __future__ import annotations

import re
from decimal import ROUND_UP, Decimal, localcontext

_FORM = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([eE][+-]?\d+)|(Ki|Mi|Gi|Ti|Pi|Ei|[numkMGTPE])?)")
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BY_EXPONENT = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_NANO = Decimal(1).scaleb(-9)
_MOST = Decimal(2**63 - 1)


def _parse(text: str) -> tuple[Decimal, str]:
    """The exact amount (rounded up to nano, capped to int64) and its format: "binary", "decimal" or "exponent"."""
    found = _FORM.fullmatch(text)
    if not found:
        raise ValueError("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")
    number, exponent, suffix = found.groups()
    with localcontext() as context:
        context.prec = 60
        amount = Decimal(number)
        if exponent:
            amount = amount.scaleb(int(exponent[1:]))
            form = "exponent"
        elif suffix and suffix.endswith("i"):
            amount *= 1024 ** _BINARY.index(suffix)
            form = "binary"
        else:
            amount = amount.scaleb(_DECIMAL[suffix or ""])
            form = "decimal"
        if amount != amount.quantize(_NANO):
            sign = -1 if amount < 0 else 1
            amount = sign * abs(amount).quantize(_NANO, rounding=ROUND_UP)
        if abs(amount) > _MOST:
            amount = _MOST if amount > 0 else -_MOST
    return amount, form


def amount(text: str) -> Decimal:
    """The exact amount of a quantity's text. Raises ValueError on bad syntax."""
    return _parse(text)[0]


def milli(text: str) -> int:
    """Thousandths, rounded up (CPU)."""
    return int((amount(text) * 1000).to_integral_value(rounding=ROUND_UP))


def whole(text: str) -> int:
    """Whole units, rounded up (bytes, counts)."""
    return int(amount(text).to_integral_value(rounding=ROUND_UP))


def canonical(text: str) -> str:
    """The one text upstream writes for this amount in this format. Raises ValueError on bad syntax."""
    value, form = _parse(text.strip())
    return _text(value, form)


def format_amount(value: Decimal | int, form: str = "decimal") -> str:
    """Canonical text of an amount; `form` is "decimal", "binary" or "exponent"."""
    return _text(Decimal(value), form)


def _text(value: Decimal, form: str) -> str:
    if value == 0:
        return "0"
    if form == "binary" and (abs(value) < 1024 or value != value.to_integral_value()):
        form = "decimal"
    with localcontext() as context:
        context.prec = 60
        if form == "binary":
            number, power = int(value), 0
            while number % 1024 == 0 and power < 6:
                number //= 1024
                power += 1
            return f"{number}{_BINARY[power]}"
        exponent = -9
        number = int(value.scaleb(9))
        while number % 1000 == 0 and exponent < 18:
            number //= 1000
            exponent += 3
        if form == "exponent":
            return f"{number}e{exponent}" if exponent else str(number)
        return f"{number}{_BY_EXPONENT[exponent]}"
