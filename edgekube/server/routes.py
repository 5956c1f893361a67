"""The handler of every request: bounds, identity, permission, then the part of the server that answers; and every refusal.

    in flight? -> who (authentication, impersonation) -> may they (authorisation) -> resource | connection | document

Nothing is decided here about objects. Errors become a Status in the media type the client accepts; what nobody foresaw
becomes a 500 and a log line, never a lost connection. Source: k8s.io/apiserver pkg/server/config.go (the filter chain).
"""

from __future__ import annotations

import logging
import zlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import count
from typing import Any

import msgspec
import trio

from edgekube import errors
from edgekube.clock import Clock
from edgekube.net.exchange import Exchange, Request
from edgekube.server import negotiation, paths
from edgekube.server.admission import connections
from edgekube.server.aggregation.aggregator import Aggregator
from edgekube.server.aggregation.remotes import Remote
from edgekube.server.audit import Audited, Auditor
from edgekube.server.auth.impersonation import Impersonation
from edgekube.server.bodies import JSON
from edgekube.server.context import ANONYMOUS, Attributes, Authenticator, Authorizer, User
from edgekube.server.documents import Documents
from edgekube.server.fairness import Fairness
from edgekube.server.metrics import Metrics
from edgekube.server.paths import Asked
from edgekube.server.resources import BODY_MAX_BYTES, Answer, Resources

log = logging.getLogger(__name__)

READS_IN_FLIGHT = 400  # upstream's --max-requests-inflight
WRITES_IN_FLIGHT = 200  # upstream's --max-mutating-requests-inflight
REQUEST_S = 60.0  # upstream's --request-timeout
GZIP_FROM_BYTES = 128 * 1024  # upstream's threshold
GZIP_IN_THREAD_FROM_BYTES = 1024 * 1024  # below that, compressing takes less than a thread's hop is worth
READ_METHODS = ("GET", "HEAD")
STREAMING = frozenset({"exec", "attach", "portforward", "log", "proxy"})

TakeOver = Callable[[Exchange, User], Awaitable[None]]  # authorises by itself


