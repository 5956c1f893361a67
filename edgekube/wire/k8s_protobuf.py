"""Kubernetes' protobuf form of objects: the `k8s\\0` envelope, and one codec for all built-in kinds.

`decode` gives the document that the JSON form would be; `encode` takes such a document. Both are driven by the member table in
`wire.k8s_protobuf_table` (imported and compiled message by message, on first use); nothing here knows any particular kind. Custom
resources have no protobuf form upstream either: ask `known` first.

Which members are written follows gogo's proto2 code: plain values always, even when zero; pointers, lists and maps only when there.
Decoding leaves out zero values that Go's `omitempty` leaves out. Raises `errors.ProtocolError` for bytes that are not a message.
Source: k8s.io/apimachinery pkg/runtime/serializer/protobuf, pkg/runtime/generated.proto.
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from edgekube.errors import ProtocolError
from edgekube.wire.protobuf_bytes import (
    BYTES,
    FIXED64,
    VARINT,
    members,
    next_member,
    read_varint,
    signed,
    sized,
    varint,
)

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAGIC = b"k8s\0"
FRAME_BYTES = 4  # the length, big-endian, before each event of a watch
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ZERO = datetime(1970, 1, 1)  # the same, for text that ends in Z anyway
_LENGTH = 2  # the bit that tells a length-delimited member's key from a varint's

Document = dict[str, Any]


class Named(Protocol):
    """The two words of a kind that matter here (`api.kind.Kind` has them)."""

    @property
    def api_version(self) -> str: ...
    @property
    def name(self) -> str: ...


def known(api_version: str, kind: str) -> bool:
    """Whether the kind has a protobuf form."""
    return _find(api_version, kind) is not None


def decode(data: bytes, kind: Named | None = None) -> Document:
    """The document in an envelope. `kind` says what it is when the envelope itself does not."""
    if not data.startswith(MAGIC):
        raise ProtocolError("the provided data does not appear to be a protobuf message, expected prefix: 6b 38 73 00")
    try:
        return _open(data[len(MAGIC) :], kind)
    except RecursionError as error:
        raise ProtocolError("the protobuf message is nested too deeply") from error


def encode(document: Document, kind: Named | None = None) -> bytes:
    """The document in an envelope. `kind` says what it is when the document itself does not. Raises KeyError if it is not `known`."""
    api_version = document.get("apiVersion") or (kind.api_version if kind else "")
    name = document.get("kind") or (kind.name if kind else "")
    message = _find(api_version, name)
    if message is None:
        raise KeyError(f"{api_version} {name} has no protobuf form")
    type_meta = sized(0x0A, api_version.encode()) + sized(0x12, name.encode())
    return MAGIC + sized(0x0A, type_meta) + sized(0x12, message.write(document)) + b"\x1a\x00\x22\x00"


def frame_event(event_type: str, envelope: bytes) -> bytes:
    """One event of a watch as `application/vnd.kubernetes.protobuf;stream=watch` carries it: length, then a bare WatchEvent."""
    event = sized(0x0A, event_type.encode()) + sized(0x12, sized(0x0A, envelope))
    return len(event).to_bytes(FRAME_BYTES, "big") + event


def _open(data: bytes, kind: Named | None) -> Document:
    type_meta, raw, content_type = b"", b"", b""
    for key, value in members(data, 0, len(data)):
        if key == 0x0A:
            type_meta = value
        elif key == 0x12:
            raw = value
        elif key == 0x22:
            content_type = value
    words = {key: _text(value, 0, len(value)) for key, value in members(type_meta, 0, len(type_meta))}
    api_version = words.get(0x0A) or (kind.api_version if kind else "")
    name = words.get(0x12) or (kind.name if kind else "")
    if content_type == b"application/json":
        made = _json(raw, 0, len(raw))
        return made if isinstance(made, dict) else {}
    message = _find(api_version, name)
    if message is None:
        raise ProtocolError(f'no kind "{name}" is registered for version "{api_version}"')
    return {"kind": name, "apiVersion": api_version, **message.read(raw, 0, len(raw))}


# --- values: each type is a reader of (data, start, stop) and a writer to bytes ----------------------------------------------

Read = Callable[[bytes, int, int], Any]
Write = Callable[[Any], bytes]


def _text(data: bytes, start: int, stop: int) -> str:
    try:
        return str(data[start:stop], "utf-8")
    except UnicodeDecodeError as error:
        raise ProtocolError("proto: a string is not UTF-8") from error


def _base64(data: bytes, start: int, stop: int) -> str:
    return base64.b64encode(data[start:stop]).decode("ascii")


def _double(data: bytes, start: int, stop: int) -> float:
    if stop - start != 8:
        raise ProtocolError("proto: a double is eight bytes")
    number: float = struct.unpack_from("<d", data, start)[0]
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def _json(data: bytes, start: int, stop: int) -> Any:
    raw = data[start:stop]
    if not raw:
        return None
    if raw.startswith(MAGIC):
        return _open(raw[len(MAGIC) :], None)
    try:
        return json.loads(raw)
    except ValueError as error:
        raise ProtocolError(f"the JSON inside the protobuf message cannot be read: {error}") from error


def _read_json_message(data: bytes, start: int, stop: int) -> Any:
    return next((_json(raw, 0, len(raw)) for key, raw in members(data, start, stop) if key == 0x0A), None)


def _write_json_message(value: Any) -> bytes:
    if value is None:
        return b""
    return sized(0x0A, json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode())


def _read_quantity(data: bytes, start: int, stop: int) -> str:
    return next((_text(raw, 0, len(raw)) for key, raw in members(data, start, stop) if key == 0x0A), "0")


def _write_quantity(value: Any) -> bytes:
    return sized(0x0A, str("0" if value is None else value).encode())


def _read_int_or_string(data: bytes, start: int, stop: int) -> int | str:
    kind, number, text, at = 0, 0, "", start
    while at < stop:
        key, value, begin, at = next_member(data, at, stop)
        if key == 0x08:
            kind = value
        elif key == 0x10:
            number = signed(value)
        elif key == 0x1A:
            text = _text(data, begin, at)
    return text if kind else number


def _write_int_or_string(value: Any) -> bytes:
    if isinstance(value, str):
        return b"\x08\x01\x10\x00" + sized(0x1A, value.encode())
    return b"\x08\x00\x10" + varint(value or 0) + b"\x1a\x00"


def _moment(data: bytes, start: int, stop: int) -> datetime | None:
    if start == stop:
        return None
    seconds, nanos, at = 0, 0, start
    while at < stop:
        key, value, _, at = next_member(data, at, stop)
        if key == 0x08:
            seconds = signed(value)
        elif key == 0x10:
            nanos = signed(value)
    try:
        return _ZERO + timedelta(seconds=seconds, microseconds=nanos // 1000)
    except OverflowError as error:
        raise ProtocolError("proto: a time is out of range") from error


def _read_time(data: bytes, start: int, stop: int) -> str | None:
    moment = _moment(data, start, stop)
    return moment.isoformat(timespec="seconds") + "Z" if moment else None


def _read_micro_time(data: bytes, start: int, stop: int) -> str | None:
    moment = _moment(data, start, stop)
    return moment.isoformat(timespec="microseconds") + "Z" if moment else None


def _write_time(value: Any) -> bytes:
    if not value:
        return b""
    moment = datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    seconds, rest = divmod(moment - _EPOCH, timedelta(seconds=1))
    return b"\x08" + varint(seconds) + b"\x10" + varint(rest.microseconds * 1000)


def _read_strings(data: bytes, start: int, stop: int) -> list[str]:
    return [_text(raw, 0, len(raw)) for key, raw in members(data, start, stop) if key == 0x0A]


def _write_strings(value: Any) -> bytes:
    return b"".join(sized(0x0A, word.encode()) for word in value or ())


def _schema_or(rest: str) -> tuple[Read, Write]:
    """JSONSchemaProps, or in its place: a list of them ("A"), a bool ("B"), a list of strings ("S")."""
    schema_type = "apiextensions.k8s.io/v1.JSONSchemaProps"

    def read(data: bytes, start: int, stop: int) -> Any:
        other: Any = False if rest == "B" else []
        at = start
        while at < stop:
            key, number, begin, at = next_member(data, at, stop)
            if (key, rest) in ((0x0A, "A"), (0x0A, "S"), (0x12, "B")):
                return _message(schema_type).read(data, begin, at)
            if rest == "B":
                other = bool(number)
            elif rest == "A":
                other.append(_message(schema_type).read(data, begin, at))
            else:
                other.append(_text(data, begin, at))
        return other

    def write(value: Any) -> bytes:
        if rest == "B":
            if isinstance(value, dict):  # Go sets `allows` beside every schema
                return b"\x08\x01" + sized(0x12, _message(schema_type).write(value))
            return b"\x08\x01" if value else b"\x08\x00"
        if isinstance(value, dict):
            return sized(0x0A, _message(schema_type).write(value))
        one: Write = _message(schema_type).write if rest == "A" else str.encode
        return b"".join(sized(0x12, one(item)) for item in value or ())

    return read, write


def _length_and_text(value: str) -> bytes:
    data = value.encode()
    return varint(len(data)) + data


def _write_base64(value: Any) -> bytes:
    return base64.b64decode(value or b"")


# --- codecs: a type together with its shape on the wire -------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Codec:
    """`read` takes (number, data, start, stop); `write` gives all that follows the key, of None the zero value."""

    wire: int
    read: Callable[[int, bytes, int, int], Any]
    write: Write


def _of_bytes(read: Read, write: Write) -> _Codec:
    def write_sized(value: Any) -> bytes:
        data = write(value)
        return varint(len(data)) + data

    return _Codec(BYTES, lambda _, data, start, stop: read(data, start, stop), write_sized)


_CODECS: dict[str, _Codec] = {
    "b": _Codec(VARINT, lambda number, *_: number != 0, lambda value: b"\x01" if value else b"\x00"),
    "i": _Codec(VARINT, lambda number, *_: signed(number), lambda value: varint(value or 0)),
    "f": _Codec(FIXED64, lambda _, *place: _double(*place), lambda value: struct.pack("<d", value or 0)),
    "s": _Codec(
        BYTES, lambda _, data, start, stop: _text(data, start, stop), lambda value: _length_and_text(value or "")
    ),
    "y": _of_bytes(_base64, _write_base64),
    "T": _of_bytes(_read_time, _write_time),
    "M": _of_bytes(_read_micro_time, _write_time),
    "Q": _of_bytes(_read_quantity, _write_quantity),
    "X": _of_bytes(_read_int_or_string, _write_int_or_string),
    "J": _of_bytes(_read_json_message, _write_json_message),
    "L": _of_bytes(_read_strings, _write_strings),
    "SA": _of_bytes(*_schema_or("A")),
    "SB": _of_bytes(*_schema_or("B")),
    "SS": _of_bytes(*_schema_or("S")),
}


def _entry(value: _Codec) -> _Codec:
    """One entry of a map: a message of key (1) and value (2), read as a small dict."""
    value_key = varint(2 << 3 | value.wire)

    def read(data: bytes, at: int, stop: int) -> Document:
        name, made = "", value.read(0, b"", 0, 0) if value.wire != FIXED64 else 0
        while at < stop:
            key, number, start, at = next_member(data, at, stop)
            if key == 0x0A:
                name = _text(data, start, at)
            elif key >> 3 == 2 and key & 7 == value.wire:
                made = value.read(number, data, start, at)
        return {name: made}

    def write(pair: Any) -> bytes:
        return sized(0x0A, pair[0].encode()) + value_key + value.write(pair[1])

    return _of_bytes(read, write)


# --- messages -------------------------------------------------------------------------------------------------------------------

Put = Callable[[Document, int, bytes, int, int], None]
Take = Callable[[Document, list[bytes]], None]


@dataclass(slots=True)
class _Message:
    """A message type: how to put each member, by its key, into a document; and how to take each, in order, out of one."""

    puts: dict[int, Put] = field(default_factory=dict)
    takes: list[Take] = field(default_factory=list)
    empty: bytes | None = None  # what the zero value is written as, once asked for

    def read(self, data: bytes, at: int, stop: int) -> Document:
        """The document between two offsets. Members of newer versions are passed over."""
        made: Document = {}
        puts = self.puts
        while at < stop:
            key = data[at]
            small = data[at + 1] if at + 1 < stop else 128
            if small < 128 and key == key & 0x7A:  # a short key and a short value, as nearly every member has
                number, start = small, at + 2
                at = start + small if key & _LENGTH else start
                if at > stop:
                    raise ProtocolError("proto: unexpected EOF")
            else:
                key, number, start, at = next_member(data, at, stop)
            put = puts.get(key)
            if put is not None:
                put(made, number, data, start, at)
        return made

    def write(self, document: Document | None) -> bytes:
        """The message's bytes; None is the empty document."""
        parts: list[bytes] = []
        document = document or {}
        for take in self.takes:
            take(document, parts)
        return b"".join(parts)

    def add(self, number: int, name: str, form: str, codec: _Codec) -> None:
        """One more member; see the table for forms."""
        key = number << 3 | codec.wire
        made = {"[": _list_member, "{": _map_member, ">": _inlined_member}.get(form)
        put, take = made(name, codec, varint(key)) if made else _single_member(name, form, codec, varint(key))
        self.puts[key] = put
        self.takes.append(take)
        if form == "[" and codec.wire == VARINT:
            self.puts[number << 3 | BYTES] = _put_packed(name, codec)


