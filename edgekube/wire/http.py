"""HTTP/1.1 on the server's side: bytes in, events out; and the bytes of an answer's head.

The only place that knows how requests are parsed. `parser()` gives httptools' parser where that package is installed (three times
quicker), h11's everywhere else; both stand behind `RequestParser` and agree on what they refuse. No sockets, no time, no Kubernetes.

One parser serves one connection: feed bytes, take events (`Head`, pieces of body as bytes, `End`), and call `begin_next` before
the next request. After an upgrade `rest()` is whatever the peer sent too early.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

from edgekube.errors import ProtocolError

MAX_HEAD_BYTES = 256 * 1024  # client certificates' and tokens' headers are small; upstream allows 1 MiB
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2})")
_BAD_VALUE = re.compile(r"[\r\n\0]")
_BODILESS = frozenset({204, 304})
_PHRASES = {status.value: status.phrase for status in HTTPStatus}


@dataclass(frozen=True, slots=True)
class Head:
    """A request's first lines. Header names are lower case, values are latin-1 text."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    http_1_0: bool
    keep_alive: bool
    expects_continue: bool
    upgrade: str  # the Upgrade header's value, "" when the request does not ask for another protocol


@dataclass(frozen=True, slots=True)
class End:
    """The request is complete."""


END = End()
Event = Head | bytes | End


class RequestParser(Protocol):
    """What `net.connection` needs of a parser. Every method may raise `errors.ProtocolError`."""

    def feed(self, data: bytes) -> None:
        """Bytes from the peer, at least one. (The end of input needs no saying: a request never ends by it.)"""
        ...

    def next_event(self) -> Event | None:
        """The next event of this request, or None: feed more first."""
        ...

    def begin_next(self) -> None:
        """Forget the request that has ended; bytes already fed belong to the next one."""
        ...

    def rest(self) -> bytes:
        """Bytes fed but not part of the request that has ended (what follows an upgrade)."""
        ...

    @property
    def at_rest(self) -> bool:
        """Whether nothing of a next request has arrived yet."""
        ...


def parser(max_head_bytes: int = MAX_HEAD_BYTES) -> RequestParser:
    """The quickest parser this machine has."""
    return _quickest(max_head_bytes)


class H11Parser:
    """h11 as a parser only: a fresh h11 connection per request, handed the bytes the last one left over."""

    def __init__(self, max_head_bytes: int = MAX_HEAD_BYTES) -> None:
        import h11  # here, since it is 4 MiB that a machine with httptools does without

        self._h11: Any = h11
        self._max_head_bytes = max_head_bytes
        self._connection = self._fresh()

    def _fresh(self) -> Any:
        return self._h11.Connection(self._h11.SERVER, max_incomplete_event_size=self._max_head_bytes)

    def feed(self, data: bytes) -> None:
        """See RequestParser."""
        assert data, "h11 takes no bytes to mean the end of input"
        self._connection.receive_data(data)

    def next_event(self) -> Event | None:
        """See RequestParser."""
        h11 = self._h11
        try:
            event = self._connection.next_event()
        except h11.RemoteProtocolError as error:
            raise ProtocolError(str(error), status=error.error_status_hint or 400) from error
        if event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            return None
        if isinstance(event, h11.Request):
            headers = [(str(name, "latin-1"), str(value, "latin-1")) for name, value in event.headers]
            return _head(str(event.method, "ascii"), str(event.target, "ascii"), headers, event.http_version == b"1.0")
        if isinstance(event, h11.Data):
            return bytes(event.data)
        return END

    def begin_next(self) -> None:
        """See RequestParser."""
        left = self._connection.trailing_data[0]
        self._connection = self._fresh()
        if left:
            self._connection.receive_data(left)

    def rest(self) -> bytes:
        """See RequestParser."""
        return bytes(self._connection.trailing_data[0])

    @property
    def at_rest(self) -> bool:
        """See RequestParser."""
        return self._connection.their_state is self._h11.IDLE and not self._connection.trailing_data[0]


