"""A real server on real sockets: what a client sees of keep-alive, bodies, streams, upgrades, refusals and the drain."""

from __future__ import annotations

import json
import re
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from edgekube.clock import SeededClock
from edgekube.errors import EnvironmentError_, NotFound
from edgekube.net.connection import Limits
from edgekube.net.exchange import Exchange, Handler
from edgekube.net.listener import serving
from tests.streaming_fakes import certificates


async def echo(exchange: Exchange) -> None:
    body = await exchange.read_body(1000)
    seen = {"method": exchange.request.method, "path": exchange.request.path, "body": body.decode()}
    await exchange.respond(200, [("Content-Type", "application/json")], json.dumps(seen).encode())


@asynccontextmanager
async def talking_to(handler: Handler, **options: object) -> AsyncIterator[trio.SocketStream]:
    async with serving(handler, hosts=("127.0.0.1",), port=0, drain_s=0, **options) as port:  # type: ignore[arg-type]
        client = await trio.open_tcp_stream("127.0.0.1", port)
        async with client:
            yield client


async def read_until(client: trio.abc.Stream, mark: bytes) -> bytes:
    got = b""
    with trio.fail_after(5):
        while mark not in got:
            piece = await client.receive_some()
            assert piece, f"closed after {got!r}"
            got += piece
    return got


async def read_all(client: trio.abc.Stream) -> bytes:
    got = b""
    with trio.fail_after(5):
        async for piece in client:  # type: ignore[attr-defined]
            got += piece
    return got


