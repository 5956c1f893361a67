"""What a machine asks its server before (or without) a certificate: pages outside of the Kubernetes API.

    GET  /cacerts             anybody    the cluster's CA; who has a token checks it against the hash in there before using it
    GET  /edgekube/v1/agent   a node, or who has a bootstrap token: the cluster's settings and time; refuses versions too far apart
    POST /edgekube/v1/renew   anybody    a PEM certificate request whose key is one the named node may use: its next certificate.
                              A request is signed by its own key, and the answer is of use to that key's owner only, so nothing
                              more has to be proven: a machine that was away for longer than its certificate lived comes back so.
    POST /edgekube/v1/leave   a node: it is one no more (a node may not delete its Node itself, as upstream has it)

Which settings there are, and how a certificate is signed, `app` hands in.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import msgspec
import trio

from edgekube import errors
from edgekube.api.certificates import NODE_CLIENT, NODE_GROUP, NODE_USER, Asked, problem, read_request
from edgekube.api.meta import format_time
from edgekube.api.skew import VERSION, skew_problem
from edgekube.net.exchange import Exchange, Handler
from edgekube.server.bodies import JSON
from edgekube.server.context import Authenticator

CACERTS, AGENT, RENEW, LEAVE = "/cacerts", "/edgekube/v1/agent", "/edgekube/v1/renew", "/edgekube/v1/leave"
PEM = "application/x-pem-file"
BOOTSTRAP_GROUP = "system:bootstrappers"
REQUEST_MAX_BYTES = 16 * 1024
RENEWALS_AT_ONCE = 4  # signing costs a few milliseconds, and anybody may ask
USAGES = ("digital signature", "client auth")

log = logging.getLogger("edgekube.joining")


@dataclass(frozen=True, kw_only=True)
class Pages:
    """The pages by path. `pages` has those of other parts (the tunnel); it may be added to."""

    authenticator: Authenticator
    authority: Callable[[], bytes]  # PEM
    keys: Callable[[str], tuple[str, ...]]  # the key fingerprints a node may use
    sign: Callable[[bytes, tuple[str, ...]], bytes]  # (PEM request, usages) -> PEM client certificate
    settings: Mapping[str, Any]
    now: Callable[[], datetime]
    certain: Callable[[], datetime]  # a time that has surely come
    forget: Callable[[str], Awaitable[None]]  # delete a Node
    shut_out: Callable[[str], Awaitable[None]]  # make a node's key useless; its connections end
    pages: dict[str, Handler] = field(default_factory=dict)
    _signing: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(RENEWALS_AT_ONCE))

    async def handle(self, exchange: Exchange) -> bool:
        """Answer a request to one of these pages; False leaves it to others."""
        request = exchange.request
        own: dict[str, tuple[str, Callable[[Exchange], Awaitable[None]]]] = {
            CACERTS: ("GET", self._authority),
            AGENT: ("GET", self._agent),
            RENEW: ("POST", self._renew),
            LEAVE: ("POST", self._leave),
        }
        found = own.get(request.path)
        if found is None:
            page = self.pages.get(request.path)
            if page is None:
                return False
            found = (request.method, page)
        method, answer = found
        try:
            if request.method != method:
                raise errors.MethodNotAllowed(f"{request.path} wants {method}", details=False)
            await answer(exchange)
        except errors.ApiError as refused:
            if not getattr(exchange, "answered", False):
                body = msgspec.json.encode(refused.to_status())
                await exchange.respond(refused.code, [("Content-Type", JSON)], body)
        return True

    async def _authority(self, exchange: Exchange) -> None:
        await exchange.respond(200, [("Content-Type", PEM)], self.authority())

    async def _agent(self, exchange: Exchange) -> None:
        user = await self.authenticator.authenticate(exchange.request)
        if not {NODE_GROUP, BOOTSTRAP_GROUP} & set(user.groups):
            raise errors.Forbidden("only nodes, and machines with a bootstrap token, may ask for this", details=False)
        if (wrong := skew_problem(exchange.request.param("version"))) is not None:
            raise errors.Forbidden(wrong, details=False)
        times = {"now": str(format_time(self.now())), "certain": str(format_time(self.certain()))}
        body = msgspec.json.encode({"version": VERSION, "settings": self.settings, **times})
        await exchange.respond(200, [("Content-Type", JSON)], body)

    async def _renew(self, exchange: Exchange) -> None:
        pem = await exchange.read_body(REQUEST_MAX_BYTES)
        async with self._signing:
            await trio.lowlevel.checkpoint()
            try:
                asked = read_request(pem)
            except ValueError:
                raise errors.BadRequest("this is not a certificate request signed by its own key") from None
            self._check(asked)
            made = self.sign(pem, USAGES)
        log.info("%s came back by its key", asked.node)
        await exchange.respond(201, [("Content-Type", PEM)], made)

    async def _leave(self, exchange: Exchange) -> None:
        user = await self.authenticator.authenticate(exchange.request)
        node = user.name.removeprefix(NODE_USER)
        if NODE_GROUP not in user.groups or node == user.name:
            raise errors.Forbidden("only a node may leave", details=False)
        await self.forget(node)
        await exchange.respond(200, [("Content-Type", JSON)], b"{}")
        log.info("%s left the cluster", node)
        await self.shut_out(node)  # last: this connection ends with it

    def _check(self, asked: Asked) -> None:
        if (wrong := problem(asked, USAGES, NODE_CLIENT)) is not None:
            raise errors.BadRequest(wrong)
        if asked.key not in self.keys(asked.node):
            raise errors.Forbidden(
                f"this machine is not the node {asked.node} any more: join again with a fresh token", details=False
            )
