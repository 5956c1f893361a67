"""Kubernetes' own libraries: quantities, addresses, URLs, named formats, versions, keys of JSON pointers.

Source: k8s.io/apiserver pkg/cel/library/{quantity,ip,cidr,urls,format,semverlib,jsonpatch}.go.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import SplitResult, parse_qsl, quote, unquote, urlsplit

from edgekube.api import formats, names
from edgekube.api import quantity as quantities
from edgekube.api.cel.core import tenth
from edgekube.api.cel.declarations import Line
from edgekube.api.cel.errors import CelError
from edgekube.api.cel.values import INT_MAX, INT_MIN, NONE, Opaque, Optional

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


# ------------------------------------------------------------------------------------------------- quantities


class Quantity(Opaque):
    """An amount; `mark` is its exact Decimal."""

    NAME = "kubernetes.Quantity"
    __slots__ = ()


def _quantity(text: str) -> Quantity:
    try:
        return Quantity(quantities.amount(text))
    except ValueError as problem:
        raise CelError(str(problem)) from None


def _holds(make: Callable[..., Any]) -> Callable[..., bool]:
    """Whether a text can be made into a value."""

    def check(*args: Any) -> bool:
        try:
            make(*args)
        except CelError:
            return False
        return True

    return check


def _compared(one: Any, other: Any) -> int:
    return int(one.mark > other.mark) - int(one.mark < other.mark)


def _is_whole(one: Quantity) -> bool:
    return bool(one.mark == one.mark.to_integral_value()) and INT_MIN <= int(one.mark) <= INT_MAX


def _as_integer(one: Quantity) -> int:
    if not _is_whole(one):
        raise CelError("cannot convert value to integer")
    return int(one.mark)


QUANTITIES: list[Line] = [
    ("string_to_quantity", "quantity(string): kubernetes.Quantity", _quantity, tenth),
    ("is_quantity_string", "isQuantity(string): bool", _holds(_quantity), tenth),
    ("quantity_sign", "sign(kubernetes.Quantity): int", lambda q: int(q.mark > 0) - int(q.mark < 0)),
    ("quantity_is_greater_than", "kubernetes.Quantity -> isGreaterThan(kubernetes.Quantity): bool", lambda a, b: a.mark > b.mark),
    ("quantity_is_less_than", "kubernetes.Quantity -> isLessThan(kubernetes.Quantity): bool", lambda a, b: a.mark < b.mark),
    ("quantity_compare_to", "kubernetes.Quantity -> compareTo(kubernetes.Quantity): int", _compared),
    ("quantity_get_float", "kubernetes.Quantity -> asApproximateFloat(): double", lambda q: float(q.mark)),
    ("quantity_get_int", "kubernetes.Quantity -> asInteger(): int", _as_integer),
    ("quantity_is_integer", "kubernetes.Quantity -> isInteger(): bool", _is_whole),
    ("quantity_add", "kubernetes.Quantity -> add(kubernetes.Quantity): kubernetes.Quantity", lambda a, b: Quantity(a.mark + b.mark)),
    ("quantity_add_int", "kubernetes.Quantity -> add(int): kubernetes.Quantity", lambda a, b: Quantity(a.mark + b)),
    ("quantity_sub", "kubernetes.Quantity -> sub(kubernetes.Quantity): kubernetes.Quantity", lambda a, b: Quantity(a.mark - b.mark)),
    ("quantity_sub_int", "kubernetes.Quantity -> sub(int): kubernetes.Quantity", lambda a, b: Quantity(a.mark - b)),
]  # fmt: skip


# ------------------------------------------------------------------------------------------------- addresses


class IP(Opaque):
    """An address."""

    NAME = "net.IP"
    __slots__ = ()


class CIDR(Opaque):
    """(an address, a prefix length); the address keeps the bits after the prefix."""

    NAME = "net.CIDR"
    __slots__ = ()

    @property
    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        """Without the bits after the prefix."""
        return ipaddress.ip_network(f"{self.mark[0]}/{self.mark[1]}", strict=False)


def _address(text: str) -> Address:
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        words = f'ParseAddr("{text}"): unable to parse IP'
        raise CelError(f'IP Address "{text}" parse error during conversion from string: {words}') from None
    if "%" in text:
        raise CelError(f'IP address "{text}" with zone value is not allowed')
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        raise CelError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return found


def _ip(text: str) -> IP:
    return IP(_address(text))


def _cidr(text: str) -> CIDR:
    words = "network address parse error during conversion from string: "
    address, slash, bits = text.rpartition("/")
    if not slash:
        raise CelError(f"{words}netip.ParsePrefix(\"{text}\"): no '/'")
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        raise CelError(f'{words}netip.ParsePrefix("{text}"): ParseAddr("{address}"): unable to parse IP') from None
    if not re.fullmatch("0|[1-9][0-9]*", bits) or "%" in address:
        raise CelError(f'{words}netip.ParsePrefix("{text}"): bad bits after slash: "{bits}"')
    if int(bits) > found.max_prefixlen:
        raise CelError(f'{words}netip.ParsePrefix("{text}"): prefix length out of range')
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        raise CelError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return CIDR((found, int(bits)))


def _contains_ip(cidr: CIDR, ip: IP) -> bool:
    return ip.mark.version == cidr.mark[0].version and ip.mark in cidr.network


def _contains_cidr(cidr: CIDR, other: CIDR) -> bool:
    return cidr.mark[1] <= other.mark[1] and _contains_ip(cidr, IP(other.mark[0]))


def _is_global(ip: IP) -> bool:
    address = ip.mark
    broadcast = address.version == 4 and int(address) == 0xFFFFFFFF
    return not (
        broadcast or address.is_unspecified or address.is_loopback or address.is_multicast or address.is_link_local
    )


def _is_link_local_multicast(ip: IP) -> bool:
    address = ip.mark
    if address.version == 4:
        return int(address) >> 8 == 0xE00000
    return int(address) >> 112 in range(0xFF02, 0x10000, 0x100) and (int(address) >> 112) & 0x0F == 2


ADDRESSES: list[Line] = [
    ("string_to_ip", "ip(string): net.IP", _ip, tenth),
    ("is_ip", "isIP(string): bool", _holds(_ip), tenth),
    ("ip_is_canonical", "ip.isCanonical(string): bool", lambda text: str(_address(text)) == text, tenth),
    ("ip_family", "net.IP -> family(): int", lambda ip: ip.mark.version),
    ("ip_is_unspecified", "net.IP -> isUnspecified(): bool", lambda ip: ip.mark.is_unspecified),
    ("ip_is_loopback", "net.IP -> isLoopback(): bool", lambda ip: ip.mark.is_loopback),
    ("ip_is_link_local_multicast", "net.IP -> isLinkLocalMulticast(): bool", _is_link_local_multicast),
    ("ip_is_link_local_unicast", "net.IP -> isLinkLocalUnicast(): bool", lambda ip: ip.mark.is_link_local),
    ("ip_is_global_unicast", "net.IP -> isGlobalUnicast(): bool", _is_global),
    ("ip_to_string", "string(net.IP): string", lambda ip: str(ip.mark)),
    ("string_to_cidr", "cidr(string): net.CIDR", _cidr, tenth),
    ("is_cidr", "isCIDR(string): bool", _holds(_cidr), tenth),
    ("cidr_contains_ip_string", "net.CIDR -> containsIP(string): bool", lambda cidr, text: _contains_ip(cidr, _ip(text))),
    ("cidr_contains_ip_ip", "net.CIDR -> containsIP(net.IP): bool", _contains_ip),
    ("cidr_contains_cidr_string", "net.CIDR -> containsCIDR(string): bool", lambda cidr, text: _contains_cidr(cidr, _cidr(text))),
    ("cidr_contains_cidr", "net.CIDR -> containsCIDR(net.CIDR): bool", _contains_cidr),
    ("cidr_ip", "net.CIDR -> ip(): net.IP", lambda cidr: IP(cidr.mark[0])),
    ("cidr_prefix_length", "net.CIDR -> prefixLength(): int", lambda cidr: cidr.mark[1]),
    ("cidr_masked", "net.CIDR -> masked(): net.CIDR", lambda cidr: CIDR((cidr.network.network_address, cidr.mark[1]))),
    ("cidr_to_string", "string(net.CIDR): string", lambda cidr: f"{cidr.mark[0]}/{cidr.mark[1]}"),
]  # fmt: skip


# ------------------------------------------------------------------------------------------------- URLs


class URL(Opaque):
    """A URL, in parts."""

    NAME = "kubernetes.URL"
    __slots__ = ()


_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*")
_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.%]+\]|[^\[\]<>\"\s:]*)(?::[0-9]*)?")
_ESCAPES = re.compile(r"%(?![0-9A-Fa-f]{2})")


def url_problem(text: str) -> str:
    """Why a text is no URL to ask a server for, in Go's words; "" if it is one. Source: net/url ParseRequestURI."""
    shown = f'parse "{text}": '
    if any(ord(one) < 0x20 or ord(one) == 0x7F for one in text):
        return f"{shown}net/url: invalid control character in URL"
    if not text:
        return f"{shown}empty url"
    if text == "*" or text.startswith("/"):
        return ""
    scheme, colon, rest = text.partition(":")
    if text[0] == ":":
        return f"{shown}missing protocol scheme"
    if not colon or not _SCHEME.fullmatch(scheme):
        if colon and not re.search("[/?#]", scheme) and scheme[:1].isdigit():
            return f"{shown}first path segment in URL cannot contain colon"
        return f"{shown}invalid URI for request"
    if not rest.startswith("/"):
        return f"{shown}invalid URI for request" if not rest else ""
    host = re.split("[/?#]", rest[2:], maxsplit=1)[0].rpartition("@")[2] if rest.startswith("//") else ""
    if not _HOST.fullmatch(host):
        port = host.rpartition(":")[2]
        if ":" in host and not port.isdigit() and not host.endswith("]"):
            return f'{shown}invalid port ":{port}" after host'
        return f"{shown}invalid character in host name"
    if bad := _ESCAPES.search(rest):
        return f'{shown}invalid URL escape "{rest[bad.start() : bad.start() + 3]}"'
    return ""


