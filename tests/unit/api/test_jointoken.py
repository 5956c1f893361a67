"""The token a person pastes, and which versions work together."""

from __future__ import annotations

import pytest

from edgekube.api.jointoken import JoinToken, parse
from edgekube.api.skew import skew_problem

TOKEN = f"EK1.{'0a' * 32}.abc123.0123456789abcdef"


def test_a_token_reads_as_it_was_written() -> None:
    token = parse(f" {TOKEN}\n")
    assert token == JoinToken("0a" * 32, "abc123", "0123456789abcdef")
    assert (str(token), token.bearer) == (TOKEN, "abc123.0123456789abcdef")
    assert token.secret not in repr(token)
    assert not token.trusts("no certificate at all")


@pytest.mark.parametrize(
    ("text", "words"),
    [(TOKEN[:-1], "was all of the line pasted?"), ("abc123.0123456789abcdef", "edgekube token create"), ("", "EK1.")],
)
def test_what_is_no_token_is_told_apart(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words.replace("?", r"\?")):
        parse(text)


@pytest.mark.parametrize(
    ("agent", "fits"),
    [("v1.36.0", True), ("v1.35.9", True), ("v1.37.0-rc.1+x", True), ("v1.34.0", False), ("v1.38.2", False),
     ("v2.36.0", False), ("", False), ("1.36", False)],
)  # fmt: skip
def test_one_minor_version_apart_is_near_enough(agent: str, fits: bool) -> None:
    assert (skew_problem(agent, "v1.36.0") is None) == fits
