"""The tunnel between an agent and its server: one connection the agent opens, over which the server asks.

`keep_tunnel` is the agent's end: connect, upgrade, answer, and connect again for ever. `accept_tunnel` is the server's: while it
runs, `TunnelGate` is the agent's `net.nodegate.NodeGate`, indistinguishable from a local one. How the questions look on the wire is
`wire.tunnel`'s, how the agent answers them `net.answering`'s. Who may open a tunnel is not decided here.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any

import trio

from edgekube.clock import Clock
from edgekube.errors import ApiError, ConnectionFailed, ProtocolError, ServiceUnavailable
from edgekube.net.answering import Answering
from edgekube.net.apilink import ApiLink, serve_link
from edgekube.net.connection import HandedOver
from edgekube.net.exchange import Exchange, Handler, Request
from edgekube.net.http2 import Http2Session, Http2Stream, http2_session
from edgekube.net.nodegate import Channels, LogOptions, NodeGate, RunOptions
from edgekube.net.tasks import beside
from edgekube.wire import tunnel as words

log = logging.getLogger("edgekube.tunnel")

HEARTBEAT_S = 10.0
HEARTBEAT_BOUNDS_S = (1.0, 300.0)
ANSWER_S = 20.0  # after a heartbeat, for any byte from the server; links are slow, TCP repeats lost packets
MISSED_HEARTBEATS = 3  # then the server takes the agent for gone
CONNECT_S = 20.0
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 30.0  # a server that is back is found within this
STEADY_S = 60.0  # a tunnel that lived this long was no failure
COPY_BYTES = 32 * 1024
MAX_PAGE_BYTES = 16 * 1024 * 1024
MAX_REFUSAL_BYTES = 64 * 1024
UNSENT_BYTES = (
    64 * 1024
)  # kept in the kernel beyond what is on its way, so that a heartbeat does not queue behind a download


# ---- the server's end


class TunnelGate:
    """A node behind a tunnel; see `net.nodegate.NodeGate`. A tunnel that is lost makes the node unavailable (503)."""

    def __init__(self, session: Http2Session, node: str) -> None:
        self._session, self._node = session, node

    def _lost(self) -> ServiceUnavailable:
        return ServiceUnavailable(f"the connection to node {self._node} was lost", details=False)

    async def _ask(self, question: str, **ask: Any) -> Http2Stream:
        try:
            stream = await self._session.open(words.question(question))
        except ProtocolError as error:
            raise ServiceUnavailable(f"node {self._node} is busy: {error}", details=False) from error
        except trio.BrokenResourceError as error:
            raise ServiceUnavailable(f"node {self._node} is not connected", details=False) from error
        try:
            await stream.send_all(words.ask_bytes(ask))
        except BaseException as error:
            stream.give_up()
            if isinstance(error, trio.BrokenResourceError):
                raise self._lost() from error
            raise
        return stream

    async def _answered(self, stream: Http2Stream) -> dict[str, str]:
        """The head of a good answer. Raises what the node raised."""
        try:
            head = await stream.answer()
            kind = head.get(words.FAILURE_HEADER)
            if kind is not None:
                raise words.raised(kind, await self._whole(stream, MAX_REFUSAL_BYTES))
        except trio.BrokenResourceError as error:
            raise self._lost() from error
        return head

    async def _whole(self, stream: Http2Stream, limit: int) -> bytes:
        pieces, size = [], 0
        while data := await stream.receive_some():
            size += len(data)
            if size > limit:
                raise ConnectionFailed(f"node {self._node} says too much")
            pieces.append(data)
        return b"".join(pieces)

    @asynccontextmanager
    async def logs(
        self, namespace: str, pod: str, container: str, options: LogOptions
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """See NodeGate."""
        asked = asdict(options)
        stream = await self._ask(words.LOGS, namespace=namespace, pod=pod, container=container, options=asked)
        try:
            await stream.send_eof()
            await self._answered(stream)
            yield _Pieces(stream, self._lost)
        finally:
            stream.give_up()

    async def run(self, namespace: str, pod: str, container: str, options: RunOptions, channels: Channels) -> None:
        """See NodeGate."""
        asked = asdict(options)
        stream = await self._ask(words.RUN, namespace=namespace, pod=pod, container=container, options=asked)
        try:
            async with beside(lambda: self._pass_input_on(stream, channels)):
                await self._answered(stream)
                await self._pass_output_on(stream, channels)
        finally:
            stream.give_up()

    async def _pass_input_on(self, stream: Http2Stream, channels: Channels) -> None:
        async with trio.open_nursery() as nursery:
            if channels.resizes is not None:
                nursery.start_soon(self._pass_sizes_on, stream.stream_id, channels.resizes)
            try:
                while channels.stdin is not None and (data := await channels.stdin.receive_some(COPY_BYTES)):
                    await stream.send_all(data)
                await stream.send_eof()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # how it ended is told elsewhere

    async def _pass_sizes_on(self, run_id: int, sizes: AsyncIterator[tuple[int, int]]) -> None:
        try:
            stream = await self._session.open(words.question(f"{words.RESIZE}/{run_id}"))
        except (trio.BrokenResourceError, ProtocolError):
            return
        try:
            async for width, height in sizes:
                await stream.send_all(words.size_bytes(width, height))
            await stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        finally:
            stream.give_up()

    async def _pass_output_on(self, stream: Http2Stream, channels: Channels) -> None:
        reader = words.FrameReader()
        outputs = {words.STDOUT: channels.stdout, words.STDERR: channels.stderr}
        while data := await self._received(stream):
            for kind, payload in reader.feed(data):
                if kind == words.FINISH:
                    await channels.finish(words.final_status(payload))
                    return
                if kind == words.FAILED:
                    raise words.failure_of(payload)
                output = outputs.get(kind)
                if output is not None:
                    await output.send_all(payload)
        raise self._lost()

    async def _received(self, stream: Http2Stream) -> bytes:
        try:
            return await stream.receive_some()
        except trio.BrokenResourceError as error:
            raise self._lost() from error

    async def dial(self, namespace: str, pod: str, port: int) -> trio.abc.Stream:
        """See NodeGate."""
        stream = await self._ask(words.DIAL, namespace=namespace, pod=pod, port=port)
        try:
            await self._answered(stream)
        except BaseException as error:
            stream.give_up()
            if isinstance(error, ConnectionFailed):
                raise OSError(str(error)) from error
            raise
        return stream

    async def fetch(self, path: str) -> tuple[int, str, bytes]:
        """See NodeGate."""
        stream = await self._ask(words.FETCH, path=path)
        try:
            await stream.send_eof()
            head = await self._answered(stream)
            body = await self._whole(stream, MAX_PAGE_BYTES)
        except trio.BrokenResourceError as error:
            raise self._lost() from error
        finally:
            stream.give_up()
        status, media = head.get(":status", ""), head.get("content-type", "")
        if not (status.isascii() and status.isdigit() and len(status) == 3 and media.isprintable()):
            raise ServiceUnavailable(f"node {self._node} makes no sense", details=False)
        return int(status), media, body

    async def carry_api(self, handler: Handler, like: Request) -> None:
        """Answer the agent's own requests inside the tunnel, as long as it stands. `like` is the request that opened it."""
        try:
            stream = await self._session.open(words.question(words.API_LINK))
        except (ProtocolError, trio.BrokenResourceError):
            return
        try:
            await self._answered(stream)
            await serve_link(stream, handler, like)
        except (ApiError, ConnectionFailed) as error:
            log.debug("node %s asks over connections of its own: %s", self._node, error)
        finally:
            stream.give_up()


