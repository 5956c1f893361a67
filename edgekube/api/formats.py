"""String formats that a schema may ask for, and Go's regular expressions read as Python's.

Formats upstream does not know are ignored, as it does. A pattern Python cannot read holds for every text.

Source: k8s.io/apiextensions-apiserver pkg/apiserver/validation/formats.go, k8s.io/kube-openapi pkg/validation/strfmt.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import date
from functools import lru_cache
from urllib.parse import urlsplit

from edgekube.api import names

_UUID = "[0-9a-f]{8}-?[0-9a-f]{4}-?%s[0-9a-f]{3}-?%s[0-9a-f]{3}-?[0-9a-f]{12}"
_TIME = re.compile(r"(\d\d):(\d\d):(\d\d)(?:\.\d+)?(?:z|[+-]\d\d:\d\d)", re.ASCII)
_GO_DURATION = re.compile(r"[-+]?(?:0|(?:(?:\d+\.?\d*|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)", re.ASCII)
_LOOSE_DURATION = re.compile(r"\d+\s*([A-Za-zµ]+)", re.ASCII)
_DURATION_UNITS = (
    "ns",
    "nano",
    "us",
    "µs",
    "micro",
    "ms",
    "milli",
    "s",
    "sec",
    "m",
    "min",
    "h",
    "hr",
    "hour",
    "d",
    "day",
    "w",
    "week",
    "wk",
)
_EMAIL = re.compile(r"(?:[^<>@]*<)?[^\s@<>(),:;\\\"\[\]]+@[^\s@<>(),:;\\\"]+>?")
_HOST_LABEL = re.compile(r"(?!-)[\w$+<=>^`|~-]{1,63}(?<!-)")
_CARD = re.compile(
    r"(?:4\d{12}(?:\d{3})?|5[1-5]\d{14}|6(?:011|5\d\d)\d{12}|3[47]\d{13}|3(?:0[0-5]|[68]\d)\d{11}|(?:2131|1800|35\d{3})\d{11})",
    re.ASCII,
)


def _matches(pattern: str, flags: int = re.ASCII) -> Callable[[str], bool]:
    compiled = re.compile(pattern, flags)
    return lambda text: compiled.fullmatch(text) is not None


def _uri(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.scheme) or text.startswith("/")


def _address(kind: type[ipaddress.IPv4Address] | type[ipaddress.IPv6Address]) -> Callable[[str], bool]:
    def check(text: str) -> bool:
        try:
            kind(text)
        except ValueError:
            return False
        return "%" not in text

    return check


def _cidr(text: str) -> bool:
    try:
        ipaddress.ip_interface(text)
    except ValueError:
        return False
    return bool(re.fullmatch(r".+/\d+", text, re.ASCII))


def _hostname(text: str) -> bool:
    return len(text) <= 255 and all(_HOST_LABEL.fullmatch(label) for label in text.removesuffix(".").split("."))


def _base64(text: str) -> bool:
    try:
        base64.b64decode(text.replace("\n", "").replace("\r", ""), validate=True)
    except (binascii.Error, ValueError):
        return False
    return True


def _date(text: str) -> bool:
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII):
        return False
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


def _date_time(text: str) -> bool:
    day, _, clock = text.lower().partition("t")
    found = _TIME.match(clock)
    return _date(day) and found is not None and found[1] <= "23" and found[2] <= "59" and found[3] <= "59"


def _duration(text: str) -> bool:
    if _GO_DURATION.fullmatch(text):
        return True
    units = [unit.lower() for unit in _LOOSE_DURATION.findall(text)]
    return any(unit.rstrip("s") in _DURATION_UNITS or unit in _DURATION_UNITS for unit in units)


def _isbn10(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if not re.fullmatch(r"\d{9}[\dX]", digits, re.ASCII):
        return False
    return sum((10 if d == "X" else int(d)) * (n + 1) for n, d in enumerate(digits)) % 11 == 0


def _isbn13(text: str) -> bool:
    digits = re.sub(r"[\s-]+", "", text)
    if not re.fullmatch(r"\d{13}", digits, re.ASCII):
        return False
    return sum(int(d) * (3 if n % 2 else 1) for n, d in enumerate(digits)) % 10 == 0


def _credit_card(text: str) -> bool:
    digits = re.sub(r"\D+", "", text)
    if not _CARD.fullmatch(digits):
        return False
    doubled = [int(d) * (2 if n % 2 else 1) for n, d in enumerate(reversed(digits))]
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


_FORMATS: dict[str, Callable[[str], bool]] = {
    "bsonobjectid": _matches("[0-9a-fA-F]{24}"),
    "uri": _uri,
    "email": lambda text: _EMAIL.fullmatch(text) is not None,
    "hostname": _hostname,
    "ipv4": _address(ipaddress.IPv4Address),
    "ipv6": _address(ipaddress.IPv6Address),
    "cidr": _cidr,
    "mac": _matches(
        r"(?:[0-9a-fA-F]{2}([:-])(?:[0-9a-fA-F]{2}\1){4,18}[0-9a-fA-F]{2}|(?:[0-9a-fA-F]{4}\.){2,9}[0-9a-fA-F]{4})"
    ),
    "uuid": _matches("[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}", re.I),
    "uuid3": _matches("[0-9a-f]{8}-?[0-9a-f]{4}-?3[0-9a-f]{3}-?[0-9a-f]{4}-?[0-9a-f]{12}", re.I),
    "uuid4": _matches(_UUID % ("4", "[89ab]"), re.I),
    "uuid5": _matches(_UUID % ("5", "[89ab]"), re.I),
    "isbn": lambda text: _isbn10(text) or _isbn13(text),
    "isbn10": _isbn10,
    "isbn13": _isbn13,
    "creditcard": _credit_card,
    "ssn": _matches(r"\d{3}[- ]?\d{2}[- ]?\d{4}"),
    "hexcolor": _matches("#?(?:[0-9a-fA-F]{3}|[0-9a-fA-F]{6})"),
    "rgbcolor": _matches(r"rgb\(\s*(?:(?:[01]?\d?\d|2[0-4]\d|25[0-5])\s*,\s*){2}(?:[01]?\d?\d|2[0-4]\d|25[0-5])\s*\)"),
    "byte": _base64,
    "password": lambda _: True,
    "date": _date,
    "duration": _duration,
    "datetime": _date_time,
    "k8sshortname": lambda text: not names.dns_label(text),
    "k8slongname": lambda text: not names.dns_subdomain(text),
}


def known(name: str) -> bool:
    """Whether upstream checks this format of strings at all."""
    return name.replace("-", "") in _FORMATS


def keeps(name: str, text: str) -> bool:
    """Whether a text is of a format; every text is of an unknown one."""
    check = _FORMATS.get(name.replace("-", ""))
    return check is None or check(text)


@lru_cache(maxsize=1024)
def pattern(expression: str) -> re.Pattern[str] | None:
    """A Go regular expression as a Python one that finds the same; None if it cannot be said in Python."""
    out: list[str] = []
    in_class = False
    letters = iter(expression)
    for letter in letters:
        if letter == "\\":
            following = next(letters, "")
            out.append(r"\Z" if following == "z" and not in_class else letter + following)
            continue
        if letter == "[" and not in_class:
            in_class = True
        elif letter == "]" and in_class and out[-1] not in ("[", "^"):
            in_class = False
        out.append(r"\Z" if letter == "$" and not in_class else letter)
    try:
        return re.compile("".join(out), re.ASCII)
    except re.error:
        return None
