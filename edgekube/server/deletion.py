"""Deleting: at once, gracefully, or held back by finalizers; one object or a collection.

The decision what a deletion does to an object is pure (`decide`); `Deleter` carries it out and begins again when somebody wrote
in between. Source: k8s.io/apiserver pkg/registry/rest/delete.go and generic/registry/store.go.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from msgspec.structs import replace

from edgekube import errors
from edgekube.api.kind import Kind
from edgekube.api.meta import DeleteOptions, ObjectMeta, format_time, parse_time
from edgekube.clock import Clock
from edgekube.kinds.apiextensions.customresourcedefinition import (
    CLEANUP,
    CustomResourceDefinitionCondition,
    is_established,
)
from edgekube.server import answers
from edgekube.server.admission.interface import DELETE, Chain, Review
from edgekube.server.context import Context
from edgekube.server.listing import Lister
from edgekube.server.options import ListOptions
from edgekube.server.stored import Stored, document_of, ready, to_wire
from edgekube.server.writing import WRITE_ATTEMPTS, Writer, held
from edgekube.store.interface import Mismatch, Row

DEFINITIONS = "apiextensions.k8s.io/customresourcedefinitions"
ORPHAN, FOREGROUND = "orphan", "foregroundDeletion"
# Kinds whose dependents are left alone when nobody says otherwise, for old clients' sake.
ORPHANS_BY_DEFAULT = frozenset({"batch/jobs", "/replicationcontrollers"})
NO_GARBAGE = frozenset({"/events"})  # nothing depends on them; finalizers are not their business
# Kinds whose DELETE answers the object that was deleted; all others answer a Status.
ANSWERS_OBJECT = frozenset(
    {
        "/pods",
        "/services",
        "/serviceaccounts",
        "/podtemplates",
        "/resourcequotas",
        "/persistentvolumes",
        "/persistentvolumeclaims",
        "policy/podsecuritypolicies",
        "storage.k8s.io/storageclasses",
        "storage.k8s.io/volumeattachments",
        "storage.k8s.io/csinodes",
        "storage.k8s.io/csidrivers",
        "storage.k8s.io/volumeattributesclasses",
        "networking.k8s.io/servicecidrs",
        "resource.k8s.io/resourceclaims",
        "resource.k8s.io/resourceclaimtemplates",
        "resource.k8s.io/deviceclasses",
        "resource.k8s.io/resourceslices",
    }
)
JOB_WARNING = (
    "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or set"
    " propagationPolicy=Orphan to suppress this warning"
)


@dataclass(frozen=True, slots=True)
class Deletion:
    """What a deletion makes of an object: the state to store first (None: nothing to store), and whether it then goes."""

    marked: Any | None
    remove: bool


def decide(kind: Kind[Any], item: Any, options: DeleteOptions, now: datetime) -> Deletion:
    """What deleting `item` means. `options` have been checked and their preconditions hold."""
    if kind.resource == "/namespaces":
        return _decide_namespace(item, now)
    meta, graceful = item.metadata, False
    if kind.grace_s is not None:
        graceful, pending, meta = _graceful(kind, item, options, now)
        if pending:
            return Deletion(None, remove=False)
    finalizers = _finalizers(kind, meta, options)
    if kind.resource == DEFINITIONS and meta.deletion_timestamp is None and is_established(item):
        item, finalizers = _ending(item, now), [*finalizers, CLEANUP]
    if graceful:
        meta = replace(meta, finalizers=finalizers)
        gone = not finalizers and not meta.deletion_grace_period_seconds
        return Deletion(replace(item, metadata=meta), remove=gone)
    if not finalizers:
        return Deletion(None, remove=True)
    return Deletion(replace(item, metadata=_marked(replace(meta, finalizers=finalizers), now)), remove=False)


def _graceful(kind: Kind[Any], item: Any, options: DeleteOptions, now: datetime) -> tuple[bool, bool, ObjectMeta]:
    """(whether the deletion is graceful, whether one is under way that this one cannot shorten, metadata with its marks)."""
    meta, asked = item.metadata, options.grace_period_seconds
    if asked is not None and asked < 0:
        asked = 1
    if meta.deletion_timestamp is not None:
        given = meta.deletion_grace_period_seconds
        if given is None:
            return False, False, meta
        if asked is None or asked >= given:
            return False, given > 0 or bool(meta.finalizers), meta
        moment = parse_time(meta.deletion_timestamp) - timedelta(seconds=given - asked)
        return True, False, replace(meta, deletion_timestamp=format_time(moment), deletion_grace_period_seconds=asked)
    natural = kind.grace_s(item) if kind.grace_s is not None else 0
    period = 0 if natural == 0 else natural if asked is None else asked
    period = 1 if period < 0 else period
    return (
        True,
        False,
        replace(
            meta,
            deletion_timestamp=format_time(now + timedelta(seconds=period)),
            deletion_grace_period_seconds=period,
            generation=meta.generation + 1 if meta.generation else 0,
        ),
    )


def _marked(meta: ObjectMeta, now: datetime) -> ObjectMeta:
    """Metadata of an object that only finalizers keep."""
    generation = meta.generation
    if meta.deletion_grace_period_seconds is None and generation:
        generation += 1
    return replace(
        meta,
        deletion_timestamp=meta.deletion_timestamp or format_time(now),
        deletion_grace_period_seconds=0,
        generation=generation,
    )


def _decide_namespace(item: Any, now: datetime) -> Deletion:
    """A namespace is Terminating until its content is gone, which the namespace controller says by its spec's finalizers."""
    if item.metadata.deletion_timestamp is not None:
        return Deletion(None, remove=not item.spec.finalizers and not item.metadata.finalizers)
    if not item.spec.finalizers and not item.metadata.finalizers:
        return Deletion(None, remove=True)
    meta = replace(item.metadata, deletion_timestamp=format_time(now))
    return Deletion(replace(item, metadata=meta, status=replace(item.status, phase="Terminating")), remove=False)


