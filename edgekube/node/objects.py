"""API objects that pods of this node refer to by name, each followed on its own while a pod needs it.

A node so holds (and may read) just its own pods' ConfigMaps, Secrets and claims, never a whole kind. Losing the server loses nothing:
what was seen stays.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import trio

from edgekube.api.kind import Kind
from edgekube.api.meta import Object
from edgekube.client.follow import Cache, follow
from edgekube.client.interface import Client

T = TypeVar("T", bound=Object)

Key = tuple[str, str, str]  # (kind's resource, namespace, name)
WAIT_FOR_SERVER_S = 10.0  # then a pod's volumes are "not ready yet" and it is tried again


@dataclass
class _Followed:
    cache: Cache[Any]
    scope: trio.CancelScope
    synced: trio.Event
    users: set[str] = field(default_factory=set)  # pod uids


class NotYet(Exception):
    """The server has not answered for an object so far."""


class ReferredObjects:
    """`need` from any pod; `release` when a pod is gone. `changed(uids)` is told which pods to look at."""

    def __init__(self, client: Client, nursery: trio.Nursery, changed: Callable[[set[str]], None]) -> None:
        self._client, self._nursery, self._changed = client, nursery, changed
        self._followed: dict[Key, _Followed] = {}

    async def need(self, kind: Kind[T], namespace: str, name: str, *, user: str) -> T | None:
        """The object, None when there is none. Follows it from now on. Raises NotYet."""
        key = (kind.resource, namespace, name)
        entry = self._followed.get(key)
        if entry is None:
            entry = self._followed[key] = _Followed(Cache(), trio.CancelScope(), trio.Event())
            self._nursery.start_soon(self._follow, kind, namespace, name, entry)
        entry.users.add(user)
        with trio.move_on_after(WAIT_FOR_SERVER_S):
            await entry.synced.wait()
        if not entry.synced.is_set():
            raise NotYet(f'failed to sync {kind.plural} "{namespace}/{name}": timed out waiting for the condition')
        found: T | None = entry.cache.get(namespace, name)
        return found

    async def _follow(self, kind: Kind[Any], namespace: str, name: str, entry: _Followed) -> None:
        def on_change(before: Object | None, after: Object | None) -> None:
            if entry.synced.is_set():
                self._changed(set(entry.users))

        with entry.scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(
                    lambda task_status: follow(
                        self._client,
                        kind,
                        entry.cache,
                        on_change=on_change,
                        namespace=namespace,
                        fields=f"metadata.name={name}",
                        task_status=task_status,
                    )
                )
                entry.synced.set()

    def release(self, user: str) -> None:
        """A pod is gone: stop following what only it needed."""
        for key, entry in list(self._followed.items()):
            entry.users.discard(user)
            if not entry.users:
                entry.scope.cancel()
                del self._followed[key]


@dataclass(frozen=True, slots=True)
class PodObjects:
    """`volumes.Objects` for one pod."""

    all: ReferredObjects
    uid: str

    async def need(self, kind: Kind[T], namespace: str, name: str) -> T | None:
        """See ReferredObjects.need."""
        return await self.all.need(kind, namespace, name, user=self.uid)
