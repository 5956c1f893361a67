"""Where and how a text stops being JSON, in the words of Go's scanner. Only asked when parsing has failed.

Source: encoding/json scanner.go.
"""

from __future__ import annotations

import re

MOST_DEPTH = 10_000
_SPACE = re.compile(rb"[ \t\r\n]*")
_PLAIN = re.compile(rb'[^"\\\x00-\x1f]*')
_HEX = frozenset(b"0123456789abcdefABCDEF")
_DIGITS = frozenset(b"0123456789")
_SHORT_ESCAPES = {7: "\\a", 8: "\\b", 9: "\\t", 10: "\\n", 11: "\\v", 12: "\\f", 13: "\\r", 92: "\\\\", 39: "\\'"}


class _Wrong(Exception):
    """The text is not JSON; carries the words."""


def syntax_error(data: bytes) -> str | None:
    """The first syntax error of a JSON text, or None if there is none."""
    try:
        _Scanner(data).document()
    except _Wrong as wrong:
        return str(wrong)
    return None


def _shown(code: int) -> str:
    if code in _SHORT_ESCAPES:
        return f"'{_SHORT_ESCAPES[code]}'"
    if code < 0x20 or code == 0x7F:
        return f"'\\x{code:02x}'"
    if 0x80 <= code < 0xA0 or code == 0xAD:
        return f"'\\u{code:04x}'"
    return f"'{chr(code)}'"


class _Scanner:
    def __init__(self, data: bytes) -> None:
        self.data, self.at, self.open = data, 0, [""]

    def peek(self) -> int:
        """The byte at hand. Raises at the end."""
        if self.at >= len(self.data):
            raise _Wrong("unexpected end of JSON input")
        return self.data[self.at]

    def skip(self) -> int:
        """Past white space; the byte there."""
        found = _SPACE.match(self.data, self.at)
        self.at = found.end() if found else self.at
        return self.peek()

    def wrong(self, context: str) -> _Wrong:
        return _Wrong(f"invalid character {_shown(self.peek())} {context}")

    def document(self) -> None:
        """One value, then nothing but white space. Iterative, so that depth costs no Python stack."""
        self.value()
        while len(self.open) > 1:
            here = self.skip()
            if self.open[-1] == "{":
                if here == ord(","):
                    self.at += 1
                    if self.skip() != ord('"'):
                        raise self.wrong("looking for beginning of object key string")
                    self.member()
                elif here == ord("}"):
                    self.close()
                else:
                    raise self.wrong("after object key:value pair")
            elif here == ord(","):
                self.at += 1
                self.value()
            elif here == ord("]"):
                self.close()
            else:
                raise self.wrong("after array element")
        rest = _SPACE.match(self.data, self.at)
        if rest and rest.end() < len(self.data):
            self.at = rest.end()
            raise self.wrong("after top-level value")

    def close(self) -> None:
        self.at += 1
        self.open.pop()

    def member(self) -> None:
        self.string()
        if self.skip() != ord(":"):
            raise self.wrong("after object key")
        self.at += 1
        self.value()

    def value(self) -> None:
        """A scalar, or containers as far as they open one in another."""
        while True:
            here = self.skip()
            if here in b"{[":
                self.open.append(chr(here))
                if len(self.open) > MOST_DEPTH + 1:
                    raise self.wrong("exceeded max depth")
                self.at += 1
                following = self.skip()
                if following == (ord("}") if here == ord("{") else ord("]")):
                    self.close()
                    return
                if here == ord("["):
                    continue
                if following != ord('"'):
                    raise self.wrong("looking for beginning of object key string")
                self.string()
                if self.skip() != ord(":"):
                    raise self.wrong("after object key")
                self.at += 1
                continue
            if here == ord('"'):
                self.string()
            elif here == ord("-") or here in _DIGITS:
                self.number()
            elif here in b"tfn":
                self.literal({ord("t"): "true", ord("f"): "false", ord("n"): "null"}[here])
            else:
                raise self.wrong("looking for beginning of value")
            return

    def literal(self, word: str) -> None:
        for letter in word:
            if self.peek() != ord(letter):
                raise self.wrong(f"in literal {word} (expecting '{letter}')")
            self.at += 1

    def string(self) -> None:
        self.at += 1
        while True:
            plain = _PLAIN.match(self.data, self.at)
            self.at = plain.end() if plain else self.at
            here = self.peek()
            if here == ord('"'):
                self.at += 1
                return
            if here != ord("\\"):
                raise self.wrong("in string literal")
            self.at += 1
            if self.peek() == ord("u"):
                for _ in range(4):
                    self.at += 1
                    if self.peek() not in _HEX:
                        raise self.wrong("in \\u hexadecimal character escape")
            elif self.peek() not in b'bfnrt\\/"':
                raise self.wrong("in string escape code")
            self.at += 1

    def digits(self, context: str) -> None:
        if self.peek() not in _DIGITS:
            raise self.wrong(context)
        while self.at < len(self.data) and self.data[self.at] in _DIGITS:
            self.at += 1

    def number(self) -> None:
        if self.peek() == ord("-"):
            self.at += 1
            if self.peek() not in _DIGITS:
                raise self.wrong("in numeric literal")
        if self.peek() == ord("0"):
            self.at += 1
        else:
            self.digits("in numeric literal")
        if self.at < len(self.data) and self.data[self.at] == ord("."):
            self.at += 1
            self.digits("after decimal point in numeric literal")
        if self.at < len(self.data) and self.data[self.at] in b"eE":
            self.at += 1
            if self.peek() in b"+-":
                self.at += 1
            self.digits("in exponent of numeric literal")
