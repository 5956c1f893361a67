"""The Kubernetes API as Python verbs. `client.local` calls the registry in-process, `client.remote` speaks HTTPS.

Every loop (controllers, scheduler, node, network) knows only this. Errors are `errors.ApiError` subclasses, the same from both.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from edgekube.api.kind import Kind
from edgekube.api.meta import Object

T = TypeVar("T", bound=Object)


@dataclass(frozen=True, slots=True)
class Listing(Generic[T]):
    """What a list answered: objects and the revision they are from (watch from there)."""

    items: Sequence[T]
    revision: str


@dataclass(frozen=True, slots=True)
class Event(Generic[T]):
    """One watch event. `type`: ADDED, MODIFIED, DELETED or BOOKMARK (object holds only metadata.resource_version)."""

    type: str
    object: T


class Client(Protocol):
    """All verbs. `namespace` is "" for cluster-scoped kinds, and "" in list/watch for all namespaces."""

    async def get(self, kind: Kind[T], name: str, namespace: str = "") -> T: ...

    async def list(self, kind: Kind[T], namespace: str = "", *, labels: str = "", fields: str = "") -> Listing[T]: ...

    def watch(
        self, kind: Kind[T], namespace: str = "", *, after: str, labels: str = "", fields: str = ""
    ) -> AbstractAsyncContextManager[AsyncIterator[Event[T]]]:
        """Events after a revision, bookmarks included. Raises `errors.Gone` when too old. Ends when the server closes it."""
        ...

    async def create(self, kind: Kind[T], item: T, namespace: str = "") -> T: ...

    async def update(self, kind: Kind[T], item: T, *, subresource: str = "") -> T:
        """PUT. `item.metadata.resource_version` set = only if unchanged (else `errors.Conflict`)."""
        ...

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
    ) -> T: ...

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
    ) -> None: ...

    async def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Any other request (binding, eviction, token): path as in the HTTP API, JSON both ways."""
        ...