def _url(text: str) -> URL:
    if problem := url_problem(text):
        raise CelError(f"URL parse error during conversion from string: {problem}")
    return URL(urlsplit(text))


def _host(parts: SplitResult) -> str:
    return parts.netloc.rpartition("@")[2]


def _port(parts: SplitResult) -> str:
    host = _host(parts)
    after = host.rpartition("]")[2] if "]" in host else host
    return after.rpartition(":")[2] if ":" in after else ""


def _hostname(parts: SplitResult) -> str:
    host = _host(parts)
    port = _port(parts)
    bare = host.removesuffix(f":{port}") if port or host.endswith(":") else host
    return bare.strip("[]")


def _query(parts: SplitResult) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        found.setdefault(name, []).append(value)
    return found


URLS: list[Line] = [
    ("string_to_url", "url(string): kubernetes.URL", _url, tenth),
    ("is_url_string", "isURL(string): bool", _holds(_url), tenth),
    ("url_get_scheme", "kubernetes.URL -> getScheme(): string", lambda url: url.mark.scheme),
    ("url_get_host", "kubernetes.URL -> getHost(): string", lambda url: _host(url.mark)),
    ("url_get_hostname", "kubernetes.URL -> getHostname(): string", lambda url: _hostname(url.mark)),
    ("url_get_port", "kubernetes.URL -> getPort(): string", lambda url: _port(url.mark)),
    (
        "url_get_escaped_path",
        "kubernetes.URL -> getEscapedPath(): string",
        lambda url: (
            quote(unquote(url.mark.path), safe="/!$&'()*+,;=:@~") if "%" not in url.mark.path else url.mark.path
        ),
    ),
    ("url_get_query", "kubernetes.URL -> getQuery(): map(string, list(string))", lambda url: _query(url.mark)),
]


