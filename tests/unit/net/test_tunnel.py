"""The tunnel's life: it comes back after every kind of end, and a silent peer is noticed on both sides."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import pairwise

import pytest
import trio
import trio.testing

from edgekube import errors
from edgekube.clock import SeededClock
from edgekube.net import tunnel
from edgekube.net.answering import Answering
from edgekube.net.http2 import http2_session
from edgekube.net.listener import serving
from edgekube.net.nodegate import LogOptions, NodeGate
from edgekube.net.tunnel import LateGate, ServerEnd, TunnelState, accept_tunnel, connect, keep_tunnel, serve_gate
from edgekube.wire import http2
from tests.streaming_fakes import FakeGate


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(60):
        while not condition():  # noqa: ASYNC110 - what is waited for happens behind a socket
            await trio.sleep(0.01)


async def drain(pieces: AsyncIterator[bytes]) -> None:
    async for _ in pieces:
        pass


class Server:
    """Accepts tunnels; refuses when told to."""

    def __init__(self) -> None:
        self.gates: list[NodeGate] = []
        self.beats = 0
        self.refusal: errors.ApiError | None = None
        self.scope = trio.CancelScope()

    async def handle(self, exchange: tunnel.Exchange) -> None:
        if self.refusal is not None:
            raise self.refusal
        async with accept_tunnel(exchange, "n1", pinged=self.count) as (gate, gone):
            self.gates.append(gate)
            with trio.CancelScope() as self.scope:
                await gone.wait()

    def count(self) -> None:
        self.beats += 1


@asynccontextmanager
async def listening(server: Server) -> AsyncIterator[int]:
    async with serving(server.handle, hosts=("127.0.0.1",), port=0, drain_s=0) as port:
        yield port


@asynccontextmanager
async def kept(port: int, *, heartbeat_s: float = 1) -> AsyncIterator[TunnelState]:
    state, fake = TunnelState(heartbeat_s), FakeGate()
    async with trio.open_nursery() as fake.nursery:
        end = ServerEnd("127.0.0.1", port)
        await fake.nursery.start(keep_tunnel, fake, lambda: end, SeededClock(), state)
        yield state
        fake.nursery.cancel_scope.cancel()


async def test_a_tunnel_stands_beats_and_answers() -> None:
    server = Server()
    async with listening(server) as port, kept(port) as state:
        await until(lambda: server.beats)
        await until(state.keeps_lease)
        assert await server.gates[0].fetch("/healthz") == (200, "text/plain", b"page /healthz")
        assert (state.connected, state.trouble) == (True, "")


async def test_a_tunnel_that_ends_is_opened_again() -> None:
    server = Server()
    async with listening(server) as port, kept(port) as state:
        for count in (1, 2, 3):
            await until(lambda: len(server.gates) == count)  # noqa: B023 - awaited before the next round
            assert await server.gates[-1].fetch("/") == (200, "text/plain", b"page /")
            server.scope.cancel()
            await until(lambda: not state.connected or len(server.gates) > count)  # noqa: B023


async def test_a_changed_address_renews_the_tunnel_without_waiting_for_silence() -> None:
    server = Server()
    async with listening(server) as port, kept(port, heartbeat_s=1000) as state:
        await until(lambda: len(server.gates) == 1 and state.connected)
        state.renew()
        await until(lambda: len(server.gates) == 2 and state.connected)
        assert await server.gates[-1].fetch("/") == (200, "text/plain", b"page /")


async def test_a_refusal_is_told_and_tried_again() -> None:
    server = Server()
    server.refusal = errors.Forbidden("not you")
    async with listening(server) as port, kept(port) as state:
        await until(lambda: state.trouble == "not you")
        server.refusal = None
        await until(lambda: state.connected)


async def test_nobody_listening_is_a_failed_connection() -> None:
    async with serving(Server().handle, hosts=("127.0.0.1",), port=0, drain_s=0) as port:
        pass
    with pytest.raises(errors.ConnectionFailed, match=f"cannot reach 127.0.0.1:{port}"):
        await connect(ServerEnd("127.0.0.1", port))


async def test_a_server_that_knows_no_tunnels_is_told_apart() -> None:
    async def handle(exchange: tunnel.Exchange) -> None:
        await exchange.respond(200, [("Content-Type", "text/html")], b"<html>welcome</html>")

    async with serving(handle, hosts=("127.0.0.1",), port=0, drain_s=0) as port:
        with pytest.raises(errors.ConnectionFailed, match="the server answered 200: <html>welcome"):
            await connect(ServerEnd("127.0.0.1", port))


async def test_a_request_without_upgrade_is_refused() -> None:
    server = Server()
    async with listening(server) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(b"GET /edgekube/v1/tunnel HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        got = b""
        while data := await stream.receive_some():
            got += data
        await stream.aclose()
    assert got.startswith(b"HTTP/1.1 426 ")
    assert json.loads(got.partition(b"\r\n\r\n")[2])["message"] == "this server speaks edgekube-tunnel/1"


async def test_a_silent_agent_is_given_up(autojump_clock: trio.testing.MockClock) -> None:
    near, _far = trio.testing.memory_stream_pair()
    async with serve_gate(near, "n1", heartbeat_s=10) as (gate, gone):
        await gone.wait()
        assert trio.current_time() == pytest.approx(3 * 10 + tunnel.ANSWER_S)
        with pytest.raises(errors.ServiceUnavailable, match="node n1 is not connected"):
            await gate.fetch("/healthz")


async def test_an_agent_that_beats_is_kept(autojump_clock: trio.testing.MockClock) -> None:
    near, far = trio.testing.memory_stream_pair()
    async with serve_gate(near, "n1", heartbeat_s=10) as (_, gone), http2_session(far, client=False) as session:
        for _ in range(60):
            await trio.sleep(10)
            session.ping()
        assert not gone.is_set()


async def test_a_silent_server_is_given_up_and_dialled_again(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends: list[trio.testing.MemoryStream] = []

    async def mute(end: ServerEnd, heartbeat_s: float) -> trio.abc.Stream:
        near, far = trio.testing.memory_stream_pair()
        ends.append(far)
        return near

    monkeypatch.setattr(tunnel, "connect", mute)
    async with kept(1, heartbeat_s=10) as state:
        await trio.sleep(tunnel.ANSWER_S + 0.1)
        assert (state.connected, state.trouble) == (False, "the server does not answer")
        assert not state.keeps_lease()
        await trio.sleep(60)
        assert len(ends) > 1


async def test_an_agent_in_a_hurry_does_not_wait(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts: list[float] = []

    async def nobody(end: ServerEnd, heartbeat_s: float) -> trio.abc.Stream:
        attempts.append(trio.current_time())
        raise errors.ConnectionFailed("nobody is there")

    monkeypatch.setattr(tunnel, "connect", nobody)
    async with kept(1) as state:
        await trio.sleep(200)
        assert max(late - early for early, late in pairwise(attempts)) > tunnel.LONGEST_PAUSE_S / 2
        before = len(attempts)
        state.hurry()
        await trio.testing.wait_all_tasks_blocked()
        assert len(attempts) == before + 1
        await trio.sleep(2 * tunnel.FIRST_PAUSE_S)
        assert len(attempts) > before + 1  # and starts with short pauses again


async def test_what_is_under_way_fails_when_the_tunnel_is_lost() -> None:
    near, far = trio.testing.memory_stream_pair()
    fake = FakeGate()
    async with serve_gate(near, "n1", heartbeat_s=10) as (gate, gone):

        async def lose() -> None:
            await trio.testing.wait_all_tasks_blocked()
            await far.aclose()

        async with trio.open_nursery() as fake.nursery:
            fake.nursery.start_soon(lose)
            with pytest.raises(errors.ServiceUnavailable, match="the connection to node n1 was lost"):
                async with gate.logs("default", "p", "c", LogOptions(follow=True)):
                    pytest.fail("nobody answered")
        await gone.wait()
        with pytest.raises(errors.ServiceUnavailable, match="node n1 is not connected"):
            await gate.dial("default", "p", 7)


async def test_a_peer_that_speaks_no_http2_is_left() -> None:
    near, far = trio.testing.memory_stream_pair()
    async with http2_session(near, client=False) as session:
        await far.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
        with trio.fail_after(60):
            await session.gone.wait()
        assert session.trouble


async def test_a_stream_nobody_reads_holds_up_only_itself() -> None:
    near, far = trio.testing.memory_stream_pair()
    async with http2_session(near, client=True) as client, http2_session(far, client=False) as server:
        full = await client.open([(":method", "POST"), (":scheme", "https"), (":authority", "x"), (":path", "/full")])
        with trio.move_on_after(60) as patience, trio.CancelScope() as filling:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(full.send_all, bytes(4 * http2.STREAM_WINDOW_BYTES))
                there = await server.arrivals.receive()
                other = await client.open(
                    [(":method", "POST"), (":scheme", "https"), (":authority", "x"), (":path", "/other")]
                )
                await other.send_all(b"word")
                assert await (await server.arrivals.receive()).receive_some() == b"word"
                assert there.headers[":path"] == "/full"
                filling.cancel()
        assert not patience.cancelled_caught
        await full.aclose()
        with trio.fail_after(60):
            await there.gone.wait()


async def test_streams_past_the_bound_are_refused_by_name() -> None:
    near, far = trio.testing.memory_stream_pair()
    async with serve_gate(near, "n1", heartbeat_s=10) as (gate, _), http2_session(far, client=False):
        await until(lambda: True)
        async with trio.open_nursery() as nursery:

            async def ask() -> None:
                async with gate.logs("default", "p", "c", LogOptions()):
                    pytest.fail("nobody answers")

            for _ in range(100):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(http2.MAX_STREAMS - 100):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(errors.ServiceUnavailable, match="node n1 is busy: too many streams are open"):
                await gate.fetch("/healthz")
            nursery.cancel_scope.cancel()


async def test_a_log_breaks_off_with_the_tunnel() -> None:
    near, far = trio.testing.memory_stream_pair()
    fake = FakeGate()

    async def agent() -> None:
        async with http2_session(far, client=False) as session:
            await Answering(fake, session).run()

    async with trio.open_nursery() as nursery, serve_gate(near, "n1", heartbeat_s=10) as (gate, _):
        nursery.start_soon(agent)
        async with gate.logs("default", "p", "c", LogOptions(follow=True)) as pieces:
            assert await anext(pieces)
            await far.aclose()
            with pytest.raises(errors.ConnectionFailed, match="the connection to node n1 was lost"):
                await drain(pieces)


async def test_a_node_that_makes_no_sense_is_unavailable() -> None:
    near, far = trio.testing.memory_stream_pair()
    async with serve_gate(near, "n1", heartbeat_s=10) as (gate, _), http2_session(far, client=False) as session:

        async def answer() -> None:
            stream = await session.arrivals.receive()
            await stream.respond([(":status", "200"), ("content-type", "text/plain\x7f")])
            await stream.send_eof()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer)
            with pytest.raises(errors.ServiceUnavailable, match="node n1"):
                await gate.fetch("/healthz")


async def test_a_node_that_still_starts_says_so() -> None:
    gates: dict[str, NodeGate] = {}
    late = LateGate(gates, "n1")
    with pytest.raises(errors.ServiceUnavailable, match="node n1 is still starting"):
        await late.fetch("/healthz")
    gates["n1"] = FakeGate()
    assert await late.fetch("/healthz") == (200, "text/plain", b"page /healthz")
