"""CEL's own functions: operators, conversions, sizes, dates, optionals.

Arithmetic is 64-bit and says so when it overflows. Source: cel-go common/stdlib/standard.go, common/types, cel/library.go.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from edgekube.api.cel import regex
from edgekube.api.cel.declarations import Line
from edgekube.api.cel.errors import CelError
from edgekube.api.cel.values import (
    INT_MAX,
    INT_MIN,
    NONE,
    SECOND_NS,
    UINT_MAX,
    Duration,
    Optional,
    Timestamp,
    TypeValue,
    Uint,
    equal,
    is_zero,
    less,
    type_name,
)

# ------------------------------------------------------------------------------------------------- numbers


def _int(value: int) -> int:
    if INT_MIN <= value <= INT_MAX:
        return value
    raise CelError("integer overflow")


def _uint(value: int) -> Uint:
    if 0 <= value <= UINT_MAX:
        return Uint(value)
    raise CelError("unsigned integer overflow")


def add_int(a: int, b: int) -> int:
    return _int(a + b)


def _quotient(a: int, b: int) -> int:
    if b == 0:
        raise CelError("division by zero")
    found = abs(a) // abs(b)
    return _int(found if (a < 0) is (b < 0) else -found)


def _remainder(a: int, b: int) -> int:
    if b == 0:
        raise CelError("modulus by zero")
    found = abs(a) % abs(b)
    return -found if a < 0 else found


def _divided(a: float, b: float) -> float:
    if b == 0:
        return math.nan if a == 0 or math.isnan(a) else math.copysign(math.inf, a) * math.copysign(1, b)
    return a / b


def _whole(value: float, least: int, most: int) -> int:
    if math.isnan(value) or math.isinf(value) or not least <= int(value) <= most:
        raise CelError("unsigned integer overflow" if least == 0 else "integer overflow")
    return int(value)


def shortest(value: float) -> str:
    """A float as Go's %g with as few digits as it needs."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    mantissa, _, exponent = text.partition("e")
    digits = mantissa.replace(".", "").replace("-", "").lstrip("0")
    power = int(exponent or 0) + (len(mantissa.split(".")[0].lstrip("-")) - 1 if mantissa.lstrip("-")[0] != "0" else 0)
    if mantissa.lstrip("-").startswith("0.") and digits:
        power = -(len(mantissa.split(".")[1]) - len(mantissa.split(".")[1].lstrip("0"))) - 1
    digits = digits.rstrip("0") or "0"
    if digits == "0":
        return "-0" if text.startswith("-") else "0"
    if power < -4 or power >= 21:
        sign = "-" if value < 0 else ""
        fraction = f".{digits[1:]}" if len(digits) > 1 else ""
        return f"{sign}{digits[0]}{fraction}e{'+' if power >= 0 else '-'}{abs(power):02d}"
    return format(value, ".0f") if power >= len(digits) - 1 else format(value, f".{len(digits) - 1 - power}f")


def _parsed(kind: str, make: Callable[[str], Any], shape: re.Pattern[str]) -> Callable[[str], Any]:
    def convert(text: str) -> Any:
        if shape.fullmatch(text):
            try:
                return make(text)
            except (ValueError, OverflowError, CelError):
                pass
        raise CelError(f"type conversion error from 'string' to '{kind}'")

    return convert


_DIGITS = re.compile(r"[+-]?[0-9]+")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[+-]?(?:inf|infinity|nan)", re.I)
_to_int = _parsed("int", lambda text: _int(int(text)), _DIGITS)
_to_uint = _parsed("uint", lambda text: _uint(int(text)), _DIGITS)
_to_double = _parsed("double", float, _NUMBER)
_BOOLS = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}


def _to_bool(text: str) -> bool:
    if text in ("T", "TRUE", "True", "F", "FALSE", "False") or text in _BOOLS:
        return _BOOLS[text.lower()]
    raise CelError("type conversion error from 'string' to 'bool'")


# ------------------------------------------------------------------------------------------------- time

_UNITS_NS = {"ns": 1, "us": 1000, "µs": 1000, "μs": 1000, "ms": 10**6, "s": SECOND_NS, "m": 60 * SECOND_NS,
             "h": 3600 * SECOND_NS}  # fmt: skip