class _Pieces(AsyncIterator[bytes]):
    """A stream's bytes as they come. No generator: whoever iterates may stop anywhere."""

    def __init__(self, stream: Http2Stream, lost: Callable[[], Exception]) -> None:
        self._stream, self._lost = stream, lost

    async def __anext__(self) -> bytes:
        try:
            data = await self._stream.receive_some()
        except trio.BrokenResourceError as error:
            # The answer has begun: there is no way to tell but by breaking it off.
            raise ConnectionFailed(str(self._lost())) from error
        if not data:
            raise StopAsyncIteration
        return data


@asynccontextmanager
async def serve_gate(
    transport: trio.abc.Stream, node: str, *, heartbeat_s: float, pinged: Callable[[], None] = lambda: None
) -> AsyncIterator[tuple[TunnelGate, trio.Event]]:
    """(the node's gate, an event set when the agent is gone) while the block runs. `pinged` is called at each heartbeat."""
    limit_s = MISSED_HEARTBEATS * heartbeat_s + ANSWER_S
    async with (
        http2_session(transport, client=True, pinged=pinged) as session,
        beside(lambda: _notice_silence(session, limit_s)),
    ):
        yield TunnelGate(session, node), session.gone


async def _notice_silence(session: Http2Session, limit_s: float) -> None:
    while (left := session.heard_at + limit_s - trio.current_time()) > 0:
        with trio.move_on_after(left):
            await session.gone.wait()
            return
    session.abandon("the agent does not answer")


