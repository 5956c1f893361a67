"""WebSocket on the server's side, without I/O: the handshake's headers, and messages in and out (framing by wsproto).

Knows subprotocols only as names to choose from; what they mean is in `wire.streams`. Messages are passed on in the pieces they
arrive in, so that a message's size costs no memory. Raises `errors.ProtocolError`.
Source: RFC 6455.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from edgekube.errors import ProtocolError

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of a message (text as UTF-8), and whether they begin and end it."""

    data: bytes
    begins: bool
    ends: bool


@dataclass(frozen=True, slots=True)
class Closed:
    """The peer said goodbye."""

    code: int


def is_websocket(upgrade: str) -> bool:
    """Whether an Upgrade header asks for this protocol."""
    return upgrade.strip().lower() == "websocket"


def offered(headers: Iterable[tuple[str, str]]) -> list[str]:
    """The subprotocols a client offers, in its order."""
    values = (value for name, value in headers if name == "sec-websocket-protocol")
    return [word.strip() for value in values for word in value.split(",") if word.strip()]


def accept_headers(headers: Sequence[tuple[str, str]], subprotocol: str) -> list[tuple[str, str]]:
    """The headers of the 101 answer. Raises ProtocolError when the request is no opening handshake."""
    first = dict(reversed(headers))
    key = first.get("sec-websocket-key", "").strip()
    if not key:
        raise ProtocolError("the WebSocket handshake has no Sec-WebSocket-Key", status=400)
    if first.get("sec-websocket-version", "") != "13":
        raise ProtocolError("only version 13 of the WebSocket protocol is known", status=426)
    proof = base64.b64encode(hashlib.sha1(key.encode("latin-1") + _GUID, usedforsecurity=False).digest()).decode()
    made = [("Connection", "Upgrade"), ("Upgrade", "websocket"), ("Sec-WebSocket-Accept", proof)]
    return [*made, ("Sec-WebSocket-Protocol", subprotocol)] if subprotocol else made


class WebSocket:
    """One side after the handshake. Pings are answered and closes echoed on the side, see `take_outgoing`."""

    def __init__(self, *, client: bool = False) -> None:
        self._connection = Connection(ConnectionType.CLIENT if client else ConnectionType.SERVER)
        self._outgoing = bytearray()
        self._within = False  # a message whose end has not come
        self.closed = False  # we have said goodbye

    def receive(self, data: bytes) -> list[Piece | Closed]:
        """What the bytes say."""
        found: list[Piece | Closed] = []
        try:
            self._connection.receive_data(data)
            for event in self._connection.events():
                if isinstance(event, BytesMessage | TextMessage):
                    raw = event.data.encode() if isinstance(event.data, str) else bytes(event.data)
                    found.append(Piece(raw, not self._within, event.message_finished))
                    self._within = not event.message_finished
                elif isinstance(event, Ping):
                    if not self.closed:
                        self._outgoing += self._connection.send(event.response())
                elif isinstance(event, CloseConnection):
                    if not self.closed:
                        self._outgoing += self._connection.send(event.response())
                        self.closed = True
                    found.append(Closed(event.code))
                else:
                    assert isinstance(event, Pong)
        except (RemoteProtocolError, LocalProtocolError) as error:
            raise ProtocolError(f"WebSocket: {error}") from error
        return found

    def message(self, data: bytes, *, text: bool = False) -> None:
        """One whole message."""
        if not self.closed:
            event = TextMessage(data.decode()) if text else BytesMessage(data)
            self._outgoing += self._connection.send(event)

    def ping(self) -> None:
        """Ask for a sign of life."""
        if not self.closed:
            self._outgoing += self._connection.send(Ping())

    def pong(self) -> None:
        """A sign of life nobody asked for (RFC 6455, 5.5.3)."""
        if not self.closed:
            self._outgoing += self._connection.send(Pong())

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Say goodbye; nothing can be said after it."""
        if not self.closed:
            self._outgoing += self._connection.send(CloseConnection(code, reason or None))
            self.closed = True

    def take_outgoing(self) -> bytes:
        """What is to be sent now."""
        taken, self._outgoing = bytes(self._outgoing), bytearray()
        return taken
