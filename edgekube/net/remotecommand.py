"""Exec and attach as a client speaks them (SPDY v1 to v4, WebSocket v1, v4, v5), turned into `nodegate.Channels`.

`accept_channels` upgrades the exchange and yields the channels; the block is cancelled when the client goes away. What the
protocols are called and how they differ is in `wire.streams`; who runs the command is not known here.

Source: k8s.io/kubelet pkg/cri/streaming/remotecommand for who waits for what, and for the words of errors.
"""

from __future__ import annotations

import base64
import binascii
import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

import trio

from edgekube.errors import ApiError, BadRequest, InternalError, ProtocolError
from edgekube.net.exchange import Exchange, Request
from edgekube.net.multiplex import Inbox, MultiplexedStream, multiplexing
from edgekube.net.nodegate import RunOptions
from edgekube.net.tasks import beside, until
from edgekube.net.websocket import MessageStream
from edgekube.wire import streams, websocket
from edgekube.wire.streams import ChannelProtocol

log = logging.getLogger(__name__)

STREAMS_S = 30.0  # for a SPDY client to open its streams
LINGER_S = 3.0  # for a client to take the last words and hang up
MESSAGE_BYTES = 32 * 1024
MAX_BASE64_BYTES = 1024 * 1024
SIGN_OF_LIFE_S = 10.0  # kubectl gives up on a WebSocket after 60 s without one
END_OF_STDIN = (streams.CLOSE, b"\0")
RESIZES = 16  # kept for a slow terminal; past it they are dropped


class ClientChannels(ABC):
    """See `nodegate.Channels`."""

    def __init__(self, protocol: ChannelProtocol) -> None:
        self.stdin: trio.abc.ReceiveStream | None = None
        self.stdout: trio.abc.SendStream | None = None
        self.stderr: trio.abc.SendStream | None = None
        self.resizes: AsyncIterator[tuple[int, int]] | None = None
        self.protocol = protocol
        self.finished = False

    async def finish(self, status: dict[str, Any]) -> None:
        """See `nodegate.Channels`. Only the first call counts."""
        if self.finished:
            return
        self.finished = True
        try:
            await self._finish(streams.status_bytes(status, self.protocol))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # nobody is there to hear how it ended

    @abstractmethod
    async def _finish(self, words: bytes) -> None: ...


def upgrade_wanted(request: Request) -> str:
    """The Upgrade header of a request that asks for one, lower case. Raises BadRequest for one that does not."""
    connection = ",".join(request.all_headers("connection")).lower()
    upgrade = request.header("upgrade").strip().lower()
    if "upgrade" not in connection or not upgrade:
        raise BadRequest("Upgrade request required")
    return upgrade


@asynccontextmanager
async def accept_channels(exchange: Exchange, options: RunOptions) -> AsyncIterator[ClientChannels]:
    """Upgrade, and the client's channels while the block runs. An error in the block becomes the final status.

    Raises BadRequest (or a 403 ApiError when no protocol version is shared) before anything has been answered.
    """
    upgrade = upgrade_wanted(exchange.request)
    accept = _accept_websocket if websocket.is_websocket(upgrade) else _accept_spdy
    async with accept(exchange, options) as channels:
        try:
            yield channels
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return  # the client went away in the middle of a write
        except ApiError as error:
            await channels.finish(error.to_status())
        except Exception as error:
            log.exception("%s failed", exchange.request.path)
            await channels.finish(InternalError(f"error executing command in container: {error}").to_status())
        else:
            if not channels.finished:
                await channels.finish(InternalError("the command ended without saying how").to_status())


# --- SPDY -------------------------------------------------------------------------------------------------------------------


def negotiate_spdy(request: Request, known: Iterable[str]) -> str:
    """The version both sides speak, "" when the client names none. Raises a 403 ApiError when there is none."""
    named = request.all_headers(streams.VERSION_HEADER.lower())
    offered = [word.strip() for value in named for word in value.split(",") if word.strip()]
    if not offered:
        return ""
    chosen = streams.choose(offered, known)
    if chosen is None:
        words = f"client supports [{' '.join(offered)}], server accepts [{' '.join(known)}]"
        raise ApiError(
            f"unable to upgrade: unable to negotiate protocol: {words}", code=403, reason="Forbidden", details=False
        )
    return chosen


