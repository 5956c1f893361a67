"""HTTP/2 frames, sans I/O: bytes in, events out; what we say goes into a buffer that somebody takes.

A thin cover over the `h2` library, so that nothing above knows its exceptions and settings. Both roles. Windows are handed out
here: a stream may have `STREAM_WINDOW_BYTES` unread, the connection as a whole is never the bottleneck, because the number of
streams is bounded. h2 is imported when the first connection is made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from edgekube.errors import ProtocolError

STREAM_WINDOW_BYTES = 128 * 1024
MAX_STREAMS = 128  # open at once, towards whoever serves; with the window the bound on unread bytes
CONNECTION_WINDOW_BYTES = MAX_STREAMS * STREAM_WINDOW_BYTES
FRAME_BYTES = 16 * 1024  # the protocol's own bound when nobody asks for more
CREDIT_BYTES = 32 * 1024  # handed back to the peer in portions of this size; also its sign of life on a slow link
CANCEL, REFUSED_STREAM, INTERNAL_ERROR = 0x8, 0x7, 0x2

Headers = dict[str, str]


@dataclass(frozen=True, slots=True)
class Opened:
    """The peer began a stream (we serve)."""

    stream_id: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class Answered:
    """The peer answered a stream of ours with its head."""

    stream_id: int
    headers: Headers


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream. `credit` is what the peer's window shrank by: give it back with `Http2.credit` once read."""

    stream_id: int
    data: bytes
    credit: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The peer will say no more on this stream."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class Reset:
    """The stream is over, both ways."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class Widened:
    """More may be sent: on one stream, or on any (0)."""

    stream_id: int


@dataclass(frozen=True, slots=True)
class Pinged:
    """The peer asked whether we live; the answer has been queued."""


@dataclass(frozen=True, slots=True)
class Ponged:
    """The peer answered our ping."""


@dataclass(frozen=True, slots=True)
class GoneAway:
    """The peer says goodbye."""


Event = Opened | Answered | Data | Ended | Reset | Widened | Pinged | Ponged | GoneAway


class Http2:
    """One connection. The client opens streams, the server answers them."""

    def __init__(self, *, client: bool) -> None:
        import h2.config
        import h2.connection
        import h2.errors
        import h2.events
        import h2.exceptions
        import h2.settings

        self._events = h2.events
        self._errors: Any = h2.exceptions
        config = h2.config.H2Configuration(
            client_side=client,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            normalize_outbound_headers=False,
        )
        self._connection = h2.connection.H2Connection(config)
        codes = h2.settings.SettingCodes
        values = {codes.MAX_CONCURRENT_STREAMS: MAX_STREAMS, codes.INITIAL_WINDOW_SIZE: STREAM_WINDOW_BYTES}
        if client:
            values[codes.ENABLE_PUSH] = 0
        self._connection.local_settings = h2.settings.Settings(client=client, initial_values=values)
        self._connection.initiate_connection()
        first_window = self._connection.inbound_flow_control_window
        self._connection.increment_flow_control_window(CONNECTION_WINDOW_BYTES - first_window)
        self._owed = 0  # of the connection's window
        self._owed_by_stream: dict[int, int] = {}

    def open(self, headers: Iterable[tuple[str, str]]) -> int:
        """Begin a stream; its number. Raises ProtocolError (503) when the peer takes no more at once."""
        stream_id = int(self._connection.get_next_available_stream_id())
        try:
            self._connection.send_headers(stream_id, list(headers))
        except self._errors.TooManyStreamsError as error:
            raise ProtocolError("too many streams are open", status=503) from error
        except self._errors.ProtocolError as error:
            raise ProtocolError(str(error)) from error
        return stream_id

    def answer(self, stream_id: int, headers: Iterable[tuple[str, str]]) -> None:
        """The head of an answer."""
        self._say(self._connection.send_headers, stream_id, list(headers))

    def data(self, stream_id: int, data: bytes) -> None:
        """Bytes, at most `room(stream_id)` of them."""
        self._say(self._connection.send_data, stream_id, data)

    def end(self, stream_id: int) -> None:
        """We will say no more on this stream."""
        self._say(self._connection.end_stream, stream_id)

    def reset(self, stream_id: int, code: int = CANCEL) -> None:
        """Give a stream up; nothing happens when it is over already."""
        self._owed_by_stream.pop(stream_id, None)
        try:
            self._connection.reset_stream(stream_id, code)
        except self._errors.ProtocolError:
            return

    def ping(self) -> None:
        """Ask the peer whether it lives."""
        self._say(self._connection.ping, b"edgekube")

    def close(self) -> None:
        """Say goodbye."""
        try:
            self._connection.close_connection()
        except self._errors.ProtocolError:
            return

    def _say(self, act: Any, *arguments: Any) -> None:
        try:
            act(*arguments)
        except self._errors.ProtocolError as error:
            raise ProtocolError(str(error)) from error

    def room(self, stream_id: int) -> int:
        """How many bytes a stream may send now, in one frame."""
        try:
            window = self._connection.local_flow_control_window(stream_id)
        except self._errors.ProtocolError as error:
            raise ProtocolError(str(error)) from error
        return max(0, min(window, FRAME_BYTES))

    def credit(self, stream_id: int, count: int) -> None:
        """So much of a stream has been read: let the peer send as much again."""
        owed = self._owed_by_stream.get(stream_id, 0) + count
        if owed < CREDIT_BYTES:
            self._owed_by_stream[stream_id] = owed
            return
        self._owed_by_stream.pop(stream_id, None)
        try:
            self._connection.increment_flow_control_window(owed, stream_id)
        except self._errors.ProtocolError:
            return  # over in the meantime

    def forget(self, stream_id: int) -> None:
        """Nobody will read this stream any more."""
        self._owed_by_stream.pop(stream_id, None)

    @property
    def outgoing_bytes(self) -> int:
        """How much waits to be taken."""
        return len(self._connection._data_to_send)  # the library has no way to ask without taking

    def take_outgoing(self) -> bytes:
        """What is to be sent, and forget it."""
        return bytes(self._connection.data_to_send())

    def receive(self, data: bytes) -> Iterator[Event]:
        """What the peer said. Raises ProtocolError when it makes no sense; the connection is over then."""
        try:
            events = self._connection.receive_data(data)
        except self._errors.ProtocolError as error:
            raise ProtocolError(f"HTTP/2: {error}") from error
        for event in events:
            made = self._translate(event)
            if made is not None:
                yield made
        if self._owed >= CONNECTION_WINDOW_BYTES // 4:
            self._connection.increment_flow_control_window(self._owed)
            self._owed = 0

    def _translate(self, event: Any) -> Event | None:
        known = self._events
        match event:
            case known.DataReceived():
                self._owed += event.flow_controlled_length
                return Data(event.stream_id, bytes(event.data), event.flow_controlled_length)
            case known.WindowUpdated():
                return Widened(event.stream_id or 0)
            case known.RequestReceived():
                return Opened(event.stream_id, dict(event.headers))
            case known.ResponseReceived():
                return Answered(event.stream_id, dict(event.headers))
            case known.StreamEnded():
                return Ended(event.stream_id)
            case known.StreamReset():
                return Reset(event.stream_id)
            case known.RemoteSettingsChanged():
                return Widened(0)  # the initial window may have grown
            case known.PingReceived():
                return Pinged()
            case known.PingAckReceived():
                return Ponged()
            case known.ConnectionTerminated():
                return GoneAway()
        return None
