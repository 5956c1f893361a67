"""Every verb for every kind over one store: the single place where objects are read and written.

`Registry` puts together the parts that each hold one idea (listing, watching, writing, patches, deletion) and adds nothing but
the choice between them. It authorises nobody and knows no HTTP: `routes` asks it for the outside world, `local` for the loops
inside this process. Kinds are looked up here, by resource, so that a custom resource is found like a built-in one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from edgekube.api.kind import Kind
from edgekube.api.meta import DeleteOptions, Object
from edgekube.clock import Clock
from edgekube.kinds.catalog import built_in
from edgekube.server.admission.interface import Chain, Step
from edgekube.server.bodies import Document
from edgekube.server.context import Context
from edgekube.server.deletion import Deleter
from edgekube.server.listing import Lister, Page
from edgekube.server.options import ListOptions, check_delete_options
from edgekube.server.patches import (
    APPLY_PATCH,
    PATCH_ATTEMPTS,
    apply_transform,
    check_applied,
    patch_transform,
)
from edgekube.server.stored import DecodedCache, Stored, to_wire
from edgekube.server.watching import FrameCache, Watcher, WatchEvent
from edgekube.server.writing import Target, Writer, Written
from edgekube.store.interface import Store

T = TypeVar("T", bound=Object)


class KindTable:
    """The kinds that are served, by group, version and plural. Custom resources come and go at run time."""

    def __init__(self, kinds: Iterable[Kind[Any]]) -> None:
        self._kinds: dict[tuple[str, str, str], Kind[Any]] = {}
        self.generation = 0  # grows with every change, so that derived documents know they are stale
        for kind in kinds:
            self.add(kind)

    def add(self, kind: Kind[Any]) -> None:
        """Serve a kind, in place of one of the same name if there is one."""
        self._kinds[kind.group, kind.version, kind.plural] = kind
        self.generation += 1

    def drop(self, kind: Kind[Any]) -> None:
        """Serve it no longer."""
        self._kinds.pop((kind.group, kind.version, kind.plural), None)
        self.generation += 1

    def find(self, group: str, version: str, plural: str) -> Kind[Any] | None:
        """The kind of a resource."""
        return self._kinds.get((group, version, plural))

    def all(self) -> Sequence[Kind[Any]]:
        """Every kind, in the order of discovery."""
        return tuple(self._kinds.values())

    def has_group(self, group: str) -> bool:
        """Whether anything of a group is served."""
        return any(kind.group == group for kind in self._kinds.values())

    def is_custom(self, group: str) -> bool:
        """Whether a group comes from definitions at run time."""
        return any(kind.custom for kind in self._kinds.values() if kind.group == group)

    def has_version(self, group: str, version: str) -> bool:
        """Whether anything of a group's version is served."""
        return any((kind.group, kind.version) == (group, version) for kind in self._kinds.values())


class StoredCluster:
    """`admission.interface.Cluster` over the store: everything decoded as it is now."""

    def __init__(self, store: Store, lister: Lister, decoded: DecodedCache) -> None:
        self._store, self._lister, self._decoded = store, lister, decoded

    def find(self, kind: Kind[T], namespace: str, name: str) -> T | None:
        """One object, or None."""
        row = self._lister.row(kind, namespace, name)
        return None if row is None else self._decoded.decode(kind, row.revision, to_wire(kind, row.value))

    def all(self, kind: Kind[T], namespace: str = "") -> Sequence[T]:
        """Objects of a namespace, or of all."""
        listing = self._store.list(kind.resource, namespace or None)
        return [self._decoded.decode(kind, row.revision, to_wire(kind, row.value)) for row in listing.rows]


class Computed(Protocol):
    """A read-only resource that is made up when somebody asks. Raises NotFound."""

    async def get(self, namespace: str, name: str) -> bytes: ...

    async def list(self, namespace: str, options: ListOptions) -> Page: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """A patch as it was sent: `content` is operations (JSON Patch) or a document; `data` the bytes, where there were any."""

    media: str
    content: Any
    data: bytes = b""
    force: bool = False