async def upgrade_to_spdy(exchange: Exchange, version: str) -> trio.abc.Stream:
    """Answer 101 with the version chosen; the raw connection."""
    headers = [("Connection", "Upgrade"), ("Upgrade", streams.SPDY_UPGRADE)]
    if version:
        headers.append((streams.VERSION_HEADER, version))
    return await exchange.upgrade(headers)


class _SpdyChannels(ClientChannels):
    def __init__(self, protocol: ChannelProtocol, opened: dict[str, MultiplexedStream]) -> None:
        super().__init__(protocol)
        self._opened = opened
        self.stdin, self.stdout, self.stderr = opened.get("stdin"), opened.get("stdout"), opened.get("stderr")
        if protocol.resize and "resize" in opened:
            self.resizes = _Sizes(opened["resize"])

    async def _finish(self, words: bytes) -> None:
        for name in ("stdout", "stderr"):
            if name in self._opened:
                await self._opened[name].send_eof()
        error = self._opened.get("error")
        if error is not None:
            if words:
                await error.send_all(words)
            await error.send_eof()


class _Sizes:
    """Terminal sizes off a resize stream. No generator: whoever iterates may stop anywhere."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._reader = streams.ResizeReader()
        self._found: deque[tuple[int, int]] = deque()

    def __aiter__(self) -> AsyncIterator[tuple[int, int]]:
        return self

    async def __anext__(self) -> tuple[int, int]:
        while not self._found:
            data = await self._stream.receive_some()
            if not data:
                raise StopAsyncIteration
            self._found += self._reader.feed(bytes(data))
        return self._found.popleft()


@asynccontextmanager
async def _accept_spdy(exchange: Exchange, options: RunOptions) -> AsyncIterator[ClientChannels]:
    version = negotiate_spdy(exchange.request, streams.SPDY)
    protocol = streams.SPDY[version or "channel.k8s.io"]
    wanted = {"error"} | {
        name
        for name, asked in (
            ("stdin", options.stdin),
            ("stdout", options.stdout),
            ("stderr", options.stderr and not options.tty),
            ("resize", options.tty and protocol.resize),
        )
        if asked
    }
    transport = await upgrade_to_spdy(exchange, version)
    async with multiplexing(transport, client=False) as session:
        opened: dict[str, MultiplexedStream] = {}
        with trio.move_on_after(STREAMS_S):
            async for stream in session.arrivals:
                name = stream.headers.get("streamtype", "")
                if name in wanted:
                    opened[name] = stream
                if opened.keys() == wanted:
                    break
        if opened.keys() != wanted:
            raise trio.BrokenResourceError("the client did not open its streams in time")
        async with until(session.gone):
            yield _SpdyChannels(protocol, opened)
        if "stdin" in opened:
            opened["stdin"].inbox.discard()  # or a full inbox would keep the goodbye from being read
        with trio.move_on_after(LINGER_S):
            await session.gone.wait()


# --- WebSocket --------------------------------------------------------------------------------------------------------------


class ChannelStream(trio.abc.SendStream):
    """One outgoing channel of a WebSocket."""

    def __init__(self, messages: MessageStream, number: int, protocol: ChannelProtocol) -> None:
        self._messages, self._number, self._base64 = messages, number, protocol.base64
        self._closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See trio.abc.SendStream."""
        for at in range(0, len(data), MESSAGE_BYTES):
            await self.send_message(bytes(data[at : at + MESSAGE_BYTES]))
        if not data:
            await trio.lowlevel.checkpoint()

    async def send_message(self, data: bytes) -> None:
        """One message, empty ones too."""
        if self._closed:
            raise trio.ClosedResourceError("this channel is closed")
        if self._base64:
            await self._messages.send(b"%d" % self._number + base64.b64encode(data), text=True)
        else:
            await self._messages.send(bytes((self._number,)) + data)

    async def wait_send_all_might_not_block(self) -> None:
        """See trio.abc.SendStream."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Local only: no version can end an outgoing channel by itself."""
        self._closed = True
        await trio.lowlevel.checkpoint()


