"""A node's gate behaves the same whether it is asked directly or through the tunnel."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from edgekube import errors
from edgekube.net.answering import Answering
from edgekube.net.http2 import http2_session
from edgekube.net.nodegate import LogOptions, NodeGate, RunOptions
from edgekube.net.tunnel import serve_gate
from tests.streaming_fakes import FakeGate, exited

Reached = Callable[[FakeGate], AbstractAsyncContextManager[NodeGate]]


@asynccontextmanager
async def directly(gate: FakeGate) -> AsyncIterator[NodeGate]:
    async with trio.open_nursery() as gate.nursery:
        yield gate
        gate.nursery.cancel_scope.cancel()


@asynccontextmanager
async def through_a_tunnel(gate: FakeGate) -> AsyncIterator[NodeGate]:
    near, far = trio.testing.memory_stream_pair()

    async def agent() -> None:
        async with http2_session(far, client=False) as session:
            await Answering(gate, session).run()

    async with trio.open_nursery() as gate.nursery:
        gate.nursery.start_soon(agent)
        async with serve_gate(near, "n1", heartbeat_s=10) as (reached, _):
            yield reached
        gate.nursery.cancel_scope.cancel()


@pytest.fixture(params=[directly, through_a_tunnel], ids=["directly", "tunnel"])
def reached(request: pytest.FixtureRequest) -> Reached:
    way: Reached = request.param
    return way


class Ends:
    """`nodegate.Channels` over memory."""

    def __init__(self, *, stdin: bool = False, resizes: AsyncIterator[tuple[int, int]] | None = None) -> None:
        self.typing, self.stdin = trio.testing.memory_stream_one_way_pair() if stdin else (None, None)
        self.stdout, self.shown = trio.testing.memory_stream_one_way_pair()
        self.stderr, self.complained = trio.testing.memory_stream_one_way_pair()
        self.resizes = resizes
        self.status: dict[str, Any] = {}

    async def finish(self, status: dict[str, Any]) -> None:
        self.status = status
        await self.stdout.aclose()
        await self.stderr.aclose()


async def whole(stream: trio.abc.ReceiveStream) -> bytes:
    got = b""
    while piece := await stream.receive_some():
        got += piece
    return got


async def test_logs_come_piece_by_piece_with_every_option(reached: Reached) -> None:
    fake = FakeGate()
    options = LogOptions(
        timestamps=True, tail_lines=3, since_time="2026-01-01T00:00:00Z", limit_bytes=9, stream="Stdout"
    )
    async with reached(fake) as gate, gate.logs("default", "p", "c", options) as pieces:
        assert b"".join([piece async for piece in pieces]) == b"c line 0\nc line 1\nc line 2\n"
    assert fake.asked_logs == [options]


async def test_logs_that_are_followed_end_when_the_reader_leaves(reached: Reached) -> None:
    async with reached(FakeGate()) as gate:
        with trio.fail_after(60):
            async with gate.logs("default", "p", "c", LogOptions(follow=True)) as pieces:
                got = b""
                while got != b"c line 0\nc line 1\nc line 2\n":
                    got += await anext(pieces)
                if hasattr(pieces, "aclose"):
                    await pieces.aclose()


async def test_what_logs_refuse_is_refused_in_the_same_words(reached: Reached) -> None:
    async with reached(FakeGate()) as gate:
        with pytest.raises(errors.NotFound, match="no such container"):
            async with gate.logs("default", "p", "c", LogOptions(previous=True)):
                pass


async def test_a_command_echoes_its_input_to_the_end(reached: Reached) -> None:
    async with reached(FakeGate()) as gate, trio.open_nursery() as nursery:
        ends, sent = Ends(stdin=True), b"0123456789" * 100_000
        shown: list[bytes] = []

        async def type_() -> None:
            assert ends.typing is not None
            await ends.typing.send_all(sent)
            await ends.typing.aclose()

        async def look() -> None:
            shown.append(await whole(ends.shown))

        nursery.start_soon(type_)
        nursery.start_soon(look)
        await gate.run("default", "p", "c", RunOptions(command=("cat",), stdin=True, stdout=True), ends)
        assert ends.status["status"] == "Success"
    assert shown == [sent]


async def test_both_outputs_and_the_exit_status_arrive(reached: Reached) -> None:
    async with reached(FakeGate()) as gate:
        ends = Ends()
        await gate.run("default", "p", "c", RunOptions(command=("both", "7"), stdout=True, stderr=True), ends)
        assert await whole(ends.shown) == b"out" * 100_000
        assert await whole(ends.complained) == b"err"
        assert ends.status == exited(7)


async def test_a_terminal_is_resized(reached: Reached) -> None:
    fake = FakeGate()
    send, sizes = trio.open_memory_channel[tuple[int, int]](1)
    await send.send((101, 33))
    async with reached(fake) as gate:
        ends = Ends(resizes=sizes)
        with trio.fail_after(60):
            await gate.run("default", "p", "c", RunOptions(command=("terminal",), stdout=True, tty=True), ends)
    assert fake.sizes == [(101, 33)]
    assert ends.status["status"] == "Success"


async def test_a_command_that_cannot_run_says_why(reached: Reached) -> None:
    async with reached(FakeGate()) as gate:
        with pytest.raises(errors.NotFound, match="container not found"):
            await gate.run("default", "p", "c", RunOptions(command=("missing",), stdout=True), Ends())


async def test_a_command_nobody_waits_for_is_cancelled(reached: Reached) -> None:
    fake = FakeGate()
    async with reached(fake) as gate, trio.open_nursery() as nursery:
        nursery.start_soon(gate.run, "default", "p", "c", RunOptions(command=("forever",), stdout=True), Ends())
        with trio.fail_after(60):
            while not fake.ran:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    with trio.fail_after(60):
        await fake.cancelled.wait()


async def test_a_dialled_port_carries_bytes_both_ways(reached: Reached) -> None:
    async with reached(FakeGate()) as gate:
        stream = await gate.dial("default", "p", 7)
        sent = b"abcdefgh" * 100_000
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, sent)
            got = b""
            while len(got) < len(sent):
                got += await stream.receive_some()
        assert got == sent
        assert isinstance(stream, trio.abc.HalfCloseableStream)
        await stream.send_eof()
        assert await stream.receive_some() == b""
        await stream.aclose()


async def test_many_connections_at_once_are_kept_apart(reached: Reached) -> None:
    async with reached(FakeGate()) as gate:

        async def talk(number: int) -> None:
            word = f"{number:05}".encode() * 2000
            stream = await gate.dial("default", "p", 7)
            await stream.send_all(word)
            got = b""
            while len(got) < len(word):
                got += await stream.receive_some()
            assert got == word
            await stream.aclose()

        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(talk, number)


async def test_a_refused_connection_is_an_os_error(reached: Reached) -> None:
    async with reached(FakeGate()) as gate:
        with pytest.raises(OSError, match="connect: connection refused"):
            await gate.dial("default", "p", 9)


async def test_a_page_is_fetched(reached: Reached) -> None:
    async with reached(FakeGate()) as gate:
        assert await gate.fetch("/stats/summary?x=1") == (200, "text/plain", b"page /stats/summary?x=1")
