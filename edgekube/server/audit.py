"""Audit: who did what, told as events of audit.k8s.io/v1, one JSON line each.

A request that is audited goes through an `Audited` exchange, which notes what passes by; nothing of it exists where no policy is
given. Where lines go is `audit_log`'s business, how much is told `audit_policy`'s.
Source: k8s.io/apiserver pkg/endpoints/filters/audit.go and pkg/audit/request.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import datetime
from typing import Any

import msgspec
import trio

from edgekube.api.kind import ENCODER
from edgekube.clock import Clock
from edgekube.errors import EdgekubeError
from edgekube.net.exchange import Exchange, Headers
from edgekube.server import audit_policy as policies
from edgekube.server.audit_log import AuditFile
from edgekube.server.audit_policy import COMPLETE, NOTHING, RECEIVED, STARTED, Policy, Wanted
from edgekube.server.context import Attributes, User

Document = dict[str, Any]
JSON = "application/json"
PROTOBUF_START = b"k8s\0"
BODY_BYTES_MOST = 3 * 1024 * 1024  # an answer that is larger is told without its body


class Auditor:
    """Turns requests into lines. Run `log.run` beside the server."""

    def __init__(self, policy: Policy, log: AuditFile, clock: Clock) -> None:
        self.policy, self.log, self.clock = policy, log, clock

    def begin(self, exchange: Exchange, audit_id: str) -> Audited:
        """The exchange to go on with."""
        return Audited(self, exchange, audit_id)


class Audited:
    """An exchange that takes notes. `authenticated` says whose it is; `finished` tells the last stage."""

    def __init__(self, auditor: Auditor, exchange: Exchange, audit_id: str) -> None:
        self._auditor, self._exchange, self._id = auditor, exchange, audit_id
        self.request = exchange.request
        self.wanted: Wanted = NOTHING
        self.annotations: dict[str, str] = {}
        self._received = auditor.clock.now()
        self._base: Document = {}
        self._sent: Any = None
        self._status = 0
        self._answer: bytes | None = None

    @property
    def answered(self) -> bool:
        """Whether an answer has begun."""
        return bool(getattr(self._exchange, "answered", False))

    # What is noted

    def authenticated(self, attributes: Attributes) -> None:
        """Who asks for what; from here on it is known what is to be told."""
        self.wanted = policies.decide(self._auditor.policy, attributes)
        self._base = self._told(attributes.user, attributes)
        self._stage(RECEIVED)

    def unauthenticated(self, attributes: Attributes) -> None:
        """Nobody was let in."""
        self.wanted = policies.decide(self._auditor.policy, attributes)
        self._base = self._told(None, attributes)

    def impersonated(self, user: User) -> None:
        """In whose name it goes on."""
        self._base["impersonatedUser"] = _user(user)

    def permitted(self, reason: str | None) -> None:
        """What the authoriser said; None: yes."""
        self.annotations["authorization.k8s.io/decision"] = "allow" if reason is None else "forbid"
        self.annotations["authorization.k8s.io/reason"] = reason or ""

    def finished(self, code: int) -> None:
        """The request is done with."""
        self._status = self._status or code
        self._stage(COMPLETE)

    def _told(self, user: User | None, attributes: Attributes) -> Document:
        request = self.request
        made: Document = {
            "requestURI": request.raw_target or request.path,
            "verb": attributes.verb,
            "user": _user(user) if user is not None else {},
            "sourceIPs": [one for one in (request.peer,) if one],
            "userAgent": request.header("user-agent"),
        }
        if attributes.resource:
            reference = {
                "resource": attributes.resource,
                "namespace": attributes.namespace,
                "name": attributes.name,
                "apiGroup": attributes.group,
                "apiVersion": attributes.version,
                "subresource": attributes.subresource,
            }
            made["objectRef"] = {name: value for name, value in reference.items() if value}
        return made

    def _stage(self, stage: str) -> None:
        wanted = self.wanted
        if policies.omits(wanted, stage):
            return
        event: Document = {
            "kind": "Event",
            "apiVersion": policies.API_VERSION,
            "level": wanted.level,
            "auditID": self._id,
            "stage": stage,
            **self._base,
        }
        if stage != RECEIVED:
            event["responseStatus"] = self._response_status()
            if wanted.bodies and self._sent is not None:
                event["requestObject"] = self._shown(self._sent)
            if wanted.answers and stage == COMPLETE and self._answer is not None:
                event["responseObject"] = self._shown(_document(self._answer))
        event["requestReceivedTimestamp"] = _micro(self._received)
        event["stageTimestamp"] = _micro(self._auditor.clock.now())
        if self.annotations and stage != RECEIVED:
            event["annotations"] = dict(self.annotations)
        self._auditor.log.append(ENCODER.encode({name: value for name, value in event.items() if value is not None}))

    def _shown(self, document: Any) -> Any:
        return document if self.wanted.managed_fields else policies.without_managed_fields(document)

    def _response_status(self) -> Document:
        made: Document = {"metadata": {}, "code": self._status}
        if self._status >= 400 and self._answer is not None:
            told = _document(self._answer)
            if isinstance(told, dict) and told.get("kind") == "Status":
                kept = ("status", "message", "reason", "details")
                made |= {name: told[name] for name in kept if name in told}
        return made

    @property
    def _unnamed(self) -> bool:
        return self._base.get("verb") == "create" and not self._base.get("objectRef", {"name": "-"}).get("name")

    def _name(self) -> None:
        """A new object's name stands in the object alone."""
        metadata = self._sent.get("metadata") if isinstance(self._sent, dict) else None
        if self._unnamed and isinstance(metadata, dict) and metadata.get("name"):
            self._base["objectRef"]["name"] = metadata["name"]

    # The exchange

    async def read_body(self, limit_bytes: int) -> bytes:
        """See Exchange."""
        body = await self._exchange.read_body(limit_bytes)
        if body and (self.wanted.bodies or (self.wanted.level != policies.NONE and self._unnamed)):
            self._sent = _document(body)
            self._name()
        return body

    async def read_piece(self) -> bytes:
        """See Exchange."""
        return await self._exchange.read_piece()

    async def respond(self, status: int, headers: Headers, body: bytes = b"") -> None:
        """See Exchange."""
        self._status = status
        plain = not any(name.lower() == "content-encoding" for name, _ in headers)
        if (self.wanted.answers or status >= 400) and plain and len(body) <= BODY_BYTES_MOST:
            self._answer = body
        await self._exchange.respond(status, headers, body)

    def stream(self, status: int, headers: Headers) -> AbstractAsyncContextManager[Callable[[bytes], Awaitable[None]]]:
        """See Exchange."""
        return self._stream(status, headers)

    @asynccontextmanager
    async def _stream(self, status: int, headers: Headers) -> AsyncIterator[Callable[[bytes], Awaitable[None]]]:
        self._status = status
        async with self._exchange.stream(status, headers) as send:
            self._stage(STARTED)
            yield send

    async def upgrade(self, headers: Headers) -> trio.abc.Stream:
        """See Exchange."""
        self._status = 101
        stream = await self._exchange.upgrade(headers)
        self._stage(STARTED)
        return stream


def _user(user: User) -> Document:
    made: Document = {"username": user.name}
    if user.uid:
        made["uid"] = user.uid
    if user.groups:
        made["groups"] = list(user.groups)
    if user.extra:
        made["extra"] = {key: list(values) for key, values in user.extra.items()}
    return made


def _document(body: bytes) -> Any:
    """A body as a document; what is neither JSON nor protobuf is not told, None."""
    if body.startswith(PROTOBUF_START):
        from edgekube.wire import k8s_protobuf

        try:
            return k8s_protobuf.decode(body)
        except EdgekubeError:
            return None
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _micro(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
