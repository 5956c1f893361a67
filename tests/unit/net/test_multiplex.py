"""Streams of one session: kept apart, ended one way at a time, refused past the bound, broken with the connection."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from edgekube.net import multiplex
from edgekube.net.multiplex import Inbox, multiplexing
from edgekube.wire import spdy


async def whole(stream: trio.abc.ReceiveStream) -> bytes:
    got = b""
    while piece := await stream.receive_some(1000):
        got += piece
    return got


async def test_streams_are_kept_apart_and_end_one_way_at_a_time() -> None:
    left, right = trio.testing.memory_stream_pair()
    async with multiplexing(left, client=True) as client, multiplexing(right, client=False) as server:
        one, two = await client.open({"name": "one"}), await client.open({"name": "two"})
        there_one, there_two = await server.arrivals.receive(), await server.arrivals.receive()
        assert (there_one.headers, there_two.headers) == ({"name": "one"}, {"name": "two"})
        await one.send_all(b"1" * 70_000)
        await one.send_eof()
        await two.send_all(b"2")
        assert await there_two.receive_some() == b"2"
        assert await whole(there_one) == b"1" * 70_000
        await there_one.send_all(b"back")
        await there_one.send_eof()
        assert await whole(one) == b"back"
        with pytest.raises(trio.ClosedResourceError):
            await one.send_all(b"x")
        await two.aclose()
        assert await there_two.receive_some() == b""
        with pytest.raises(trio.BrokenResourceError):
            await there_two.send_all(b"x")


async def test_a_lost_connection_ends_every_stream() -> None:
    left, right = trio.testing.memory_stream_pair()
    async with multiplexing(left, client=True) as client, multiplexing(right, client=False) as server:
        stream = await client.open({})
        there = await server.arrivals.receive()
        await right.aclose()
        await client.gone.wait()
        assert await stream.receive_some() == b""
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"x")
        await stream.aclose()
        await there.aclose()
        await server.gone.wait()
        assert [stream async for stream in server.arrivals] == []


async def test_streams_past_the_bound_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multiplex, "MAX_STREAMS", 2)
    left, right = trio.testing.memory_stream_pair()
    async with multiplexing(left, client=True) as client, multiplexing(right, client=False):
        await client.open({})
        await client.open({})
        with pytest.raises(trio.BrokenResourceError, match="refused"):
            await client.open({})


async def test_a_peer_that_is_not_spdy_is_left() -> None:
    left, right = trio.testing.memory_stream_pair()
    async with multiplexing(right, client=False) as server:
        await left.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 10_000 + b"\x80\x09\0\0\0\0\0\0")
        with trio.move_on_after(0.2):
            await server.gone.wait()
        await left.aclose()
        await server.gone.wait()


async def test_an_inbox_holds_the_sender_until_it_is_read_or_given_up(autojump_clock: trio.testing.MockClock) -> None:
    inbox = Inbox()
    for _ in range(multiplex.INBOX_PIECES):
        await inbox.put(b"x")
    with trio.move_on_after(1) as waiting:
        await inbox.put(b"y")
    assert waiting.cancelled_caught
    assert await inbox.receive_some() == b"x"
    inbox.discard()
    await inbox.put(b"z")
    inbox.end()
    inbox.end()


async def test_what_a_block_raises_beside_a_session_comes_out_bare() -> None:
    left, _right = trio.testing.memory_stream_pair()
    with pytest.raises(KeyError):
        async with multiplexing(left, client=True):
            raise KeyError


async def test_what_arrives_is_read_while_the_peer_does_not_read() -> None:
    left, right = trio.testing.lockstep_stream_pair()  # sends only what is received at once: a full connection
    async with multiplexing(left, client=True) as client:
        peer = spdy.SpdyConnection(client=False)
        stream: list[multiplex.MultiplexedStream] = []

        async def use() -> None:
            stream.append(await client.open({"name": "stdin"}))
            await stream[0].send_all(b"unread" * 10_000)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(use)
            [opened] = peer.receive(await right.receive_some())
            assert isinstance(opened, spdy.Opened)
            peer.reply(1)
            await right.send_all(peer.take_outgoing())
            await trio.testing.wait_all_tasks_blocked()  # the sender is stuck now, holding the connection
            peer.data(1, b"the last word", ended=True)
            await right.send_all(peer.take_outgoing())
            assert await stream[0].receive_some() == b"the last word"
            nursery.cancel_scope.cancel()


async def test_a_peer_that_only_talks_is_left() -> None:
    left, right = trio.testing.lockstep_stream_pair()
    async with multiplexing(right, client=False) as server:
        ping = b"\x80\x03\x00\x06\x00\x00\x00\x04\x00\x00\x00\x07"
        with trio.fail_after(5):
            while not server.gone.is_set():
                with trio.move_on_after(0.1):
                    await left.send_all(ping * 2000)