_SPAN = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_SPANS = re.compile(r"[+-]?(?:0|(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|µs|μs|ms|s|m|h))+)")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)


def duration(text: str) -> Duration:
    """Go's form: "1h30m"."""
    if not _SPANS.fullmatch(text):
        raise CelError("type conversion error from 'string' to 'google.protobuf.Duration'")
    total = 0
    for number, unit in _SPAN.findall(text):
        whole, _, fraction = number.partition(".")
        scale = _UNITS_NS[unit]
        total += int(whole or 0) * scale + (int(fraction) * scale // 10 ** len(fraction) if fraction else 0)
    return Duration(-total if text[0] == "-" else total)


def timestamp(text: str) -> Timestamp:
    """RFC 3339."""
    match = _MOMENT.fullmatch(text)
    try:
        if match is None:
            raise ValueError
        zone = match[4].upper().replace("Z", "+00:00")
        seconds = datetime.fromisoformat(f"{match[1]}T{match[2]}{zone}")
        whole = (seconds - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
        return Timestamp(whole * SECOND_NS + int((match[3] or "0")[:9].ljust(9, "0")))
    except (ValueError, OverflowError, CelError):
        raise CelError("type conversion error from 'string' to 'google.protobuf.Timestamp'") from None


def timestamp_text(value: Timestamp) -> str:
    """RFC 3339, with as many digits as it needs."""
    fraction = value.ns % SECOND_NS
    shown = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{value.at():%Y-%m-%dT%H:%M:%S}".rjust(19, "0") + f"{shown}Z"


def duration_text(value: Duration) -> str:
    """Seconds, with as many digits as it needs."""
    whole, fraction = divmod(abs(value.ns), SECOND_NS)
    shown = f".{fraction:09d}".rstrip("0") if fraction else ""
    return f"{'-' if value.ns < 0 else ''}{whole}{shown}s"


_OFFSET = re.compile(r"([+-]?)(\d\d):(\d\d)")


def _zone(name: str) -> Any:
    if match := _OFFSET.fullmatch(name):
        span = timedelta(hours=int(match[2]), minutes=int(match[3]))
        return timezone(-span if match[1] == "-" else span)
    if name in ("", "UTC", "Local"):
        return UTC
    from zoneinfo import ZoneInfo

    try:
        return ZoneInfo(name)
    except (ValueError, OSError, KeyError):
        raise CelError(f"unknown time zone {name}") from None


_PARTS: dict[str, Callable[[datetime], int]] = {
    "getFullYear": lambda at: at.year,
    "getMonth": lambda at: at.month - 1,
    "getDayOfYear": lambda at: at.timetuple().tm_yday - 1,
    "getDayOfMonth": lambda at: at.day - 1,
    "getDate": lambda at: at.day,
    "getDayOfWeek": lambda at: at.isoweekday() % 7,
    "getHours": lambda at: at.hour,
    "getMinutes": lambda at: at.minute,
    "getSeconds": lambda at: at.second,
    "getMilliseconds": lambda at: at.microsecond // 1000,
}
_SPAN_PARTS = {
    "getHours": 3600 * SECOND_NS,
    "getMinutes": 60 * SECOND_NS,
    "getSeconds": SECOND_NS,
    "getMilliseconds": 10**6,
}


def _dates() -> Iterator[Line]:
    def of(part: Callable[[datetime], int]) -> Callable[[Timestamp], int]:
        return lambda moment: part(moment.at())

    def zoned(part: Callable[[datetime], int]) -> Callable[[Timestamp, str], int]:
        return lambda moment, zone: part(moment.at(_zone(zone)))

    def whole(unit: int, *, rest: bool) -> Callable[[Duration], int]:
        def count(span: Duration) -> int:
            found = abs(span.ns) // unit % 1000 if rest else abs(span.ns) // unit
            return -found if span.ns < 0 else found

        return count

    for name, part in _PARTS.items():
        yield f"timestamp_{name}", f"timestamp -> {name}(): int", of(part)
        yield f"timestamp_{name}_tz", f"timestamp -> {name}(string): int", zoned(part)
    for name, unit in _SPAN_PARTS.items():
        yield f"duration_{name}", f"duration -> {name}(): int", whole(unit, rest=name == "getMilliseconds")


# ------------------------------------------------------------------------------------------------- containers


def index_list(items: list[Any], at: int) -> Any:
    """An element by its place."""
    if at.__class__ is float and at.is_integer():
        at = int(at)
    if 0 <= at < len(items):
        return items[at]
    raise CelError(f"index out of bounds: {at}")


def key_text(key: Any) -> str:
    """A key as messages show it."""
    return str(key).lower() if key.__class__ is bool else shortest(key) if key.__class__ is float else str(key)


def index_map(mapping: dict[Any, Any], key: Any) -> Any:
    """A value by its key."""
    try:
        return mapping[key]
    except (KeyError, TypeError):
        raise CelError(f"no such key: {key_text(key)}") from None


def _indexed(index: Callable[[Any, Any], Any]) -> Callable[[Any, Any], Optional]:
    def find(container: Any, key: Any) -> Optional:
        if isinstance(container, Optional):
            if not container.present:
                return NONE
            container = container.held
        try:
            return Optional(index(container, key))
        except CelError:
            return NONE

    return find


def in_list(value: Any, items: list[Any]) -> bool:
    """Whether a list has an element like this."""
    if value.__class__ is str:
        return value in items
    return any(equal(value, one) for one in items)


def in_map(key: Any, mapping: dict[Any, Any]) -> bool:
    """Whether a map has this key."""
    try:
        return key in mapping
    except TypeError:
        return False


def _size(value: Any) -> int:
    return len(value)


# ------------------------------------------------------------------------------------------------- optionals


def _value(optional: Optional) -> Any:
    if optional.present:
        return optional.held
    raise CelError("optional.none() dereference")


def _unwrapped(items: list[Any]) -> list[Any]:
    return [one.held for one in items if not isinstance(one, Optional) or one.present]


OPTIONALS: list[Line] = [
    ("optional_of", "optional.of(A): optional(A)", Optional),
    ("optional_none", "optional.none(): optional(A)", lambda: NONE),
    ("optional_ofNonZeroValue", "optional.ofNonZeroValue(A): optional(A)", lambda v: NONE if is_zero(v) else Optional(v)),
    ("optional_unwrap", "optional.unwrap(list(optional(A))): list(A)", _unwrapped),
    ("optional_unwrapOpt", "list(optional(A)) -> unwrapOpt(): list(A)", _unwrapped),
    ("optional_value", "optional(A) -> value(): A", _value),
    ("optional_hasValue", "optional(A) -> hasValue(): bool", lambda optional: optional.present),
    ("optional_or_optional", "optional(A) -> or(optional(A)): optional(A)", lambda one, other: one if one.present else other),
    ("optional_orValue_value", "optional(A) -> orValue(A): A", lambda one, other: one.held if one.present else other),
    ("optional_list_optindex_optional_int", "_[?_](optional(list(A)), int): optional(A)", _indexed(index_list)),
    ("list_optindex_optional_int", "_[?_](list(A), int): optional(A)", _indexed(index_list)),
    ("optional_map_optindex_optional_value", "_[?_](optional(map(A, B)), A): optional(B)", _indexed(index_map)),
    ("map_optindex_optional_value", "_[?_](map(A, B), A): optional(B)", _indexed(index_map)),
    ("optional_list_index_int", "_[_](optional(list(A)), int): optional(A)", _indexed(index_list)),
    ("optional_map_index_value", "_[_](optional(map(A, B)), A): optional(B)", _indexed(index_map)),
    ("list_first", "list(A) -> first(): optional(A)", lambda items: Optional(items[0]) if items else NONE),
    ("list_last", "list(A) -> last(): optional(A)", lambda items: Optional(items[-1]) if items else NONE),
]  # fmt: skip


# ------------------------------------------------------------------------------------------------- operators


def _orders() -> Iterator[Line]:
    ordered = ("bool", "int", "uint", "double", "string", "bytes", "timestamp", "duration")
    names = {"int": "int64", "uint": "uint64"}
    for sign, word, call in (
        ("_<_", "less", less),
        ("_<=_", "less_equals", lambda a, b: not less(b, a) if a == a and b == b else False),
        ("_>_", "greater", lambda a, b: less(b, a)),
        ("_>=_", "greater_equals", lambda a, b: not less(a, b) if a == a and b == b else False),
    ):
        for one in ordered:
            yield f"{word}_{names.get(one, one)}", f"{sign}({one}, {one}): bool", call
        for one in ("int", "uint", "double"):
            for other in ("int", "uint", "double"):
                if one != other:
                    yield (
                        f"{word}_{names.get(one, one)}_{names.get(other, other)}",
                        f"{sign}({one}, {other}): bool",
                        call,
                    )


def _same(value: Any) -> Any:
    return value


def _text_of_bytes(value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise CelError("invalid UTF-8 in bytes, cannot convert to string") from None


def tenth(text: Any) -> int:
    """The charge for going through a text once."""
    return len(text) // 10


_ARITHMETIC: list[Line] = [
    ("add_int64", "_+_(int, int): int", add_int),
    ("add_uint64", "_+_(uint, uint): uint", lambda a, b: _uint(a + b)),
    ("add_double", "_+_(double, double): double", lambda a, b: a + b),
    ("add_string", "_+_(string, string): string", lambda a, b: a + b, lambda a, b: (len(a) + len(b)) // 10),
    ("add_bytes", "_+_(bytes, bytes): bytes", lambda a, b: a + b, lambda a, b: (len(a) + len(b)) // 10),
    ("add_list", "_+_(list(A), list(A)): list(A)", lambda a, b: a + b),
    ("add_duration_duration", "_+_(duration, duration): duration", lambda a, b: Duration(a.ns + b.ns)),
    ("add_duration_timestamp", "_+_(duration, timestamp): timestamp", lambda a, b: Timestamp(a.ns + b.ns)),
    ("add_timestamp_duration", "_+_(timestamp, duration): timestamp", lambda a, b: Timestamp(a.ns + b.ns)),
    ("subtract_int64", "_-_(int, int): int", lambda a, b: _int(a - b)),
    ("subtract_uint64", "_-_(uint, uint): uint", lambda a, b: _uint(a - b)),
    ("subtract_double", "_-_(double, double): double", lambda a, b: a - b),
    ("subtract_duration_duration", "_-_(duration, duration): duration", lambda a, b: Duration(a.ns - b.ns)),
    ("subtract_timestamp_duration", "_-_(timestamp, duration): timestamp", lambda a, b: Timestamp(a.ns - b.ns)),
    ("subtract_timestamp_timestamp", "_-_(timestamp, timestamp): duration", lambda a, b: Duration(a.ns - b.ns)),
    ("multiply_int64", "_*_(int, int): int", lambda a, b: _int(a * b)),
    ("multiply_uint64", "_*_(uint, uint): uint", lambda a, b: _uint(a * b)),
    ("multiply_double", "_*_(double, double): double", lambda a, b: a * b),
    ("divide_int64", "_/_(int, int): int", _quotient),
    ("divide_uint64", "_/_(uint, uint): uint", lambda a, b: _uint(_quotient(a, b))),
    ("divide_double", "_/_(double, double): double", _divided),
    ("modulo_int64", "_%_(int, int): int", _remainder),
    ("modulo_uint64", "_%_(uint, uint): uint", lambda a, b: _uint(_remainder(a, b))),
    ("negate_int64", "-_(int): int", lambda a: _int(-a)),
    ("negate_double", "-_(double): double", lambda a: -a),
]
_LOGIC: list[Line] = [
    ("logical_not", "!_(bool): bool", lambda a: not a),
    ("not_strictly_false", "@not_strictly_false(bool): bool", _same),
    ("conditional", "_?_:_(bool, A, A): A", lambda a, b, c: b if a else c),
    ("logical_and", "_&&_(bool, bool): bool", lambda a, b: a and b),
    ("logical_or", "_||_(bool, bool): bool", lambda a, b: a or b),
    ("equals", "_==_(A, A): bool", equal),
    ("not_equals", "_!=_(A, A): bool", lambda a, b: not equal(a, b)),
    ("in_list", "@in(A, list(A)): bool", in_list, lambda _, items: len(items)),
    ("in_map", "@in(A, map(A, B)): bool", in_map),
    ("index_list", "_[_](list(A), int): A", index_list),
    ("index_map", "_[_](map(A, B), A): B", index_map),
    ("@mapInsert_map_map", "cel.@mapInsert(map(A, B), map(A, B)): map(A, B)", lambda a, b: a | b),
    ("@mapInsert_map_key_value", "cel.@mapInsert(map(A, B), A, B): map(A, B)", lambda a, k, v: a | {k: v}),
]
_SIZES: list[Line] = [
    line
    for kind, name in (("string", "string"), ("bytes", "bytes"), ("list(A)", "list"), ("map(A, B)", "map"))
    for line in (
        (f"size_{name}", f"size({kind}): int", _size),
        (f"{name}_size", f"{kind} -> size(): int", _size),
    )
]
_TEXTS: list[Line] = [
    ("contains_string", "string -> contains(string): bool", lambda a, b: b in a, lambda a, b: len(a) * len(b) // 100),
    ("ends_with_string", "string -> endsWith(string): bool", lambda a, b: a.endswith(b), lambda _, b: tenth(b)),
    ("starts_with_string", "string -> startsWith(string): bool", lambda a, b: a.startswith(b), lambda _, b: tenth(b)),
    ("matches", "matches(string, string): bool", regex.matches, regex.charge),
    ("matches_string", "string -> matches(string): bool", regex.matches, regex.charge),
]
_CONVERSIONS: list[Line] = [
    ("to_dyn", "dyn(A): dyn", _same),
    ("type", "type(A): type(A)", lambda value: TypeValue(type_name(value))),
    ("bool_to_bool", "bool(bool): bool", _same),
    ("string_to_bool", "bool(string): bool", _to_bool),
    ("bytes_to_bytes", "bytes(bytes): bytes", _same),
    ("string_to_bytes", "bytes(string): bytes", lambda a: a.encode(), tenth),
    ("double_to_double", "double(double): double", _same),
    ("int64_to_double", "double(int): double", float),
    ("string_to_double", "double(string): double", _to_double),
    ("uint64_to_double", "double(uint): double", float),
    ("duration_to_duration", "duration(duration): duration", _same),
    ("int64_to_duration", "duration(int): duration", Duration),
    ("string_to_duration", "duration(string): duration", duration),
    ("int64_to_int64", "int(int): int", _same),
    ("double_to_int64", "int(double): int", lambda a: _whole(a, INT_MIN, INT_MAX)),
    ("duration_to_int64", "int(duration): int", lambda a: a.ns),
    ("string_to_int64", "int(string): int", _to_int),
    ("timestamp_to_int64", "int(timestamp): int", lambda a: a.ns // SECOND_NS),
    ("uint64_to_int64", "int(uint): int", lambda a: _int(int(a))),
    ("string_to_string", "string(string): string", _same),
    ("bool_to_string", "string(bool): string", lambda a: "true" if a else "false"),
    ("bytes_to_string", "string(bytes): string", _text_of_bytes, tenth),
    ("double_to_string", "string(double): string", shortest),
    ("duration_to_string", "string(duration): string", duration_text),
    ("int64_to_string", "string(int): string", str),
    ("timestamp_to_string", "string(timestamp): string", timestamp_text),
    ("uint64_to_string", "string(uint): string", lambda a: str(int(a))),
    ("timestamp_to_timestamp", "timestamp(timestamp): timestamp", _same),
    ("int64_to_timestamp", "timestamp(int): timestamp", lambda a: Timestamp(a * SECOND_NS)),
    ("string_to_timestamp", "timestamp(string): timestamp", timestamp),
    ("uint64_to_uint64", "uint(uint): uint", _same),
    ("double_to_uint64", "uint(double): uint", lambda a: Uint(_whole(a, 0, UINT_MAX))),
    ("int64_to_uint64", "uint(int): uint", _uint),
    ("string_to_uint64", "uint(string): uint", _to_uint),
]
STANDARD: list[Line] = [*_LOGIC, *_ARITHMETIC, *_orders(), *_SIZES, *_TEXTS, *_CONVERSIONS, *_dates()]
