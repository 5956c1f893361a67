"""What the tunnel says survives being cut anywhere; what makes no sense is refused."""

from __future__ import annotations

import pytest

from edgekube import errors
from edgekube.wire import tunnel as words


def test_an_ask_is_read_however_it_is_cut() -> None:
    sent = words.ask_bytes({"pod": "p", "options": {"command": ["ä", "\n"]}}) + b"stdin"
    for cut in range(len(sent)):
        reader = words.AskReader()
        first = reader.feed(sent[:cut])
        ask = first if first is not None else reader.feed(sent[cut:])
        assert ask == {"pod": "p", "options": {"command": ["ä", "\n"]}}
        rest = reader.rest + (sent[cut:] if first is not None else b"")
        assert rest == b"stdin"


def test_frames_are_read_however_they_are_cut() -> None:
    output = bytes(range(256)) * 100
    sent = b"".join(words.frames(words.STDOUT, output)) + words.outcome({"status": "Success"})
    reader, found = words.FrameReader(), []
    for at in range(0, len(sent), 777):
        found += reader.feed(sent[at : at + 777])
    assert b"".join(payload for kind, payload in found if kind == words.STDOUT) == output
    assert words.final_status(found[-1][1]) == {"status": "Success"}


@pytest.mark.parametrize(
    "error",
    [
        errors.NotFound('pods "p" not found', name="p", kind="pods"),
        errors.BadRequest("container c is not valid for pod p"),
        ConnectionRefusedError(111, "Connection refused"),
        OSError("dial tcp: no route"),
        errors.ConnectionFailed("the runtime is away"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_failure_is_the_same_at_the_other_end(error: Exception) -> None:
    [(kind, payload)] = words.FrameReader().feed(words.failed(error))
    again = words.failure_of(payload)
    assert kind == words.FAILED
    assert (type(again), str(again)) == (type(error), str(error))


def test_our_mistakes_become_internal_errors() -> None:
    kind, document = words.failure(KeyError("pod"))
    assert (kind, document["code"], document["reason"]) == (words.API, 500, "InternalError")


def test_what_is_too_long_or_no_json_is_refused() -> None:
    with pytest.raises(errors.ProtocolError, match="an ask is too long"):
        words.AskReader().feed(b"\xff\xff\xff\xff")
    with pytest.raises(errors.ProtocolError, match="not JSON"):
        words.AskReader().feed(b"\0\0\0\2[]")
    with pytest.raises(errors.ProtocolError, match="a frame is too long"):
        words.FrameReader().feed(b"\1\xff\xff\xff\xff")
    with pytest.raises(errors.ProtocolError, match="too long for the tunnel"):
        words.ask_bytes({"command": "x" * words.MAX_ASK_BYTES})
    assert isinstance(words.raised(words.API, b"<html>"), errors.ConnectionFailed)


def test_sizes_are_bounded_and_read_in_pieces() -> None:
    reader = words.SizeReader()
    sent = words.size_bytes(101, 33) + words.size_bytes(-1, 70_000)
    assert reader.feed(sent[:3]) == []
    assert reader.feed(sent[3:]) == [(101, 33), (0, 65535)]


@pytest.mark.parametrize(("text", "seconds"), [("5", 5), ("", 10), ("x", 10), ("nan", 10), ("0", 1), ("1e9", 300)])
def test_a_heartbeat_is_kept_within_bounds(text: str, seconds: float) -> None:
    assert words.bounded_seconds(text, default=10, least=1, most=300) == seconds


def test_packed_pieces_are_read_however_they_are_cut() -> None:
    pieces = [b"{}\n", b'{"type":"MODIFIED"}' * 500, b"x" * words.PACK_FROM_BYTES]
    sent = b"".join(words.packed(piece) for piece in pieces)
    assert len(sent) < 1000
    for step in (1, 7, len(sent)):
        unpacker, found = words.Unpacker(), []
        for at in range(0, len(sent), step):
            found += unpacker.feed(sent[at : at + step])
        assert found == pieces


@pytest.mark.parametrize(
    ("sent", "why"),
    [
        (b"\x7f\xff\xff\xff", "too long"),
        (b"\x80\0\0\3abc", "no gzip"),
        (words.packed(bytes(words.MAX_PIECE_BYTES + 1)), "too long"),
    ],
)
def test_pieces_that_are_too_long_or_broken_are_refused(sent: bytes, why: str) -> None:
    with pytest.raises(errors.ProtocolError, match=why):
        words.Unpacker().feed(sent)
