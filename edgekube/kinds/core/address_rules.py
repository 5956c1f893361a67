"""Rules of IP addresses, networks and ports. Source: k8s.io/apimachinery pkg/util/validation/ip.go and core validation."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

from edgekube.api import names, rules
from edgekube.api.kind import FieldError

PROTOCOLS = ("SCTP", "TCP", "UDP")
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def parse_ip(text: str) -> Address | None:
    """The address, or None."""
    try:
        return None if "%" in text else ipaddress.ip_address(text)
    except ValueError:
        return None


def ip(path: str, text: str) -> list[FieldError]:
    """An IPv4 or IPv6 address."""
    if parse_ip(text) is not None:
        return []
    return [rules.invalid(path, text, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)")]


def cidr(path: str, text: str) -> list[FieldError]:
    """An address and the length of its prefix."""
    address, slash, bits = text.partition("/")
    found = parse_ip(address)
    if found is not None and slash and bits.isascii() and bits.isdecimal() and int(bits) <= found.max_prefixlen:
        return []
    return [rules.invalid(path, text, "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)")]


def ordinary_ip(path: str, text: str) -> list[FieldError]:
    """An address other machines can use: not unspecified, loopback or link-local."""
    found = parse_ip(text)
    if found is None:
        return [rules.invalid(path, text, "must be a valid IP address")]
    broken: list[FieldError] = []
    if found.is_unspecified:
        broken.append(rules.invalid(path, text, f"may not be unspecified ({text})"))
    if found.is_loopback:
        broken.append(rules.invalid(path, text, "may not be in the loopback range (127.0.0.0/8, ::1/128)"))
    if found.is_link_local:
        broken.append(rules.invalid(path, text, "may not be in the link-local range (169.254.0.0/16, fe80::/10)"))
    if _is_link_local_multicast(found):
        words = "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"
        broken.append(rules.invalid(path, text, words))
    return broken


def _is_link_local_multicast(address: Address) -> bool:
    if address.version == 4:
        return address.packed[:3] == bytes((224, 0, 0))
    return address.packed[0] == 0xFF and address.packed[1] & 0x0F == 2


def one_per_family(texts: Sequence[str]) -> bool:
    """Whether at most two addresses or networks are given, and two are of different families."""
    versions = [found.version for text in texts if (found := parse_ip(text.partition("/")[0])) is not None]
    return len(texts) <= 2 and len(set(versions)) == len(versions)


def port_or_name(path: str, port: int | str | None) -> list[FieldError]:
    """A port's number or name."""
    if isinstance(port, str):
        return rules.each(path, port, names.port_name(port))
    return rules.each(path, port or 0, names.port_number(port or 0))


def protocol(path: str, value: str) -> list[FieldError]:
    """TCP, UDP or SCTP."""
    return rules.one_of(path, value, PROTOCOLS)