def accept_tunnel(
    exchange: Exchange, node: str, *, pinged: Callable[[], None] = lambda: None
) -> AbstractAsyncContextManager[tuple[TunnelGate, trio.Event]]:
    """Upgrade an agent's request; then see `serve_gate`. Raises ProtocolError for a request that is no tunnel's."""
    return _accept(exchange, node, pinged)


@asynccontextmanager
async def _accept(
    exchange: Exchange, node: str, pinged: Callable[[], None]
) -> AsyncIterator[tuple[TunnelGate, trio.Event]]:
    request = exchange.request
    upgrade = request.header("upgrade").strip().lower()
    if upgrade != words.PROTOCOL or "upgrade" not in ",".join(request.all_headers("connection")).lower():
        raise ApiError(f"this server speaks {words.PROTOCOL}", code=426, reason="UpgradeRequired", details=False)
    least, most = HEARTBEAT_BOUNDS_S
    asked = request.header(words.HEARTBEAT_HEADER)
    heartbeat_s = words.bounded_seconds(asked, default=HEARTBEAT_S, least=least, most=most)
    transport = await exchange.upgrade([("Connection", "Upgrade"), ("Upgrade", words.PROTOCOL)])
    async with serve_gate(transport, node, heartbeat_s=heartbeat_s, pinged=pinged) as served:
        yield served


# ---- the agent's end


@dataclass(frozen=True, slots=True)
class ServerEnd:
    """Where a tunnel leads. `context` None is plain TCP; `server_name` is what the certificate must say ("": the host)."""

    host: str
    port: int
    context: ssl.SSLContext | None = None
    server_name: str = ""


