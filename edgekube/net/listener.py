"""Sockets that accept: `serving(handler, ...)` answers HTTP/1.1 (over TLS when given a context) while its block runs.

Owns listening, handshakes, the bound on connections and the drain on leaving; what happens on one connection is
`net.connection`'s. Knows no paths and no certificates: the TLS context comes from `net.tls`.
"""

from __future__ import annotations

import errno
import logging
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import trio

from edgekube.clock import Clock, SystemClock
from edgekube.errors import EnvironmentError_
from edgekube.net.connection import Connection, Limits
from edgekube.net.exchange import Handler

log = logging.getLogger(__name__)

KEEPALIVE = (  # a peer that vanished without a word is noticed within 30 + 4 x 15 s
    (trio.socket.SOL_SOCKET, trio.socket.SO_KEEPALIVE, 1),
    (trio.socket.IPPROTO_TCP, trio.socket.TCP_KEEPIDLE, 30),
    (trio.socket.IPPROTO_TCP, trio.socket.TCP_KEEPINTVL, 15),
    (trio.socket.IPPROTO_TCP, trio.socket.TCP_KEEPCNT, 4),
)
CLOSE_S = 1.0  # for a TLS goodbye
PLAIN_HTTP_ANSWER = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"


class OpenConnections:
    """The connections that are open, for whoever must end some of them."""

    def __init__(self) -> None:
        self.all: dict[Connection, None] = {}  # oldest first
        self.ended: Callable[[Connection], None] = lambda _: None  # called with each before it is closed

    def end(self, whose: Callable[[bytes], bool]) -> int:
        """End those whose client certificate (DER) is meant, streams included; how many there were."""
        found = [one for one in self.all if one.peer_certificate is not None and whose(one.peer_certificate)]
        for connection in found:
            connection.scope.cancel()
        return len(found)


@asynccontextmanager
async def serving(
    handler: Handler,
    *,
    hosts: Sequence[str] = ("",),
    port: int,
    ssl_context: ssl.SSLContext | None = None,
    drain_s: float = 10.0,
    clock: Clock | None = None,
    limits: Limits | None = None,
    connections_open: OpenConnections | None = None,
) -> AsyncIterator[int]:
    """Serve while the block runs; yields the bound port (`port` 0 picks one, the same for every host; "" is every address).

    Leaving the block stops accepting, ends idle connections, gives requests being worked on `drain_s` seconds, and then cancels
    streams and upgraded connections. Raises EnvironmentError_ when an address cannot be bound.
    """
    listeners = await open_listeners(hosts, port)
    bound = listeners[0].socket.getsockname()[1]
    opened = connections_open or OpenConnections()
    acceptor = _Acceptor(handler, ssl_context, clock or SystemClock(), limits or Limits(), opened)
    failure: Exception | None = None
    async with trio.open_nursery() as connections:  # outlives the acceptor
        async with trio.open_nursery() as accepting:
            serve = partial(trio.serve_listeners, acceptor.serve, listeners, handler_nursery=connections)
            await accepting.start(serve)
            try:
                yield bound
            except Exception as error:  # kept out of the nurseries, which would wrap it in a group
                failure = error
            accepting.cancel_scope.cancel()
        await acceptor.drain(drain_s)
        connections.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def open_listeners(hosts: Sequence[str], port: int) -> list[trio.SocketListener]:
    """Bound, listening sockets on each host. Raises EnvironmentError_ in words a person can act on."""
    opened: list[trio.SocketListener] = []
    try:
        for host in hosts or ("",):
            found = await trio.open_tcp_listeners(port, host=host or None)
            opened += found
            port = port or found[0].socket.getsockname()[1]
    except OSError as error:
        for listener in opened:
            await listener.aclose()
        raise EnvironmentError_(_bind_words(error, host, port)) from error
    return opened


