"""Protobuf's wire format below any message: keys, varints, lengths. Raises `errors.ProtocolError` for bytes that break it.

Source: protobuf.dev/programming-guides/encoding.
"""

from __future__ import annotations

from edgekube.errors import ProtocolError

_U64 = 1 << 64
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5  # wire types, the low three bits of a key
_ONE_BYTE = tuple(bytes((number,)) for number in range(128))


def varint(number: int) -> bytes:
    """A number as seven bits a byte; negative ones in ten bytes."""
    if 0 <= number < 128:
        return _ONE_BYTE[number]
    number %= _U64
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def sized(key: int, data: bytes) -> bytes:
    """A length-delimited member, its key before it."""
    return varint(key) + varint(len(data)) + data


def read_varint(data: bytes, at: int, stop: int) -> tuple[int, int]:
    """(number, offset after it)."""
    number = shift = 0
    while at < stop and shift < 70:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number & (_U64 - 1), at
        shift += 7
    raise ProtocolError("proto: a number is cut off or too long")


def next_member(data: bytes, at: int, stop: int) -> tuple[int, int, int, int]:
    """(key, number, value's start, value's end); for a varint the number, else the number is 0."""
    key, at = read_varint(data, at, stop)
    wire = key & 7
    if wire == VARINT:
        number, end = read_varint(data, at, stop)
        return key, number, at, end
    if wire == BYTES:
        length, at = read_varint(data, at, stop)
    elif wire == FIXED64:
        length = 8
    elif wire == FIXED32:
        length = 4
    else:
        raise ProtocolError(f"proto: illegal wireType {wire}")
    if at + length > stop:
        raise ProtocolError("proto: unexpected EOF")
    return key, 0, at, at + length


def members(data: bytes, at: int, stop: int) -> list[tuple[int, bytes]]:
    """Every member as (key, bytes of its value)."""
    found = []
    while at < stop:
        key, _, start, at = next_member(data, at, stop)
        found.append((key, data[start:at]))
    return found


def signed(number: int) -> int:
    """An unsigned 64-bit number as the signed one it stands for."""
    return number - _U64 if number >> 63 else number
