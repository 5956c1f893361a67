"""Short stable names for pod templates and revisions.

Upstream hashes a Go memory dump, which nobody else can; equality of templates, not of hashes, is what rollouts are decided by, so
any stable hash in the same alphabet and length serves. Source of the alphabet: k8s.io/apimachinery util/rand SafeEncodeString.
"""

from __future__ import annotations

import msgspec

from edgekube.api.kind import ENCODER
from edgekube.clock import NAME_ALPHABET

_SORTED = msgspec.json.Encoder(enc_hook=str, order="deterministic")


def fnv32a(data: bytes) -> int:
    """The 32-bit FNV-1a hash."""
    value = 2166136261
    for byte in data:
        value = (value ^ byte) * 16777619 & 0xFFFFFFFF
    return value


def safe_encode(text: str) -> str:
    """Each character replaced by one that makes no words."""
    return "".join(NAME_ALPHABET[ord(character) % len(NAME_ALPHABET)] for character in text)


def hash_of(item: object, collisions: int | None = None) -> str:
    """Eight to ten safe characters for an API object's content; `collisions` gives another hash for the same content."""
    data = _SORTED.encode(msgspec.json.decode(ENCODER.encode(item)))
    if collisions is not None:
        data += collisions.to_bytes(4, "little")
    return safe_encode(str(fnv32a(data)))
