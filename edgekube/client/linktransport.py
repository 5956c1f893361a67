"""How a remote client's requests travel: through the agent's tunnel while it stands, else over HTTPS of their own.

A watch that was begun over HTTPS is broken off when the tunnel comes up: whoever follows resumes it there, from the revision it has
seen. Imported when a client is given a link, because httpx is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import trio

from edgekube.errors import ProtocolError
from edgekube.net.apilink import GZIP_FROM_BYTES, ApiLink
from edgekube.net.http2 import Http2Stream
from edgekube.net.tasks import until
from edgekube.wire.tunnel import PACKED_HEADER, Unpacker, gzipped

BOOKMARK_HEADER, BOOKMARK_S = "edgekube-bookmark-seconds", "900"  # the tunnel's heartbeats show that the line lives
LEFT_OUT = frozenset({"host", "connection", "content-length", "transfer-encoding"})


class LinkTransport(httpx.AsyncBaseTransport):
    """See the module's opening."""

    def __init__(self, direct: httpx.AsyncBaseTransport, link: ApiLink) -> None:
        self._direct, self._link = direct, link

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """See httpx.AsyncBaseTransport."""
        watching = request.url.params.get("watch") == "true"
        if self._link.up:
            stream = await self._begin(request, watching)
            if stream is not None:
                return await self._answered(stream, request, watching)
        response = await self._direct.handle_async_request(request)
        if watching:
            assert isinstance(response.stream, httpx.AsyncByteStream)
            response.stream = _UntilLinked(response.stream, self._link)
        return response

    async def aclose(self) -> None:
        """See httpx.AsyncBaseTransport."""
        await self._direct.aclose()

    async def _begin(self, request: httpx.Request, watching: bool) -> Http2Stream | None:
        """The stream of a request, its head said; None when the link takes none at the moment."""
        headers = [
            (":method", request.method),
            (":scheme", "https"),
            (":authority", "server"),
            (":path", request.url.raw_path.decode("ascii")),
            *((name, value) for name, value in request.headers.items() if name not in LEFT_OUT),
        ]
        body = await request.aread()
        if len(body) >= GZIP_FROM_BYTES:
            body = gzipped(body)
            headers.append(("content-encoding", "gzip"))
        if watching:
            headers += [(BOOKMARK_HEADER, BOOKMARK_S), (PACKED_HEADER, "1")]
        try:
            stream = await self._link.open(headers)
        except (trio.BrokenResourceError, ProtocolError):
            return None
        try:
            await stream.send_all(body)
            await stream.send_eof()
        except trio.BrokenResourceError as error:
            stream.give_up()
            raise httpx.WriteError("the tunnel was lost", request=request) from error
        except BaseException:
            stream.give_up()
            raise
        return stream

    @staticmethod
    async def _answered(stream: Http2Stream, request: httpx.Request, watching: bool) -> httpx.Response:
        limit_s = request.extensions.get("timeout", {}).get("read")
        try:
            with trio.fail_after(limit_s if limit_s is not None else float("inf")):
                head = await stream.answer()
        except BaseException as error:
            stream.give_up()
            if isinstance(error, trio.BrokenResourceError):
                raise httpx.ReadError("the tunnel was lost", request=request) from error
            if isinstance(error, trio.TooSlowError):
                raise httpx.ReadTimeout("the server does not answer", request=request) from error
            raise
        headers = [(name, value) for name, value in head.items() if not name.startswith(":")]
        patience_s = float("inf") if watching or limit_s is None else limit_s
        body = (_Packed if PACKED_HEADER in head else _Body)(stream, patience_s)
        return httpx.Response(int(head[":status"]), headers=headers, stream=body)


class _Body(httpx.AsyncByteStream):
    """An answer's bytes; each piece must come within `limit_s` seconds."""

    def __init__(self, stream: Http2Stream, limit_s: float) -> None:
        self._stream, self._limit_s = stream, limit_s

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            try:
                with trio.fail_after(self._limit_s):
                    piece = await self._stream.receive_some()
            except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
                raise httpx.ReadError("the tunnel was lost") from error
            except trio.TooSlowError as error:
                raise httpx.ReadTimeout("the server does not go on") from error
            if not piece:
                return
            yield piece

    async def aclose(self) -> None:
        """See httpx.AsyncByteStream."""
        await self._stream.aclose()


class _Packed(_Body):
    """The same, of an answer whose pieces are packed one by one."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        unpacker = Unpacker()
        async for data in super().__aiter__():
            try:
                pieces = unpacker.feed(data)
            except ProtocolError as error:
                raise httpx.RemoteProtocolError(str(error)) from error
            for piece in pieces:
                yield piece


class _UntilLinked(httpx.AsyncByteStream):
    """A watch's bytes over HTTPS, broken off when the tunnel comes up."""

    def __init__(self, stream: httpx.AsyncByteStream, link: ApiLink) -> None:
        self._stream, self._link = stream, link

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = self._stream.__aiter__()
        while True:
            piece: bytes | None = None
            try:
                async with until(self._link.came_up):
                    piece = await anext(pieces)
            except StopAsyncIteration:
                return
            if piece is None:
                raise httpx.ReadError("this watch moves into the tunnel")
            yield piece

    async def aclose(self) -> None:
        """See httpx.AsyncByteStream."""
        await self._stream.aclose()
