"""What server and agent say to each other inside the tunnel, as bytes and back: questions, failures, and the output of commands.

The tunnel is HTTP/2 (`wire.http2`) with the server asking. Each question is one stream:

    :path          body towards the agent                    answer's body
    /logs          ask                                       log bytes
    /run           ask, then stdin                           frames: stdout, stderr, then finish or failure
    /resize/ID     4 bytes per size (of the /run with ID)    none
    /dial          ask, then the connection's bytes          the connection's bytes
    /fetch         ask                                       the page
    /api           HTTP/2 from the agent, both ways: its own requests (`net.apilink`)

An ask is JSON behind its length. A failure before any answer is a head with `edgekube-failure` and a JSON body. Nothing here knows
what a pod is. The names are ours; there is no upstream for this.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from edgekube.errors import ApiError, ConnectionFailed, InternalError, ProtocolError

PATH = "/edgekube/v1/tunnel"
PROTOCOL = "edgekube-tunnel/1"
HEARTBEAT_HEADER = "edgekube-heartbeat-seconds"
FAILURE_HEADER = "edgekube-failure"

LOGS, RUN, RESIZE, DIAL, FETCH, API_LINK = "/logs", "/run", "/resize", "/dial", "/fetch", "/api"
API, SYSTEM, LOST = "api", "system", "lost"  # kinds of failure: an ApiError, an OSError, a ConnectionFailed

MAX_ASK_BYTES = 3 * 1024 * 1024  # as large as a request to the API may be
MAX_FRAME_BYTES = 1024 * 1024
OUTPUT_BYTES = 16 * 1024  # of a command's output in one frame
PACKED_HEADER = "edgekube-packed"
PACK_FROM_BYTES = 256
REMEMBERED_PIECE_BYTES = 32 * 1024
MAX_PIECE_BYTES = 8 * 1024 * 1024
STDOUT, STDERR, FINISH, FAILED = 1, 2, 3, 4

_LENGTH = struct.Struct(">I")
_IS_GZIP = 1 << 31
_FRAME = struct.Struct(">BI")
_SIZE = struct.Struct(">HH")


def question(path: str) -> list[tuple[str, str]]:
    """The head of a stream that asks."""
    return [(":method", "POST"), (":scheme", "https"), (":authority", "node"), (":path", path)]


def ask_bytes(ask: Mapping[str, Any]) -> bytes:
    """An ask as it opens the body."""
    text = json.dumps(ask, separators=(",", ":")).encode()
    if len(text) > MAX_ASK_BYTES:
        raise ProtocolError("the request is too long for the tunnel", status=413)
    return _LENGTH.pack(len(text)) + text


class AskReader:
    """Reads the ask off the front of a body."""

    def __init__(self) -> None:
        self._bytes = b""

    def feed(self, data: bytes) -> dict[str, Any] | None:
        """The ask once it is complete. Raises ProtocolError."""
        self._bytes += data
        if len(self._bytes) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._bytes)
        if length > MAX_ASK_BYTES:
            raise ProtocolError("an ask is too long")
        end = _LENGTH.size + length
        if len(self._bytes) < end:
            return None
        ask = _document(self._bytes[_LENGTH.size : end])
        self._bytes = self._bytes[end:]
        return ask

    @property
    def rest(self) -> bytes:
        """What came behind the ask."""
        return self._bytes


def _document(data: bytes) -> dict[str, Any]:
    try:
        made = json.loads(data)
    except ValueError:
        made = None
    if not isinstance(made, dict):
        raise ProtocolError("the peer's words are not JSON")
    return made


# ---- failures


def failure(error: Exception) -> tuple[str, dict[str, Any]]:
    """(kind, document) of what went wrong, to be raised again at the other end by `raised`."""
    if isinstance(error, ApiError):
        return API, error.to_status()
    if isinstance(error, OSError):
        return SYSTEM, {"message": str(error), "errno": error.errno, "strerror": error.strerror}
    if isinstance(error, ConnectionFailed):
        return LOST, {"message": str(error)}
    return API, InternalError(f"Internal error occurred: {error}", details=False).to_status()


def raised(kind: str, data: bytes) -> Exception:
    """The error that a failure stands for."""
    try:
        document = _document(data)
    except ProtocolError:
        return ConnectionFailed(f"the node answered {data[:200].decode(errors='replace')!r}")
    message = str(document.get("message") or "the node did not say why")
    if kind == API:
        return ApiError.from_status(document)
    if kind == SYSTEM and isinstance(document.get("errno"), int) and document.get("strerror"):
        return OSError(document["errno"], document["strerror"])
    if kind == SYSTEM:
        return OSError(message)
    return ConnectionFailed(message)


def failure_head(kind: str, document: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The head of an answer that says what went wrong."""
    code = document.get("code") if kind == API else 502
    return [(":status", str(code or 500)), (FAILURE_HEADER, kind)]


