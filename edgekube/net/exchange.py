"""One HTTP request and its answer, as handlers see it. `net.connection` implements it; tests have a fake.

Nothing here knows Kubernetes. Header names are lower case; a request's path is percent-decoded, its query is a list of pairs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Protocol

import trio


@dataclass(frozen=True, slots=True)
class Request:
    """The head of a request."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    raw_target: str = ""
    peer: str = ""  # the client's IP address
    peer_certificate: bytes | None = field(default=None, repr=False)  # DER; verified against the client CA

    def header(self, name: str) -> str:
        """The first value of a header (lower-case name), or ""."""
        return next((value for key, value in self.headers if key == name), "")

    def all_headers(self, name: str) -> list[str]:
        """Every value of a header."""
        return [value for key, value in self.headers if key == name]

    def param(self, name: str) -> str:
        """The first value of a query parameter, or ""."""
        return next((value for key, value in self.query if key == name), "")


Headers = Sequence[tuple[str, str]]


class Exchange(Protocol):
    """Read the body, then answer exactly once: respond, stream or upgrade."""

    request: Request

    async def read_body(self, limit_bytes: int) -> bytes:
        """The whole body. Raises `errors.TooLarge` past the limit."""
        ...

    async def read_piece(self) -> bytes:
        """The next piece of the body as it arrives, b"" at its end: for bodies that are passed on, not kept."""
        ...

    async def respond(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """A complete answer; Content-Length (and Date) are added."""
        ...

    def stream(self, status: int, headers: Headers) -> AbstractAsyncContextManager[Callable[[bytes], Awaitable[None]]]:
        """A chunked answer: call what it yields with each piece. The block is cancelled when the client goes away."""
        ...

    async def upgrade(self, headers: Headers) -> trio.abc.Stream:
        """Answer 101 and hand over the raw connection (bytes already read included)."""
        ...


Handler = Callable[[Exchange], Awaitable[None]]