class _WebSocketChannels(ClientChannels):
    def __init__(self, protocol: ChannelProtocol, options: RunOptions, messages: MessageStream) -> None:
        super().__init__(protocol)
        self._messages = messages
        self._error = ChannelStream(messages, streams.ERROR, protocol)
        self.inbox = Inbox() if options.stdin else None
        self.stdin = self.inbox
        if options.stdout:
            self.stdout = ChannelStream(messages, streams.STDOUT, protocol)
        if options.stderr and not options.tty:
            self.stderr = ChannelStream(messages, streams.STDERR, protocol)
        self._resize_in, resizes = trio.open_memory_channel[tuple[int, int]](RESIZES)
        self._resize_reader = streams.ResizeReader()
        if options.tty:
            self.resizes = resizes

    async def say_ready(self) -> None:
        """An empty message on the first outgoing channel tells the client that the connection stands."""
        ready = self.stdout or self.stderr or self._error
        assert isinstance(ready, ChannelStream)
        await ready.send_message(b"")

    async def read(self) -> None:
        """Take what the client sends until it leaves."""
        async with aclosing(incoming(self._messages, self.protocol)) as arriving:
            async for channel, data in arriving:
                if channel == streams.STDIN and self.inbox is not None:
                    await self._deliver(self.inbox, data)
                elif channel == streams.RESIZE and self.resizes is not None:
                    self._pass_sizes_on(data)
                elif (channel, data[:1]) == END_OF_STDIN and self.protocol.half_close and self.inbox is not None:
                    self.inbox.end()
        if self.inbox is not None:
            self.inbox.end()

    async def _deliver(self, inbox: Inbox, data: bytes) -> None:
        """Put stdin where the command reads it. While it does not, pings go unread too: let the client know we are there."""
        while True:
            with trio.move_on_after(SIGN_OF_LIFE_S) as waiting:
                await inbox.put(data)
            if not waiting.cancelled_caught:
                return
            try:
                await self._messages.pong()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return  # the next read finds out

    def _pass_sizes_on(self, data: bytes) -> None:
        for size in self._resize_reader.feed(data):
            try:
                self._resize_in.send_nowait(size)
            except trio.WouldBlock:
                pass  # nobody looks at sizes: do not hold up stdin for them

    async def _finish(self, words: bytes) -> None:
        if words:
            await self._error.send_message(words)
        await self._messages.close()


async def incoming(messages: MessageStream, protocol: ChannelProtocol) -> AsyncGenerator[tuple[int, bytes], None]:
    """(channel, bytes) as a client sends them; a long message comes in pieces. Ends when the client leaves."""
    channel = -1
    whole = b""
    while (piece := await messages.receive()) is not None:
        data = piece.data
        if protocol.base64:  # decodable only as a whole
            whole = data if piece.begins else whole + data
            if len(whole) > MAX_BASE64_BYTES:
                await messages.close(1009)
                return
            if piece.ends and whole:
                try:
                    yield whole[0] - ord("0"), base64.b64decode(whole[1:], validate=True)
                except binascii.Error:
                    await messages.close(1007)
                    return
            continue
        if piece.begins:
            channel = -1
        if channel < 0 and data:
            channel, data = data[0], data[1:]
        if channel >= 0 and (data or piece.ends):
            yield channel, data


def negotiate_websocket(request: Request, known: Mapping[str, ChannelProtocol]) -> ChannelProtocol:
    """The subprotocol both sides speak. Raises a 403 ApiError when there is none."""
    offered = websocket.offered(request.headers)
    chosen = streams.choose(offered, known)
    if chosen is None:
        raise ApiError(
            f"unable to upgrade: unable to negotiate protocol: client supports [{' '.join(offered)}], "
            f"server accepts [{' '.join(filter(None, known))}]",
            code=403,
            reason="Forbidden",
            details=False,
        )
    return known[chosen]


async def upgrade_to_websocket(exchange: Exchange, subprotocol: str) -> MessageStream:
    """Answer 101; the messages that follow. Raises BadRequest for a broken handshake."""
    try:
        headers = websocket.accept_headers(exchange.request.headers, subprotocol)
    except ProtocolError as error:
        raise BadRequest(f"unable to upgrade websocket connection: {error}") from error
    return MessageStream(await exchange.upgrade(headers))


@asynccontextmanager
async def _accept_websocket(exchange: Exchange, options: RunOptions) -> AsyncIterator[ClientChannels]:
    protocol = negotiate_websocket(exchange.request, streams.WEBSOCKET)
    messages = await upgrade_to_websocket(exchange, protocol.name)
    channels = _WebSocketChannels(protocol, options, messages)
    await channels.say_ready()
    gone = trio.Event()

    async def read() -> None:
        await channels.read()
        gone.set()

    async with beside(read):
        async with until(gone):
            yield channels
        if channels.inbox is not None:
            channels.inbox.discard()
        with trio.move_on_after(LINGER_S):
            await gone.wait()
