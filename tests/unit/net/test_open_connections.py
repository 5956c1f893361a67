"""Whoever is shut out loses the connections that are open, and nobody else does."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from edgekube.app.pki import Pki, Subject, open_pki
from edgekube.clock import SystemClock
from edgekube.net.exchange import Exchange
from edgekube.net.listener import OpenConnections, serving
from edgekube.net.tls import ClientTls, ServerTls


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    made = open_pki(tmp_path_factory.mktemp("pki"), SystemClock())
    made.ensure("server", "server-ca", Subject("gw1"), ["gw1"])
    for name in ("gw2", "gw3"):
        made.ensure(name, "client-ca", Subject(name))
    return made


async def for_ever(exchange: Exchange) -> None:
    async with exchange.stream(200, []) as send:
        await send(b"here")
        await trio.sleep_forever()


@asynccontextmanager
async def watching(pki: Pki, port: int, name: str) -> AsyncIterator[trio.SSLStream[trio.SocketStream]]:
    tls = ClientTls(pki.certificate("server-ca").read_bytes(), SystemClock().now)
    tls.show(pki.certificate(name).read_bytes(), pki.key(name).read_bytes())
    plain = await trio.open_tcp_stream("127.0.0.1", port)
    async with trio.SSLStream(plain, tls.context, server_hostname="gw1", https_compatible=True) as stream:
        await stream.send_all(b"GET / HTTP/1.1\r\nHost: gw1\r\n\r\n")
        seen = b""
        while b"here" not in seen:
            seen += await stream.receive_some(1000)
        yield stream


async def test_only_the_connections_that_are_meant_end(pki: Pki) -> None:
    opened = OpenConnections()
    context = ServerTls(pki.certificate("server"), pki.key("server"), (pki.certificate("client-ca"),)).context
    with trio.fail_after(60):
        async with (
            serving(
                for_ever, hosts=("127.0.0.1",), port=0, ssl_context=context, drain_s=0.1, connections_open=opened
            ) as port,
            watching(pki, port, "gw2") as second,
            watching(pki, port, "gw3") as third,
        ):
            whose = ssl.PEM_cert_to_DER_cert(pki.certificate("gw2").read_text())
            assert opened.end(lambda certificate: certificate == whose) == 1
            await ended(second)
            left = [connection.peer_certificate for connection in opened.all]
            assert left == [ssl.PEM_cert_to_DER_cert(pki.certificate("gw3").read_text())]
            assert opened.end(lambda _: True) == 1
            await ended(third)


async def ended(stream: trio.SSLStream[trio.SocketStream]) -> None:
    """Returns when the other end closed the connection."""
    try:
        while await stream.receive_some(1000):
            pass
    except trio.BrokenResourceError:
        return