def _single_member(name: str, form: str, codec: _Codec, key: bytes) -> tuple[Put, Take]:
    read, write = codec.read, codec.write
    optional = form == "*"

    def put_if_set(made: Document, number: int, data: bytes, start: int, stop: int) -> None:
        value = read(number, data, start, stop)
        if value:
            made[name] = value
        else:
            made.pop(name, None)

    def put(made: Document, number: int, data: bytes, start: int, stop: int) -> None:
        value = read(number, data, start, stop)
        if value is not None:
            made[name] = value

    def take(document: Document, parts: list[bytes]) -> None:
        value = document.get(name)
        if value is not None or not optional:
            parts += (key, write(value))

    return (put if form else put_if_set), take


def _list_member(name: str, codec: _Codec, key: bytes) -> tuple[Put, Take]:
    read, write = codec.read, codec.write

    def put(made: Document, number: int, data: bytes, start: int, stop: int) -> None:
        made.setdefault(name, []).append(read(number, data, start, stop))

    def take(document: Document, parts: list[bytes]) -> None:
        for item in document.get(name) or ():
            parts += (key, write(item))

    return put, take


def _put_packed(name: str, codec: _Codec) -> Put:
    """Upstream never writes packed numbers, but every protobuf reader takes them."""

    def put(made: Document, _: int, data: bytes, start: int, stop: int) -> None:
        numbers = made.setdefault(name, [])
        while start < stop:
            number, start = read_varint(data, start, stop)
            numbers.append(codec.read(number, data, start, start))

    return put


