"""Passing a request on to an aggregated server, in the name of whoever asked.

Source: kube-aggregator pkg/apiserver/handler_proxy.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import trio

from edgekube import errors
from edgekube.net.exchange import Exchange, Headers
from edgekube.server.admission.interface import Cluster
from edgekube.server.aggregation.remotes import Remote, identity_headers, is_identity
from edgekube.server.context import User
from edgekube.server.reach import Reach

CONNECT_S = 30.0
TEXT = [("Content-Type", "text/plain; charset=utf-8"), ("X-Content-Type-Options", "nosniff")]


class Renamed:
    """An exchange whose request shows nobody's identity but the one we vouch for."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        headers = tuple(pair for pair in exchange.request.headers if not is_identity(pair[0]))
        self.request = replace(exchange.request, headers=headers)

    async def read_body(self, limit_bytes: int) -> bytes:
        """See Exchange."""
        return await self._exchange.read_body(limit_bytes)

    async def read_piece(self) -> bytes:
        """See Exchange."""
        return await self._exchange.read_piece()

    async def respond(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """See Exchange."""
        await self._exchange.respond(status, headers, body)

    def stream(self, status: int, headers: Headers) -> AbstractAsyncContextManager[Callable[[bytes], Awaitable[None]]]:
        """See Exchange."""
        return self._exchange.stream(status, headers)

    async def upgrade(self, headers: Headers) -> trio.abc.Stream:
        """See Exchange."""
        return await self._exchange.upgrade(headers)


async def pass_on(
    exchange: Exchange, remote: Remote, user: User, reach: Reach, cluster: Cluster, headers: Headers
) -> int:
    """Answer an exchange with what the other server says; the status, as far as it is known here."""
    from edgekube.net.forwarding import forward

    if not remote.available:
        return await _say(exchange, 503, "service unavailable", headers)
    request = exchange.request
    try:
        with trio.fail_after(CONNECT_S):
            stream = await reach.connect(cluster, remote.to)
    except (errors.ConnectionFailed, trio.TooSlowError) as problem:
        why = "context deadline exceeded" if isinstance(problem, trio.TooSlowError) else str(problem)
        words = (
            "service unavailable" if why.startswith(("service ", "no ")) else f"error trying to reach service: {why}"
        )
        return await _say(exchange, 503, words, headers)
    extra = [
        *identity_headers(user),
        ("x-forwarded-uri", request.raw_target.partition("?")[0]),
        ("x-forwarded-host", request.header("host")),
        ("x-forwarded-proto", "https"),
    ]
    try:
        await forward(Renamed(exchange), stream, target=request.raw_target, extra=extra)
    except errors.ServiceUnavailable as problem:
        if getattr(exchange, "answered", False):
            raise
        return await _say(exchange, 503, problem.message, headers)
    return 200


async def _say(exchange: Exchange, status: int, words: str, headers: Headers) -> int:
    await exchange.respond(status, [*headers, *TEXT], f"{words}\n".encode())
    return status