def _ending(definition: Any, now: datetime) -> Any:
    """A definition whose objects go first."""
    told = CustomResourceDefinitionCondition(
        type="Terminating",
        status="True",
        reason="InstanceDeletionPending",
        message="CustomResourceDefinition marked for deletion; CustomResource deletion will begin soon",
        last_transition_time=format_time(now),
    )
    others = [one for one in definition.status.conditions or () if one.type != told.type]
    return replace(definition, status=replace(definition.status, conditions=[*others, told]))


def _finalizers(kind: Kind[Any], meta: ObjectMeta, options: DeleteOptions) -> list[str]:
    """The object's finalizers with those that the garbage collector acts on as the options ask."""
    if kind.resource in NO_GARBAGE:
        return list(meta.finalizers)
    kept = [name for name in meta.finalizers if name not in (ORPHAN, FOREGROUND)]
    if _wants_orphans(kind, meta, options):
        kept.append(ORPHAN)
    if _wants_foreground(meta, options):
        kept.append(FOREGROUND)
    return list(meta.finalizers) if set(kept) == set(meta.finalizers) else kept


def _wants_orphans(kind: Kind[Any], meta: ObjectMeta, options: DeleteOptions) -> bool:
    if options.orphan_dependents is not None:
        return options.orphan_dependents
    if options.propagation_policy is not None:
        return options.propagation_policy == "Orphan"
    if ORPHAN in meta.finalizers:
        return True
    return FOREGROUND not in meta.finalizers and kind.resource in ORPHANS_BY_DEFAULT


def _wants_foreground(meta: ObjectMeta, options: DeleteOptions) -> bool:
    if options.orphan_dependents is not None:
        return False
    if options.propagation_policy is not None:
        return options.propagation_policy == "Foreground"
    return FOREGROUND in meta.finalizers