def _map_member(name: str, codec: _Codec, key: bytes) -> tuple[Put, Take]:
    read, write = codec.read, codec.write

    def put(made: Document, number: int, data: bytes, start: int, stop: int) -> None:
        made.setdefault(name, {}).update(read(number, data, start, stop))

    def take(document: Document, parts: list[bytes]) -> None:
        for pair in sorted((document.get(name) or {}).items()):
            parts += (key, write(pair))

    return put, take


def _inlined_member(name: str, codec: _Codec, key: bytes) -> tuple[Put, Take]:
    read, write = codec.read, codec.write

    def put(made: Document, number: int, data: bytes, start: int, stop: int) -> None:
        made.update(read(number, data, start, stop))

    def take(document: Document, parts: list[bytes]) -> None:
        parts += (key, write(document))

    return put, take


_compiled: dict[str, _Message] = {}  # by "<API version>.<message>"; the table never changes, so neither does this


def _find(api_version: str, name: str) -> _Message | None:
    """The message of a kind. Options, Status, lists and the like belong to meta/v1 and appear under any API version."""
    from edgekube.wire.k8s_protobuf_table import MESSAGES

    for package in (api_version, "meta"):
        if name in MESSAGES.get(package, ()):
            return _message(f"{package}.{name}")
    return None