class Routes:
    """Answers exchanges. `handle` is a `net.exchange.Handler`."""

    def __init__(
        self,
        resources: Resources,
        documents: Documents,
        metrics: Metrics,
        clock: Clock,
        *,
        authenticator: Authenticator,
        authorizer: Authorizer,
    ) -> None:
        self._resources, self._documents, self._metrics, self._clock = resources, documents, metrics, clock
        self._authenticator, self.authorizer = authenticator, authorizer
        self._impersonation = Impersonation(authorizer, forbidden)
        self.taken_over: dict[str, TakeOver] = {}  # by path: who speaks something else than HTTP on a connection
        self._reading = self._writing = 0
        self.aggregator: Aggregator | None = None
        self.auditor: Auditor | None = None  # none: nothing is told of anybody
        self.fairness: Fairness | None = None
        self._audit, self._numbers = clock.uid()[:24], count(1)  # audit ids are uuids of this process, counted

    async def handle(self, exchange: Exchange) -> None:
        """Answer one request, whatever it is."""
        request, began = exchange.request, self._clock.monotonic()
        headers = [("Audit-Id", f"{self._audit}{next(self._numbers):012x}"), ("Cache-Control", "no-cache, private")]
        asked = paths.parse(request)
        audited = None
        if self.auditor is not None:
            exchange = audited = self.auditor.begin(exchange, headers[0][1])
        code = 500
        try:
            code = await self._begin(exchange, asked, headers, audited)
        except errors.ApiError as problem:
            code = problem.code
            if audited is not None:
                audited.annotations |= problem.annotations
            await self._refuse(exchange, problem, [*headers, *warning_headers(problem.warnings)])
        except (trio.BrokenResourceError, trio.ClosedResourceError, errors.ConnectionFailed):
            code = 499
        except errors.StoreError as problem:  # the store has said so in the log; a trace would say nothing more
            await self._refuse(
                exchange, errors.InternalError(f"Internal error occurred: {problem}", details=False), headers
            )
        except Exception as problem:
            log.exception("%s %s failed", request.method, request.path)
            failure = errors.InternalError(f"Internal error occurred: {problem}", details=False)
            await self._refuse(exchange, failure, headers)
        finally:
            self._metrics.request(asked, code, self._clock.monotonic() - began)
            if audited is not None:
                audited.finished(code)

    async def _begin(
        self, exchange: Exchange, asked: Asked, headers: list[tuple[str, str]], audited: Audited | None
    ) -> int:
        """Who it is, and whose turn it is."""
        request = exchange.request
        if not asked.plural and (take_over := self.taken_over.get(asked.path)) is not None:
            await take_over(exchange, await self._authenticator.authenticate(request))
            return 101
        user = await self._known(request, asked, audited)
        attributes = attributes_of(user, asked, request)
        if audited is not None:
            audited.authenticated(attributes)
        if any(name.startswith("impersonate-") for name, _ in request.headers):
            user = self._impersonation.act_as(request, attributes)
            attributes = replace(attributes, user=user)
            if audited is not None:
                audited.impersonated(user)
        flow = await self.fairness.flow_of(attributes) if self.fairness is not None else None
        if flow is not None:
            headers += flow.headers
        if asked.verb == "watch" or asked.subresource in STREAMING:
            return await self._permitted(exchange, asked, headers, attributes, audited)
        if flow is None or self.fairness is None:
            return await self._bounded(exchange, asked, headers, attributes, audited)
        await self.fairness.take_seat(flow)
        try:
            return await self._bounded(exchange, asked, headers, attributes, audited)
        finally:
            self.fairness.leave(flow.level)

    async def _known(self, request: Request, asked: Asked, audited: Audited | None) -> User:
        try:
            return await self._authenticator.authenticate(request)
        except errors.Unauthorized:
            if audited is not None:
                audited.unauthenticated(attributes_of(ANONYMOUS, asked, request))
            raise

    async def _bounded(
        self,
        exchange: Exchange,
        asked: Asked,
        headers: list[tuple[str, str]],
        attributes: Attributes,
        audited: Audited | None,
    ) -> int:
        """Hold the bound on requests being worked on; long-lived ones do not count."""
        reads = exchange.request.method in READ_METHODS
        if (self._reading >= READS_IN_FLIGHT) if reads else (self._writing >= WRITES_IN_FLIGHT):
            headers.append(("Retry-After", "1"))
            raise errors.TooManyRequests("Too many requests, please try again later.", retry_after_s=1)
        self._reading, self._writing = self._reading + reads, self._writing + (not reads)
        try:
            return await self._permitted(exchange, asked, headers, attributes, audited)
        finally:
            self._reading, self._writing = self._reading - reads, self._writing - (not reads)

    async def _permitted(
        self,
        exchange: Exchange,
        asked: Asked,
        headers: list[tuple[str, str]],
        attributes: Attributes,
        audited: Audited | None,
    ) -> int:
        request, user = exchange.request, attributes.user
        reason = self.authorizer.refuse(attributes)
        if audited is not None:
            audited.permitted(reason)
        if reason is not None:
            raise forbidden(attributes, reason)
        if not asked.is_resource:
            if asked.path.startswith("/apis/") and (remote := await self._remote(asked)) is not None:
                return await self._pass_on(exchange, remote, user, headers)
            return await self._send(exchange, await self._document(exchange, asked), headers)
        known = self._resources.registry.kinds.has_version(asked.group, asked.version)
        elsewhere = not known or (self.aggregator is not None and self.aggregator.anybody)
        if elsewhere and (remote := await self._remote(asked)) is not None:
            return await self._pass_on(exchange, remote, user, headers)
        if not known or self._resources.is_nowhere(asked):
            return await self._send(exchange, self._documents.missing(asked.path), headers)
        kind = self._resources.kind_of(asked)
        self._resources.check_method(kind, asked, request.method)
        if kind.deprecation:
            headers.append(("Warning", f"299 - {quoted(kind.deprecation)}"))
        if asked.verb == "watch":
            await self._resources.watch(asked, kind, exchange, headers)
            return 200
        connector = self._resources.connectors.get(f"{kind.group}/{kind.plural}/{asked.subresource}")
        if connector is not None:
            if asked.subresource in connections.ADMITTED:
                review = connections.review_of(asked, kind, request, user)
                await self._resources.registry.admission.connect(review)
            await connector(exchange, user, asked)
            return 200
        body = await exchange.read_body(BODY_MAX_BYTES)
        with trio.move_on_after(REQUEST_S) as patience:
            answer, context = await self._resources.answer(asked, kind, request, body, user)
        if patience.cancelled_caught:
            raise errors.Timeout("Timeout: request did not complete within the allotted timeout")
        if audited is not None:
            audited.annotations |= context.annotations
        return await self._send(exchange, answer, [*headers, *warning_headers(context.warnings)])

    async def _remote(self, asked: Asked) -> Remote | None:
        return None if self.aggregator is None else await self.aggregator.remote_for(asked)

    async def _pass_on(self, exchange: Exchange, remote: Remote, user: User, headers: list[tuple[str, str]]) -> int:
        assert self.aggregator is not None
        return await self.aggregator.pass_on(exchange, remote, user, headers)

    async def _document(self, exchange: Exchange, asked: Asked) -> Answer:
        return await self._documents.answer(exchange.request, asked.path)

    def authorize(self, attributes: Attributes) -> None:
        """Raises Forbidden in upstream's words."""
        reason = self.authorizer.refuse(attributes)
        if reason is not None:
            raise forbidden(attributes, reason)

    async def call(self, user: User, request: Request, body: bytes) -> dict[str, Any]:
        """A request from inside this process: authorised as any other, answered as a document."""
        asked = paths.parse(request)
        self.authorize(attributes_of(user, asked, request))
        if not asked.is_resource:
            answer = await self._documents.answer(request, asked.path)
        else:
            kind = self._resources.kind_of(asked)
            self._resources.check_method(kind, asked, request.method)
            answer, _ = await self._resources.answer(asked, kind, request, body, user)
        if answer.status == 404 and not answer.body.startswith(b"{"):  # a path nobody serves is answered in plain text
            raise errors.NotFound("the server could not find the requested resource")
        document: dict[str, Any] = msgspec.json.decode(answer.body or b"{}")
        if answer.status >= 400:
            raise errors.ApiError.from_status(document)
        return document

    async def _send(self, exchange: Exchange, answer: Answer, headers: list[tuple[str, str]]) -> int:
        body = answer.body
        own = {name.lower() for name, _ in answer.headers}
        all_headers = [one for one in headers if one[0].lower() not in own]
        if answer.media:
            all_headers.append(("Content-Type", answer.media))
        all_headers += answer.headers
        large = len(body) >= GZIP_FROM_BYTES and "content-encoding" not in own
        if large and "gzip" in exchange.request.header("accept-encoding"):
            body = await compressed(body)
            all_headers += [("Content-Encoding", "gzip"), ("Vary", "Accept-Encoding")]
        await exchange.respond(answer.status, all_headers, body)
        return answer.status

    async def _refuse(self, exchange: Exchange, problem: errors.ApiError, headers: list[tuple[str, str]]) -> None:
        if getattr(exchange, "answered", False):
            return
        media = negotiation.error_form(exchange.request.header("accept"))
        body = msgspec.json.encode(problem.to_status())
        try:
            body = negotiation.encode(media, None, body)
        except Exception:
            media = JSON
        extra = [("Retry-After", str(problem.retry_after_s))] if problem.retry_after_s else []
        own = {name for name, _ in headers}
        extra = [one for one in extra if one[0] not in own]
        try:
            await exchange.respond(problem.code, [*headers, *extra, ("Content-Type", media)], body)
        except (trio.BrokenResourceError, trio.ClosedResourceError, errors.ConnectionFailed):
            return


