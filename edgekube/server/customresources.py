"""Definitions of custom resources at work: their kinds come into the table and leave it, their status says how it stands.

Follows CustomResourceDefinitions in the store: names are accepted unless another definition of the group has them, an accepted
definition is served and then called established, and one that is deleted goes after its last object. What a kind of a custom
resource does is `customkinds`' business.

Source: k8s.io/apiextensions-apiserver pkg/controller/{status,establish,finalizer}.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import msgspec
import trio
from msgspec.structs import replace

from edgekube import errors
from edgekube.api.meta import DeleteOptions, Time, encode_scalar
from edgekube.api.rules import quoted
from edgekube.kinds.apiextensions.customresourcedefinition import (
    CLEANUP,
    KIND,
    CustomResourceDefinition,
    CustomResourceDefinitionCondition,
    CustomResourceDefinitionNames,
    CustomResourceDefinitionStatus,
    is_established,
)
from edgekube.server.context import LOOPBACK, Context
from edgekube.server.conversion import Conversion
from edgekube.server.customkinds import CustomKind, kinds_of, stored_kind
from edgekube.server.options import ListOptions
from edgekube.server.reach import Reach
from edgekube.server.registry import Registry
from edgekube.server.stored import Stored
from edgekube.server.writing import Target
from edgekube.store.interface import Change, ChangeType, Compacted

CLEAR_AGAIN_S = 1.0

log = logging.getLogger(__name__)


# ------------------------------------------------------------------------------------------------- names and conditions


def accepted(
    definition: CustomResourceDefinition, others: Iterable[CustomResourceDefinition]
) -> tuple[CustomResourceDefinitionNames, str, str]:
    """(the names a definition may use, why not all: reason and message, both empty when all are)."""
    resources: set[str] = set()
    kinds: set[str] = set()
    for other in others:
        if other.spec.group == definition.spec.group and other.metadata.name != definition.metadata.name:
            has = other.status.accepted_names
            resources |= {has.plural, has.singular, *has.short_names}
            kinds |= {has.kind, has.list_kind}
    wanted, names = definition.spec.names, replace(definition.status.accepted_names)
    reason = message = ""
    for member, taken, why in (
        ("plural", resources, "PluralConflict"),
        ("singular", resources, "SingularConflict"),
        ("short_names", resources, "ShortNamesConflict"),
        ("kind", kinds, "KindConflict"),
        ("list_kind", kinds, "ListKindConflict"),
    ):
        value = getattr(wanted, member)
        used = [
            one
            for one in (value if isinstance(value, list) else [value])
            if one and one in taken and value != getattr(names, member)
        ]
        if used:
            reason, message = why, f"{quoted(used[0])} is already in use"
        else:
            setattr(names, member, value)
    names.categories = wanted.categories
    return names, reason, message


def _condition(
    status: CustomResourceDefinitionStatus, type_: str, state: str, reason: str, message: str, now: Time
) -> list[CustomResourceDefinitionCondition]:
    """The conditions with this one, which keeps its time while its state stays."""
    made = CustomResourceDefinitionCondition(
        type=type_, status=state, reason=reason, message=message, last_transition_time=now
    )
    conditions = list(status.conditions or ())
    for at, present in enumerate(conditions):
        if present.type == type_:
            if present.status == state:
                made = replace(made, last_transition_time=present.last_transition_time)
            conditions[at] = made
            return conditions
    return [*conditions, made]


def status_of(
    definition: CustomResourceDefinition, others: Iterable[CustomResourceDefinition], now: Time
) -> CustomResourceDefinitionStatus:
    """The status a definition should have. What was established once stays so."""
    names, reason, message = accepted(definition, others)
    status = replace(definition.status, accepted_names=names)
    fine = ("True", "NoConflicts", "no conflicts found")
    status.conditions = _condition(status, "NamesAccepted", *(("False", reason, message) if reason else fine), now)
    if is_established(definition):
        return status
    told = ("False", "NotAccepted", "not all names are accepted")
    if not reason:
        told = ("True", "InitialNamesAccepted", "the initial names have been accepted")
    status.conditions = _condition(status, "Established", *told, now)
    return status


# ------------------------------------------------------------------------------------------------- at work


class CustomResources:
    """Serves what definitions say. `load` once, then `run`."""

    def __init__(self, registry: Registry, reach: Reach | None = None) -> None:
        self._registry, self._reach = registry, reach or Reach()
        self._served: dict[str, tuple[Any, list[CustomKind]]] = {}
        self._leaving: set[str] = set()

    def load(self) -> None:
        """Serve every established definition of the store."""
        for definition in self._registry.cluster.all(KIND):
            if is_established(definition):
                self._serve(definition)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep up with definitions. Never ends."""
        store, started = self._registry.store, False
        async with trio.open_nursery() as nursery:
            while True:
                after = store.revision
                present = self._registry.cluster.all(KIND)
                for name in self._served.keys() - {one.metadata.name for one in present}:
                    self._drop(name)
                for definition in present:
                    await self._settle(definition, nursery)
                if not started:
                    task_status.started()
                    started = True
                try:
                    async with store.watch(KIND.resource, None, after=after) as changes:
                        async for change in changes:
                            await self._changed(change, nursery)
                except Compacted:
                    continue

    async def _changed(self, change: Change, nursery: trio.Nursery) -> None:
        key = change.row.key
        if change.type is ChangeType.DELETED:
            self._drop(key.name)
            for definition in self._registry.cluster.all(KIND):  # a name may be free now
                await self._settle(definition, nursery)
            return
        present = self._registry.cluster.find(KIND, "", key.name)
        if present is not None:
            await self._settle(present, nursery)

    async def _settle(self, definition: CustomResourceDefinition, nursery: trio.Nursery) -> None:
        name, meta = definition.metadata.name, definition.metadata
        if meta.deletion_timestamp is not None:
            if is_established(definition):
                self._serve(definition)
            if CLEANUP in meta.finalizers and meta.uid not in self._leaving:
                self._leaving.add(meta.uid)
                nursery.start_soon(self._clear, definition)
            return
        status = status_of(definition, self._registry.cluster.all(KIND), self._registry.writer.now())
        told = replace(definition, status=status)
        if is_established(told):
            self._serve(told)
        if status != definition.status:
            await self._write_status(name, meta.uid)

    def _serve(self, definition: CustomResourceDefinition) -> None:
        name, meta = definition.metadata.name, definition.metadata
        seen = (meta.uid, meta.generation, meta.deletion_timestamp, definition.status.accepted_names)
        present = self._served.get(name)
        if present is not None and present[0] == seen:
            return
        table = self._registry.kinds
        try:
            kinds = [kind for kind in kinds_of(definition, self._converter(definition)) if not self._is_built_in(kind)]
        except Exception:  # one definition that we misread must not take the others with it
            log.exception("%s cannot be served", name)
            return
        versions = {kind.version for kind in kinds}
        for kind in present[1] if present is not None else ():
            if kind.version not in versions:
                table.drop(kind)
            if meta.deletion_timestamp is None:  # another schema: what was listed may look different
                self._registry.watcher.end(kind)
        for kind in kinds:
            table.add(kind)
        self._served[name] = seen, kinds

    def _converter(self, definition: CustomResourceDefinition) -> Conversion | None:
        conversion = definition.spec.conversion
        if conversion is None or conversion.webhook is None or conversion.webhook.client_config is None:
            return None
        if conversion.strategy != "Webhook":
            return None
        return Conversion(definition, self._reach, self._registry.cluster, self._registry.clock)

    def _is_built_in(self, kind: CustomKind) -> bool:
        present = self._registry.kinds.find(kind.group, kind.version, kind.plural)
        return present is not None and not present.custom

    def _drop(self, name: str) -> None:
        _, kinds = self._served.pop(name, (None, []))
        for kind in kinds:
            self._registry.kinds.drop(kind)
            self._registry.watcher.end(kind)

    async def _write_status(self, name: str, uid: str) -> None:
        async def transform(live: Stored[Any] | None) -> dict[str, Any]:
            assert live is not None
            item, document = live.item, KIND.to_dict(live.item)
            if item.metadata.uid != uid or item.metadata.deletion_timestamp is not None:
                return document
            status = status_of(item, self._registry.cluster.all(KIND), self._registry.writer.now())
            return document | {"status": msgspec.to_builtins(status, enc_hook=encode_scalar)}

        await self._write(Target(kind=KIND, namespace="", name=name, subresource="status"), transform)

    async def _write(self, target: Target, transform: Any) -> None:
        context = Context(user=LOOPBACK, field_manager="kube-apiserver", field_validation="Ignore")
        try:
            await self._registry.writer.update(target, transform, context, may_create=False)
        except (errors.NotFound, errors.Conflict):
            return  # it went, or its next change comes here
        except errors.EdgekubeError as problem:
            log.warning("%s: its status cannot be written: %s", target.name, problem)

    async def _clear(self, definition: CustomResourceDefinition) -> None:
        """Delete all objects, wait for those that something holds back, then let the definition go."""
        name, uid = definition.metadata.name, definition.metadata.uid
        kind = stored_kind(definition)
        while True:
            if self._is_built_in(kind) or await self._emptied(kind):
                break
            await trio.sleep(CLEAR_AGAIN_S)

        async def transform(live: Stored[Any] | None) -> dict[str, Any]:
            assert live is not None
            document = KIND.to_dict(live.item)
            meta = document["metadata"]
            if meta["uid"] == uid:
                meta["finalizers"] = [one for one in meta.get("finalizers", ()) if one != CLEANUP]
            return document

        await self._write(Target(kind=KIND, namespace="", name=name), transform)
        self._leaving.discard(uid)

    async def _emptied(self, kind: CustomKind) -> bool:
        """Delete all objects and wait until they are gone; False when that must be tried again."""
        store = self._registry.store
        try:
            async with store.watch(kind.resource, None, after=store.revision) as changes:
                context = Context(user=LOOPBACK)
                await self._registry.delete_collection(kind, "", ListOptions(), DeleteOptions(), context)
                while store.list(kind.resource, limit=1).rows:
                    await changes.__anext__()
        except Compacted:
            return False
        except errors.EdgekubeError as problem:
            log.warning("%s: its objects cannot be deleted yet: %s", kind.resource, problem)
            return False
        return True
