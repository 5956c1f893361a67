"""The registry's verbs for loops in this process: `client.local.Verbs`, authorised like any request but without HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from edgekube.api.kind import Kind
from edgekube.api.meta import DeleteOptions
from edgekube.errors import NotFound
from edgekube.net.exchange import Request
from edgekube.server import options
from edgekube.server.bodies import JSON, Document
from edgekube.server.context import Attributes, Context, User
from edgekube.server.options import ListOptions
from edgekube.server.patches import APPLY_PATCH
from edgekube.server.registry import Patch, Registry
from edgekube.server.routes import Routes, forbidden
from edgekube.server.stored import Stored
from edgekube.server.watching import WatchEvent
from edgekube.server.writing import Target

JSON_MEDIA = (("content-type", JSON), ("accept", JSON))
PLAIN_SUBRESOURCES = ("", "status", "ephemeralcontainers", "resize", "finalize", "approval")


class LocalVerbs:
    """Satisfies `client.local.Verbs`. `asker` is a `server.context.User`."""

    def __init__(self, registry: Registry, routes: Routes) -> None:
        self._registry, self._routes = registry, routes

    def _check(
        self,
        asker: User,
        verb: str,
        kind: Kind[Any],
        namespace: str,
        name: str = "",
        subresource: str = "",
        *,
        labels: str = "",
        fields: str = "",
    ) -> None:
        attributes = Attributes(
            user=asker,
            verb=verb,
            group=kind.group,
            version=kind.version,
            resource=kind.plural,
            subresource=subresource,
            namespace=namespace,
            name=name,
            field_selector=fields,
            label_selector=labels,
        )
        reason = self._routes.authorizer.refuse(attributes)
        if reason is not None:
            raise forbidden(attributes, reason)

    def _served(self, kind: Kind[Any]) -> Kind[Any]:
        """The server's own declaration: a caller may read less of an object (bare metadata), but what is stored is whole."""
        served = self._registry.kinds.find(kind.group, kind.version, kind.plural)
        if served is None:
            raise NotFound("the server could not find the requested resource")
        return served

    @staticmethod
    def _context(asker: User, manager: str) -> Context:
        return Context(user=asker, field_manager=manager or options_manager(asker), field_validation="Ignore")

    async def get(self, asker: User, kind: Kind[Any], namespace: str, name: str) -> bytes:
        """The object now."""
        kind = self._served(kind)
        self._check(asker, "get", kind, namespace, name)
        return await self._registry.get(kind, namespace, name)

    async def list(
        self, asker: User, kind: Kind[Any], namespace: str, *, labels: str, fields: str
    ) -> tuple[Sequence[bytes], str]:
        """The objects, and the revision to watch from."""
        kind = self._served(kind)
        self._check(asker, "list", kind, namespace, labels=labels, fields=fields)
        page = await self._registry.list(kind, namespace, self._options(kind, labels, fields))
        return page.values, str(page.revision)

    @staticmethod
    def _options(kind: Kind[Any], labels: str, fields: str) -> ListOptions:
        return ListOptions(labels=options.labels(labels), fields=options.fields(kind, fields))

    @asynccontextmanager
    async def watch(
        self, asker: User, kind: Kind[Any], namespace: str, *, after: str, labels: str, fields: str
    ) -> AsyncIterator[AsyncIterator[tuple[str, bytes]]]:
        """Pairs of event type and object."""
        kind = self._served(kind)
        self._check(asker, "watch", kind, namespace, labels=labels, fields=fields)
        chosen = ListOptions(
            labels=options.labels(labels),
            fields=options.fields(kind, fields),
            revision=after,
            watch=True,
            bookmarks=True,
        )
        async with self._registry.watch(kind, namespace, chosen) as events:
            yield _Pairs(events)

    async def create(self, asker: User, kind: Kind[Any], namespace: str, document: Document, *, manager: str) -> bytes:
        """The object as stored."""
        kind = self._served(kind)
        self._check(asker, "create", kind, namespace)
        return (await self._registry.create(kind, namespace, document, self._context(asker, manager))).value

    async def update(
        self,
        asker: User,
        kind: Kind[Any],
        namespace: str,
        name: str,
        document: Document,
        *,
        subresource: str,
        manager: str,
    ) -> bytes:
        """PUT."""
        if subresource not in PLAIN_SUBRESOURCES:
            path = resource_path(kind, namespace, name, subresource)
            return msgspec.json.encode(await self.call(asker, "PUT", path, document))
        kind = self._served(kind)
        self._check(asker, "update", kind, namespace, name, subresource)
        target = Target(kind=kind, namespace=namespace, name=name, subresource=subresource)
        return (await self._registry.update(target, document, self._context(asker, manager))).stored.value

    async def patch(
        self,
        asker: User,
        kind: Kind[Any],
        namespace: str,
        name: str,
        patch: Document | Sequence[Document],
        *,
        content_type: str,
        subresource: str,
        manager: str,
        force: bool,
    ) -> bytes:
        """Any patch type."""
        kind = self._served(kind)
        self._check(asker, "patch", kind, namespace, name, subresource)
        target = Target(kind=kind, namespace=namespace, name=name, subresource=subresource)
        if subresource not in PLAIN_SUBRESOURCES:
            path = resource_path(kind, namespace, name, subresource)
            if content_type == APPLY_PATCH:
                path += f"?fieldManager={manager or options_manager(asker)}&force={str(force).lower()}"
            body = msgspec.json.encode(patch)
            answer = await self._routes.call(asker, request_of("PATCH", path, content_type), body)
            return msgspec.json.encode(answer)
        content = list(patch) if not isinstance(patch, dict) else patch
        written = await self._registry.patch(
            target, Patch(media=content_type, content=content, force=force), self._context(asker, manager)
        )
        return written.stored.value

    async def delete(self, asker: User, kind: Kind[Any], namespace: str, name: str, options: Document) -> bytes | None:
        """The object when it only began to go, else None."""
        kind = self._served(kind)
        self._check(asker, "delete", kind, namespace, name)
        wanted = msgspec.convert(options, DeleteOptions)
        result, gone = await self._registry.delete(kind, namespace, name, wanted, self._context(asker, ""))
        return None if gone or not isinstance(result, Stored) else result.value

    async def call(self, asker: User, method: str, path: str, body: Document | None) -> Document:
        """Any other request of the HTTP API."""
        data = msgspec.json.encode(body) if body is not None else b""
        return await self._routes.call(asker, request_of(method, path, JSON), data)