def _gzip(body: bytes) -> bytes:
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


async def compressed(body: bytes) -> bytes:
    """Quickly gzipped; large bodies in a thread."""
    if len(body) < GZIP_IN_THREAD_FROM_BYTES:
        return _gzip(body)
    return await trio.to_thread.run_sync(_gzip, body)


def attributes_of(user: User, asked: Asked, request: Request) -> Attributes:
    """What is to be authorised."""
    if not asked.is_resource:
        return Attributes(user=user, verb=asked.verb, path=asked.path)
    name = asked.name
    if not name and asked.verb in ("list", "watch", "deletecollection"):
        for term in request.param("fieldSelector").split(","):
            if term.startswith("metadata.name="):
                name = term.removeprefix("metadata.name=").removeprefix("=")
    return Attributes(
        user=user,
        verb=asked.verb,
        group=asked.group,
        version=asked.version,
        resource=asked.plural,
        subresource=asked.subresource,
        namespace=asked.namespace,
        name=name,
        path=asked.path,
        field_selector=request.param("fieldSelector"),
        label_selector=request.param("labelSelector"),
    )


def forbidden(attributes: Attributes, reason: str) -> errors.Forbidden:
    """The 403 of the authoriser. Source: k8s.io/apiserver pkg/endpoints/handlers/responsewriters/errors.go."""
    user, verb = attributes.user.name, attributes.verb
    why = f": {reason}" if reason else ""
    if not attributes.resource:
        return errors.Forbidden(f'forbidden: User "{user}" cannot {verb} path "{attributes.path}"{why}')
    resource = attributes.resource + (f"/{attributes.subresource}" if attributes.subresource else "")
    of = f"{attributes.resource}.{attributes.group}" if attributes.group else attributes.resource
    named = f' "{attributes.name}"' if attributes.name else ""
    scope = f'in the namespace "{attributes.namespace}"' if attributes.namespace else "at the cluster scope"
    return errors.Forbidden(
        f'{of}{named} is forbidden: User "{user}" cannot {verb} resource "{resource}" in API group "{attributes.group}"'
        f" {scope}{why}",
        name=attributes.name,
        group=attributes.group,
        kind=attributes.resource,
    )


def warning_headers(warnings: Sequence[str]) -> list[tuple[str, str]]:
    """Warning headers, each text once."""
    return [("Warning", f"299 - {quoted(text)}") for text in dict.fromkeys(warnings)]


def quoted(text: str) -> str:
    """A quoted-string of RFC 7230 on one line."""
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return '"' + shown.replace("\\", "\\\\").replace('"', '\\"') + '"'
