"""WebSocket handshakes, messages cut anywhere, and the channel protocols' small formats."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekube.errors import ProtocolError
from edgekube.wire import streams, websocket
from edgekube.wire.websocket import Closed, Piece, WebSocket

HANDSHAKE = [
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ("sec-websocket-version", "13"),
    ("sec-websocket-protocol", "v5.channel.k8s.io, v4.channel.k8s.io"),
]


def test_the_handshake_answers_the_key_of_the_rfc() -> None:
    assert ("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") in websocket.accept_headers(HANDSHAKE, "v5")
    assert websocket.offered(HANDSHAKE) == ["v5.channel.k8s.io", "v4.channel.k8s.io"]
    for broken in (HANDSHAKE[1:], [HANDSHAKE[0]]):
        with pytest.raises(ProtocolError):
            websocket.accept_headers(broken, "")


@given(messages=st.lists(st.binary(max_size=300), max_size=5), size=st.integers(1, 50))
def test_messages_survive_any_cutting(messages: list[bytes], size: int) -> None:
    client, server = WebSocket(client=True), WebSocket()
    for message in messages:
        client.message(message)
    client.close()
    sent = client.take_outgoing()
    got: list[bytes] = []
    closed = False
    for at in range(0, len(sent), size):
        for event in server.receive(sent[at : at + size]):
            if isinstance(event, Piece):
                got = [*got, event.data] if event.begins else [*got[:-1], got[-1] + event.data]
            else:
                closed = isinstance(event, Closed)
    assert got == messages
    assert closed
    assert server.take_outgoing()  # the goodbye is returned


@given(noise=st.binary(max_size=100))
def test_noise_is_waited_on_or_refused(noise: bytes) -> None:
    try:
        events = WebSocket().receive(noise)
    except ProtocolError:
        return
    assert isinstance(events, list)


def test_the_first_offer_that_is_known_wins() -> None:
    assert streams.choose(["v9", "v4.channel.k8s.io", "channel.k8s.io"], streams.SPDY) == "v4.channel.k8s.io"
    assert streams.choose([], streams.WEBSOCKET) == ""
    assert streams.choose([], streams.SPDY) is None
    assert streams.choose(["v9"], streams.WEBSOCKET) is None


def test_the_final_status_is_json_from_version_4_and_words_before() -> None:
    failure = {"status": "Failure", "message": "command terminated"}
    assert json.loads(streams.status_bytes(failure, streams.SPDY["v4.channel.k8s.io"])) == failure
    assert streams.status_bytes(failure, streams.SPDY["v3.channel.k8s.io"]) == b"command terminated"
    assert streams.status_bytes({"status": "Success"}, streams.SPDY["v3.channel.k8s.io"]) == b""


@given(size=st.integers(1, 30))
def test_terminal_sizes_come_out_of_any_cutting(size: int) -> None:
    sent = b'{"Width":80,"Height":24}\n {"Width":0,"Height":1}{"Height":50,"Width":200}\n7 "x" '
    reader = streams.ResizeReader()
    assert [pair for at in range(0, len(sent), size) for pair in reader.feed(sent[at : at + size])] == [
        (80, 24),
        (200, 50),
    ]
    assert reader.feed(b"[" * 5000) == []
    assert reader.feed(streams.resize_bytes(3, 4)) == [(3, 4)]
