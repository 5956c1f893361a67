"""SPDY/3.1 framing, either side, without I/O: what exec, attach and port-forward multiplex their streams with.

Bytes in, events out; what is to be sent gathers in `take_outgoing` in the order it was said (header compression depends on it).
Flow control is tolerated and not done, as in the one other implementation that matters (moby/spdystream). DATA is passed on as it
arrives, so that no frame size can cost memory. Raises `errors.ProtocolError` for what cannot be SPDY.

Source: SPDY Protocol Draft 3.1 (chromium.org), sections 2.2 to 2.6.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

from edgekube.errors import ProtocolError

MAX_CONTROL_BYTES = 64 * 1024  # a control frame: a handful of short headers
MAX_HEADERS_BYTES = 64 * 1024  # the same, decompressed
DATA_FRAME_BYTES = 32 * 1024  # what we put in one DATA frame; streams of one connection take turns

_VERSION = 0x8003
_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY, _HEADERS = (
    1,
    2,
    3,
    6,
    7,
    8,
)  # SETTINGS, WINDOW_UPDATE: passed over
_FIN, _UNIDIRECTIONAL = 1, 2

PROTOCOL_ERROR, INVALID_STREAM, REFUSED_STREAM, CANCEL, INTERNAL_ERROR = 1, 2, 3, 5, 6  # reasons of a reset

# The words both sides' compressors start from (section 2.6.10.1), each behind its length.
_DICTIONARY_WORDS = """options head post put delete trace accept accept-charset accept-encoding accept-language
accept-ranges age allow authorization cache-control connection content-base content-encoding content-language content-length
content-location content-md5 content-range content-type date etag expect expires from host if-match if-modified-since
if-none-match if-range if-unmodified-since last-modified location max-forwards pragma proxy-authenticate proxy-authorization
range referer retry-after server te trailer transfer-encoding upgrade user-agent vary via warning www-authenticate method get
status 200_OK version HTTP/1.1 url public set-cookie keep-alive origin"""
_DICTIONARY_REST = (
    "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505"
    "203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden"
    "404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable"
    "Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT"
    "chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,"
    "publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
)
DICTIONARY = (
    b"".join(len(word).to_bytes(4, "big") + word.replace("_", " ").encode() for word in _DICTIONARY_WORDS.split())
    + _DICTIONARY_REST.encode()
)

Headers = dict[str, str]


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer opened a stream; `ended` when it will send nothing on it."""

    stream_id: int
    headers: Headers
    ended: bool


@dataclass(frozen=True, slots=True)
class Replied:
    """The peer accepted a stream we opened."""

    stream_id: int
    ended: bool


@dataclass(frozen=True, slots=True)
class Data:
    """Some bytes of a stream (maybe none), and whether they were its last."""

    stream_id: int
    data: bytes
    ended: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """The peer gave a stream up."""

    stream_id: int
    reason: int


@dataclass(frozen=True, slots=True)
class GoneAway:
    """The peer will accept no further streams."""


Event = Opened | Replied | Data | Reset | GoneAway


