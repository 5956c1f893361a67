"""Bytes are counted by peer, while a connection is open and after it has ended."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import trio
import trio.testing

from edgekube.net.exchange import Exchange
from edgekube.net.listener import OpenConnections, serving
from edgekube.net.traffic import PeerTraffic, Traffic, traffic_of
from tests.streaming_fakes import certificates

BODY = b"x" * 200_000


async def handle(exchange: Exchange) -> None:
    await exchange.respond(200, [("Content-Type", "text/plain")], BODY)


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(60):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in the kernel
            await trio.sleep(0.01)


async def ask(port: int, context: ssl.SSLContext) -> trio.abc.Stream:
    plain = await trio.open_tcp_stream("localhost", port)
    stream = trio.SSLStream(plain, context, server_hostname="localhost", https_compatible=True)
    await stream.send_all(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    got = 0
    while got < len(BODY):
        got += len(await stream.receive_some())
    return stream


async def test_what_a_peer_was_sent_is_counted_while_and_after_it_is_there(tmp_path: Path) -> None:
    server, client, der = certificates(tmp_path)
    opened = OpenConnections()
    traffic = PeerTraffic(opened, lambda certificate: "n1" if certificate == der else "")
    async with serving(handle, port=0, ssl_context=server, drain_s=0, connections_open=opened) as port:
        stream = await ask(port, client)
        while_open = traffic.sums()["n1"]
        assert while_open.received > 500  # a handshake
        assert while_open.sent < 3 * len(BODY)
        await until(lambda: traffic.sums()["n1"].sent >= len(BODY))
        await stream.aclose()
        await until(lambda: not opened.all)
        first = traffic.sums()["n1"]
        assert first.sent > len(BODY)
        await (await ask(port, client)).aclose()
        await until(lambda: traffic.sums()["n1"].sent >= 2 * len(BODY) and not opened.all)
    assert set(traffic.sums()) == {"n1"}


async def test_strangers_and_what_is_no_connection_are_not_counted(tmp_path: Path) -> None:
    server, client, _ = certificates(tmp_path)
    opened = OpenConnections()
    traffic = PeerTraffic(opened, lambda _: "")
    async with serving(handle, port=0, ssl_context=server, drain_s=0, connections_open=opened) as port:
        await (await ask(port, client)).aclose()
    assert traffic.sums() == {}
    near, far = trio.testing.memory_stream_pair()
    assert traffic_of(near) == Traffic() == traffic_of(far)
