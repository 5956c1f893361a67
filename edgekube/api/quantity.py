"""Resource amounts: parse, canonical text, arithmetic, comparison.

An amount is text on the wire ("100m", "1Gi") and stays text in objects; here it becomes an exact number and back. The text
remembers its form: sums keep the form of their first part. Results are cached, since a cluster knows few different amounts.

Source: k8s.io/apimachinery pkg/api/resource/quantity.go, suffix.go, amount.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from decimal import ROUND_UP, Context, Decimal
from functools import lru_cache

_FORM = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?([eEinumkKMGTP]*[-+]?[0-9]*)")
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_DECIMAL = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_BY_EXPONENT = {exponent: suffix for suffix, exponent in _DECIMAL.items()}
_EXPONENT = re.compile(r"[eE]([-+]?[0-9]+)")
_NANO = Decimal(1).scaleb(-9)
_MOST_BINARY = Decimal(2**63 - 1)
_MOST_EXPONENT = 400  # upstream has no bound here; beyond this nothing is meant seriously
_FAST_DIGITS = 18  # what upstream parses into an int64; only such texts can be canonical as they stand
_CONTEXT = Context(prec=1000, Emax=2000, Emin=-2000)
_CACHED_TEXTS = 4096

FORMAT_WRONG = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
SUFFIX_WRONG = "unable to parse quantity's suffix"
DECIMAL, BINARY, EXPONENT = "decimal", "binary", "exponent"


@lru_cache(maxsize=_CACHED_TEXTS)
def _parse(text: str) -> tuple[Decimal, str]:
    """The exact amount (rounded away from zero to nano; binary ones capped to int64) and its form."""
    found = _FORM.fullmatch(text) if text else None
    if not found:
        raise ValueError(FORMAT_WRONG)
    sign, whole_part, fraction, suffix = found.groups()
    power, form = _suffix(suffix)
    amount = Decimal(f"{sign}{whole_part or '0'}.{fraction or '0'}")
    amount = _CONTEXT.multiply(amount, Decimal(1024**power)) if form == BINARY else amount.scaleb(power, _CONTEXT)
    rounded = amount.copy_abs().quantize(_NANO, ROUND_UP, _CONTEXT)  # abs() would cut to 28 digits
    if form == BINARY:
        rounded = min(rounded, _MOST_BINARY)
        if 0 < rounded < 1:
            form = DECIMAL
    return (rounded.copy_negate() if sign == "-" and rounded else rounded), form


def _suffix(suffix: str) -> tuple[int, str]:
    if suffix in _DECIMAL:
        return _DECIMAL[suffix], DECIMAL
    if suffix in _BINARY:
        return _BINARY.index(suffix), BINARY
    exponent = _EXPONENT.fullmatch(suffix)
    if exponent is None or abs(int(exponent[1])) > _MOST_EXPONENT:
        raise ValueError(SUFFIX_WRONG)
    return int(exponent[1]), EXPONENT


def amount(text: str) -> Decimal:
    """The exact amount of a quantity's text. Raises ValueError on bad syntax."""
    return _parse(text)[0]


def rounded_up(text: str, places: int) -> str:
    """The canonical text of the amount with at most `places` decimal places, rounded away from zero."""
    value, form = _parse(text)
    return _text(value.quantize(Decimal(1).scaleb(-places), ROUND_UP, _CONTEXT), form)


@lru_cache(maxsize=_CACHED_TEXTS)
def milli(text: str) -> int:
    """Thousandths, rounded away from zero (CPU)."""
    return int(amount(text).scaleb(3, _CONTEXT).to_integral_value(rounding=ROUND_UP))


@lru_cache(maxsize=_CACHED_TEXTS)
def whole(text: str) -> int:
    """Whole units, rounded away from zero (bytes, counts)."""
    return int(amount(text).to_integral_value(rounding=ROUND_UP))


@lru_cache(maxsize=_CACHED_TEXTS)
def canonical(text: str) -> str:
    """The text upstream writes for this text. Raises ValueError on bad syntax.

    Some texts are kept as they are although they are not in canonical form ("+5", "1.500"), because upstream's fast path does.
    """
    text = text.strip()
    value, form = _parse(text)
    return text if _kept(text) else _text(value, form)


def _kept(text: str) -> bool:
    if text == "0":
        return True
    found = _FORM.fullmatch(text)
    assert found is not None, text
    _, whole_part, fraction, suffix = found.groups()
    digits, fraction = whole_part.lstrip("0") or "0", fraction or ""
    power, form = _suffix(suffix)
    if len(digits) + len(fraction) > _FAST_DIGITS or int(digits + fraction) == 0:
        return False
    if form == BINARY:
        small = 15 - len(digits) - power * 3 - 1 >= 0 and int(digits) * 1024**power < 2**63
        return not fraction and small and int(digits) & 7 != 0
    scale = power - len(fraction)
    shifted = digits + fraction
    return scale >= -9 and scale % 3 == 0 and not shifted.endswith("000") and shifted[0] != "0"


def format_amount(value: Decimal | int, form: str = DECIMAL) -> str:
    """Canonical text of an amount; `form` is "decimal", "binary" or "exponent"."""
    return _text(Decimal(value), form)


def _text(value: Decimal, form: str) -> str:
    if value == 0:
        return "0"
    if form == BINARY and (abs(value) < 1024 or value != value.to_integral_value()):
        form = DECIMAL
    if form == BINARY:
        number, power = int(value), 0
        while number % 1024 == 0 and power < len(_BINARY) - 1:
            number //= 1024
            power += 1
        return f"{number}{_BINARY[power]}"
    exponent = -9
    number = int(value.scaleb(9, _CONTEXT))
    while number % 1000 == 0 and (exponent < 18 or form == EXPONENT):
        number //= 1000
        exponent += 3
    if form == EXPONENT:
        return f"{number}e{exponent}" if exponent else str(number)
    return f"{number}{_BY_EXPONENT[exponent]}"


# ------------------------------------------------------------------------------------------------- arithmetic


def add(left: str, right: str) -> str:
    """The sum, in the form of `left` unless that is zero."""
    return _combined(left, right, 1)


def subtract(left: str, right: str) -> str:
    """The difference, in the form of `left` unless that is zero."""
    return _combined(left, right, -1)


def _combined(left: str, right: str, sign: int) -> str:
    (mine, form), (theirs, other) = _parse(left), _parse(right)
    return _text(_CONTEXT.add(mine, theirs * sign), form if mine else other)


def total(amounts: Iterable[str]) -> str:
    """The sum of any number of quantities; "0" of none."""
    result = "0"
    for text in amounts:
        result = add(result, text)
    return result


def compare(left: str, right: str) -> int:
    """-1, 0 or 1 as `left` is less than, equal to or more than `right`."""
    mine, theirs = _parse(left)[0], _parse(right)[0]
    return (mine > theirs) - (mine < theirs)


def equal(left: str, right: str) -> bool:
    """Whether two texts mean the same amount."""
    return left == right or compare(left, right) == 0


def sign(text: str) -> int:
    """-1, 0 or 1."""
    value = _parse(text)[0]
    return (value > 0) - (value < 0)