class SpdyConnection:
    """One side of a connection. Methods named for acts say something; nothing is sent until `take_outgoing` is."""

    def __init__(self, *, client: bool) -> None:
        self._parity = 1 if client else 0
        self._next_id = 1 if client else 2
        self._last_peer_id = 0
        self._incoming = bytearray()
        self._outgoing = bytearray()
        self._inflate = zlib.decompressobj(zdict=DICTIONARY)
        self._deflate = zlib.compressobj(zdict=DICTIONARY)
        self._data_stream = 0  # of the DATA frame that is arriving
        self._data_left = 0
        self._data_ends = False

    def receive(self, data: bytes) -> list[Event]:
        """What the bytes say. Pings are answered on the side."""
        self._incoming += data
        events: list[Event] = []
        while True:
            if self._data_left:
                if not self._incoming:
                    return events
                events.append(self._pass_data_on())
                continue
            if len(self._incoming) < 8:
                return events
            word = int.from_bytes(self._incoming[:4], "big")
            flags, length = self._incoming[4], int.from_bytes(self._incoming[5:8], "big")
            if not word >> 31:
                del self._incoming[:8]
                self._data_stream, self._data_left, self._data_ends = word, length, bool(flags & _FIN)
                if not length:
                    events.append(Data(word, b"", bool(flags & _FIN)))
                continue
            if word >> 16 != _VERSION:
                raise ProtocolError(f"not a SPDY/3 frame: {word:08x}")
            if length > MAX_CONTROL_BYTES:
                raise ProtocolError(f"a SPDY control frame of {length} bytes")
            if len(self._incoming) < 8 + length:
                return events
            payload = bytes(self._incoming[8 : 8 + length])
            del self._incoming[: 8 + length]
            events += self._control(word & 0xFFFF, flags, payload)

    def _pass_data_on(self) -> Data:
        piece = bytes(self._incoming[: self._data_left])
        del self._incoming[: len(piece)]
        self._data_left -= len(piece)
        return Data(self._data_stream, piece, self._data_ends and not self._data_left)

    def _control(self, kind: int, flags: int, payload: bytes) -> list[Event]:
        if kind not in (_SYN_STREAM, _SYN_REPLY, _RST_STREAM, _PING, _GOAWAY, _HEADERS):
            return []
        if len(payload) < (10 if kind == _SYN_STREAM else 4):
            raise ProtocolError("a SPDY control frame is too short")
        number = int.from_bytes(payload[:4], "big") & 0x7FFFFFFF
        ended = bool(flags & _FIN)
        if kind == _SYN_STREAM:
            headers = self._read_headers(payload[10:])
            if number % 2 == self._parity or number <= self._last_peer_id:
                raise ProtocolError(f"SPDY stream {number} is opened out of order")
            self._last_peer_id = number
            return [Opened(number, headers, ended)]
        if kind == _SYN_REPLY:
            self._read_headers(payload[4:])
            return [Replied(number, ended)]
        if kind == _HEADERS:
            self._read_headers(payload[4:])
            return [Data(number, b"", True)] if ended else []
        if kind == _RST_STREAM:
            return [Reset(number, int.from_bytes(payload[4:8], "big"))]
        if kind == _PING:
            if number % 2 != self._parity:
                self._say(_PING, 0, payload[:4])
            return []
        return [GoneAway()]

    def _read_headers(self, block: bytes) -> Headers:
        try:
            plain = self._inflate.decompress(block, MAX_HEADERS_BYTES + 1)
        except zlib.error as error:
            raise ProtocolError(f"SPDY headers cannot be decompressed: {error}") from error
        if len(plain) > MAX_HEADERS_BYTES or self._inflate.unconsumed_tail:
            raise ProtocolError("SPDY headers are too long")
        words: list[str] = []
        at = 4
        for _ in range(2 * int.from_bytes(plain[:4], "big")):
            size = int.from_bytes(plain[at : at + 4], "big")
            at += 4 + size
            if at > len(plain) or len(plain) < 4 + size:
                raise ProtocolError("SPDY headers are cut off")
            words.append(plain[at - size : at].decode("latin-1"))
        return {name.lower(): value for name, value in zip(words[::2], words[1::2], strict=True)}

    def _say(self, kind: int, flags: int, payload: bytes) -> None:
        self._outgoing += _VERSION.to_bytes(2, "big") + kind.to_bytes(2, "big")
        self._outgoing += bytes((flags,)) + len(payload).to_bytes(3, "big") + payload

    def _packed(self, headers: Iterable[tuple[str, str]]) -> bytes:
        plain, count = bytearray(), 0
        for name, value in headers:
            count += 1
            for word in (name.lower().encode("latin-1"), value.encode("latin-1")):
                plain += len(word).to_bytes(4, "big") + word
        block = self._deflate.compress(count.to_bytes(4, "big") + bytes(plain))
        return block + self._deflate.flush(zlib.Z_SYNC_FLUSH)

    def open(self, headers: Headers) -> int:
        """Open a stream; its number. The peer answers with `Replied` or `Reset`."""
        stream_id, self._next_id = self._next_id, self._next_id + 2
        self._say(_SYN_STREAM, 0, stream_id.to_bytes(4, "big") + bytes(6) + self._packed(headers.items()))
        return stream_id

    def reply(self, stream_id: int) -> None:
        """Accept a stream the peer opened."""
        self._say(_SYN_REPLY, 0, stream_id.to_bytes(4, "big") + self._packed(()))

    def data(self, stream_id: int, data: bytes | bytearray | memoryview, *, ended: bool = False) -> None:
        """Bytes of a stream. `ended` closes our direction."""
        pieces = [data[at : at + DATA_FRAME_BYTES] for at in range(0, len(data), DATA_FRAME_BYTES)] or [b""]
        for index, piece in enumerate(pieces):
            flags = _FIN if ended and index == len(pieces) - 1 else 0
            self._outgoing += stream_id.to_bytes(4, "big") + bytes((flags,)) + len(piece).to_bytes(3, "big") + piece

    def reset(self, stream_id: int, reason: int) -> None:
        """Give a stream up, both directions."""
        self._say(_RST_STREAM, 0, stream_id.to_bytes(4, "big") + reason.to_bytes(4, "big"))

    def go_away(self) -> None:
        """Accept no further streams."""
        self._say(_GOAWAY, 0, self._last_peer_id.to_bytes(4, "big") + bytes(4))

    @property
    def outgoing_bytes(self) -> int:
        """How much waits to be sent."""
        return len(self._outgoing)

    def take_outgoing(self) -> bytes:
        """What is to be sent now."""
        taken, self._outgoing = bytes(self._outgoing), bytearray()
        return taken
