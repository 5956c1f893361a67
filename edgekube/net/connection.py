"""One client's connection: requests in, answers out, in order, until either side has had enough.

`Connection.run` takes requests from the parser one at a time and calls the handler with a `ServerExchange` (the one real
implementation of `net.exchange.Exchange`). Bounds on time and size stand in `Limits`. What the handler raises becomes an answer:
an `ApiError` its own Status, anything else a 500 Status and a log line. Nothing here knows which paths exist.

While an answer is streamed a second task keeps reading, so that the stream is cancelled the moment the client goes away.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass

import trio

from edgekube.clock import Clock
from edgekube.errors import ApiError, InternalError, ProtocolError, TooLarge
from edgekube.net.exchange import Handler, Headers, Request
from edgekube.wire import http

log = logging.getLogger(__name__)

READ_BYTES = 32 * 1024
WRITE_BYTES = 64 * 1024  # TLS copies what is written at once; pieces keep a 10 MB list from being held twice
READ_AHEAD_BYTES = 64 * 1024  # pipelined requests kept while an answer is streamed; past it departures go unnoticed
HTTP_DATE = "%a, %d %b %Y %H:%M:%S GMT"
LINGER_S = 1.0
LINGER_BYTES = 32 * 1024 * 1024
DRAIN_BODY_BYTES = 256 * 1024  # of a body nobody read, before the connection is closed instead of reused (as net/http)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds of a connection. Times as the upstream API server has them."""

    head_bytes: int = http.MAX_HEAD_BYTES
    handshake_s: float = 10.0
    head_s: float = 32.0  # from the first byte of a request to the end of its head
    idle_s: float = 90.0  # between requests
    stall_s: float = 60.0  # a peer that neither takes nor gives a byte for this long is gone
    connections: int = 2048


