"""The API's verbs inside the server's own process: no HTTP, no second encoding; the same identity checks and admission.

`Verbs` is what this client needs of a server; `server.registry` satisfies it. Documents go in as plain dicts (a copy is made
here, so the caller's object stays its own), stored JSON bytes come out and are decoded once, here. This module refuses to know
stores, authorisers and contexts: `asker` is passed through as it came (a `server.context.User`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, Protocol, TypeVar

from edgekube.api.kind import Kind
from edgekube.api.meta import Object
from edgekube.client.interface import Event, Listing

T = TypeVar("T", bound=Object)


class Verbs(Protocol):
    """A server in this process. Every verb authorises `asker`, admits, validates and stores, and raises `errors.ApiError`.

    `namespace` is "" for cluster scope, and for all namespaces in list and watch. Bytes are complete JSON objects in the
    version of `kind` (metadata.resourceVersion, kind and apiVersion included). Dicts given in may be kept and changed.
    """

    async def get(self, asker: Any, kind: Kind[Any], namespace: str, name: str) -> bytes: ...

    async def list(
        self, asker: Any, kind: Kind[Any], namespace: str, *, labels: str, fields: str
    ) -> tuple[Sequence[bytes], str]:
        """The objects, and the revision to watch from (decimal text)."""
        ...

    def watch(
        self, asker: Any, kind: Kind[Any], namespace: str, *, after: str, labels: str, fields: str
    ) -> AbstractAsyncContextManager[AsyncIterator[tuple[str, bytes]]]:
        """Pairs of event type and object, BOOKMARKs included. Raises `errors.Gone` on entering or while iterating."""
        ...

    async def create(
        self, asker: Any, kind: Kind[Any], namespace: str, document: dict[str, Any], *, manager: str
    ) -> bytes: ...

    async def update(
        self,
        asker: Any,
        kind: Kind[Any],
        namespace: str,
        name: str,
        document: dict[str, Any],
        *,
        subresource: str,
        manager: str,
    ) -> bytes: ...

    async def patch(
        self,
        asker: Any,
        kind: Kind[Any],
        namespace: str,
        name: str,
        patch: dict[str, Any] | Sequence[dict[str, Any]],
        *,
        content_type: str,
        subresource: str,
        manager: str,
        force: bool,
    ) -> bytes: ...

    async def delete(
        self, asker: Any, kind: Kind[Any], namespace: str, name: str, options: dict[str, Any]
    ) -> bytes | None:
        """`options` is a DeleteOptions document. Returns the object when it only began to go, else None."""
        ...

    async def call(self, asker: Any, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """Any other request, by its HTTP path (query allowed): bindings, evictions, token requests."""
        ...


class LocalClient:
    """`client.interface.Client` over `Verbs`, speaking as one user. `manager` is the field manager of its writes."""

    def __init__(self, verbs: Verbs, user: Any, *, manager: str = "") -> None:
        self._verbs = verbs
        self._user = user
        self._manager = manager

    async def get(self, kind: Kind[T], name: str, namespace: str = "") -> T:
        """The object now. Raises `errors.NotFound`."""
        return kind.from_json(await self._verbs.get(self._user, kind, namespace, name))

    async def list(self, kind: Kind[T], namespace: str = "", *, labels: str = "", fields: str = "") -> Listing[T]:
        """All objects that match, and the revision they are from."""
        values, revision = await self._verbs.list(self._user, kind, namespace, labels=labels, fields=fields)
        return Listing([kind.from_json(value) for value in values], revision)

    @asynccontextmanager
    async def watch(
        self, kind: Kind[T], namespace: str = "", *, after: str, labels: str = "", fields: str = ""
    ) -> AsyncIterator[AsyncIterator[Event[T]]]:
        """Events after a revision; see `client.interface.Client.watch`."""
        watching = self._verbs.watch(self._user, kind, namespace, after=after, labels=labels, fields=fields)
        async with watching as events:
            yield _Decoded(kind, events)

    async def create(self, kind: Kind[T], item: T, namespace: str = "") -> T:
        """The object as stored. Raises `errors.AlreadyExists`, `errors.Invalid`."""
        namespace = namespace or item.metadata.namespace
        document = self._document(kind, item)
        return kind.from_json(await self._verbs.create(self._user, kind, namespace, document, manager=self._manager))

    async def update(self, kind: Kind[T], item: T, *, subresource: str = "") -> T:
        """PUT; conditional when the item carries a resource version."""
        made = await self._verbs.update(
            self._user,
            kind,
            item.metadata.namespace,
            item.metadata.name,
            self._document(kind, item),
            subresource=subresource,
            manager=self._manager,
        )
        return kind.from_json(made)

    async def patch(
        self,
        kind: Kind[T],
        name: str,
        namespace: str,
        patch: dict[str, Any] | Sequence[dict[str, Any]],
        *,
        content_type: str = "application/merge-patch+json",
        subresource: str = "",
        manager: str = "",
        force: bool = False,
    ) -> T:
        """Any patch type, server-side apply included."""
        made = await self._verbs.patch(
            self._user,
            kind,
            namespace,
            name,
            patch,
            content_type=content_type,
            subresource=subresource,
            manager=manager or self._manager,
            force=force,
        )
        return kind.from_json(made)

    async def delete(
        self,
        kind: Kind[T],
        name: str,
        namespace: str = "",
        *,
        uid: str = "",
        revision: str = "",
        grace_s: int | None = None,
        propagation: str = "",
    ) -> None:
        """Begin (and mostly finish) a deletion, optionally only of this uid and revision."""
        options = delete_options(uid=uid, revision=revision, grace_s=grace_s, propagation=propagation)
        await self._verbs.delete(self._user, kind, namespace, name, options)

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Any other request of the HTTP API."""
        return await self._verbs.call(self._user, method, path, body)

    @staticmethod
    def _document(kind: Kind[T], item: T) -> dict[str, Any]:
        document = kind.to_dict(item)
        document["kind"], document["apiVersion"] = kind.name, kind.api_version
        return document


class _Decoded(AsyncIterator[Event[T]]):
    """Watch events with their objects decoded as they are taken."""

    def __init__(self, kind: Kind[T], events: AsyncIterator[tuple[str, bytes]]) -> None:
        self._kind, self._events = kind, events

    async def __anext__(self) -> Event[T]:
        type_, value = await self._events.__anext__()
        return Event(type_, self._kind.from_json(value))


def delete_options(*, uid: str, revision: str, grace_s: int | None, propagation: str) -> dict[str, Any]:
    """A DeleteOptions document with only what was asked for."""
    preconditions = {key: value for key, value in (("uid", uid), ("resourceVersion", revision)) if value}
    options: dict[str, Any] = {"kind": "DeleteOptions", "apiVersion": "v1"}
    if grace_s is not None:
        options["gracePeriodSeconds"] = grace_s
    if propagation:
        options["propagationPolicy"] = propagation
    if preconditions:
        options["preconditions"] = preconditions
    return options