# ---- the output of commands


def frame(kind: int, payload: bytes) -> bytes:
    """One frame."""
    return _FRAME.pack(kind, len(payload)) + payload


def frames(kind: int, data: bytes | bytearray | memoryview) -> Iterator[bytes]:
    """Output, cut so that stdout and stderr take turns."""
    for at in range(0, len(data), OUTPUT_BYTES):
        yield frame(kind, bytes(data[at : at + OUTPUT_BYTES]))


def outcome(status: Mapping[str, Any]) -> bytes:
    """How a command ended."""
    return frame(FINISH, json.dumps(status, separators=(",", ":")).encode())


def failed(error: Exception) -> bytes:
    """Why a command could not be run."""
    kind, document = failure(error)
    return frame(FAILED, json.dumps({"kind": kind, "document": document}, separators=(",", ":")).encode())


class FrameReader:
    """Frames off a byte stream."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> Sequence[tuple[int, bytes]]:
        """The frames that are complete now. Raises ProtocolError."""
        self._bytes += data
        found: list[tuple[int, bytes]] = []
        at = 0
        while len(self._bytes) - at >= _FRAME.size:
            kind, length = _FRAME.unpack_from(self._bytes, at)
            if length > MAX_FRAME_BYTES:
                raise ProtocolError("a frame is too long")
            start = at + _FRAME.size
            if len(self._bytes) < start + length:
                break
            found.append((kind, bytes(self._bytes[start : start + length])))
            at = start + length
        del self._bytes[:at]
        return found


def final_status(payload: bytes) -> dict[str, Any]:
    """The Status of a FINISH frame. Raises ProtocolError."""
    return _document(payload)


def failure_of(payload: bytes) -> Exception:
    """The error of a FAILED frame. Raises ProtocolError."""
    made = _document(payload)
    return raised(str(made.get("kind")), json.dumps(made.get("document")).encode())


# ---- the pieces of a watch


def packed(piece: bytes) -> bytes:
    """A piece behind its length, gzipped where that pays. No state: an idle watch must not hold a compressor's window."""
    if len(piece) < PACK_FROM_BYTES:
        return _LENGTH.pack(len(piece)) + piece
    body = _gzipped_once(piece) if len(piece) <= REMEMBERED_PIECE_BYTES else gzipped(piece)
    return _LENGTH.pack(len(body) | _IS_GZIP) + body


@lru_cache(maxsize=16)  # one event goes to many agents
def _gzipped_once(piece: bytes) -> bytes:
    return gzipped(piece)


def gzipped(body: bytes) -> bytes:
    """Packed well: the link is dearer than the processor."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


class Unpacker:
    """Pieces off a byte stream of `packed` ones."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces that are complete now. Raises ProtocolError."""
        self._bytes += data
        found: list[bytes] = []
        while len(self._bytes) >= _LENGTH.size:
            (told,) = _LENGTH.unpack_from(self._bytes)
            length = told & ~_IS_GZIP
            if length > MAX_PIECE_BYTES:
                raise ProtocolError("a piece is too long")
            end = _LENGTH.size + length
            if len(self._bytes) < end:
                break
            piece = bytes(self._bytes[_LENGTH.size : end])
            found.append(_unzipped(piece) if told & _IS_GZIP else piece)
            del self._bytes[:end]
        return found


def _unzipped(piece: bytes) -> bytes:
    unpacker = zlib.decompressobj(31)
    try:
        whole = unpacker.decompress(piece, MAX_PIECE_BYTES)
    except zlib.error as error:
        raise ProtocolError(f"a piece is no gzip: {error}") from None
    if unpacker.unconsumed_tail or not unpacker.eof:
        raise ProtocolError("a piece is too long")
    return whole


# ---- terminal sizes


def size_bytes(width: int, height: int) -> bytes:
    """A terminal's size."""
    return _SIZE.pack(min(max(width, 0), 65535), min(max(height, 0), 65535))


class SizeReader:
    """Sizes off a byte stream."""

    def __init__(self) -> None:
        self._bytes = b""

    def feed(self, data: bytes) -> list[tuple[int, int]]:
        """The sizes that are complete now."""
        self._bytes += data
        whole = len(self._bytes) - len(self._bytes) % _SIZE.size
        found = [_SIZE.unpack_from(self._bytes, at) for at in range(0, whole, _SIZE.size)]
        self._bytes = self._bytes[whole:]
        return [(width, height) for width, height in found]


def bounded_seconds(text: str, *, default: float, least: float, most: float) -> float:
    """A number of seconds from a header, within bounds."""
    try:
        value = float(text)
    except ValueError:
        return default
    return min(max(value, least), most) if value == value else default
