"""A small HTTPS client: one request and its whole answer, over connections that somebody else knows how to dial.

For the calls a server makes to webhooks and aggregated servers: connections are kept for the next call, certificates are checked
against a given bundle and name, and what goes wrong is told in the words of Go's net/http and crypto/tls, which is what people
search for. No redirects, no proxies, no names to look up beyond the system's. Knows nothing of services.
"""

from __future__ import annotations

import hashlib
import re
import socket
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import h11
import trio

from edgekube.errors import ConnectionFailed
from edgekube.net.exchange import Headers

READ_BYTES = 64 * 1024
MAX_HEAD_BYTES = 64 * 1024
ANSWER_BYTES_MOST = 8 * 1024 * 1024
IDLE_MOST = 16  # connections kept, over all peers
IDLE_S = 45.0  # below the two minutes or so that servers keep them
CONTEXTS_MOST = 64  # TLS settings kept: one for each bundle of authorities

Dial = Callable[[], Awaitable[trio.abc.Stream]]


@dataclass(frozen=True, slots=True)
class Peer:
    """Whom a connection leads to: `address` tells peers apart, `server_name` is what the certificate must be for."""

    address: str
    server_name: str
    authorities: bytes = b""  # PEM; none: the system's
    verified: bool = True
    identity: tuple[str, str] | None = None  # files of a client certificate and its key

    @property
    def trust(self) -> str:
        """Tells apart what connections are made with."""
        return hashlib.sha256(self.authorities).hexdigest() + f"{self.verified}{self.identity}"


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. Header names are lower case."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def header(self, name: str) -> str:
        """The first value of a header, or ""."""
        return next((value for key, value in self.headers if key == name), "")


class CallFailed(ConnectionFailed):
    """No answer came; the message is Go's. `begun`: part of an answer had been read."""

    def __init__(self, message: str, *, begun: bool = False) -> None:
        super().__init__(message)
        self.begun = begun


class HttpsClient:
    """Requests over kept connections. Callers bound their time with `trio.fail_after`."""

    def __init__(self) -> None:
        self._idle: OrderedDict[int, tuple[tuple[str, str, str], float, _Line]] = OrderedDict()
        self._contexts: OrderedDict[str, ssl.SSLContext] = OrderedDict()
        self._numbers = 0

    async def call(
        self, peer: Peer, dial: Dial, method: str, target: str, *, headers: Headers = (), body: bytes = b""
    ) -> Reply:
        """One request. Raises CallFailed."""
        line = self._kept(peer)
        if line is not None:
            try:
                return await self._on(line, peer, method, target, headers, body)
            except CallFailed as problem:
                if problem.begun:
                    raise
                # the peer had closed it meanwhile, as it may: begin afresh, as net/http does
        return await self._on(await self._connected(peer, dial), peer, method, target, headers, body)

    async def connect(self, peer: Peer, dial: Dial) -> trio.abc.Stream:
        """A secured stream of one's own. Raises CallFailed."""
        try:
            stream = await dial()
        except CallFailed:
            raise
        except OSError as problem:
            raise CallFailed(dial_words(peer.address, problem)) from problem
        name = peer.server_name
        secured = trio.SSLStream(stream, self._context(peer), server_hostname=name, https_compatible=True)
        try:
            await secured.do_handshake()
        except BaseException as problem:
            await trio.aclose_forcefully(stream)
            if isinstance(problem, trio.BrokenResourceError | ssl.SSLError | OSError):
                raise CallFailed(handshake_words(name, problem, secured)) from problem
            raise
        return secured

    async def aclose(self) -> None:
        """Close what is kept."""
        while self._idle:
            _, (_, _, line) = self._idle.popitem()
            await trio.aclose_forcefully(line.stream)

    async def _connected(self, peer: Peer, dial: Dial) -> _Line:
        return _Line(await self.connect(peer, dial))

    async def _on(self, line: _Line, peer: Peer, method: str, target: str, headers: Headers, body: bytes) -> Reply:
        done = False
        try:
            reply = await line.call(method, target, headers, body)
            done = True
            return reply
        finally:
            if not (done and self._keep(peer, line)):
                await trio.aclose_forcefully(line.stream)

    def _keep(self, peer: Peer, line: _Line) -> bool:
        if not line.reusable or len(self._idle) >= IDLE_MOST:
            return False
        self._numbers += 1
        key = (peer.address, peer.server_name, peer.trust)
        self._idle[self._numbers] = (key, trio.current_time(), line)
        return True

    def _kept(self, peer: Peer) -> _Line | None:
        """The connection to a peer that was used last. Those that are too old are dropped here: nobody else looks."""
        wanted, now = (peer.address, peer.server_name, peer.trust), trio.current_time()
        for number in [one for one, (_, since, _) in self._idle.items() if now - since > IDLE_S]:
            _, _, line = self._idle.pop(number)
            line.drop()
        for number in reversed(self._idle):
            key, _, line = self._idle[number]
            if key == wanted:
                del self._idle[number]
                return line
        return None

    def _context(self, peer: Peer) -> ssl.SSLContext:
        key = peer.trust
        found = self._contexts.get(key)
        if found is None:
            found = self._contexts[key] = _new_context(peer)
            if len(self._contexts) > CONTEXTS_MOST:
                self._contexts.popitem(last=False)
        self._contexts.move_to_end(key)
        return found