class Deleter:
    """Carries deletions out over one store."""

    def __init__(self, lister: Lister, writer: Writer, admission: Chain, clock: Clock) -> None:
        self._lister, self._writer, self._admission, self._clock = lister, writer, admission, clock

    async def delete(
        self,
        kind: Kind[Any],
        namespace: str,
        name: str,
        options: DeleteOptions,
        context: Context,
        *,
        of_collection: bool = False,
    ) -> tuple[dict[str, Any] | Stored[Any], bool]:
        """(a success Status or the object, whether it is gone). Raises NotFound, Conflict, Forbidden."""
        self._warn(kind, options, context)
        for _ in range(WRITE_ATTEMPTS):
            row = self._lister.row(kind, namespace, name)
            if row is None:
                raise answers.not_found(kind, name)
            try:
                return await self._once(kind, row, options, context, of_collection=of_collection)
            except Mismatch:
                continue
        raise answers.conflict(kind, name)

    @staticmethod
    def _warn(kind: Kind[Any], options: DeleteOptions, context: Context) -> None:
        if kind.resource == "batch/jobs" and options.propagation_policy is None and options.orphan_dependents is None:
            context.warnings.append(JOB_WARNING)

    async def _once(
        self, kind: Kind[Any], row: Row, options: DeleteOptions, context: Context, *, of_collection: bool
    ) -> tuple[dict[str, Any] | Stored[Any], bool]:
        await ready(kind, (row.value,))
        live: Stored[Any] = Stored(kind, to_wire(kind, row.value))
        item = live.item
        self._check_preconditions(kind, item.metadata, options, row.revision)
        review = Review(
            kind=kind,
            operation=DELETE,
            namespace=row.key.namespace,
            name=row.key.name,
            context=context,
            old=item,
            options=options,
            of_collection=of_collection,
        )
        await self._admission.mutate(review)
        await self._admission.validate(review)
        deletion = decide(kind, item, options, self._clock.now())
        if context.dry_run:
            shown = item if deletion.marked is None else deletion.marked
            last = Stored(kind, kind.to_json(shown), shown)
            return self._answer(kind, last, gone=deletion.remove), deletion.remove
        if not deletion.remove:
            if deletion.marked is None:
                return live, False
            return await self._writer.put(kind, deletion.marked, row), False
        gone = await self._writer.remove(kind, item, row, marked=deletion.marked)
        await self._admission.settle(review, stored=True)
        return self._answer(kind, gone, gone=True), True

    @staticmethod
    def _check_preconditions(kind: Kind[Any], meta: ObjectMeta, options: DeleteOptions, present: int) -> None:
        wanted = options.preconditions
        if wanted is None:
            return
        if kind.resource == "/namespaces":
            for member, asked, actual in (
                ("UID", wanted.uid, meta.uid),
                ("ResourceVersion", wanted.resource_version, str(present)),
            ):
                if asked is not None and asked != actual:
                    why = f"{member} in precondition: {asked}, {member} in object meta: {actual}"
                    raise answers.conflict(kind, meta.name, f"Precondition failed: {why}")
            return
        if wanted.uid is not None and wanted.uid != meta.uid:
            raise answers.precondition_failed(
                kind,
                meta.name,
                f"the UID in the precondition ({wanted.uid}) does not match the UID in record ({meta.uid})."
                " The object might have been deleted and then recreated",
            )
        if wanted.resource_version is not None and wanted.resource_version != str(present):
            raise answers.precondition_failed(
                kind,
                meta.name,
                f"the ResourceVersion in the precondition ({wanted.resource_version}) does not match the ResourceVersion in"
                f" record ({present}). The object might have been modified",
            )

    @staticmethod
    def _answer(kind: Kind[Any], last: Stored[Any], *, gone: bool) -> dict[str, Any] | Stored[Any]:
        if not gone or kind.resource in ANSWERS_OBJECT or held(kind, last.item):
            return last
        return answers.success(kind, last.item.metadata.name, last.item.metadata.uid)

    async def delete_collection(
        self, kind: Kind[Any], namespace: str, selected: ListOptions, options: DeleteOptions, context: Context
    ) -> tuple[list[bytes], int]:
        """Delete everything selected; returns the objects as they were and the revision of the list."""
        page = await self._lister.list(kind, namespace, selected)
        for value in page.values:
            meta = document_of(value)["metadata"]
            try:
                await self.delete(
                    kind, meta.get("namespace", ""), meta["name"], replace(options), context, of_collection=True
                )
            except errors.NotFound:
                continue
        return list(page.values), page.revision