class _Pairs(AsyncIterator[tuple[str, bytes]]):
    """Watch events as the client's Protocol wants them."""

    def __init__(self, events: AsyncIterator[WatchEvent]) -> None:
        self._events = events

    async def __anext__(self) -> tuple[str, bytes]:
        event = await self._events.__anext__()
        return event.type, event.value


def options_manager(asker: User) -> str:
    """A field manager for writes that name none."""
    return asker.name.rpartition(":")[2] or "edgekube"


def request_of(method: str, path: str, content_type: str) -> Request:
    """A request of this process to itself."""
    split = urlsplit(path)
    return Request(
        method=method,
        path=unquote(split.path),
        query=tuple(parse_qsl(split.query, keep_blank_values=True)),
        headers=(("content-type", content_type), ("accept", JSON), ("user-agent", "edgekube/local")),
        raw_target=path,
    )


def resource_path(kind: Kind[Any], namespace: str, name: str, subresource: str = "") -> str:
    """The URL path of an object."""
    root = f"/apis/{kind.group}/{kind.version}" if kind.group else f"/api/{kind.version}"
    place = f"/namespaces/{namespace}" if kind.namespaced and namespace else ""
    return f"{root}{place}/{kind.plural}/{name}" + (f"/{subresource}" if subresource else "")
