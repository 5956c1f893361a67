"""Creating and updating: the road every write takes from a document to a stored row.

    document -> typed -> defaults -> cut to what this (sub)resource may change -> owners of fields -> admission may change it
    -> prepared -> rules -> admission may refuse it -> bytes -> store -> (an object whose last finalizer went is removed)

One `Writer` serves all kinds. It knows no HTTP, no patch formats (a patch is a `transform` given from outside) and no kind by
name. Concurrent writers meet at the store's expected revision: who comes second begins again from what is there.
Source: k8s.io/apiserver pkg/endpoints/handlers (create.go, update.go) and pkg/registry/generic/registry/store.go.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec.structs import replace

from edgekube import errors
from edgekube.api import applying, decoding
from edgekube.api.kind import FieldError, Keeping, Kind
from edgekube.api.meta import ManagedFieldsEntry, ObjectMeta, Time, format_time
from edgekube.clock import Clock
from edgekube.server import answers, objectmeta
from edgekube.server.admission.interface import CREATE, UPDATE, Chain, Review
from edgekube.server.context import Context
from edgekube.server.listing import Lister
from edgekube.server.objectmeta import finalizer_errors
from edgekube.server.schemas import schema_for
from edgekube.server.shapes import reset_for_create, shape_of
from edgekube.server.stored import Stored, ready, ready_to_store, to_store, to_wire
from edgekube.store.interface import Durability, Key, Mismatch, Put, Remove, Row, Store

GENERATED_NAME_ATTEMPTS = 8  # upstream's count
WRITE_ATTEMPTS = 20  # for writes that carry no revision; each lost round means somebody else won one
DURABILITY = {
    Keeping.DURABLE: Durability.DURABLE,
    Keeping.COALESCED: Durability.COALESCED,
    Keeping.MEMORY: Durability.MEMORY,
}

Document = dict[str, Any]
Transform = Callable[[Stored[Any] | None], Awaitable[Document]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a write is about."""

    kind: Kind[Any]
    namespace: str
    name: str
    subresource: str = ""
    # where a subresource writes the whole object: its name, and the document that admission is shown instead
    through: str = ""
    view: Callable[[Any], Document] | None = None


@dataclass(frozen=True, slots=True)
class Written:
    """How a write ended: the object to answer with, and whether it is new."""

    stored: Stored[Any]
    created: bool = False


