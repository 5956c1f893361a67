"""Many byte streams over one connection: SPDY/3.1 (`wire.spdy`) on a trio stream, either side.

Knows framing and life cycles only; what the streams are for is told by their headers to whoever takes them.
Without flow control in the protocol, a stream nobody reads holds up the others once its inbox is full; that bounds memory.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from edgekube.errors import ProtocolError
from edgekube.net.tasks import beside
from edgekube.wire import spdy

log = logging.getLogger(__name__)

READ_BYTES = 32 * 1024
INBOX_PIECES = 8  # of at most READ_BYTES each, per stream
MAX_UNSENT_BYTES = 1024 * 1024  # of answers to a peer that does not read them
MAX_STREAMS = 1024  # open at once on one connection


class Inbox(trio.abc.ReceiveStream):
    """Bytes that have arrived for somebody, with a bound: `put` waits while it is full."""

    def __init__(self) -> None:
        self._in, self._out = trio.open_memory_channel[bytes](INBOX_PIECES)
        self._left = b""

    async def put(self, data: bytes) -> None:
        """Add bytes; they are dropped when nobody will read them any more."""
        if data:
            try:
                await self._in.send(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

    def end(self) -> None:
        """There will be no more. May be said twice."""
        self._in.close()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See trio.abc.ReceiveStream."""
        if not self._left:
            try:
                self._left = await self._out.receive()
            except trio.EndOfChannel:
                return b""
        else:
            await trio.lowlevel.checkpoint()
        cut = len(self._left) if max_bytes is None else max_bytes
        data, self._left = self._left[:cut], self._left[cut:]
        return data

    def discard(self) -> None:
        """Nobody will read: drop what is here and what still comes."""
        self._left = b""
        self._out.close()

    async def aclose(self) -> None:
        """See trio.abc.AsyncResource."""
        self.discard()
        await trio.lowlevel.checkpoint()


class MultiplexedStream(trio.abc.HalfCloseableStream):
    """One stream of a session. Closing it before both directions have ended resets it."""

    def __init__(self, session: Session, stream_id: int, headers: spdy.Headers) -> None:
        self.stream_id, self.headers = stream_id, headers
        self.inbox = Inbox()
        self.accepted = trio.Event()  # by the peer, for streams we open
        self.peer_ended = False
        self.ended = False
        self.broken = False
        self._session = session

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See trio.abc.ReceiveStream."""
        return await self.inbox.receive_some(max_bytes)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See trio.abc.SendStream. In pieces, so that streams of one session take turns."""
        for at in range(0, len(data), spdy.DATA_FRAME_BYTES):
            self._check()
            self._session.connection.data(self.stream_id, data[at : at + spdy.DATA_FRAME_BYTES])
            await self._session.flush()
        if not data:
            self._check()
            await trio.lowlevel.checkpoint()

    def _check(self) -> None:
        if self.ended:
            raise trio.ClosedResourceError("this end of the stream is closed")
        if self.broken or self._session.gone.is_set():
            raise trio.BrokenResourceError("the peer has given the stream up")

    async def wait_send_all_might_not_block(self) -> None:
        """See trio.abc.SendStream."""
        await trio.lowlevel.checkpoint()

    async def send_eof(self) -> None:
        """See trio.abc.HalfCloseableStream."""
        if self.ended or self.broken:
            await trio.lowlevel.checkpoint()
            return
        self._check()
        self.ended = True
        self._session.connection.data(self.stream_id, b"", ended=True)
        self._session.forget_if_over(self)
        await self._session.flush()

    async def aclose(self) -> None:
        """See trio.abc.AsyncResource."""
        self.inbox.discard()
        if not (self.ended and self.peer_ended) and not self.broken and not self._session.gone.is_set():
            self.ended = self.broken = True
            self._session.connection.reset(self.stream_id, spdy.CANCEL)
            self._session.forget_if_over(self)
            try:
                await self._session.flush()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # gone: as closed as it gets
        else:
            self.ended = True
            await trio.lowlevel.checkpoint()