class HttptoolsParser:
    """httptools (llhttp). It runs on into pipelined requests, so events (and the error that ended them) wait in one queue.

    llhttp knows a fixed list of methods, while any token may be one and deserves its 405: a connection that uses another goes on
    with h11 (`_other`). `_unread` is what came of a head that is not complete yet, since llhttp cannot be asked for it back.
    """

    def __init__(self, max_head_bytes: int = MAX_HEAD_BYTES) -> None:
        self._max_head_bytes = max_head_bytes
        self._events: deque[Event | ProtocolError] = deque()
        self._left = b""  # what followed a request that asked for an upgrade
        self._start()

    def _start(self) -> None:
        import httptools

        self._other: H11Parser | None = None
        self._unread = b""
        self._upgrading = False
        self._in_message = False
        self._in_head = True
        self._head_bytes = 0
        self._parser: Any = httptools.HttpRequestParser(self)

    def on_message_begin(self) -> None:
        """Callback of httptools."""
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._in_message = self._in_head = True
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        """Callback of httptools."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Callback of httptools."""
        if self._in_head:  # trailers mean nothing to us
            self._headers.append((name.lower(), value.strip(b" \t")))

    def on_headers_complete(self) -> None:
        """Callback of httptools."""
        self._in_head = False
        version = self._parser.get_http_version()
        headers = [(str(name, "latin-1"), str(value, "latin-1")) for name, value in self._headers]
        hosts = sum(name == "host" for name, _ in headers)
        codings = [value.lower() for name, value in headers if name == "transfer-encoding"]
        if version not in ("1.0", "1.1"):
            raise ProtocolError(f"unsupported HTTP version {version}", status=505)
        if hosts > 1 or (hosts == 0 and version == "1.1"):
            raise ProtocolError("missing or repeated Host header", status=400)
        if codings and codings != ["chunked"]:
            raise ProtocolError("only the chunked transfer encoding is known", status=501)
        if not self._target.isascii():
            raise ProtocolError("the request target is not ASCII", status=400)
        method = str(self._parser.get_method(), "ascii")
        self._events.append(_head(method, str(self._target, "ascii"), headers, version == "1.0"))

    def on_body(self, body: bytes) -> None:
        """Callback of httptools."""
        self._events.append(body)

    def on_message_complete(self) -> None:
        """Callback of httptools."""
        self._events.append(END)
        self._in_message, self._in_head, self._head_bytes = False, True, 0

    def feed(self, data: bytes) -> None:
        """See RequestParser."""
        import httptools

        if self._upgrading:
            self._left += data
            return
        if self._other is not None:
            self._other.feed(data)
            return
        before = len(self._events)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrading = True
            self._left += data[upgrade.args[0] :]
        except httptools.HttpParserInvalidMethodError as error:
            if before or not self._in_head or len(self._events) > before:  # bytes of an earlier request are gone
                self._events.append(ProtocolError(str(error), status=400))
                return
            self._other = H11Parser(self._max_head_bytes)
            self._other.feed(self._unread + data)
            return
        except httptools.HttpParserError as error:
            ours = error.__context__
            self._events.append(ours if isinstance(ours, ProtocolError) else ProtocolError(str(error), status=400))
        progress = len(self._events) > before
        self._unread = b"" if progress or not self._in_message else self._unread + data
        self._bound(len(data), progress=progress)

    def _bound(self, size: int, *, progress: bool) -> None:
        """Heads, and whatever else adds nothing to a request (trailers, chunk extensions), may not go on for ever."""
        if progress and not self._in_head:
            self._head_bytes = 0
        elif self._in_message:
            self._head_bytes += size
            if self._head_bytes > self._max_head_bytes:
                self._events.append(ProtocolError("the request head is too long", status=431))

    def next_event(self) -> Event | None:
        """See RequestParser."""
        if not self._events:
            return None if self._other is None else self._other.next_event()
        if isinstance(self._events[0], ProtocolError):
            raise self._events[0]
        event = self._events.popleft()
        assert not isinstance(event, ProtocolError)
        return event

    def begin_next(self) -> None:
        """See RequestParser."""
        if self._other is not None:
            self._other.begin_next()
        if self._upgrading:  # it asked for another protocol and did not get it: what followed is HTTP after all
            left, self._left = self._left, b""
            self._start()
            if left:
                self.feed(left)

    def rest(self) -> bytes:
        """See RequestParser."""
        return self._left if self._other is None else self._other.rest()

    @property
    def at_rest(self) -> bool:
        """See RequestParser."""
        if self._other is not None:
            return self._other.at_rest
        return not self._in_message and not self._left and not self._events


def _choose() -> type[H11Parser] | type[HttptoolsParser]:
    try:
        import httptools  # noqa: F401
    except ImportError:
        return H11Parser
    return HttptoolsParser


_quickest = _choose()


def _head(method: str, target: str, headers: list[tuple[str, str]], http_1_0: bool) -> Head:
    connection = {
        token.strip().lower() for name, value in headers if name == "connection" for token in value.split(",")
    }
    first = dict(reversed(headers))
    return Head(
        method=method,
        target=target,
        headers=tuple(headers),
        http_1_0=http_1_0,
        keep_alive="keep-alive" in connection if http_1_0 else "close" not in connection,
        expects_continue=not http_1_0 and first.get("expect", "").lower() == "100-continue",
        upgrade=first.get("upgrade", "") if "upgrade" in connection else "",
    )


def split_target(target: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    """(decoded path, query pairs) of a request target. Raises ProtocolError for what Go's net/http would not parse."""
    if target.startswith(("http://", "https://")):  # absolute form, as sent to proxies
        _, _, rest = target.partition("://")
        _, slash, rest = rest.partition("/")
        target = slash + rest or "/"
    path, _, query = target.partition("?")
    if not path.startswith("/") and path != "*":
        raise ProtocolError("the request target is not a path", status=400)
    if _BAD_ESCAPE.search(path):
        raise ProtocolError("the request target holds a broken percent-escape", status=400)
    pairs = parse_qsl(query, keep_blank_values=True, errors="replace") if query else ()
    return unquote(path, errors="replace"), tuple(pairs)


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


def answer_head(status: int, headers: Iterable[tuple[str, str]]) -> bytes:
    """The bytes of a response's head. Raises ValueError for a header that would break out of its line (our mistake)."""
    lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, '')}"]
    for name, value in headers:
        if _BAD_VALUE.search(value) or _BAD_VALUE.search(name):
            raise ValueError(f"header {name!r} holds a line break")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def has_body(method: str, status: int) -> bool:
    """Whether an answer of this status to this method carries a body at all."""
    return method != "HEAD" and status >= 200 and status not in _BODILESS


def chunk(data: bytes) -> bytes:
    """One piece of a chunked body. An empty piece would end it: do not ask for one."""
    assert data, "an empty chunk ends the body"
    return b"%x\r\n%b\r\n" % (len(data), data)


def phrase(status: int) -> str:
    """The words that stand beside a status code."""
    return _PHRASES.get(status, "")


LAST_CHUNK = b"0\r\n\r\n"


def names_of(headers: Sequence[tuple[str, str]]) -> frozenset[str]:
    """The lower-case names present."""
    return frozenset(name.lower() for name, _ in headers)
