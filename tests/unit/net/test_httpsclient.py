"""The small HTTPS client: kept connections, servers that hang up, and Go's words for what goes wrong."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from edgekube.net import httpsclient
from edgekube.net.httpsclient import CallFailed, HttpsClient, Peer, dial_tcp
from tests.tls_peers import Authority

Serve = Callable[[trio.abc.Stream], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nX-Name: value\r\n\r\nok"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("https"))


class Door:
    """A TLS server whose connections are served by hand, and a way to it."""

    def __init__(self, authority: Authority, port: int) -> None:
        self.port, self.connections, self.dialled = port, 0, 0
        self.peer = Peer(f"127.0.0.1:{port}", "127.0.0.1", authority.pem)

    async def dial(self) -> trio.abc.Stream:
        self.dialled += 1
        return await dial_tcp("127.0.0.1", self.port)


@asynccontextmanager
async def door(authority: Authority, serve: Serve) -> AsyncIterator[Door]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("door", "127.0.0.1"))

    async def accept(plain: trio.SocketStream) -> None:
        made.connections += 1
        try:
            stream = trio.SSLStream(plain, context, server_side=True, https_compatible=True)
            await serve(stream)
        except trio.BrokenResourceError:
            pass
        finally:
            await trio.aclose_forcefully(plain)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, accept, 0, host="127.0.0.1"))
        made = Door(authority, listeners[0].socket.getsockname()[1])
        yield made
        nursery.cancel_scope.cancel()


async def head(stream: trio.abc.Stream) -> bytes:
    """One request without a body; b"" when there is none any more."""
    data = b""
    while not data.endswith(b"\r\n\r\n"):
        more = await stream.receive_some()
        if not more:
            return b""
        data += more
    return data


async def test_a_connection_serves_many_calls(authority: Authority) -> None:
    heard = []

    async def serve(stream: trio.abc.Stream) -> None:
        while request := await head(stream):
            heard.append(request.split(b"\r\n", 1)[0])
            await stream.send_all(OK)

    client = HttpsClient()
    async with door(authority, serve) as there:
        for path in ("/a", "/b", "/c"):
            reply = await client.call(there.peer, there.dial, "GET", path, headers=[("host", "x")])
            assert (reply.status, reply.body, reply.header("x-name")) == (200, b"ok", "value")
        await client.aclose()
    assert heard == [b"GET /a HTTP/1.1", b"GET /b HTTP/1.1", b"GET /c HTTP/1.1"]
    assert there.connections == 1


async def test_a_kept_connection_that_was_closed_is_replaced(authority: Authority) -> None:
    async def once(stream: trio.abc.Stream) -> None:
        await head(stream)
        await stream.send_all(OK)  # and hang up, without having said so

    client = HttpsClient()
    async with door(authority, once) as there:
        for _ in range(3):
            assert (await client.call(there.peer, there.dial, "GET", "/", headers=[("host", "x")])).body == b"ok"
        await client.aclose()
    assert there.connections == 3


async def test_half_an_answer_is_not_asked_for_again(authority: Authority) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        await head(stream)
        await stream.send_all(OK)
        await head(stream)
        await stream.send_all(OK[:-1])

    client = HttpsClient()
    async with door(authority, serve) as there:
        await client.call(there.peer, there.dial, "GET", "/", headers=[("host", "x")])
        with pytest.raises(CallFailed) as caught:
            await client.call(there.peer, there.dial, "GET", "/", headers=[("host", "x")])
        await client.aclose()
    assert caught.value.begun
    assert there.connections == 1


async def test_other_trust_is_another_connection(authority: Authority) -> None:
    async def serve(stream: trio.abc.Stream) -> None:
        while await head(stream):
            await stream.send_all(OK)

    client = HttpsClient()
    async with door(authority, serve) as there:
        blind = Peer(there.peer.address, "127.0.0.1", verified=False)
        for peer in (there.peer, blind, there.peer, blind):
            await client.call(peer, there.dial, "GET", "/", headers=[("host", "x")])
        await client.aclose()
    assert there.connections == 2


async def test_answers_have_a_bound(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(httpsclient, "ANSWER_BYTES_MOST", 1)

    async def serve(stream: trio.abc.Stream) -> None:
        await head(stream)
        await stream.send_all(OK)

    client = HttpsClient()
    async with door(authority, serve) as there:
        with pytest.raises(CallFailed, match="larger than 1 bytes"):
            await client.call(there.peer, there.dial, "GET", "/", headers=[("host", "x")])
        await client.aclose()


async def test_a_server_that_says_nothing_or_speaks_no_tls(authority: Authority) -> None:
    async def silent(stream: trio.abc.Stream) -> None:
        await head(stream)

    client = HttpsClient()
    async with door(authority, silent) as there:
        with pytest.raises(CallFailed, match=r"^EOF$"):
            await client.call(there.peer, there.dial, "GET", "/", headers=[("host", "x")])

    async def plain(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"HTTP/1.0 400 Bad Request\r\n\r\n")

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, plain, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        with pytest.raises(CallFailed) as caught:
            await client.call(there.peer, lambda: dial_tcp("127.0.0.1", port), "GET", "/", headers=[("host", "x")])
        nursery.cancel_scope.cancel()
    assert str(caught.value) == "http: server gave HTTP response to HTTPS client"


async def test_authorities_that_make_no_sense(authority: Authority) -> None:
    client = HttpsClient()
    peer = Peer("127.0.0.1:1", "127.0.0.1", b"no PEM at all")
    with pytest.raises(CallFailed, match="unable to load root certificates"):
        client._context(peer)
