"""SPDY frames come out as they went in, however they are cut, and noise is refused."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekube.errors import ProtocolError
from edgekube.wire.spdy import DICTIONARY, Data, GoneAway, Opened, Replied, Reset, SpdyConnection


def test_the_dictionary_is_the_protocols() -> None:
    assert len(DICTIONARY) == 1423
    assert DICTIONARY.startswith(b"\0\0\0\x07options\0\0\0\x04head")


def script() -> bytes:
    client = SpdyConnection(client=True)
    first = client.open({"streamType": "error"})
    second = client.open({"streamType": "stdin", "port": "80"})
    client.data(first, b"x" * 100_000)
    client.data(second, b"", ended=True)
    client.reset(first, 5)
    client.go_away()
    return client.take_outgoing()


SCRIPT = script()


@given(cuts=st.lists(st.integers(0, len(SCRIPT)), max_size=12))
def test_frames_survive_any_cutting(cuts: list[int]) -> None:
    server = SpdyConnection(client=False)
    edges = [0, *sorted(cuts), len(SCRIPT)]
    events = [event for a, b in itertools.pairwise(edges) for event in server.receive(SCRIPT[a:b])]
    assert events[:2] == [
        Opened(1, {"streamtype": "error"}, False),
        Opened(3, {"streamtype": "stdin", "port": "80"}, False),
    ]
    data = [event for event in events if isinstance(event, Data)]
    assert b"".join(event.data for event in data if event.stream_id == 1) == b"x" * 100_000
    assert data[-1] == Data(3, b"", True)
    assert events[-2:] == [Reset(1, 5), GoneAway()]


def test_replies_and_pings_find_their_way_back() -> None:
    client, server = SpdyConnection(client=True), SpdyConnection(client=False)
    number = client.open({"a": "b"})
    server.receive(client.take_outgoing())
    server.reply(number)
    assert client.receive(server.take_outgoing()) == [Replied(1, False)]
    ping = b"\x80\x03\x00\x06\x00\x00\x00\x04\x00\x00\x00\x07"
    assert server.receive(ping) == []
    assert server.take_outgoing() == ping
    assert client.receive(ping) == []  # the answer to one of its own
    assert client.take_outgoing() == b""


@pytest.mark.parametrize(
    "bad",
    [
        b"\x80\x02\x00\x01\x00\x00\x00\x00",
        b"\x80\x03\x00\x01\x00\xff\xff\xff",
        b"\x80\x03\x00\x01\x00\x00\x00\x04\x00\x00\x00\x01",
        b"\x80\x03\x00\x01\x00\x00\x00\x0e\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00junk",
    ],
    ids=["version", "length", "short", "headers"],
)
def test_what_is_not_spdy_is_refused(bad: bytes) -> None:
    with pytest.raises(ProtocolError):
        SpdyConnection(client=False).receive(bad)


def test_a_header_bomb_is_refused() -> None:
    client = SpdyConnection(client=True)
    client.open({"a": "b" * 1_000_000})
    with pytest.raises(ProtocolError, match="too long"):
        SpdyConnection(client=False).receive(client.take_outgoing())


@given(noise=st.lists(st.binary(max_size=60), max_size=5))
def test_noise_is_waited_on_or_refused(noise: list[bytes]) -> None:
    server = SpdyConnection(client=False)
    refusal: ProtocolError | None = None
    try:
        for piece in noise:
            server.receive(piece)
            server.receive(b"\x80\x03\x00\x08\x00\x00\x00\x04" + piece)
    except ProtocolError as error:
        refusal = error
    assert refusal is None or str(refusal)