class Writer:
    """Creates and updates over one store."""

    def __init__(self, store: Store, lister: Lister, admission: Chain, clock: Clock) -> None:
        self._store, self._lister, self._admission, self._clock = store, lister, admission, clock
        self._second = clock.now().replace(microsecond=0)
        self._second_text = format_time(self._second)

    def now(self) -> Time:
        """The moment, as it is written into objects. Its text is made once a second."""
        moment = self._clock.now().replace(microsecond=0)
        if moment != self._second:
            self._second, self._second_text = moment, format_time(moment)
        return self._second_text

    # Creating

    async def create(
        self,
        kind: Kind[Any],
        namespace: str,
        document: Document,
        context: Context,
        *,
        tracked: bool = False,
        name: str = "",
    ) -> Stored[Any]:
        """A new object. `tracked`: managedFields are right already (server-side apply). `name`: as the URL of a PUT has it."""
        item = decoding.decode(kind, document)
        self._place(kind, namespace, item.metadata)
        if name and not item.metadata.name:
            item.metadata.name = name
        item = reset_for_create(kind, item)
        kind.default(item)
        self._birth(item.metadata)
        if not tracked:
            item.metadata.managed_fields = self._owners(kind, None, item, context, "")
        review = Review(
            kind=kind,
            operation=CREATE,
            namespace=item.metadata.namespace,
            name=item.metadata.name,
            context=context,
            item=item,
        )
        await self._admission.mutate(review)
        base = review.item.metadata.generate_name if not review.item.metadata.name else ""
        for attempt in range(GENERATED_NAME_ATTEMPTS if base else 1):
            if base:
                review.item.metadata.name = objectmeta.generated_name(base, self._clock.suffix())
            try:
                return await self._create_named(review, first=not attempt)
            except errors.AlreadyExists:
                if attempt + 1 >= (GENERATED_NAME_ATTEMPTS if base else 1):
                    raise
        raise AssertionError("unreachable")

    @staticmethod
    def _place(kind: Kind[Any], namespace: str, meta: ObjectMeta) -> None:
        """Put the object where the request says, or refuse if it says otherwise itself."""
        if not kind.namespaced:
            meta.namespace = ""
        elif not meta.namespace:
            meta.namespace = namespace
        elif meta.namespace != namespace:
            raise errors.BadRequest(answers.WRONG_NAMESPACE)

    def _birth(self, meta: ObjectMeta) -> None:
        meta.self_link, meta.deletion_timestamp, meta.deletion_grace_period_seconds = "", None, None
        meta.uid, meta.creation_timestamp = self._clock.uid(), self.now()

    async def _create_named(self, review: Review, *, first: bool) -> Stored[Any]:
        kind, item, context = review.kind, review.item, review.context
        review.name = item.metadata.name
        if first:
            if item.metadata.resource_version not in ("", "0"):
                raise errors.ApiError("resourceVersion should not be set on objects to be created", details=False)
            kind.prepare_create(item)
            if kind.generation:
                item.metadata.generation = 1
        stored = False
        try:
            await self._admission.prepare(review)
            broken = objectmeta.new_object_errors(kind, item.metadata) + kind.rules(item)
            if broken:
                raise answers.invalid(kind, item.metadata.name, broken)
            if first:
                context.warnings += kind.warnings(item, None)
            await self._admission.validate(review)
            made = await self._insert(kind, item, context)
            stored = not context.dry_run
        finally:
            await self._admission.settle(review, stored=stored)
        return made

    async def _insert(self, kind: Kind[Any], item: Any, context: Context) -> Stored[Any]:
        key = Key(kind.resource, item.metadata.namespace, item.metadata.name)
        item.kind, item.api_version = kind.name, kind.api_version
        if context.dry_run:
            if self._store.get(key) is not None:
                raise answers.already_exists(kind, key.name)
            item.metadata.resource_version = ""
            return Stored(kind, kind.to_json(item), item)
        await ready_to_store(kind, item)
        value, at = to_store(kind, item)
        try:
            (row,) = await self._commit([Put(key, value, at, 0, DURABILITY[kind.keeping])])
        except Mismatch:
            raise answers.already_exists(kind, key.name) from None
        await ready(kind, (row.value,))
        return Stored(kind, to_wire(kind, row.value))

    # Updating

    async def update(
        self,
        target: Target,
        transform: Transform,
        context: Context,
        *,
        tracked: bool = False,
        may_create: bool | None = None,
        checks_uid: bool = False,
        attempts: int = WRITE_ATTEMPTS,
    ) -> Written:
        """Make of the present object what `transform` says, through the target's subresource.

        `transform` is asked again when somebody else wrote in between. `may_create`: None leaves it to the kind.
        `checks_uid`: another uid than the present one is a conflict, not a change of an immutable field.
        """
        kind = target.kind
        creating = kind.allow_create_on_update if may_create is None else may_create
        for _ in range(attempts):
            row = self._lister.row(kind, target.namespace, target.name)
            if row is None:
                if target.subresource or not creating:
                    raise answers.not_found(kind, target.name)
                document = await transform(None)
                return Written(await self._create_at(target, document, context, tracked=tracked), created=True)
            try:
                await ready(kind, (row.value,))
                live: Stored[Any] = Stored(kind, to_wire(kind, row.value))
                item = decoding.decode(kind, await transform(live))
                if checks_uid:
                    self._check_uid(kind, item.metadata, live.item.metadata, target.namespace)
                return Written(await self._update_once(target, row, live, item, context, tracked=tracked))
            except Mismatch:
                continue
        raise answers.conflict(kind, target.name)

    async def _create_at(self, target: Target, document: Document, context: Context, *, tracked: bool) -> Stored[Any]:
        meta = document.get("metadata")
        meta = meta if isinstance(meta, dict) else {}
        self._check_name(meta.get("name") or "", target)
        if meta.get("resourceVersion"):
            if meta["resourceVersion"] != "0":
                raise answers.not_found(target.kind, target.name)
            document = document | {"metadata": meta | {"resourceVersion": ""}}
        return await self.create(target.kind, target.namespace, document, context, tracked=tracked, name=target.name)

    @staticmethod
    def _check_name(name: Any, target: Target) -> None:
        if name and name != target.name:
            raise errors.BadRequest(
                f"the name of the object ({name}) does not match the name on the URL ({target.name})"
            )

    async def _update_once(
        self,
        target: Target,
        row: Row,
        live: Stored[Any],
        item: Any,
        context: Context,
        *,
        tracked: bool,
    ) -> Stored[Any]:
        kind, old, meta = target.kind, live.item, item.metadata
        self._check_name(meta.name, target)
        if not meta.namespace:
            meta.namespace = target.namespace if kind.namespaced else ""
        elif kind.namespaced and meta.namespace != target.namespace:
            raise errors.BadRequest(answers.WRONG_NAMESPACE)
        self._check_revision(kind, target.name, meta, row.revision)
        kind.default(item)
        item = shape_of(kind, target.subresource)(item, old)
        item = replace(item, metadata=self._carried(kind, item.metadata, old.metadata, row.revision))
        if not tracked:
            item.metadata.managed_fields = self._owners(kind, live, item, context, target.subresource)
        review = Review(
            kind=kind,
            operation=UPDATE,
            namespace=target.namespace,
            name=target.name,
            context=context,
            item=item,
            old=old,
            subresource=target.subresource,
            through=target.through,
            view=target.view,
        )
        await self._admission.mutate(review)
        return await self._finish_update(review, live, row)

    @staticmethod
    def _check_uid(kind: Kind[Any], new: ObjectMeta, old: ObjectMeta, namespace: str) -> None:
        """The uid that came with the object must be that of the present one."""
        if new.uid and new.uid != old.uid:
            place = f"{namespace}/" if namespace else ""
            raise answers.conflict(
                kind,
                old.name,
                f"StorageError: invalid object, Code: 4, Key: /registry/{kind.plural}/{place}{old.name}, ResourceVersion: 0,"
                f" AdditionalErrorMsg: Precondition failed: UID in precondition: {new.uid}, UID in object meta: {old.uid}",
            )

    @staticmethod
    def _check_revision(kind: Kind[Any], name: str, new: ObjectMeta, present: int) -> None:
        """The resourceVersion that came with the object must be the present one."""
        text = new.resource_version
        if text and not (text.isascii() and text.isdigit()):
            raise errors.ApiError(answers.bad_number(text, "ParseUint"), details=False)
        if not int(text or 0):
            if not kind.allow_unconditional_update:
                raise answers.must_have_revision(kind, name)
        elif int(text) != present:
            raise answers.conflict(kind, name)

    @staticmethod
    def _carried(kind: Kind[Any], new: ObjectMeta, old: ObjectMeta, present: int) -> ObjectMeta:
        """Metadata of an update with everything in place that clients cannot change."""
        return replace(
            new,
            name=new.name or old.name,
            generate_name=new.generate_name,
            uid=new.uid or old.uid,
            self_link="",
            resource_version=str(present),
            generation=old.generation,
            creation_timestamp=old.creation_timestamp,
            deletion_timestamp=old.deletion_timestamp or new.deletion_timestamp,
            deletion_grace_period_seconds=(
                new.deletion_grace_period_seconds
                if old.deletion_grace_period_seconds is None
                else old.deletion_grace_period_seconds
            ),
        )

    async def _finish_update(self, review: Review, live: Stored[Any], row: Row) -> Stored[Any]:
        kind, item, old, context = review.kind, review.item, live.item, review.context
        if not review.subresource:
            kind.prepare_update(item, old)
        elif review.subresource == "status":
            kind.prepare_status(item, old)
        if kind.generation and not _same_intent(kind, item, old):
            item.metadata.generation = old.metadata.generation + 1
        stored = False
        try:
            await self._admission.prepare(review)
            broken = objectmeta.update_errors(kind, item.metadata, old.metadata)
            broken += self._update_errors(review, item, old)
            if broken:
                raise answers.invalid(kind, item.metadata.name, broken)
            context.warnings += kind.warnings(item, old) if not review.subresource else []
            await self._admission.validate(review)
            made = await self._replace(kind, item, live, row, context, coalesced=review.subresource == "status")
            stored = not context.dry_run
        finally:
            await self._admission.settle(review, stored=stored)
        return made

    @staticmethod
    def _update_errors(review: Review, item: Any, old: Any) -> list[FieldError]:
        kind = review.kind
        if review.subresource in ("status", "approval"):
            return kind.status_rules(item, old)
        if review.subresource == "finalize":
            return finalizer_errors("spec.finalizers", item.spec.finalizers)
        if review.subresource:
            own = kind.subresource_rules.get(review.subresource)
            return kind.rules(item) + (own(item, old) if own else [])
        return (kind.rules(item) if kind.rules_on_update else []) + kind.update_rules(item, old)

    async def _replace(
        self, kind: Kind[Any], item: Any, live: Stored[Any], row: Row, context: Context, *, coalesced: bool
    ) -> Stored[Any]:
        item.kind, item.api_version = kind.name, kind.api_version
        item.metadata.managed_fields = _keep_times(item.metadata.managed_fields, live.item.metadata.managed_fields)
        value = kind.to_json(item)
        gone = finished(kind, item, live.item)
        if context.dry_run:
            return Stored(kind, value, item)
        if gone:
            await self.remove(kind, item, row)
            return Stored(kind, value, item)
        if value == live.value:
            return live
        await ready_to_store(kind, item)
        data, at = to_store(kind, item)
        durability = DURABILITY[kind.keeping]
        if coalesced and kind.resource in COALESCED_STATUS and durability is Durability.DURABLE:
            durability = Durability.COALESCED
        (written,) = await self._commit([Put(row.key, data, at, row.revision, durability)])
        await ready(kind, (written.value,))
        return Stored(kind, to_wire(kind, written.value))

    async def remove(self, kind: Kind[Any], item: Any, row: Row, *, marked: Any | None = None) -> Stored[Any]:
        """Take a row out of the store, with a state in between that watchers see (`marked`). Raises `Mismatch`.

        Returns the last state at the deletion's revision.
        """
        durability = DURABILITY[kind.keeping]
        await ready_to_store(kind, item if marked is None else marked)
        if marked is None:
            steps: list[Put | Remove] = [Remove(row.key, *to_store(kind, item), row.revision, durability)]
        else:
            data, at = to_store(kind, marked)
            steps = [Put(row.key, data, at, row.revision, durability), Remove(row.key, data, at, None, durability)]
        written = await self._commit(steps)
        await ready(kind, (written[-1].value,))
        return Stored(kind, to_wire(kind, written[-1].value))

    async def put(self, kind: Kind[Any], item: Any, row: Row) -> Stored[Any]:
        """Write a state that needs no further checks (deletion marks, bindings). Raises `Mismatch`."""
        await ready_to_store(kind, item)
        data, at = to_store(kind, item)
        (written,) = await self._commit([Put(row.key, data, at, row.revision, DURABILITY[kind.keeping])])
        await ready(kind, (written.value,))
        return Stored(kind, to_wire(kind, written.value))

    # Both

    async def _commit(self, operations: Sequence[Put | Remove]) -> Sequence[Row]:
        """Into the store. Raises `Mismatch`, and InternalError when the disk refuses: nothing was written then."""
        try:
            return await self._store.write(operations)
        except errors.StoreError as problem:
            raise errors.InternalError(f"the store refused the write: {problem}", details=False) from problem

    def _owners(
        self, kind: Kind[Any], live: Stored[Any] | None, item: Any, context: Context, subresource: str
    ) -> list[ManagedFieldsEntry]:
        entries = applying.track_update(
            kind.to_dict(live.item) if live else None,
            kind.to_dict(item),
            manager=context.field_manager,
            api_version=kind.api_version,
            subresource=subresource,
            now_text=self.now(),
            schema=schema_for(kind),
        )
        return msgspec.convert(entries, list[ManagedFieldsEntry], dec_hook=_as_is)


