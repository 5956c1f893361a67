"""The string library: places in texts, parts of them, case, and text from patterns with values.

Source: cel-go ext/strings.go (version 2) and ext/formatting.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from edgekube.api.cel.core import duration_text, shortest, tenth, timestamp_text
from edgekube.api.cel.declarations import Line
from edgekube.api.cel.errors import CelError
from edgekube.api.cel.values import Duration, Timestamp, TypeValue, Uint, type_name

_SPACE = " \t\n\v\f\r\x85\xa0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029\u202f\u205f\u3000"


def _within(at: int, most: int) -> int:
    if 0 <= at <= most:
        return at
    raise CelError(f"index out of range: {at}")


def _char_at(text: str, at: int) -> str:
    return text[_within(at, len(text)) : at + 1]


def _index_of(text: str, part: str, start: int = 0) -> int:
    if start < 0:
        raise CelError(f"index out of range: {start}")
    if not part:
        return min(start, len(text))
    return text.find(part, start)


def _last_index_of(text: str, part: str) -> int:
    return text.rfind(part) if part else len(text)


def _last_index_from(text: str, part: str, start: int) -> int:
    if start < 0:
        raise CelError(f"index out of range: {start}")
    if not part:
        return min(start, len(text))
    return -1 if start >= len(text) else text.rfind(part, 0, start + len(part))


def _ascii(text: str, *, upper: bool) -> str:
    if text.isascii():
        return text.upper() if upper else text.lower()
    return "".join((one.upper() if upper else one.lower()) if one.isascii() else one for one in text)


def _replace(text: str, old: str, new: str, most: int = -1) -> str:
    return text.replace(old, new, most if most >= 0 else -1)


def _split(text: str, separator: str, most: int = -1) -> list[str]:
    if most == 0:
        return []
    if not separator:
        letters = list(text)
        return letters if most < 0 or len(letters) <= most else [*letters[: most - 1], "".join(letters[most - 1 :])]
    return text.split(separator, most - 1 if most > 0 else -1)


def _substring(text: str, start: int) -> str:
    return text[_within(start, len(text)) :]


def _substring_range(text: str, start: int, end: int) -> str:
    if start > end:
        raise CelError(f"invalid substring range. start: {start}, end: {end}")
    return text[_within(start, len(text)) : _within(end, len(text))]


def _join(items: list[Any], separator: str = "") -> str:
    for one in items:
        if one.__class__ is not str:
            raise CelError(f"join: invalid input: {one}")
    return separator.join(items)


_QUOTES = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", "\\": "\\\\",
           '"': '\\"'}  # fmt: skip


def _quote(text: str) -> str:
    return '"' + "".join(_QUOTES.get(one, one) for one in text) + '"'


# ------------------------------------------------------------------------------------------------- format

_CLAUSE = re.compile(r"%(?:%|(?:\.([0-9]+))?(.)|$)", re.S)


def _shown(value: Any, *, inner: bool = False) -> str:
    kind = value.__class__
    if kind is str:
        return f'"{value}"' if inner else str(value)
    if value is None or kind is bool:
        return {None: "null", True: "true", False: "false"}[value]
    if kind is float:
        return shortest(value)
    if isinstance(value, int):
        return str(int(value))
    if kind is bytes:
        return str(value.decode(errors="replace"))
    if kind is Timestamp:
        return f'timestamp("{timestamp_text(value)}")' if inner else timestamp_text(value)
    if kind is Duration:
        return f'duration("{duration_text(value)}")' if inner else duration_text(value)
    if isinstance(value, list):
        return "[" + ", ".join(_shown(one, inner=True) for one in value) + "]"
    if isinstance(value, dict):
        members = sorted((_shown(key, inner=True), _shown(one, inner=True)) for key, one in value.items())
        return "{" + ", ".join(f"{key}:{one}" for key, one in members) + "}"
    if kind is TypeValue:
        return str(value.mark)
    raise CelError(f"no formatting function for {type_name(value)}")


def _whole(value: Any, clause: str) -> int:
    if value.__class__ is int or value.__class__ is Uint:
        return int(value)
    words = {"d": "decimal clause can only be used on integers", "o": "octal clause can only be used on integers"}
    raise CelError(f"error during formatting: {words.get(clause, '')}, was given {type_name(value)}")


def _number(value: Any, precision: int, clause: str) -> str:
    if value.__class__ is str and value in ("NaN", "Infinity", "-Infinity"):
        value = float(value.replace("Infinity", "inf"))
    if isinstance(value, bool) or not isinstance(value, int | float):
        kind = "fixed-point" if clause == "f" else "scientific"
        raise CelError(
            f"error during formatting: {kind} clause can only be used on doubles, was given {type_name(value)}"
        )
    value = float(value)
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "∞" if value > 0 else "-∞"
    return format(value, f".{precision}{clause}")


def _based(value: Any, clause: str) -> str:
    if clause == "b":
        if value.__class__ is bool:
            return "1" if value else "0"
        if value.__class__ in (int, Uint):
            return format(int(value), "b")
        raise CelError(
            f"error during formatting: only integers and bools can be formatted as binary, was given {type_name(value)}"
        )
    if value.__class__ in (str, bytes):
        data = value.encode() if isinstance(value, str) else value
        return str(data.hex() if clause == "x" else data.hex().upper())
    if value.__class__ in (int, Uint):
        return format(int(value), clause)
    raise CelError(
        "error during formatting: only integers, byte buffers, and strings can be formatted as hex, was given "
        f"{type_name(value)}"
    )


def _format(pattern: str, values: list[Any]) -> str:
    place = -1

    def filled(match: re.Match[str]) -> str:
        nonlocal place
        precision, clause = match[1], match[2]
        if clause is None:
            if match[0] == "%%":
                return "%"
            raise CelError("error during formatting: unexpected end of string")
        place += 1
        if clause not in "sdfebxXo":
            raise CelError(f'error during formatting: unrecognized formatting clause "{clause}"')
        if place >= len(values):
            raise CelError(f"index {place} out of range")
        value = values[place]
        if clause == "s":
            return _shown(value)
        if clause == "d":
            return str(_whole(value, "d"))
        if clause == "o":
            return format(_whole(value, "o"), "o")
        if clause in "fe":
            return _number(value, 6 if precision is None else int(precision), clause)
        return _based(value, clause)

    return _CLAUSE.sub(filled, pattern)


def clauses(pattern: str) -> Iterator[str]:
    """The clauses of a pattern, in order: what its arguments are for."""
    for match in _CLAUSE.finditer(pattern):
        if match[2] is not None:
            yield match[2]


def _twice(text: str, *_: Any) -> int:
    return len(text) // 5


STRINGS: list[Line] = [
    ("string_char_at_int", "string -> charAt(int): string", _char_at),
    ("string_index_of_string", "string -> indexOf(string): int", _index_of, lambda a, _: tenth(a)),
    ("string_index_of_string_int", "string -> indexOf(string, int): int", _index_of, lambda a, *_: tenth(a)),
    ("string_last_index_of_string", "string -> lastIndexOf(string): int", _last_index_of, lambda a, _: tenth(a)),
    (
        "string_last_index_of_string_int",
        "string -> lastIndexOf(string, int): int",
        _last_index_from,
        lambda a, *_: tenth(a),
    ),
    ("string_lower_ascii", "string -> lowerAscii(): string", lambda text: _ascii(text, upper=False), tenth),
    ("string_upper_ascii", "string -> upperAscii(): string", lambda text: _ascii(text, upper=True), tenth),
    ("string_replace_string_string", "string -> replace(string, string): string", _replace, _twice),
    ("string_replace_string_string_int", "string -> replace(string, string, int): string", _replace, _twice),
    ("string_split_string", "string -> split(string): list(string)", _split, _twice),
    ("string_split_string_int", "string -> split(string, int): list(string)", _split, _twice),
    ("string_substring_int", "string -> substring(int): string", _substring, lambda a, _: tenth(a)),
    ("string_substring_int_int", "string -> substring(int, int): string", _substring_range, lambda a, *_: tenth(a)),
    ("string_trim", "string -> trim(): string", lambda text: text.strip(_SPACE), tenth),
    ("string_format", "string -> format(list(dyn)): string", _format, lambda a, _: tenth(a)),
    ("strings_quote", "strings.quote(string): string", _quote, tenth),
    ("list_join", "list(string) -> join(): string", _join, lambda items: 2 * len(items)),
    ("list_join_string", "list(string) -> join(string): string", _join, lambda items, _: 2 * len(items)),
]
