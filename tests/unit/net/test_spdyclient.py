"""What the node's side of a stream says when the runtime's streaming server is not there, refuses, or dies."""

from __future__ import annotations

import pytest
import trio

from edgekube.errors import BadRequest, ConnectionFailed
from edgekube.net.exchange import Exchange
from edgekube.net.listener import serving
from edgekube.net.multiplex import multiplexing
from edgekube.net.nodegate import RunOptions
from edgekube.net.spdyclient import remote_streams

OPTIONS = RunOptions(command=("x",), stdout=True)


async def test_nobody_there() -> None:
    listener = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener[0].socket.getsockname()[1]
    await listener[0].aclose()
    with pytest.raises(ConnectionFailed, match=f"cannot reach the runtime's streaming server at 127.0.0.1:{port}"):
        async with remote_streams(f"http://127.0.0.1:{port}/exec/x", OPTIONS):
            raise AssertionError("there is nobody")


async def test_a_refusal_is_passed_on_in_its_own_words() -> None:
    async def refusing(exchange: Exchange) -> None:
        raise BadRequest("no such token")

    async with serving(refusing, hosts=("127.0.0.1",), port=0, drain_s=0) as port:
        with pytest.raises(ConnectionFailed, match=r"answered 400: .*no such token"):
            async with remote_streams(f"http://127.0.0.1:{port}/exec/x", OPTIONS):
                raise AssertionError("it refuses")


@pytest.mark.parametrize(
    ("words", "expected"),
    [(b'{"status":"Success","metadata":{}}', "Success"), (b"some words", "Failure"), (b"", None)],
)
async def test_the_final_word_is_a_status_whatever_it_was(words: bytes, expected: str | None) -> None:
    async def running(exchange: Exchange) -> None:
        stream = await exchange.upgrade([("Upgrade", "SPDY/3.1")])
        async with multiplexing(stream, client=False) as session:
            async for one in session.arrivals:
                if one.headers["streamtype"] == "error":
                    await one.send_all(words)
                    await one.send_eof()
            await session.gone.wait()

    async with (
        serving(running, hosts=("127.0.0.1",), port=0, drain_s=0) as port,
        remote_streams(f"http://127.0.0.1:{port}/exec/x", OPTIONS) as remote,
    ):
        if expected is None:
            with pytest.raises(ConnectionFailed, match="without saying how"):
                await remote.status()
        else:
            assert (await remote.status())["status"] == expected