def _bind_words(error: OSError, host: str, port: int) -> str:
    where = f"{host}:{port}" if host else f"port {port}"
    if error.errno == errno.EADDRINUSE:
        return f"cannot listen on {where}: another program is using it (see: ss -ltnp 'sport = :{port}')"
    if error.errno == errno.EACCES:
        return f"cannot listen on {where}: ports below 1024 need root"
    if error.errno == errno.EADDRNOTAVAIL:
        return f"cannot listen on {where}: this machine does not have that address"
    return f"cannot listen on {where}: {error}"


class _Acceptor:
    """From an accepted socket to a `Connection`, and the set of those that live."""

    def __init__(
        self, handler: Handler, context: ssl.SSLContext | None, clock: Clock, limits: Limits, opened: OpenConnections
    ) -> None:
        self._handler, self._context, self._clock, self._limits = handler, context, clock, limits
        self._opened, self._connections = opened, opened.all
        self._shaking_hands = 0
        self._draining = False
        self._changed = trio.Event()

    async def serve(self, plain: trio.SocketStream) -> None:
        """One accepted socket, to its end. Never raises what a peer can cause."""
        if not self._make_room():
            log.warning("connection refused: %d are open", len(self._connections))
            await trio.aclose_forcefully(plain)
            return
        stream: trio.abc.Stream = plain
        try:
            for level, option, value in KEEPALIVE:
                plain.setsockopt(level, option, value)
            peer = _address(plain)
            certificate: bytes | None = None
            if self._context is not None:
                secured = await self._shake_hands(plain, self._context)
                if secured is None:
                    return
                stream, certificate = secured, secured.getpeercert(binary_form=True)
            connection = Connection(
                stream, self._handler, peer=peer, peer_certificate=certificate, clock=self._clock, limits=self._limits
            )
            await self._run(connection)
        except OSError as error:  # gone before we could ask it anything
            log.debug("connection lost: %s", error)
        except Exception:  # our mistake, but one connection's; the others go on
            log.exception("a connection failed")
        finally:
            with trio.move_on_after(CLOSE_S):
                await stream.aclose()
            await trio.aclose_forcefully(plain)

    def _make_room(self) -> bool:
        if len(self._connections) + self._shaking_hands < self._limits.connections:
            return True
        for connection in self._connections:
            if connection.idle:
                connection.close_when_idle()
                return True
        return False

    async def _shake_hands(
        self, plain: trio.SocketStream, context: ssl.SSLContext
    ) -> trio.SSLStream[trio.SocketStream] | None:
        stream = trio.SSLStream(plain, context, server_side=True, https_compatible=True)
        self._shaking_hands += 1
        try:
            with trio.move_on_after(self._limits.handshake_s):
                await stream.do_handshake()
                return stream
        except trio.BrokenResourceError as error:
            cause = error.__cause__
            log.debug("TLS handshake failed: %s", cause)
            if isinstance(cause, ssl.SSLError) and cause.reason == "HTTP_REQUEST":
                with trio.move_on_after(CLOSE_S):
                    try:
                        await plain.send_all(PLAIN_HTTP_ANSWER)
                    except trio.BrokenResourceError:
                        pass
        finally:
            self._shaking_hands -= 1
        return None

    async def _run(self, connection: Connection) -> None:
        if self._draining:
            return
        self._connections[connection] = None
        try:
            await connection.run()
        finally:
            del self._connections[connection]
            self._opened.ended(connection)
            self._changed.set()

    async def drain(self, drain_s: float) -> None:
        """Return when nothing but streams and upgraded connections is left, or after `drain_s` seconds."""
        self._draining = True
        for connection in list(self._connections):
            connection.close_when_idle()
        with trio.move_on_after(drain_s):
            while any(not connection.long_running for connection in self._connections):
                self._changed = trio.Event()
                await self._changed.wait()


def _address(plain: trio.SocketStream) -> str:
    host: str = plain.socket.getpeername()[0]
    return host.removeprefix("::ffff:").partition("%")[0]
