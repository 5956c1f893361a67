"""How a value looks on disk: zlib-1 where that pays, then sealed where a resource asks for it.

Pure bytes in, bytes out. `Sealer` is the seam for encryption at rest; `store.sealing` has the one that is used. A value's
`encoding` number says what was done to it, so that rows written under other settings stay readable.
"""

from __future__ import annotations

import zlib
from typing import Protocol

from edgekube.errors import StoreCorrupt
from edgekube.store.interface import Key

PLAIN, ZLIB, SEALED = 0, 1, 2  # bits of `encoding`
COMPRESS_FROM_BYTES = 512  # below this a database page holds the plain row just as well
WORTH_NUMERATOR, WORTH_DENOMINATOR = 7, 8  # keep the compressed form only when it saves an eighth
UNPACK_BUFFER_BYTES = 32 * 1024  # holds most objects in one go; zlib grows it where it must


class Sealer(Protocol):
    """Encrypts and authenticates values; `context` binds a value to its row."""

    def seals(self, resource: str) -> bool:
        """Whether new values of a resource are to be sealed."""
        ...

    def seal(self, value: bytes, context: bytes) -> bytes: ...

    def unseal(self, sealed: bytes, context: bytes) -> bytes:
        """The value. Raises `StoreError` when the key is wrong or the bytes were changed."""
        ...


def context_of(key: Key) -> bytes:
    """What binds a sealed value to its row."""
    return "\0".join(key).encode()


def pack(key: Key, value: bytes, sealer: Sealer | None) -> tuple[int, bytes]:
    """The (encoding, bytes) to put on disk."""
    encoding, packed = PLAIN, value
    if len(value) >= COMPRESS_FROM_BYTES:
        smaller = zlib.compress(value, 1)
        if len(smaller) * WORTH_DENOMINATOR <= len(value) * WORTH_NUMERATOR:
            encoding, packed = ZLIB, smaller
    if sealer is not None and sealer.seals(key.resource):
        encoding, packed = encoding | SEALED, sealer.seal(packed, context_of(key))
    return encoding, packed


def unpack(key: Key, encoding: int, packed: bytes, sealer: Sealer | None) -> bytes:
    """The value that `pack` was given. Raises `StoreCorrupt` when the bytes make no sense."""
    if encoding & SEALED:
        if sealer is None:
            raise StoreCorrupt(f"{'/'.join(key)} is sealed and there is no key to open it")
        packed = sealer.unseal(packed, context_of(key))
    if encoding & ZLIB:
        try:
            return zlib.decompress(packed, bufsize=UNPACK_BUFFER_BYTES)
        except zlib.error as error:
            raise StoreCorrupt(f"{'/'.join(key)} does not unpack: {error}") from error
    return packed