class Registry:
    """All verbs. See the module's opening."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        *,
        admission: Sequence[Step] = (),
        kinds: Iterable[Kind[Any]] | None = None,
    ) -> None:
        self.store, self.clock = store, clock
        self.kinds = KindTable(built_in() if kinds is None else kinds)
        self.decoded, self.frames = DecodedCache(), FrameCache()
        self.lister = Lister(store, self.decoded)
        self.cluster = StoredCluster(store, self.lister, self.decoded)
        self.admission = Chain(admission, self.cluster)
        self.writer = Writer(store, self.lister, self.admission, clock)
        self.deleter = Deleter(self.lister, self.writer, self.admission, clock)
        self.watcher = Watcher(store, self.lister)
        self.computed: dict[str, dict[str, Computed]] = {}  # by group, then plural: what is not in the store

    async def get(self, kind: Kind[Any], namespace: str, name: str, revision: str = "") -> bytes:
        """One object in wire bytes."""
        if kind.group in self.computed:
            return await self.computed[kind.group][kind.plural].get(namespace, name)
        return await self.lister.get(kind, namespace, name, revision)

    async def list(self, kind: Kind[Any], namespace: str, options: ListOptions) -> Page:
        """One page of a list."""
        if kind.group in self.computed:
            return await self.computed[kind.group][kind.plural].list(namespace, options)
        return await self.lister.list(kind, namespace, options)

    def watch(
        self, kind: Kind[Any], namespace: str, options: ListOptions
    ) -> AbstractAsyncContextManager[AsyncIterator[WatchEvent]]:
        """Events from the revision in `options`."""
        return self.watcher.watch(kind, namespace, options)

    async def create(self, kind: Kind[Any], namespace: str, document: Document, context: Context) -> Stored[Any]:
        """A new object."""
        return await self.writer.create(kind, namespace, document, context)

    async def update(self, target: Target, document: Document, context: Context) -> Written:
        """Replace the present object, conditionally where `document` names a revision or uid."""

        async def transform(live: Stored[Any] | None) -> Document:
            return document

        return await self.writer.update(target, transform, context, checks_uid=True)

    async def patch(self, target: Target, patch: Patch, context: Context) -> Written:
        """Change the present object; an apply creates it where it is missing."""
        kind = target.kind
        if patch.media != APPLY_PATCH:
            transform = patch_transform(kind, patch.media, patch.content, context, patch.data)
            return await self.writer.update(target, transform, context, may_create=False, attempts=PATCH_ATTEMPTS)
        check_applied(kind, patch.content, target.namespace, target.name)
        transform = apply_transform(
            kind,
            patch.content,
            context,
            force=patch.force,
            subresource=target.subresource,
            now_text=self.writer.now(),
        )
        return await self.writer.update(
            target, transform, context, tracked=True, may_create=not target.subresource, attempts=PATCH_ATTEMPTS
        )

    async def delete(
        self, kind: Kind[Any], namespace: str, name: str, options: DeleteOptions, context: Context
    ) -> tuple[Document | Stored[Any], bool]:
        """(a Status or the object, whether it is gone)."""
        check_delete_options(options)
        context.dry_run = context.dry_run or bool(options.dry_run)
        return await self.deleter.delete(kind, namespace, name, options, context)

    async def delete_collection(
        self, kind: Kind[Any], namespace: str, selected: ListOptions, options: DeleteOptions, context: Context
    ) -> tuple[Sequence[bytes], int]:
        """Delete everything selected: (the objects as they were, the revision of the list)."""
        check_delete_options(options)
        context.dry_run = context.dry_run or bool(options.dry_run)
        return await self.deleter.delete_collection(kind, namespace, selected, options, context)
