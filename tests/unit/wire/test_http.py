"""Requests come out of bytes the same way whichever parser is installed and however the bytes are cut."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekube.errors import ProtocolError
from edgekube.wire import http
from edgekube.wire.http import END, H11Parser, Head, HttptoolsParser, RequestParser

try:
    import httptools  # noqa: F401

    PARSERS = [H11Parser, HttptoolsParser]
except ImportError:
    PARSERS = [H11Parser]

every_parser = pytest.mark.parametrize("make", PARSERS)

TWO_REQUESTS = (
    b"POST /api/v1/pods?dryRun=All HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nX-A: 1\r\nX-A: 2\r\n\r\nhello"
    b"POST /b HTTP/1.1\r\nhost: y\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n"
    b"GET /c HTTP/1.1\r\nHost: z\r\nConnection: close\r\n\r\n"
)


def take(parser: RequestParser, pieces: list[bytes]) -> list[tuple[Head, bytes]]:
    """Every complete (head, body) in the bytes."""
    made: list[tuple[Head, bytes]] = []
    head: Head | None = None
    body = b""
    for piece in [*pieces, b""]:
        if piece:
            parser.feed(piece)
        while (event := parser.next_event()) is not None:
            if isinstance(event, Head):
                head, body = event, b""
            elif event is END:
                assert head is not None
                made.append((head, body))
                parser.begin_next()
            else:
                assert isinstance(event, bytes)
                body += event
    return made


@every_parser
@given(cuts=st.lists(st.integers(0, len(TWO_REQUESTS)), max_size=20))
def test_pipelined_requests_survive_any_cutting(make: type[RequestParser], cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(TWO_REQUESTS)]
    pieces = [TWO_REQUESTS[a:b] for a, b in itertools.pairwise(edges)]
    first, second, third = take(make(), pieces)
    assert (first[0].method, first[0].target, first[1]) == ("POST", "/api/v1/pods?dryRun=All", b"hello")
    assert [value for name, value in first[0].headers if name == "x-a"] == ["1", "2"]
    assert (second[0].target, second[1], second[0].keep_alive) == ("/b", b"abcde", True)
    assert (third[0].target, third[1], third[0].keep_alive) == ("/c", b"", False)


@every_parser
def test_what_follows_an_upgrade_request_is_kept_for_the_next_protocol(make: type[RequestParser]) -> None:
    parser = make()
    parser.feed(
        b"POST /exec HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nContent-Length: 0\r\n\r\n\x80\x03"
    )
    head = parser.next_event()
    assert isinstance(head, Head)
    assert head.upgrade == "SPDY/3.1"
    assert parser.next_event() is END
    assert parser.rest() == b"\x80\x03"


@every_parser
def test_an_upgrade_nobody_grants_leaves_an_ordinary_connection(make: type[RequestParser]) -> None:
    ask = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    assert [head.target for head, _ in take(make(), [ask + b"GET /2 HTTP/1.1\r\nHost: x\r\n\r\n"])] == ["/", "/2"]


@every_parser
def test_expectations_and_old_versions_are_told_apart(make: type[RequestParser]) -> None:
    (new, _), *_ = take(make(), [b"PUT / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 0\r\n\r\n"])
    (old, _), *_ = take(make(), [b"GET / HTTP/1.0\r\n\r\n"])
    assert (new.expects_continue, new.http_1_0) == (True, False)
    assert (old.http_1_0, old.keep_alive) == (True, False)


BROKEN = {
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    "two lengths": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length and chunks": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: gzip\r\n\r\nab",
    "space before colon": b"GET / HTTP/1.1\r\nHost : a\r\n\r\n",
    "bad chunk": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
}


@every_parser
@pytest.mark.parametrize("bad", BROKEN.values(), ids=BROKEN.keys())
def test_what_could_be_read_two_ways_is_refused(make: type[RequestParser], bad: bytes) -> None:
    with pytest.raises(ProtocolError):
        take(make(), [bad])


@every_parser
def test_a_head_without_end_is_refused_with_431(make: type[RequestParser]) -> None:
    parser = make(1000)  # type: ignore[call-arg]
    with pytest.raises(ProtocolError) as caught:
        take(parser, [b"GET / HTTP/1.1\r\nHost: a\r\n"] + [b"X-Fill: " + b"a" * 90 + b"\r\n"] * 20)
    assert caught.value.status == 431


@every_parser
@pytest.mark.parametrize("endless", [b"X-Trailer: " + b"a" * 90 + b"\r\n", b"a" * 100], ids=["trailers", "one trailer"])
def test_what_follows_a_body_does_not_go_on_for_ever(make: type[RequestParser], endless: bytes) -> None:
    parser = make(1000)  # type: ignore[call-arg]
    start = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n"
    with pytest.raises(ProtocolError) as caught:
        take(parser, [start, *[endless] * 50])
    assert caught.value.status == 431


@every_parser
def test_a_long_body_in_small_pieces_is_no_long_head(make: type[RequestParser]) -> None:
    parser = make(1000)  # type: ignore[call-arg]
    head = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5000\r\n\r\n"
    [(_, body)] = take(parser, [head, *[b"x"] * 5000])
    assert body == b"x" * 5000


@every_parser
@given(data=st.binary(max_size=300))
def test_noise_is_waited_on_or_refused_but_never_breaks_the_parser(make: type[RequestParser], data: bytes) -> None:
    refusal: ProtocolError | None = None
    try:
        take(make(), [data])
    except ProtocolError as error:
        refusal = error
    assert refusal is None or 400 <= refusal.status < 600


def test_targets_are_decoded_once_and_broken_escapes_refused() -> None:
    assert http.split_target("/api/v1/a%2Fb?watch=&fieldSelector=a%3Db&x=1%2B1+2") == (
        "/api/v1/a/b",
        (("watch", ""), ("fieldSelector", "a=b"), ("x", "1+1 2")),
    )
    assert http.split_target("http://host:80/p?q=1") == ("/p", (("q", "1"),))
    for bad in ("/%zz", "nowhere", ""):
        with pytest.raises(ProtocolError):
            http.split_target(bad)


def test_an_answer_head_cannot_be_broken_out_of() -> None:
    assert http.answer_head(200, [("A", "b")]) == b"HTTP/1.1 200 OK\r\nA: b\r\n\r\n"
    with pytest.raises(ValueError, match="line break"):
        http.answer_head(200, [("Warning", "x\r\nSet-Cookie: y")])


@pytest.mark.parametrize(
    "pieces",
    [
        [b"BREW /pot HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab"],
        [b"B", b"REW /pot HTTP/1.1\r\nHost: a\r\nContent-Le", b"ngth: 2\r\n\r\nab"],
        [b"PO", b"UR /pot HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na", b"b"],
    ],
)
def test_any_token_is_a_method_and_the_connection_goes_on(pieces: list[bytes]) -> None:
    parser = http.parser()
    for piece in pieces:
        parser.feed(piece)
    seen = []
    while (event := parser.next_event()) not in (None, http.END):
        seen.append(event)
    head, *body = seen
    assert isinstance(head, http.Head)
    assert (head.method, head.target) in (("BREW", "/pot"), ("POUR", "/pot"))
    assert b"".join(piece for piece in body if isinstance(piece, bytes)) == b"ab"
    parser.begin_next()
    assert parser.at_rest
    parser.feed(b"GET /next HTTP/1.1\r\nHost: a\r\n\r\n")
    following = parser.next_event()
    assert isinstance(following, http.Head)
    assert following.target == "/next"


def test_an_unknown_method_behind_another_request_is_refused() -> None:
    parser = http.parser()
    parser.feed(b"GET /a HTTP/1.1\r\nHost: a\r\n\r\nB REW /b HTTP/1.1\r\nHost: a\r\n\r\n")
    assert isinstance(parser.next_event(), http.Head)
    assert parser.next_event() == http.END
    parser.begin_next()
    with pytest.raises(ProtocolError):
        parser.next_event()
