"""A connection over a stream in memory: whatever a client sends, it is answered or refused, and the task ends with the client."""

from __future__ import annotations

import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekube.clock import SeededClock
from edgekube.net.connection import Connection, Limits
from edgekube.net.exchange import Exchange

FRAGMENTS = (
    b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n",
    b"PUT /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
    b"3\r\nabc\r\n",
    b"0\r\n\r\n",
    b"abc",
    b"GET /stream HTTP/1.0\r\n\r\n",
    b"GET /up HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: y\r\n\r\n",
    b"PUT /d HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
    b"HEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n",
    b"\r\n",
)


async def handler(exchange: Exchange) -> None:
    path = exchange.request.path
    if path == "/stream":
        async with exchange.stream(200, []) as send:
            await send(b"a piece")
    elif path == "/up":
        stream = await exchange.upgrade([("Upgrade", "y")])
        while data := await stream.receive_some(10):
            await stream.send_all(data)
    else:
        body = await exchange.read_body(100)
        await exchange.respond(200, [], body)


async def talk(pieces: list[bytes]) -> bytes:
    """What is answered to the pieces, by a connection that then ends."""
    near, far = trio.testing.memory_stream_pair()
    connection = Connection(
        far, handler, peer="10.0.0.1", peer_certificate=None, clock=SeededClock(), limits=Limits(head_bytes=2000)
    )
    answer = b""

    async def serve() -> None:
        await connection.run()
        await far.aclose()

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            try:
                for piece in pieces:
                    if piece:
                        await near.send_all(piece)
                await near.send_eof()
            except trio.BrokenResourceError:
                pass
            while data := await near.receive_some():
                answer += data
    return answer


@settings(deadline=None)
@given(pieces=st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.binary(max_size=40)), max_size=8))
async def test_whatever_is_sent_the_connection_answers_in_http_and_ends(pieces: list[bytes]) -> None:
    answer = await talk(pieces)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 ")


async def test_requests_that_arrive_during_a_stream_are_answered_after_it() -> None:
    answer = await talk([b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\nGET /a HTTP/1.1\r\nHost: x\r\n\r\n"])
    first, _, second = answer.partition(b"0\r\n\r\n")
    assert first.endswith(b"7\r\na piece\r\n")
    assert second.startswith(b"HTTP/1.1 200 OK\r\n")


async def test_an_answer_without_reading_an_expected_body_closes() -> None:
    async def deaf(exchange: Exchange) -> None:
        await exchange.respond(401, [])

    near, far = trio.testing.memory_stream_pair()
    connection = Connection(far, deaf, peer="", peer_certificate=None, clock=SeededClock(), limits=Limits())
    await near.send_all(b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run)
            answer = bytes(await near.receive_some())
            await near.send_eof()
    assert answer.startswith(b"HTTP/1.1 401 Unauthorized\r\n")
    assert b"Connection: close\r\n" in answer
    assert b"100 Continue" not in answer