def _message(full_name: str) -> _Message:
    if full_name not in _compiled:
        from edgekube.wire.k8s_protobuf_table import MESSAGES

        package, _, name = full_name.rpartition(".")
        message = _compiled[full_name] = _Message()  # before its members, which may hold it again
        for cell in MESSAGES[package][name].split():
            number, _, rest = cell.partition(":")
            member, _, described = rest.partition("=")
            form = described[0] if described[0] in "*[{>!" else ""
            type_name = described[len(form) :].removeprefix("!")
            if type_name == "L" and form != "{":  # a Go slice, so it may be absent
                form = "*"
            codec = _codec(package, type_name)
            message.add(int(number), member, form, _entry(codec) if form == "{" else codec)
    return _compiled[full_name]


def _codec(package: str, type_name: str) -> _Codec:
    if "." not in type_name:
        return _CODECS[type_name]
    full_name = package + type_name if type_name.startswith(".") else type_name

    # Looked up when used: compiling one kind must not compile all it could ever hold.
    def read(_: int, data: bytes, start: int, stop: int) -> Document:
        return (_compiled.get(full_name) or _message(full_name)).read(data, start, stop)

    def write(value: Any) -> bytes:
        if not value:
            message = _message(full_name)
            if message.empty is None:
                message.empty = message.write(None)
            data = message.empty
        else:
            data = (_compiled.get(full_name) or _message(full_name)).write(value)
        return varint(len(data)) + data

    return _Codec(BYTES, read, write)