async def test_pipelined_requests_are_answered_in_order_on_one_connection() -> None:
    async with talking_to(echo, clock=SeededClock()) as client:
        await client.send_all(
            b"GET /a%20b HTTP/1.1\r\nHost: x\r\n\r\n"
            b"POST /c HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi"
            b"HEAD /d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        )
        answers = (await read_all(client)).split(b"HTTP/1.1 ")
    assert len(answers) == 4
    assert b'{"method": "GET", "path": "/a b", "body": ""}' in answers[1]
    assert re.search(rb"\r\nDate: \w{3}, \d\d Jan 2026 \d\d:\d\d:\d\d GMT\r\n", answers[1])
    assert b'"path": "/c", "body": "hi"' in answers[2]
    assert b"Content-Length: 44" in answers[3]
    assert b"Connection: close" in answers[3]
    assert answers[3].endswith(b"\r\n\r\n")


async def test_a_client_that_expects_to_be_told_is_told_to_continue() -> None:
    async with talking_to(echo) as client:
        await client.send_all(b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert await read_until(client, b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        await client.send_all(b"abc")
        assert b'"abc"' in await read_until(client, b"}")


async def test_a_body_past_its_bound_gets_413_even_while_it_is_still_being_sent() -> None:
    async with talking_to(echo) as client:
        await client.send_all(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        piece = b"400\r\n" + b"x" * 1024 + b"\r\n"
        await client.send_all(piece * 300)
        answer = await read_all(client)
    assert answer.startswith(b"HTTP/1.1 413 ")
    status = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert (status["reason"], status["message"]) == (
        "RequestEntityTooLarge",
        "Request entity is too large: limit is 1000",
    )
    assert b"Connection: close" in answer


async def test_what_a_handler_raises_becomes_a_status(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(exchange: Exchange) -> None:
        if exchange.request.path == "/missing":
            raise NotFound('pods "x" not found', name="x", kind="pods")
        raise ZeroDivisionError("our mistake")

    async with talking_to(broken) as client:
        await client.send_all(b"GET /missing HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTP/1.1 404 Not Found" in await read_until(client, b'"code":404}')
        await client.send_all(b"GET /other HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"Internal error occurred: our mistake" in await read_until(client, b'"code":500}')
    assert "GET /other failed" in caplog.text


async def test_a_stream_is_chunked_and_the_connection_goes_on() -> None:
    async def counting(exchange: Exchange) -> None:
        async with exchange.stream(200, [("Content-Type", "application/json")]) as send:
            for number in range(3):
                await send(b"%d" % number)

    async with talking_to(counting) as client:
        for _ in range(2):
            await client.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            answer = await read_until(client, b"0\r\n\r\n")
            assert answer.endswith(b"\r\n\r\n1\r\n0\r\n1\r\n1\r\n1\r\n2\r\n0\r\n\r\n")


async def test_a_stream_ends_the_moment_its_client_leaves() -> None:
    left = trio.Event()

    async def waiting(exchange: Exchange) -> None:
        async with exchange.stream(200, []) as send:
            await send(b"x")
            await trio.sleep_forever()
        left.set()

    async with serving(waiting, hosts=("127.0.0.1",), port=0, drain_s=0) as port:
        client = await trio.open_tcp_stream("127.0.0.1", port)
        await client.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await read_until(client, b"x\r\n")
        await client.aclose()
        with trio.fail_after(5):
            await left.wait()


async def test_a_broken_stream_is_visibly_broken(caplog: pytest.LogCaptureFixture) -> None:
    async def failing(exchange: Exchange) -> None:
        async with exchange.stream(200, []) as send:
            await send(b"x")
            raise ZeroDivisionError

    async with talking_to(failing) as client:
        await client.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        answer = await read_all(client)
    assert answer.endswith(b"1\r\nx\r\n")
    assert "failed" in caplog.text


async def test_an_upgrade_hands_over_the_raw_connection_with_the_bytes_sent_too_early() -> None:
    async def upper(exchange: Exchange) -> None:
        stream = await exchange.upgrade([("Upgrade", "shout")])
        async for piece in stream:  # type: ignore[attr-defined]
            await stream.send_all(piece.upper())

    async with talking_to(upper) as client:
        await client.send_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\nearly ")
        assert (await read_until(client, b"EARLY ")).startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
        await client.send_all(b"late")
        await client.send_eof()
        assert await read_all(client) == b"LATE"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET /%zz HTTP/1.1\r\nHost: x\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + b"A: " + b"a" * 300_000, b"431"),
    ],
)
async def test_what_is_not_http_is_refused_in_http(sent: bytes, status: bytes) -> None:
    async with talking_to(echo) as client:
        await client.send_all(sent)
        assert (await read_all(client)).startswith(b"HTTP/1.1 " + status)


async def test_slow_heads_and_idle_connections_are_ended() -> None:
    limits = Limits(head_s=0.05, idle_s=0.05)
    async with talking_to(echo, limits=limits) as client:
        assert await read_all(client) == b""
    async with talking_to(echo, limits=limits) as client:
        await client.send_all(b"GET / HT")
        assert (await read_all(client)).startswith(b"HTTP/1.1 408")


async def test_a_full_house_makes_room_by_ending_an_idle_connection() -> None:
    async with serving(echo, hosts=("127.0.0.1",), port=0, drain_s=0, limits=Limits(connections=1)) as port:
        first = await trio.open_tcp_stream("127.0.0.1", port)
        await first.send_all(b"GET /1 HTTP/1.1\r\nHost: x\r\n\r\n")
        await read_until(first, b"}")
        second = await trio.open_tcp_stream("127.0.0.1", port)
        await second.send_all(b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"/2" in await read_until(second, b"}")
        assert await read_all(first) == b""
        await second.aclose()
        await first.aclose()


async def test_leaving_waits_for_work_and_then_cuts_streams() -> None:
    working, finish = trio.Event(), trio.Event()
    order: list[str] = []

    async def slow(exchange: Exchange) -> None:
        if exchange.request.path == "/watch":
            async with exchange.stream(200, []) as send:
                await send(b"x")
                await trio.sleep_forever()
        working.set()
        await finish.wait()
        await exchange.respond(200, [], b"done")
        order.append("answered")

    async with trio.open_nursery() as nursery:
        async with serving(slow, hosts=("127.0.0.1",), port=0, drain_s=5) as port:
            watcher = await trio.open_tcp_stream("127.0.0.1", port)
            await watcher.send_all(b"GET /watch HTTP/1.1\r\nHost: x\r\n\r\n")
            await read_until(watcher, b"x\r\n")
            worker = await trio.open_tcp_stream("127.0.0.1", port)
            await worker.send_all(b"GET /work HTTP/1.1\r\nHost: x\r\n\r\n")
            await working.wait()

            async def finish_once_refusing() -> None:
                while True:
                    try:
                        await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
                    except OSError:
                        break
                finish.set()

            nursery.start_soon(finish_once_refusing)
        order.append("left")
        answer = await read_all(worker)
        await worker.aclose()
        assert not (await read_all(watcher)).endswith(b"0\r\n\r\n")
        await watcher.aclose()
    assert order == ["answered", "left"]
    assert b"Connection: close" in answer
    assert answer.endswith(b"done")


async def test_a_reader_that_pauses_keeps_its_stream_but_not_an_answer() -> None:
    ended: list[str] = []
    gave_up = trio.Event()

    async def pouring(exchange: Exchange) -> None:
        if exchange.request.path == "/stream":
            async with exchange.stream(200, []) as send:
                for _ in range(200):
                    await send(b"x" * 100_000)
                ended.append("stream")
        else:
            try:
                await exchange.respond(200, [], b"x" * 20_000_000)
            except trio.BrokenResourceError:
                ended.append("gone")
                gave_up.set()
                raise

    async with serving(pouring, hosts=("127.0.0.1",), port=0, drain_s=0, limits=Limits(stall_s=0.1)) as port:
        streaming = await trio.open_tcp_stream("127.0.0.1", port)
        await streaming.send_all(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        answering = await trio.open_tcp_stream("127.0.0.1", port)
        await answering.send_all(b"GET /answer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        with trio.fail_after(5):
            await gave_up.wait()
            await answering.aclose()
            end = b""
            while not end.endswith(b"\r\n0\r\n\r\n"):
                piece = await streaming.receive_some()
                assert piece
                end = (end + piece)[-10:]
        assert ended == ["gone", "stream"]
        await streaming.aclose()


async def test_a_taken_port_is_said_in_one_clear_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(EnvironmentError_, match=f"127.0.0.1:{port}: another program is using it"):
            async with serving(echo, hosts=("127.0.0.1",), port=port):
                raise AssertionError("it cannot listen")


async def test_what_the_block_raises_comes_out_as_it_is() -> None:
    with pytest.raises(KeyError, match="mine"):
        async with serving(echo, hosts=("127.0.0.1",), port=0):
            raise KeyError("mine")


async def test_tls_shows_the_client_certificate_and_settles_on_http_1_1(tmp_path: Path) -> None:
    server, client, expected = certificates(tmp_path)
    seen: list[bytes | None] = []

    async def look(exchange: Exchange) -> None:
        seen.append(exchange.request.peer_certificate)
        await exchange.respond(200, [], b"ok" * 200_000)

    async with serving(look, hosts=("127.0.0.1",), port=0, ssl_context=server, drain_s=0) as port:
        for context in (client, ssl.create_default_context(cafile=str(tmp_path / "both.pem"))):
            stream = trio.SSLStream(
                await trio.open_tcp_stream("127.0.0.1", port),
                context,
                server_hostname="localhost",
                https_compatible=True,
            )
            await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            answer = await read_all(stream)
            assert len(answer.partition(b"\r\n\r\n")[2]) == 400_000
            await stream.aclose()
        assert seen == [expected, None]
        plain = await trio.open_tcp_stream("127.0.0.1", port)
        await plain.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"HTTPS server" in await read_all(plain)
        await plain.aclose()
