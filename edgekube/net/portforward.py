"""Port-forward as a client speaks it (SPDY; SPDY inside WebSocket; WebSocket v4), turned into dialled streams.

`forward_ports` upgrades the exchange and serves it until the client leaves: each connection of the client is dialled by the
callable it is given and copied both ways. Source: k8s.io/kubelet pkg/cri/streaming/portforward.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

import trio

from edgekube.errors import ApiError, BadRequest
from edgekube.net.exchange import Exchange, Request
from edgekube.net.multiplex import Inbox, MultiplexedStream, multiplexing
from edgekube.net.remotecommand import (
    ChannelStream,
    incoming,
    negotiate_spdy,
    negotiate_websocket,
    upgrade_to_spdy,
    upgrade_to_websocket,
    upgrade_wanted,
)
from edgekube.net.tasks import beside
from edgekube.net.websocket import TunnelStream
from edgekube.wire import streams, websocket

log = logging.getLogger(__name__)

COPY_BYTES = 32 * 1024
PAIR_S = 30.0  # for the second stream of a connection to follow the first

Dial = Callable[[int], Awaitable[trio.abc.Stream]]


async def forward_ports(exchange: Exchange, dial: Dial, *, target: str) -> None:
    """Serve one port-forward request to its end. `target` is for messages: "pod x, uid y".

    `dial` raises OSError (or an ApiError), which the client is told on the connection's error stream. Raises BadRequest, or a 403
    ApiError when no protocol is shared, before anything has been answered.
    """
    request = exchange.request
    forwarder = _Forwarder(dial, target)
    if not websocket.is_websocket(upgrade_wanted(request)):
        version = negotiate_spdy(request, [streams.PORT_FORWARD])
        await forwarder.serve_spdy(await upgrade_to_spdy(exchange, version))
        return
    tunnel = streams.TUNNEL_PREFIX + streams.PORT_FORWARD
    if tunnel in websocket.offered(request.headers):
        await forwarder.serve_spdy(TunnelStream(await upgrade_to_websocket(exchange, tunnel)))
    else:
        await forwarder.serve_channels(exchange, asked_ports(request))


def asked_ports(request: Request) -> list[int]:
    """The ports of the query (`ports`, or the kubelet's `port`). Raises BadRequest."""
    texts = [part for key, value in request.query if key in ("ports", "port") for part in value.split(",")]
    if not texts:
        raise BadRequest('query parameter "port" is required')
    return [_port(text) for text in texts]


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise BadRequest(f'unable to parse "{text}" as a port')
    if int(text) < 1:
        raise BadRequest(f'port "{text}" must be > 0')
    return int(text)


@dataclass(slots=True)
class _Pair:
    """The two streams of one forwarded connection, as they arrive."""

    data: MultiplexedStream | None = None
    error: MultiplexedStream | None = None


class _Forwarder:
    def __init__(self, dial: Dial, target: str) -> None:
        self._dial, self._target = dial, target

    async def serve_spdy(self, transport: trio.abc.Stream) -> None:
        """Every pair of data and error streams the client opens is one connection."""
        pairs: dict[str, _Pair] = {}
        async with multiplexing(transport, client=False) as session, beside(trio.sleep_forever) as nursery:
            async for stream in session.arrivals:
                kind = stream.headers.get("streamtype", "")
                try:
                    port = _port(stream.headers.get("port", ""))
                    if kind not in ("data", "error"):
                        raise BadRequest(f'invalid stream type "{kind}"')
                except BadRequest as error:
                    log.debug("stream refused: %s", error)
                    await stream.aclose()
                    continue
                name = _connection_name(stream, kind)
                if name not in pairs:
                    pairs[name] = _Pair()
                    nursery.start_soon(self._expire, pairs, name)
                pair = pairs[name]
                setattr(pair, kind, stream)
                if pair.data is not None and pair.error is not None:
                    del pairs[name]
                    nursery.start_soon(self._forward_pair, port, pair.data, pair.error)

    async def _expire(self, pairs: dict[str, _Pair], name: str) -> None:
        pair = pairs[name]
        await trio.sleep(PAIR_S)
        if pairs.get(name) is not pair:
            return
        del pairs[name]
        for stream in (pair.data, pair.error):
            if stream is not None:
                await stream.aclose()

    async def _forward_pair(self, port: int, data: MultiplexedStream, error: MultiplexedStream) -> None:
        try:
            words = await self._forward(port, data, data)
            if words:
                await error.send_all(words.encode())
            await error.send_eof()
            if not words:
                await data.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client has given this connection up
        await data.aclose()

    async def _forward(self, port: int, incoming: trio.abc.ReceiveStream, outgoing: trio.abc.SendStream) -> str:
        """Copy both ways until the pod's side ends. What went wrong, in words, or ""."""
        try:
            stream = await self._dial(port)
        except (OSError, ApiError) as error:
            return f"error forwarding port {port} to {self._target}: {error}"
        try:
            async with beside(lambda: _copy_then_end(incoming, stream)):
                while data := await stream.receive_some(COPY_BYTES):
                    await outgoing.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # reset by either side: as over as after an end
        finally:
            await trio.aclose_forcefully(stream)
        return ""

    async def serve_channels(self, exchange: Exchange, ports: Sequence[int]) -> None:
        """WebSocket v4: channel 2n is the data, 2n+1 the error of the n-th port, each opening with the port's number."""
        protocol = negotiate_websocket(exchange.request, streams.WEBSOCKET_PORT_FORWARD)
        messages = await upgrade_to_websocket(exchange, protocol.name)
        inboxes = [Inbox() for _ in ports]

        async def read() -> None:
            async with aclosing(incoming(messages, protocol)) as arriving:
                async for channel, data in arriving:
                    index, is_error = divmod(channel, 2)
                    if not is_error and index < len(inboxes):
                        await inboxes[index].put(data)
            serving.cancel()

        async def forward(index: int) -> None:
            outgoing = ChannelStream(messages, 2 * index, protocol)
            error = ChannelStream(messages, 2 * index + 1, protocol)
            try:
                for channel in (outgoing, error):
                    await channel.send_message(ports[index].to_bytes(2, "little"))
                words = await self._forward(ports[index], inboxes[index], outgoing)
                if words:
                    await error.send_all(words.encode())
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # the client has left
            inboxes[index].discard()

        with trio.CancelScope() as serving:
            async with beside(read), trio.open_nursery() as nursery:
                for index in range(len(ports)):
                    nursery.start_soon(forward, index)
        try:
            await messages.close()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


async def _copy_then_end(incoming: trio.abc.ReceiveStream, stream: trio.abc.Stream) -> None:
    try:
        while data := await incoming.receive_some(COPY_BYTES):
            await stream.send_all(data)
        if isinstance(stream, trio.abc.HalfCloseableStream):
            await stream.send_eof()
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass  # the other direction says how it ended


def _connection_name(stream: MultiplexedStream, kind: str) -> str:
    """The requestID header; clients before it opened the error stream first and the data stream right after."""
    named = stream.headers.get("requestid", "")
    return named or str(stream.stream_id - (2 if kind == "data" else 0))
