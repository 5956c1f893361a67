"""Many byte streams over one connection, each with its own flow control: HTTP/2 (`wire.http2`) on a trio stream, either side.

Knows framing and life cycles only; what streams are for is told by their headers to whoever takes them. One task reads and never
waits for anybody, one task writes: a user of a stream may be cancelled at any point without harm to the others.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager

import trio

from edgekube.errors import ProtocolError
from edgekube.net.tasks import beside
from edgekube.wire import http2

READ_BYTES = 64 * 1024
BACKLOG_BYTES = 64 * 1024  # said and not yet sent; past it, senders wait
MAX_UNSENT_BYTES = 4 * 1024 * 1024  # of replies to a peer that does not read them
GOODBYE_S = 1.0


class Http2Stream(trio.abc.HalfCloseableStream):
    """One stream of a session. Closing it before both directions have ended resets it; `gone` is set when it is over for good."""

    def __init__(self, session: Http2Session, stream_id: int, headers: http2.Headers) -> None:
        self.stream_id, self.headers = stream_id, headers
        self.gone = trio.Event()  # reset by either side, or lost with the connection
        self._session = session
        self._answer: http2.Headers | None = None
        self._pieces: deque[tuple[bytes, int]] = deque()
        self._ended = self._peer_ended = self._closed = False
        self._news = trio.Event()
        self._room = trio.Event()

    # ---- the head of the answer

    async def answer(self) -> http2.Headers:
        """What the peer answered. Raises BrokenResourceError when the stream ends before."""
        while self._answer is None:
            if self.gone.is_set() or self._peer_ended:
                raise trio.BrokenResourceError("the peer gave the stream up")
            await self._wait_for_news()
        return self._answer

    async def respond(self, headers: Iterable[tuple[str, str]]) -> None:
        """The head of our answer."""
        await self._session.have_room()
        self._check()
        self._session.connection.answer(self.stream_id, headers)
        self._session.wake()

    # ---- trio's stream

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See trio.abc.ReceiveStream. Raises BrokenResourceError for a stream that was reset or lost."""
        while not self._pieces:
            if self._closed:
                raise trio.ClosedResourceError("this stream is closed")
            if self._peer_ended:
                await trio.lowlevel.checkpoint()
                return b""
            if self.gone.is_set():
                raise trio.BrokenResourceError("the stream was given up")
            await self._wait_for_news()
        data, credit = self._pieces.popleft()
        if max_bytes is not None and len(data) > max_bytes:
            self._pieces.appendleft((data[max_bytes:], credit))
            await trio.lowlevel.checkpoint()
            return data[:max_bytes]
        if not self._peer_ended and not self.gone.is_set():
            self._session.connection.credit(self.stream_id, credit)
            self._session.wake()
        await trio.lowlevel.checkpoint()
        return data

    async def _wait_for_news(self) -> None:
        if self._news.is_set():
            self._news = trio.Event()
        await self._news.wait()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See trio.abc.SendStream. In frames, so that streams of one session take turns."""
        left = memoryview(data)
        await trio.lowlevel.checkpoint()
        self._check()
        while left:
            await self._session.have_room()
            self._check()
            room = self._session.connection.room(self.stream_id)
            if not room:
                self._room = trio.Event()
                await self._room.wait()
                continue
            self._session.connection.data(self.stream_id, bytes(left[:room]))
            self._session.wake()
            left = left[room:]

    def _check(self) -> None:
        if self._closed or self._ended:
            raise trio.ClosedResourceError("this end of the stream is closed")
        if self.gone.is_set():
            raise trio.BrokenResourceError("the peer has given the stream up")

    async def wait_send_all_might_not_block(self) -> None:
        """See trio.abc.SendStream."""
        await self._session.have_room()

    async def send_eof(self) -> None:
        """See trio.abc.HalfCloseableStream."""
        await trio.lowlevel.checkpoint()
        if self._ended:
            return
        self._check()
        self._ended = True
        self._session.connection.end(self.stream_id)
        self._session.wake()
        self._session.forget_if_over(self)

    async def aclose(self) -> None:
        """See trio.abc.AsyncResource. What must be said is queued at once, so that being cancelled here does no harm."""
        self.give_up()
        await trio.lowlevel.checkpoint()

    def give_up(self) -> None:
        """Close, now."""
        if self._closed:
            return
        self._closed = True
        self._pieces.clear()
        if not (self._ended and self._peer_ended) and not self.gone.is_set() and not self._session.gone.is_set():
            self._session.connection.reset(self.stream_id)
            self._session.wake()
        self._ended = self._peer_ended = True
        self.gone.set()
        self._tell()
        self._session.forget_if_over(self)

    # ---- what the session tells

    def take(self, event: http2.Event) -> None:
        """News from the peer."""
        match event:
            case http2.Answered(headers=headers):
                self._answer = headers
            case http2.Data(data=data, credit=credit):
                self._pieces.append((data, credit))
            case http2.Ended():
                self._peer_ended = True
            case http2.Reset():
                self.lose()
            case http2.Widened():
                self._room.set()
                return
        self._news.set()
        self._session.forget_if_over(self)

    def lose(self) -> None:
        """The stream is over, or its connection is."""
        self.gone.set()
        self._tell()
        self._session.forget_if_over(self)

    def _tell(self) -> None:
        self._news.set()
        self._room.set()

    @property
    def over(self) -> bool:
        """Whether the session need not know it any more."""
        return self.gone.is_set() or (self._ended and self._peer_ended)


class Http2Session:
    """A connection. `arrivals` gives the streams the peer opens; `gone` is set when the peer has left or said goodbye."""

    def __init__(self, transport: trio.abc.Stream, *, client: bool, pinged: Callable[[], None] = lambda: None) -> None:
        """`pinged` is called for each ping of the peer."""
        self.connection = http2.Http2(client=client)
        self.gone = trio.Event()
        self.heard_at = trio.current_time()  # when the last byte came
        self.heard = 0  # how often bytes came
        self.trouble = ""  # why we gave the connection up, when we did
        self._heard = trio.Event()
        self._arrive, self.arrivals = trio.open_memory_channel[Http2Stream](http2.MAX_STREAMS)
        self._transport, self._pinged = transport, pinged
        self._streams: dict[int, Http2Stream] = {}
        self._to_send, self._sent = trio.Event(), trio.Event()
        self._to_send.set()  # the preface

    # ---- for streams and their users

    async def open(self, headers: Iterable[tuple[str, str]]) -> Http2Stream:
        """Begin a stream. Raises BrokenResourceError on a lost connection, ProtocolError 503 past the peer's bound."""
        await self.have_room()
        if self.gone.is_set():
            raise trio.BrokenResourceError("the connection is gone")
        stream = Http2Stream(self, self.connection.open(headers), {})
        self._streams[stream.stream_id] = stream
        self.wake()
        return stream

    async def have_room(self) -> None:
        """Until there is room to say something. A checkpoint only when it has to wait."""
        while self.connection.outgoing_bytes > BACKLOG_BYTES and not self.gone.is_set():
            await self._sent.wait()

    def wake(self) -> None:
        """There is something to send."""
        self._to_send.set()

    def ping(self) -> None:
        """Ask the peer for a sign of life; `heard_at` shows it."""
        if not self.gone.is_set():
            self.connection.ping()
            self.wake()

    def forget_if_over(self, stream: Http2Stream) -> None:
        """Drop a stream that neither side will use again."""
        if stream.over:
            self._streams.pop(stream.stream_id, None)
            self.connection.forget(stream.stream_id)

    @property
    def open_streams(self) -> int:
        """How many streams are in use."""
        return len(self._streams)

    # ---- the two tasks

    async def read(self) -> None:
        """Until the peer leaves."""
        try:
            while not self.gone.is_set() and (data := await self._transport.receive_some(READ_BYTES)):
                self._hear()
                for event in self.connection.receive(bytes(data)):
                    self._take(event)
                if self.connection.outgoing_bytes > MAX_UNSENT_BYTES:
                    raise ProtocolError("the peer talks and does not listen")
                self.wake()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        except ProtocolError as error:
            self.trouble = str(error)
        finally:
            self._lose()

    def _hear(self) -> None:
        self.heard_at = trio.current_time()
        self.heard += 1
        heard, self._heard = self._heard, trio.Event()
        heard.set()

    async def hear_more_than(self, count: int) -> None:
        """Until bytes have come more than `count` times (see `heard`), or the peer has gone."""
        while self.heard <= count and not self.gone.is_set():
            await self._heard.wait()

    def abandon(self, why: str) -> None:
        """Give the connection up."""
        self.trouble = why
        self._lose()

    async def write(self) -> None:
        """Until the connection breaks."""
        try:
            while True:
                await self._to_send.wait()
                self._to_send = trio.Event()
                await self._send()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._lose()

    async def _send(self) -> None:
        while data := self.connection.take_outgoing():
            done, self._sent = self._sent, trio.Event()
            done.set()  # there is room again; what is added meanwhile goes with the next round
            await self._transport.send_all(data)

    async def say_goodbye(self) -> None:
        """Tell the peer that this end leaves on purpose; for when the two tasks no longer run."""
        if self.gone.is_set():
            return
        self._lose()
        self.connection.close()
        with trio.move_on_after(GOODBYE_S, shield=True):
            try:
                await self._transport.send_all(self.connection.take_outgoing())
            except (trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
                return

    def _take(self, event: http2.Event) -> None:
        match event:
            case http2.Pinged():
                self._pinged()
            case http2.Ponged():
                pass
            case http2.GoneAway():
                self.gone.set()
            case http2.Widened(stream_id=0):
                for stream in self._streams.values():
                    stream.take(event)
            case http2.Opened(stream_id=stream_id, headers=headers):
                stream = self._streams[stream_id] = Http2Stream(self, stream_id, headers)
                try:
                    self._arrive.send_nowait(stream)
                except (trio.WouldBlock, trio.BrokenResourceError):
                    stream.give_up()
            case _:
                found = self._streams.get(event.stream_id)
                if found is not None:  # else: given up by us, with the peer's words still on the way
                    found.take(event)

    def _lose(self) -> None:
        self.gone.set()
        self._heard.set()
        self._arrive.close()
        self._sent.set()
        for stream in list(self._streams.values()):
            stream.lose()


@asynccontextmanager
async def http2_session(
    transport: trio.abc.Stream, *, client: bool, pinged: Callable[[], None] = lambda: None
) -> AsyncIterator[Http2Session]:
    """A session over the transport while the block runs; says goodbye on leaving. Does not close the transport."""
    session = Http2Session(transport, client=client, pinged=pinged)
    try:
        async with beside(session.read) as nursery:
            nursery.start_soon(session.write)
            yield session
    finally:
        await session.say_goodbye()