class Connection:
    """A connection after its handshake. `idle` and `streaming` are for whoever drains or makes room."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        handler: Handler,
        *,
        peer: str,
        peer_certificate: bytes | None,
        clock: Clock,
        limits: Limits,
    ) -> None:
        self.stream = stream
        self.peer, self.peer_certificate = peer, peer_certificate
        self.clock, self.limits = clock, limits
        self.parser = http.parser(limits.head_bytes)
        self.scope = trio.CancelScope()
        self.idle = True
        self.long_running = False  # a stream or an upgraded connection: not worth waiting for when draining
        self.closing = False  # no further request will be taken
        self._handler = handler
        self.nursery: trio.Nursery

    async def run(self) -> None:
        """Serve until the connection ends. Does not close the transport."""
        with self.scope:
            async with trio.open_nursery() as self.nursery:
                try:
                    await self._serve()
                except ProtocolError as error:
                    await self._refuse(error)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    pass  # the peer is gone; there is nobody to tell
                self.nursery.cancel_scope.cancel()

    def close_when_idle(self) -> None:
        """Take no further request; end now if none is being worked on."""
        self.closing = True
        if self.idle:
            self.scope.cancel()

    async def _serve(self) -> None:
        while not self.closing:
            head = await self._next_head()
            if head is None:
                return
            self.idle = False
            path, query = http.split_target(head.target)
            request = Request(head.method, path, query, head.headers, head.target, self.peer, self.peer_certificate)
            exchange = ServerExchange(self, head, request)
            await self._handle(exchange)
            self.long_running = False
            if not exchange.leave_clean():
                if not exchange.client_gone and not exchange.body_complete:
                    await self._linger()
                return
            self.idle = True
            self.parser.begin_next()

    async def _next_head(self) -> http.Head | None:
        deadline = self.limits.idle_s
        while True:
            event = self.parser.next_event()
            if event is not None:
                assert isinstance(event, http.Head), "the parser begins with a head"
                return event
            started = not self.parser.at_rest
            with trio.move_on_after(deadline) as waiting:
                data = await self.stream.receive_some(READ_BYTES)
            if waiting.cancelled_caught:
                if started:
                    raise ProtocolError("the request head did not arrive in time", status=408)
                return None
            if not data:
                return None
            if not started:
                deadline = self.limits.head_s
            self.parser.feed(bytes(data))

    async def _handle(self, exchange: ServerExchange) -> None:
        try:
            await self._handler(exchange)
            if not exchange.answered:
                raise RuntimeError("the handler returned without an answer")
        except ApiError as error:
            await exchange.fail(error)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            if not exchange.client_gone:
                log.debug("%s %s: connection broke", exchange.request.method, exchange.request.path, exc_info=True)
            exchange.client_gone = True
        except ProtocolError as error:
            if exchange.answered:
                exchange.client_gone = True
            else:
                raise error
        except Exception as error:
            if _tells_of_departure(error):
                exchange.client_gone = True
                return
            log.exception("%s %s failed", exchange.request.method, exchange.request.path)
            await exchange.fail(InternalError(f"Internal error occurred: {error}"))

    async def _refuse(self, error: ProtocolError) -> None:
        """Go's net/http words; the connection is not usable afterwards."""
        text = f"{error.status} {http.phrase(error.status)}: {error}".encode("ascii", "replace")
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Connection", "close"),
            ("Content-Length", str(len(text))),
        ]
        with trio.move_on_after(1):
            try:
                await self.stream.send_all(http.answer_head(error.status, headers) + text)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
        await self._linger()

    async def _linger(self) -> None:
        """Throw away what still arrives: closing with unread bytes would make the kernel take our answer back."""
        left = LINGER_BYTES
        with trio.move_on_after(LINGER_S):
            try:
                if isinstance(self.stream, trio.abc.HalfCloseableStream):
                    await self.stream.send_eof()
                while left > 0 and (data := await self.stream.receive_some(READ_BYTES)):
                    left -= len(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass

    async def send(self, data: bytes, *, patiently: bool = False) -> None:
        """Send all of it, in pieces that must each leave within `stall_s`. Raises BrokenResourceError.

        `patiently`: however long it takes, for streams: somebody may well hold `logs -f | less` for an hour, it costs one
        connection, and the kernel notices peers that have vanished.
        """
        stall_s = math.inf if patiently else self.limits.stall_s
        for start in range(0, len(data), WRITE_BYTES):
            with trio.move_on_after(stall_s) as patience:
                await self.stream.send_all(data[start : start + WRITE_BYTES] if len(data) > WRITE_BYTES else data)
            if patience.cancelled_caught:
                raise trio.BrokenResourceError("the client does not read")

    async def receive(self) -> bytes:
        """At least one byte. Raises BrokenResourceError."""
        with trio.move_on_after(self.limits.stall_s):
            if data := await self.stream.receive_some(READ_BYTES):
                return bytes(data)
            raise trio.BrokenResourceError("the client left in the middle of a request")
        raise trio.BrokenResourceError("the client does not send")


class ServerExchange:
    """One request and its answer; see `net.exchange.Exchange` for the contract of the public methods."""

    def __init__(self, connection: Connection, head: http.Head, request: Request) -> None:
        self.request = request
        self.answered = False
        self.client_gone = False  # nothing more can be sent on this connection
        self._connection = connection
        self._head = head
        self.body_complete = False
        self._continue_owed = head.expects_continue
        self._keep_alive = head.keep_alive
        self._ahead = bytearray()
        self._reading = False  # somebody waits for the body right now

    async def read_body(self, limit_bytes: int) -> bytes:
        """See Exchange."""
        announced = self.request.header("content-length")
        if announced.isdigit() and int(announced) > limit_bytes:
            raise _too_large(limit_bytes)
        pieces: list[bytes] = []
        size = 0
        while piece := await self.read_piece():
            size += len(piece)
            if size > limit_bytes:
                raise _too_large(limit_bytes)
            pieces.append(piece)
        return b"".join(pieces)

    async def read_piece(self) -> bytes:
        """The next piece of the body as it arrives, b"" at its end."""
        connection = self._connection
        while not self.body_complete:
            event = connection.parser.next_event()
            if event is http.END:
                self.body_complete = True
            elif isinstance(event, bytes):
                if event:
                    return event
            else:
                if self._continue_owed:
                    self._continue_owed = False
                    await connection.send(http.CONTINUE)
                self._reading = True
                try:
                    connection.parser.feed(await connection.receive())
                finally:
                    self._reading = False
        return b""

    async def respond(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """See Exchange."""
        present = self._begin(headers)
        if "content-length" not in present and status >= 200 and status != 204:
            headers = [*headers, ("Content-Length", str(len(body)))]
        await self._settle_body()
        head = http.answer_head(status, [*headers, *self._own_headers(present)])
        if not http.has_body(self.request.method, status):
            body = b""
        if len(head) + len(body) <= WRITE_BYTES:
            await self._connection.send(head + body)
        else:
            await self._connection.send(head)
            await self._connection.send(body)

    def stream(self, status: int, headers: Headers) -> AbstractAsyncContextManager[Callable[[bytes], Awaitable[None]]]:
        """See Exchange."""
        return self._stream(status, headers)

    @asynccontextmanager
    async def _stream(self, status: int, headers: Headers) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
        connection = self._connection
        present = self._begin(headers)
        await self._settle_body()
        sized = "content-length" in present
        chunked = not sized and not self._head.http_1_0 and http.has_body(self.request.method, status)
        if chunked:
            headers = [*headers, ("Transfer-Encoding", "chunked")]
        elif not sized and http.has_body(self.request.method, status):
            self._keep_alive = False  # HTTP/1.0: the end of the connection is the end of the body
        silent = not http.has_body(self.request.method, status)

        async def send(piece: bytes) -> None:
            if not piece or silent:
                return
            try:
                await connection.send(http.chunk(piece) if chunked else piece, patiently=True)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.client_gone = True
                block.cancel()
                await trio.lowlevel.checkpoint()

        await connection.send(http.answer_head(status, [*headers, *self._own_headers(present)]))
        connection.long_running = True
        watch, watched = trio.CancelScope(), trio.Event()
        complete = False
        with trio.CancelScope() as block:
            connection.nursery.start_soon(self._notice_departure, watch, watched, block)
            try:
                yield send
                complete = True
            finally:
                watch.cancel()
                with trio.CancelScope(shield=True):  # at once: the watcher only has to see its cancellation
                    await watched.wait()
                if not complete:
                    self._keep_alive = False
        if self.client_gone or not complete:
            self.client_gone = True
        elif chunked:
            await connection.send(http.LAST_CHUNK)

    async def _notice_departure(self, watch: trio.CancelScope, watched: trio.Event, block: trio.CancelScope) -> None:
        try:
            with watch:
                while self.body_complete and len(self._ahead) < READ_AHEAD_BYTES:
                    try:
                        data = await self._connection.stream.receive_some(READ_BYTES)
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        data = b""
                    if not data:
                        self.client_gone = True
                        block.cancel()
                        return
                    self._ahead += data
        finally:
            watched.set()

    async def upgrade(self, headers: Headers) -> trio.abc.Stream:
        """See Exchange. The stream is a `trio.abc.HalfCloseableStream` over plain TCP."""
        self._begin(headers)
        await self._settle_body()
        self._keep_alive = False
        connection = self._connection
        connection.long_running = True
        if "connection" not in http.names_of(headers):
            headers = [("Connection", "Upgrade"), *headers]
        await connection.send(http.answer_head(101, headers))
        return HandedOver(connection.stream, connection.parser.rest() + bytes(self._ahead))

    async def fail(self, error: ApiError) -> None:
        """Answer with the error's Status; when an answer has begun, break it off visibly instead."""
        if self.answered:
            self.client_gone = True
            return
        headers = [("Content-Type", "application/json"), ("Cache-Control", "no-cache, private")]
        if error.retry_after_s:
            headers.append(("Retry-After", str(error.retry_after_s)))
        try:
            await self.respond(error.code, headers, json.dumps(error.to_status(), separators=(",", ":")).encode())
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self.client_gone = True

    def leave_clean(self) -> bool:
        """After the answer: whether the connection can take another request."""
        if self.client_gone or not self._keep_alive or not self.body_complete:
            return False
        if self._ahead:
            self._connection.parser.feed(bytes(self._ahead))
        return True

    def _begin(self, headers: Headers) -> frozenset[str]:
        if self.answered:
            raise RuntimeError(f"{self.request.method} {self.request.path} is answered twice")
        self.answered = True
        return http.names_of(headers)

    def _own_headers(self, present: frozenset[str]) -> list[tuple[str, str]]:
        own = [] if "date" in present else [("Date", self._connection.clock.now().strftime(HTTP_DATE))]
        if not self._keep_alive or self._connection.closing:
            self._keep_alive = False
            own.append(("Connection", "close"))
        elif self._head.http_1_0:
            own.append(("Connection", "keep-alive"))
        return own

    async def _settle_body(self) -> None:
        """Read a small unread body so that the connection can be reused; give up on it when it is large or was never sent."""
        unread = 0
        try:
            while not self.body_complete and self._keep_alive:
                if self._continue_owed or self._reading or unread > DRAIN_BODY_BYTES:
                    self._keep_alive = False
                    return
                unread += len(await self.read_piece())
        except (ProtocolError, trio.BrokenResourceError):
            self._keep_alive = False


class HandedOver(trio.abc.HalfCloseableStream):
    """A connection that no longer speaks HTTP; first gives the bytes that were read too far."""

    def __init__(self, transport: trio.abc.Stream, early: bytes) -> None:
        self._transport = transport
        self._early = early

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """See trio.abc.ReceiveStream."""
        if self._early:
            await trio.lowlevel.checkpoint()
            cut = len(self._early) if max_bytes is None else max_bytes
            data, self._early = self._early[:cut], self._early[cut:]
            return data
        return bytes(await self._transport.receive_some(max_bytes))

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """See trio.abc.SendStream."""
        await self._transport.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        """See trio.abc.SendStream."""
        await self._transport.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Half-close where the transport can; TLS cannot, and the stream just falls silent."""
        if isinstance(self._transport, trio.abc.HalfCloseableStream):
            await self._transport.send_eof()
        else:
            await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """See trio.abc.AsyncResource."""
        await self._transport.aclose()


def _tells_of_departure(error: Exception) -> bool:
    """Whether a group of errors, as nurseries make them, says no more than that the client has gone."""
    gone = (trio.BrokenResourceError, trio.ClosedResourceError)
    return isinstance(error, ExceptionGroup) and error.split(gone)[1] is None


def _too_large(limit_bytes: int) -> TooLarge:
    return TooLarge(f"Request entity is too large: limit is {limit_bytes}", details=False)