def _new_context(peer: Peer) -> ssl.SSLContext:
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        if not peer.verified:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        elif peer.authorities:
            context.load_verify_locations(cadata=peer.authorities.decode("ascii", "replace"))
        else:
            context.load_default_certs()
        # an authority that a bundle names is trusted, also where it is no root
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if peer.identity is not None:
            context.load_cert_chain(*peer.identity)
    except (ssl.SSLError, ValueError) as problem:
        raise CallFailed("unable to load root certificates: unable to parse bytes as PEM block") from problem
    except OSError as problem:
        raise CallFailed(f"cannot use the client certificate: {problem.strerror or problem}") from problem
    return context


class _Line:
    """One connection, used for one request after the other."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._h11 = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self.reusable = False

    def drop(self) -> None:
        """Close without waiting."""
        transport = getattr(self.stream, "transport_stream", self.stream)
        socket_ = getattr(transport, "socket", None)
        if socket_ is not None:
            socket_.close()

    async def call(self, method: str, target: str, headers: Headers, body: bytes) -> Reply:
        begun = False
        self.reusable = False
        try:
            sized = [*headers, ("content-length", str(len(body)))] if body or method != "GET" else list(headers)
            request = h11.Request(method=method, target=target, headers=sized)
            data = self._h11.send(request) or b""
            data += (self._h11.send(h11.Data(data=body)) or b"") if body else b""
            await self.stream.send_all(data + (self._h11.send(h11.EndOfMessage()) or b""))
            head: h11.Response | None = None
            pieces: list[bytes] = []
            size = 0
            while True:
                event = self._h11.next_event()
                if event is h11.NEED_DATA:
                    read = await self.stream.receive_some(READ_BYTES)
                    begun = begun or bool(read)
                    self._h11.receive_data(bytes(read))
                elif isinstance(event, h11.Response):
                    head = event
                elif isinstance(event, h11.Data):
                    pieces.append(bytes(event.data))
                    size += len(event.data)
                    if size > ANSWER_BYTES_MOST:
                        raise CallFailed(f"the answer is larger than {ANSWER_BYTES_MOST} bytes", begun=True)
                elif isinstance(event, h11.EndOfMessage):
                    break
                elif isinstance(event, h11.ConnectionClosed) or event is h11.PAUSED:
                    raise CallFailed("EOF", begun=begun)
        except (trio.BrokenResourceError, trio.ClosedResourceError, ssl.SSLError, OSError) as problem:
            raise CallFailed(transport_words(problem), begun=begun) from problem
        except h11.RemoteProtocolError as problem:
            words = "EOF" if not begun else f"malformed HTTP response: {problem}"
            raise CallFailed(words, begun=begun) from problem
        assert head is not None
        if self._h11.our_state is h11.DONE and self._h11.their_state is h11.DONE:
            self._h11.start_next_cycle()
            self.reusable = True
        text = tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in head.headers)
        return Reply(head.status_code, text, b"".join(pieces))


# ------------------------------------------------------------------------------------------------- dialling, and Go's words


async def dial_tcp(host: str, port: int) -> trio.abc.Stream:
    """A TCP connection. Raises CallFailed in Go's words."""
    try:
        return await trio.open_tcp_stream(host, port)
    except socket.gaierror as problem:
        raise CallFailed(f"dial tcp: lookup {host}: no such host") from problem
    except OSError as problem:
        raise CallFailed(dial_words(f"{host}:{port}", problem)) from problem


def dial_words(address: str, problem: BaseException) -> str:
    """ "dial tcp 127.0.0.1:1: connect: connection refused"."""
    return f"dial tcp {address}: connect: {_reason(problem)}"


def _reason(problem: BaseException) -> str:
    """What the system said, in Go's small letters; of several attempts, the last."""
    seen: BaseException | None = problem
    while seen is not None:
        if isinstance(seen, ExceptionGroup):
            seen = seen.exceptions[-1]
            continue
        if isinstance(seen, OSError) and seen.errno:
            import os

            return os.strerror(seen.errno).lower()
        seen = seen.__cause__
    return str(problem) or type(problem).__name__


def transport_words(problem: BaseException) -> str:
    """What broke in the middle."""
    cause = problem.__cause__
    if isinstance(cause, ssl.SSLError) and cause.reason:
        return _alert(cause)
    reason = _reason(problem)
    return "EOF" if isinstance(problem, trio.BrokenResourceError) and cause is None else f"read: {reason}"


def _alert(problem: ssl.SSLError) -> str:
    found = re.search(r"ALERT_([A-Z_]+)$", problem.reason or "")
    if found:
        return f"remote error: tls: {found[1].lower().replace('_', ' ')}"
    if problem.reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"):
        return "http: server gave HTTP response to HTTPS client"
    return f"tls: {(problem.reason or str(problem)).lower().replace('_', ' ')}"


_UNKNOWN_AUTHORITY = frozenset({2, 18, 19, 20, 21})
_OUT_OF_DATE = frozenset({9, 10})
_WRONG_NAME = frozenset({62, 64})


def handshake_words(name: str, problem: BaseException, stream: trio.SSLStream[trio.abc.Stream]) -> str:
    """Why a connection could not be secured."""
    seen: BaseException | None = problem
    while seen is not None and not isinstance(seen, ssl.SSLError):
        seen = seen.__cause__
    if isinstance(seen, ssl.SSLCertVerificationError):
        why = seen.verify_message
        if seen.verify_code in _UNKNOWN_AUTHORITY:
            why = "x509: certificate signed by unknown authority"
        elif seen.verify_code in _OUT_OF_DATE:
            why = "x509: certificate has expired or is not yet valid"
        elif seen.verify_code in _WRONG_NAME:
            why = f"x509: certificate is not valid for {name}"
        else:
            why = f"x509: {why}"
        return f"tls: failed to verify certificate: {why}"
    if isinstance(seen, ssl.SSLEOFError) or seen is None:
        return "EOF"
    return _alert(seen)
