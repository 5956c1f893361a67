"""Passing one HTTP exchange on to another server, over a stream that somebody else has dialled (h11 as the client).

Bodies are passed on as they come, both ways; an upgrade (WebSocket to a pod, say) becomes a copied connection. Knows nothing of
pods and services. Source: net/http/httputil.ReverseProxy and k8s.io/apimachinery pkg/util/proxy.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import h11
import trio

from edgekube.errors import ProtocolError, ServiceUnavailable
from edgekube.net.connection import HandedOver
from edgekube.net.exchange import Exchange, Headers
from edgekube.net.tasks import beside

log = logging.getLogger(__name__)

READ_BYTES = 32 * 1024
MAX_HEAD_BYTES = 256 * 1024
HOP_BY_HOP = frozenset(
    ["connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection"]
) | {"te", "trailer", "transfer-encoding", "upgrade"}
NOT_PASSED_ON = HOP_BY_HOP | {
    "authorization",
    "expect",
    "x-forwarded-for",
}  # our credentials are not the other's business

Relocate = Callable[[str], str]


async def forward(
    exchange: Exchange, stream: trio.abc.Stream, *, target: str, extra: Headers = (), relocate: Relocate = str
) -> None:
    """Send the request to `target` (path and query) on the stream, and its answer back. Closes the stream.

    `relocate` translates the Location header. Raises ServiceUnavailable when no answer comes.
    """
    try:
        backend = _Backend(stream)
        await _forward(exchange, backend, target, extra, relocate)
    except h11.RemoteProtocolError as error:
        raise ServiceUnavailable(f"error trying to reach service: {error}", details=False) from error
    finally:
        await trio.aclose_forcefully(stream)


class _Backend:
    """The other server's connection."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self.h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)

    async def send(self, event: h11.Event) -> None:
        if data := self.h11.send(event):
            await self.stream.send_all(data)

    async def next_event(self) -> h11.Event | None:
        """The next event, None when the connection ends (or has changed protocol)."""
        while True:
            event = self.h11.next_event()
            if event is h11.NEED_DATA:
                self.h11.receive_data(bytes(await self.stream.receive_some(READ_BYTES)))
            elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                return None
            else:
                assert isinstance(event, h11.Event)
                return event


async def _forward(exchange: Exchange, backend: _Backend, target: str, extra: Headers, relocate: Relocate) -> None:
    request = exchange.request
    upgrade = request.header("upgrade") if "upgrade" in request.header("connection").lower() else ""
    await _begin(backend, exchange, target, extra, upgrade)

    async def send_body() -> None:
        try:
            while piece := await exchange.read_piece():
                if not upgrade:
                    await backend.send(h11.Data(data=piece))
            if not upgrade:
                await backend.send(h11.EndOfMessage())
        except (trio.BrokenResourceError, h11.LocalProtocolError, ProtocolError):
            pass  # it may have answered before it stopped reading; and a client that left is noticed elsewhere

    async with beside(send_body):
        head = await _answer_head(backend)
        headers = _headers_back(head, relocate)
        if head.status_code == 101:
            protocol = [(name, value) for name, value in _text(head) if name in ("upgrade", "connection")]
            client = await exchange.upgrade([*headers, *protocol])
            await copy_both_ways(client, HandedOver(backend.stream, backend.h11.trailing_data[0]))
            return
        async with exchange.stream(head.status_code, headers) as send:
            while isinstance(event := await backend.next_event(), h11.Data):
                await send(bytes(event.data))


async def _begin(backend: _Backend, exchange: Exchange, target: str, extra: Headers, upgrade: str) -> None:
    request = exchange.request
    named = {word.strip().lower() for word in request.header("connection").split(",")}
    headers = [(name, value) for name, value in request.headers if name not in NOT_PASSED_ON and name not in named]
    forwarded = [*request.all_headers("x-forwarded-for"), request.peer]
    headers.append(("x-forwarded-for", ", ".join(filter(None, forwarded))))
    headers += extra
    if not any(name == "host" for name, _ in headers):
        headers.append(("host", "localhost"))
    if request.header("transfer-encoding"):
        headers = [pair for pair in headers if pair[0] != "content-length"]
        headers.append(("transfer-encoding", "chunked"))
    if upgrade:
        headers += [("connection", "Upgrade"), ("upgrade", upgrade)]
    await backend.send(h11.Request(method=request.method, target=target, headers=headers))
    if upgrade:  # what follows the head is the other protocol's, or comes after a refusal
        await backend.send(h11.EndOfMessage())


async def _answer_head(backend: _Backend) -> h11.Response | h11.InformationalResponse:
    while True:
        try:
            event = await backend.next_event()
        except trio.BrokenResourceError as error:
            raise ServiceUnavailable(f"error trying to reach service: {error}", details=False) from error
        if isinstance(event, h11.Response):
            return event
        if isinstance(event, h11.InformationalResponse):
            if event.status_code == 101:
                return event
            continue
        raise ServiceUnavailable("error trying to reach service: EOF", details=False)


def _text(head: h11.Response | h11.InformationalResponse) -> Sequence[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers]


def _headers_back(head: h11.Response | h11.InformationalResponse, relocate: Relocate) -> list[tuple[str, str]]:
    named = {word.strip().lower() for name, value in _text(head) if name == "connection" for word in value.split(",")}
    return [
        (name, relocate(value) if name == "location" else value)
        for name, value in _text(head)
        if name not in HOP_BY_HOP and name not in named
    ]


async def copy_both_ways(left: trio.abc.Stream, right: trio.abc.Stream) -> None:
    """Copy until either side ends, as upstream's upgrade proxy does."""

    async def copy(source: trio.abc.Stream, sink: trio.abc.Stream) -> None:
        try:
            while data := await source.receive_some(READ_BYTES):
                await sink.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(copy, left, right)
        nursery.start_soon(copy, right, left)
