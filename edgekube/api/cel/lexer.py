"""The words of an expression: text to tokens, and literals to values.

Source: cel-go parser/gen/CEL.g4 and parser/unescape.go.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from edgekube.api.cel.errors import Issue
from edgekube.api.cel.values import Uint

END = "<EOF>"


class Token(NamedTuple):
    """`kind` is the sign itself for signs and key words, else IDENTIFIER, STRING, NUM_INT..."""

    kind: str
    text: str
    at: int


_ESCAPE = r"\\(?:[abfnrtv\"'\\?`]|[0-3][0-7][0-7]|[xX][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8})"
_STRING = (
    r"[rR]\"\"\"(?:.|\n)*?\"\"\"|[rR]'''(?:.|\n)*?'''|[rR]\"[^\"\n\r]*\"|[rR]'[^'\n\r]*'"
    rf'|"""(?:{_ESCAPE}|[^\\])*?"""' + rf"|'''(?:{_ESCAPE}|[^\\])*?'''"
    rf'|"(?:{_ESCAPE}|[^\\"\n\r])*"' + rf"|'(?:{_ESCAPE}|[^\\'\n\r])*'"
)
_TOKEN = re.compile(
    rf"(?P<skip>[ \t\r\n\f]+|//[^\n]*)|(?P<BYTES>[bB](?:{_STRING}))|(?P<STRING>{_STRING})"
    r"|(?P<NUM_FLOAT>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+|\.[0-9]+(?:[eE][+-]?[0-9]+)?)"
    r"|(?P<NUM_UINT>0x[0-9a-fA-F]+[uU]|[0-9]+[uU])|(?P<NUM_INT>0x[0-9a-fA-F]+|[0-9]+)"
    r"|(?P<IDENTIFIER>[A-Za-z_][A-Za-z0-9_]*)|(?P<ESC_IDENTIFIER>`[A-Za-z0-9_./ -]+`)"
    r"|(?P<sign>==|!=|<=|>=|&&|\|\||[<>\[\]{}().,!?:+*/%-])"
)
_WORDS = frozenset(("in", "true", "false", "null"))
_SIMPLE = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v"}


def tokens(text: str, issues: list[Issue]) -> list[Token]:
    """All tokens, an END last. What is no token is an issue and skipped."""
    found: list[Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            issues.append(Issue(at, f"Syntax error: token recognition error at: '{_odd(text, at)}'"))
            at += len(_odd(text, at))
            continue
        kind = match.lastgroup or ""
        if kind != "skip":
            word = match.group()
            found.append(Token(word if kind == "sign" or word in _WORDS else kind, word, at))
        at = match.end()
    found.append(Token(END, END, len(text)))
    return found


def _odd(text: str, at: int) -> str:
    """What of the text is no token: an unfinished string to the end of its line, else one character."""
    if text[at] in "\"'":
        return text[at:].split("\n", 1)[0]
    return text[at : at + 2] if text[at] in "=&|" and at + 1 < len(text) else text[at]


def string_value(literal: str) -> Any:
    """What a STRING or BYTES token stands for. Raises ValueError."""
    as_bytes = literal[0] in "bB"
    if as_bytes:
        literal = literal[1:]
    raw = literal[0] in "rR"
    if raw:
        literal = literal[1:]
    width = 3 if literal[:3] in ('"""', "'''") and len(literal) >= 6 else 1
    inner = literal[width:-width]
    if raw or "\\" not in inner:
        return inner.encode() if as_bytes else inner
    return _unescaped_bytes(inner) if as_bytes else _unescaped(inner)


_SEQUENCE = re.compile(
    r"\\(?:([abfnrtv\"'\\?`])|([0-3][0-7][0-7])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))"
)


def _unescaped(inner: str) -> str:
    def replaced(match: re.Match[str]) -> str:
        simple, octal, *hexes = match.groups()
        if simple:
            return _SIMPLE.get(simple, simple)
        code = int(octal, 8) if octal else int(next(one for one in hexes if one), 16)
        if code > 0x10FFFF or 0xD800 <= code < 0xE000:
            raise ValueError("invalid unicode code point")
        return chr(code)

    return _SEQUENCE.sub(replaced, inner)


def _unescaped_bytes(inner: str) -> bytes:
    out = bytearray()
    at = 0
    for match in _SEQUENCE.finditer(inner):
        out += inner[at : match.start()].encode()
        simple, octal, byte, *wide = match.groups()
        if any(wide):
            raise ValueError("unable to unescape string")
        out += _SIMPLE.get(simple, simple).encode() if simple else bytes([int(octal, 8) if octal else int(byte, 16)])
        at = match.end()
    return bytes(out + inner[at:].encode())


def number_value(kind: str, text: str) -> Any:
    """What a number token stands for. Raises ValueError outside its type's range."""
    if kind == "NUM_FLOAT":
        return float(text)
    digits = text.rstrip("uU")
    value = int(digits, 16 if "0x" in digits else 10)
    if kind == "NUM_UINT":
        if value >= 2**64:
            raise ValueError("invalid uint literal")
        return Uint(value)
    if not -(2**63) <= value < 2**63:
        raise ValueError("invalid int literal")
    return value