class Session:
    """A multiplexed connection. `arrivals` gives streams the peer opens (already accepted); `gone` is set when it has left."""

    def __init__(self, transport: trio.abc.Stream, *, client: bool) -> None:
        self.connection = spdy.SpdyConnection(client=client)
        self.gone = trio.Event()
        self._arrive, self.arrivals = trio.open_memory_channel[MultiplexedStream](MAX_STREAMS)
        self._transport = transport
        self._streams: dict[int, MultiplexedStream] = {}
        self._sending = trio.Lock()
        self._to_answer = trio.Event()

    async def open(self, headers: spdy.Headers) -> MultiplexedStream:
        """Open a stream and wait until the peer accepts it. Raises BrokenResourceError when it does not."""
        stream = MultiplexedStream(self, self.connection.open(headers), headers)
        self._streams[stream.stream_id] = stream
        await self.flush()
        await stream.accepted.wait()
        if stream.broken:
            raise trio.BrokenResourceError("the peer refused the stream")
        return stream

    async def flush(self) -> None:
        """Send what has been said. Raises BrokenResourceError."""
        async with self._sending:
            data = self.connection.take_outgoing()
            if data:
                await self._transport.send_all(data)

    async def run(self) -> None:
        """Read until the peer leaves. Never waits for the peer to read: it may be waiting for us to."""
        async with beside(self._answer):
            await self._read()

    async def _answer(self) -> None:
        """Send what reading makes us say (replies, pings, resets) whenever the connection takes it."""
        try:
            while True:
                await self._to_answer.wait()
                self._to_answer = trio.Event()
                await self.flush()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # reading finds out as well

    def forget_if_over(self, stream: MultiplexedStream) -> None:
        """Drop a stream that neither side will use again."""
        if stream.broken or (stream.ended and stream.peer_ended):
            self._streams.pop(stream.stream_id, None)

    async def _read(self) -> None:
        try:
            while not self.gone.is_set() and (data := await self._transport.receive_some(READ_BYTES)):
                for event in self.connection.receive(bytes(data)):
                    await self._take(event)
                if self.connection.outgoing_bytes > MAX_UNSENT_BYTES:
                    raise ProtocolError("the peer talks and does not listen")
                self._to_answer.set()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except ProtocolError as error:
            log.debug("session ended: %s", error)
        finally:
            self.gone.set()
            self._arrive.close()
            for stream in list(self._streams.values()):
                self._break(stream)

    async def _take(self, event: spdy.Event) -> None:
        if isinstance(event, spdy.GoneAway):
            return
        if isinstance(event, spdy.Opened):
            if len(self._streams) >= MAX_STREAMS:
                self.connection.reset(event.stream_id, spdy.REFUSED_STREAM)
                return
            stream = MultiplexedStream(self, event.stream_id, event.headers)
            self._streams[event.stream_id] = stream
            self.connection.reply(event.stream_id)
            await self._arrive.send(stream)
        elif (known := self._streams.get(event.stream_id)) is None:
            return  # reset by us, with the peer's words still on the way
        else:
            stream = known
        if isinstance(event, spdy.Reset):
            self._break(stream)
            return
        if isinstance(event, spdy.Replied):
            stream.accepted.set()
        elif isinstance(event, spdy.Data):
            await stream.inbox.put(event.data)
        if event.ended:
            stream.peer_ended = True
            stream.inbox.end()
            self.forget_if_over(stream)

    def _break(self, stream: MultiplexedStream) -> None:
        stream.broken = stream.peer_ended = True
        stream.inbox.end()
        stream.accepted.set()
        self.forget_if_over(stream)


@asynccontextmanager
async def multiplexing(transport: trio.abc.Stream, *, client: bool) -> AsyncIterator[Session]:
    """A session over the transport while the block runs. Does not close the transport."""
    session = Session(transport, client=client)
    async with beside(session.run):
        yield session