class LateGate:
    """The gate of a node that may still be starting: found among `gates` once it is there. See NodeGate."""

    def __init__(self, gates: Mapping[str, NodeGate], node: str) -> None:
        self._gates, self._node = gates, node

    def _gate(self) -> NodeGate:
        if self._node not in self._gates:
            raise ServiceUnavailable(f"node {self._node} is still starting", details=False)
        return self._gates[self._node]

    def logs(
        self, namespace: str, pod: str, container: str, options: LogOptions
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """See NodeGate."""
        return self._gate().logs(namespace, pod, container, options)

    async def run(self, namespace: str, pod: str, container: str, options: RunOptions, channels: Channels) -> None:
        """See NodeGate."""
        await self._gate().run(namespace, pod, container, options, channels)

    async def dial(self, namespace: str, pod: str, port: int) -> trio.abc.Stream:
        """See NodeGate."""
        return await self._gate().dial(namespace, pod, port)

    async def fetch(self, path: str) -> tuple[int, str, bytes]:
        """See NodeGate."""
        return await self._gate().fetch(path)


class TunnelState:
    """What the rest of an agent may know about its tunnel."""

    def __init__(self, heartbeat_s: float = HEARTBEAT_S) -> None:
        self.heartbeat_s = heartbeat_s
        self.connected = False
        self.trouble = "not connected yet"  # "" while connected
        self.alive_at = float("-inf")  # when the server last answered a heartbeat (trio's time)
        self.api = ApiLink()  # for `client.remote.open_remote`: requests through the tunnel
        self._turned = trio.Event()
        self.renewed = trio.Event()
        self.hurried = trio.Event()

    def hurry(self) -> None:
        """The server was reached by another way: do not wait before the next attempt."""
        self.hurried.set()

    def renew(self) -> None:
        """What the tunnel runs over is gone (this machine's address changed): have another one, without waiting for silence."""
        self.renewed.set()

    def turn(self, *, connected: bool, trouble: str = "") -> None:
        """The tunnel came up or went down."""
        self.connected, self.trouble = connected, trouble
        turned, self._turned = self._turned, trio.Event()
        turned.set()

    async def wait_turn(self) -> None:
        """Until it comes up or goes down."""
        await self._turned.wait()

    def keeps_lease(self) -> bool:
        """Whether the server hears our heartbeats, and so renews the node's Lease by itself."""
        return self.connected and trio.current_time() - self.alive_at <= 2 * self.heartbeat_s


async def keep_tunnel(
    gate: NodeGate,
    where: Callable[[], ServerEnd],
    clock: Clock,
    state: TunnelState | None = None,
    *,
    task_status: trio.TaskStatus[TunnelState] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Hold a tunnel for ever. `where` is asked at each attempt, so that renewed certificates and addresses are used."""
    state = state or TunnelState()
    task_status.started(state)
    pause_s = FIRST_PAUSE_S
    while True:
        begun = trio.current_time()
        try:
            await _one_tunnel(gate, where(), state)
            state.turn(connected=False, trouble="the server closed the tunnel")
        except (ConnectionFailed, ApiError, OSError) as error:
            if state.trouble != str(error):
                log.info("no tunnel to the server: %s", error)
            state.turn(connected=False, trouble=str(error))
        if trio.current_time() - begun > STEADY_S:
            pause_s = FIRST_PAUSE_S
        with trio.move_on_after(pause_s * (0.5 + clock.chance())) as pause:
            await state.hurried.wait()
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S) if pause.cancelled_caught else FIRST_PAUSE_S
        state.hurried = trio.Event()


async def _one_tunnel(gate: NodeGate, end: ServerEnd, state: TunnelState) -> None:
    """Connect and answer until the tunnel ends. Raises ConnectionFailed and what the server refused with."""
    transport = await connect(end, state.heartbeat_s)
    try:
        async with http2_session(transport, client=False) as session:
            state.turn(connected=True)
            log.info("the tunnel to %s:%d stands", end.host, end.port)
            state.renewed = trio.Event()
            async with beside(lambda: _beat(session, state)), beside(lambda: _renew(session, state)):
                await Answering(gate, session, state.api).run()
            if session.trouble:
                raise ConnectionFailed(session.trouble)
    finally:
        state.connected = False
        await trio.aclose_forcefully(transport)


async def _beat(session: Http2Session, state: TunnelState) -> None:
    """Show that we live, and notice when nobody answers."""
    while not session.gone.is_set():
        asked_at, heard = trio.current_time(), session.heard
        session.ping()
        with trio.move_on_after(ANSWER_S) as patience:
            await session.hear_more_than(heard)
        if patience.cancelled_caught:
            session.abandon("the server does not answer")
            return
        state.alive_at = trio.current_time()
        await trio.sleep(max(0.0, asked_at + state.heartbeat_s - trio.current_time()))


async def _renew(session: Http2Session, state: TunnelState) -> None:
    await state.renewed.wait()
    session.abandon("this machine's address changed")


async def connect(end: ServerEnd, heartbeat_s: float = HEARTBEAT_S) -> trio.abc.Stream:
    """A stream that the server has upgraded. Raises ConnectionFailed, or the server's refusal as an ApiError."""
    stream: trio.abc.Stream | None = None
    try:
        with trio.fail_after(CONNECT_S):
            plain = await trio.open_tcp_stream(end.host, end.port)
            plain.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
            stream = plain
            if end.context is not None:
                name = end.server_name or end.host
                stream = trio.SSLStream(plain, end.context, server_hostname=name, https_compatible=True)
                await stream.do_handshake()
            return await upgraded(stream, f"{end.host}:{end.port}", heartbeat_s)
    except BaseException as error:
        if stream is not None:
            await trio.aclose_forcefully(stream)
        if isinstance(error, trio.BrokenResourceError):
            raise ConnectionFailed(str(error.__cause__ or error)) from error
        if isinstance(error, trio.TooSlowError):
            raise ConnectionFailed(f"{end.host}:{end.port} does not answer") from error
        if isinstance(error, OSError):
            raise ConnectionFailed(f"cannot reach {end.host}:{end.port}: {error}") from error
        raise


async def upgraded(stream: trio.abc.Stream, host: str, heartbeat_s: float) -> trio.abc.Stream:
    """Ask for the upgrade. Raises ConnectionFailed or ApiError."""
    import h11  # only an agent needs it

    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_REFUSAL_BYTES)
    headers = [
        ("Host", host),
        ("Connection", "Upgrade"),
        ("Upgrade", words.PROTOCOL),
        ("User-Agent", "edgekube/agent"),
        (words.HEARTBEAT_HEADER, f"{heartbeat_s:g}"),
    ]
    asked = connection.send(h11.Request(method="GET", target=words.PATH, headers=headers)) or b""
    await stream.send_all(asked + (connection.send(h11.EndOfMessage()) or b""))
    refusal: h11.Response | None = None
    body = b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise ConnectionFailed(f"the server does not speak HTTP: {error}") from error
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(COPY_BYTES)))
        elif isinstance(event, h11.InformationalResponse):
            if event.status_code == 101:
                return HandedOver(stream, bytes(connection.trailing_data[0]))
        elif isinstance(event, h11.Response):
            refusal = event
        elif isinstance(event, h11.Data):
            body = (body + event.data)[:MAX_REFUSAL_BYTES]
        elif refusal is not None:
            raise _refused(refusal.status_code, body)
        else:
            raise ConnectionFailed("the server closed the connection")


def _refused(code: int, body: bytes) -> Exception:
    if b'"Status"' in body:
        made = words.raised(words.API, body)
        if isinstance(made, ApiError):
            return made
    return ConnectionFailed(f"the server answered {code}: {body[:200].decode(errors='replace').strip()}")