COALESCED_STATUS = frozenset({"/nodes"})  # heartbeats: the latest within a bounded time is enough


def _as_is(kind: type, value: Any) -> Any:
    return kind(value)


def _same_intent(kind: Kind[Any], new: Any, old: Any) -> bool:
    """Whether two states differ in metadata and status only."""
    if not kind.has_status:
        return bool(replace(new, metadata=old.metadata, kind=old.kind, api_version=old.api_version) == old)
    return bool(
        replace(new, metadata=old.metadata, status=old.status, kind=old.kind, api_version=old.api_version) == old
    )


def _keep_times(new: list[ManagedFieldsEntry], old: list[ManagedFieldsEntry]) -> list[ManagedFieldsEntry]:
    """`new` with the old times where nothing but times differs, so that a write without effect is none."""
    untimed = [replace(entry, time=None) for entry in new]
    return old if untimed == [replace(entry, time=None) for entry in old] else new


def finished(kind: Kind[Any], new: Any, old: Any) -> bool:
    """Whether this update took the last thing that held back a deletion."""
    meta, was = new.metadata, old.metadata
    if was.deletion_timestamp is None or meta.finalizers or held(kind, new):
        return False
    return not was.deletion_grace_period_seconds


def held(kind: Kind[Any], item: Any) -> bool:
    """Whether a namespace still has finalizers in its spec."""
    return kind.resource == "/namespaces" and bool(item.spec.finalizers)
