"""The API inside the tunnel: an agent's requests and watches as streams of the one connection it has anyway.

A second HTTP/2 session runs within one stream of the tunnel, this time with the agent as the client. A watch then costs neither end a
TLS connection, nor the link its keep-alives; heads are compressed against those before, bodies gzipped. `ApiLink` is the agent's end,
`serve_link` the server's, where every stream becomes an `Exchange` for the same handler that answers HTTPS.
"""

from __future__ import annotations

import json
import logging
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace

import trio

from edgekube.errors import ApiError, BadRequest, InternalError, ProtocolError, TooLarge
from edgekube.net.exchange import Handler, Headers, Request
from edgekube.net.http2 import Http2Session, Http2Stream, http2_session
from edgekube.net.tasks import until
from edgekube.wire import http
from edgekube.wire.tunnel import PACKED_HEADER, gzipped, packed

log = logging.getLogger("edgekube.tunnel")

GZIP_FROM_BYTES = 512
LEFT_OUT = frozenset(
    {"audit-id", "cache-control", "connection", "date", "transfer-encoding", "vary"}
)  # tell an agent nothing


class ApiLink:
    """The agent's way to the API through its tunnel. While `up`, `open` begins requests."""

    def __init__(self) -> None:
        self._session: Http2Session | None = None
        self.came_up = trio.Event()  # replaced when it goes down

    @property
    def up(self) -> bool:
        """Whether requests can be sent now."""
        return self._session is not None and not self._session.gone.is_set()

    async def open(self, headers: Iterable[tuple[str, str]]) -> Http2Stream:
        """A stream for one request. Raises BrokenResourceError when the link is down, ProtocolError when too many are open."""
        if self._session is None:
            raise trio.BrokenResourceError("the tunnel does not stand")
        return await self._session.open(headers)

    async def carry(self, stream: Http2Stream) -> None:
        """Use a stream that the server opened for this, to its end."""
        await stream.respond([(":status", "200")])
        async with http2_session(stream, client=True) as session:
            self._session = session
            self.came_up.set()
            try:
                await session.gone.wait()
            finally:
                if self._session is session:
                    self._session, self.came_up = None, trio.Event()


async def serve_link(transport: trio.abc.Stream, handler: Handler, like: Request) -> None:
    """Answer an agent's requests until it leaves. `like` is the request that opened the tunnel: who asks is known from that."""
    async with http2_session(transport, client=False) as session, trio.open_nursery() as nursery:
        async for stream in session.arrivals:
            nursery.start_soon(_answer, stream, handler, like)
        nursery.cancel_scope.cancel()


async def _answer(stream: Http2Stream, handler: Handler, like: Request) -> None:
    """One request. Never raises what a peer or the handler can cause."""
    exchange: LinkExchange | None = None
    try:
        exchange = LinkExchange(stream, request_of(stream.headers, like))
        await handler(exchange)
    except (trio.BrokenResourceError, trio.ClosedResourceError, ProtocolError):
        log.debug("%s was given up", stream.headers.get(":path"), exc_info=True)
    except ApiError as error:
        await _fail(exchange, error)
    except Exception as error:
        log.exception("%s %s failed", stream.headers.get(":method"), stream.headers.get(":path"))
        await _fail(exchange, InternalError(f"Internal error occurred: {error}"))
    finally:
        stream.give_up()


async def _fail(exchange: LinkExchange | None, error: ApiError) -> None:
    if exchange is None or exchange.answered:
        return
    try:
        await exchange.respond(
            error.code, [("content-type", "application/json")], json.dumps(error.to_status()).encode()
        )
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


def request_of(headers: dict[str, str], like: Request) -> Request:
    """The request that a stream's head says. Raises ProtocolError."""
    target = headers.get(":path", "")
    path, query = http.split_target(target)
    plain = tuple((name, value) for name, value in headers.items() if not name.startswith(":"))
    return replace(like, method=headers.get(":method", "GET"), path=path, query=query, headers=plain, raw_target=target)


class LinkExchange:
    """See `net.exchange.Exchange`."""

    def __init__(self, stream: Http2Stream, request: Request) -> None:
        self.request = request
        self.answered = False
        self._stream = stream
        self._unpacker = zlib.decompressobj(31) if request.header("content-encoding") == "gzip" else None

    async def read_body(self, limit_bytes: int) -> bytes:
        """See Exchange."""
        pieces, size = [], 0
        while data := await self._stream.receive_some():
            if self._unpacker is not None:
                try:
                    data = self._unpacker.decompress(data, limit_bytes - size + 1)
                except zlib.error as error:
                    raise BadRequest(f"the body is no gzip: {error}") from None
            size += len(data)
            if size > limit_bytes:
                raise TooLarge(f"Request entity is too large: limit is {limit_bytes}", details=False)
            pieces.append(data)
        return b"".join(pieces)

    async def read_piece(self) -> bytes:
        """See Exchange. Only for bodies that are not packed."""
        return await self._stream.receive_some()

    async def respond(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """See Exchange."""
        packed = any(name.lower() == "content-encoding" for name, _ in headers)
        if len(body) >= GZIP_FROM_BYTES and not packed and "gzip" in self.request.header("accept-encoding"):
            body = gzipped(body)
            headers = [*headers, ("content-encoding", "gzip")]
        await self._begin(status, headers)
        if self.request.method != "HEAD":
            await self._stream.send_all(body)
        await self._stream.send_eof()

    def stream(self, status: int, headers: Headers) -> AbstractAsyncContextManager[Callable[[bytes], Awaitable[None]]]:
        """See Exchange."""
        return self._streaming(status, headers)

    @asynccontextmanager
    async def _streaming(self, status: int, headers: Headers) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
        packs = bool(self.request.header(PACKED_HEADER))
        await self._begin(status, [*headers, (PACKED_HEADER, "1")] if packs else headers)

        async def send_packed(piece: bytes) -> None:
            if piece:
                await self._stream.send_all(packed(piece))

        async with until(self._stream.gone):
            yield send_packed if packs else self._stream.send_all
        if not self._stream.gone.is_set():
            await self._stream.send_eof()

    async def upgrade(self, headers: Headers) -> trio.abc.Stream:
        """There is no way to: HTTP/2 has no upgrades."""
        raise BadRequest("an upgrade needs a connection of its own")

    async def _begin(self, status: int, headers: Headers) -> None:
        if self.answered:
            raise RuntimeError(f"{self.request.method} {self.request.path} is answered twice")
        self.answered = True
        kept = [(name.lower(), value) for name, value in headers if name.lower() not in LEFT_OUT]
        await self._stream.respond([(":status", str(status)), *kept])