# ------------------------------------------------------------------------------------------------- named formats


class Format(Opaque):
    """A named format; `mark` is its name."""

    NAME = "kubernetes.NamedFormat"
    __slots__ = ()


def _said(name: str, words: str) -> Callable[[str], list[str]]:
    return lambda text: [] if formats.keeps(name, text) else [words]


def _masked(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    return lambda text: check(names.mask_trailing_dash(text))


_FORMATS: dict[str, Callable[[str], list[str]]] = {
    "dns1123Label": names.dns_label,
    "dns1123Subdomain": names.dns_subdomain,
    "dns1035Label": names.dns_1035_label,
    "qualifiedName": names.qualified_name,
    "dns1123LabelPrefix": _masked(names.dns_label),
    "dns1123SubdomainPrefix": _masked(names.dns_subdomain),
    "dns1035LabelPrefix": _masked(names.dns_1035_label),
    "labelValue": names.label_value,
    "uri": lambda text: [problem] if (problem := url_problem(text)) else [],
    "uuid": _said("uuid", "does not match the UUID format"),
    "byte": _said("byte", "invalid base64"),
    "date": _said("date", "invalid date"),
    "datetime": _said("datetime", "invalid datetime"),
}


def _validate(form: Format, text: str) -> Optional:
    wrong = _FORMATS[form.mark](text)
    return Optional(wrong) if wrong else NONE


def _formats() -> Iterator[Line]:
    def named(form: Format) -> Callable[[], Format]:
        return lambda: form

    for name in _FORMATS:
        yield f"format.{name}", f"format.{name}(): kubernetes.NamedFormat", named(Format(name))
    yield (
        "format-named",
        "format.named(string): optional(kubernetes.NamedFormat)",
        lambda name: Optional(Format(name)) if name in _FORMATS else NONE,
    )
    yield (
        "format-validate",
        "kubernetes.NamedFormat -> validate(string): optional(list(string))",
        _validate,
        lambda _, text: tenth(text) * 15,
    )


FORMATS: list[Line] = list(_formats())


# ------------------------------------------------------------------------------------------------- versions


class Semver(Opaque):
    """A version; `mark` is (major, minor, patch, pre-release parts)."""

    NAME = "kubernetes.Semver"
    __slots__ = ()


_PART = re.compile("[0-9A-Za-z-]+")


def _version_number(word: str, text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise CelError(f'Invalid character(s) found in {word} number "{text}"')
    if len(text) > 1 and text[0] == "0":
        raise CelError(f'{word.capitalize()} number must not contain leading zeroes "{text}"')
    return int(text)


def _semver(text: str, normalize: bool = False) -> Semver:
    if normalize:
        text = _normalized(text)
    if not text:
        raise CelError("Version string empty")
    parts = text.split(".", 2)
    if len(parts) != 3:
        raise CelError("No Major.Minor.Patch elements found")
    last, plus, build = parts[2].partition("+")
    patch, minus, before = last.partition("-")
    numbers = tuple(
        _version_number(word, part)
        for word, part in zip(("major", "minor", "patch"), (parts[0], parts[1], patch), strict=True)
    )
    releases: list[tuple[int, Any]] = []
    for part in before.split(".") if minus else ():
        releases.append(_release(part))
    for part in build.split(".") if plus else ():
        if not part:
            raise CelError("Build meta data is empty")
        if not _PART.fullmatch(part):
            raise CelError(f'Invalid character(s) found in build meta data "{part}"')
    return Semver((*numbers, tuple(releases)))


def _release(part: str) -> tuple[int, Any]:
    if not part:
        raise CelError("Prerelease is empty")
    if part.isascii() and part.isdigit():
        if len(part) > 1 and part[0] == "0":
            raise CelError(f'Numeric PreRelease version must not contain leading zeroes "{part}"')
        return (0, int(part))
    if not _PART.fullmatch(part):
        raise CelError(f'Invalid character(s) found in prerelease "{part}"')
    return (1, part)


def _normalized(text: str) -> str:
    parts = []
    for part in text.removeprefix("v").split(".", 2):
        if len(part) > 1:
            part = part.lstrip("0")
            if not part or part[0] not in "0123456789":
                part = f"0{part}"
        parts.append(part)
    if len(parts) < 3 and re.search("[+-]", parts[-1]):
        raise CelError("short version cannot contain PreRelease/Build meta data")
    return ".".join([*parts, "0", "0"][:3])


def _version_order(one: Semver, other: Semver) -> int:
    left = (*one.mark[:3], not one.mark[3], one.mark[3])
    right = (*other.mark[:3], not other.mark[3], other.mark[3])
    return int(left > right) - int(left < right)


SEMVER: list[Line] = [
    ("string_to_semver", "semver(string): kubernetes.Semver", _semver, tenth),
    ("string_bool_to_semver", "semver(string, bool): kubernetes.Semver", _semver, lambda text, _: tenth(text)),
    ("is_semver_string", "isSemver(string): bool", _holds(_semver), tenth),
    ("is_semver_string_bool", "isSemver(string, bool): bool", _holds(_semver), lambda text, _: tenth(text)),
    ("semver_is_greater_than", "kubernetes.Semver -> isGreaterThan(kubernetes.Semver): bool", lambda a, b: _version_order(a, b) > 0),
    ("semver_is_less_than", "kubernetes.Semver -> isLessThan(kubernetes.Semver): bool", lambda a, b: _version_order(a, b) < 0),
    ("semver_compare_to", "kubernetes.Semver -> compareTo(kubernetes.Semver): int", _version_order),
    ("semver_major", "kubernetes.Semver -> major(): int", lambda version: version.mark[0]),
    ("semver_minor", "kubernetes.Semver -> minor(): int", lambda version: version.mark[1]),
    ("semver_patch", "kubernetes.Semver -> patch(): int", lambda version: version.mark[2]),
]  # fmt: skip

JSON_POINTERS: list[Line] = [
    (
        "string_jsonpatch_escapeKey_string",
        "jsonpatch.escapeKey(string): string",
        lambda text: text.replace("~", "~0").replace("/", "~1"),
        tenth,
    ),
]
