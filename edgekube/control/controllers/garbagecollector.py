"""Garbage collector: what is owned goes with its owners, in the background, in the foreground, or is orphaned.

Follows the bare metadata of everything that is served, custom resources included, and keeps the graph of owners. What to do with
an object is decided in `control.ownership`; that an owner is absent is never concluded from the graph alone.
Source: k8s.io/kubernetes pkg/controller/garbagecollector.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from dataclasses import replace as with_values
from functools import partial
from typing import Any

import trio

from edgekube.api.kind import Kind
from edgekube.api.meta import Object, OwnerReference, Struct, Time, zero
from edgekube.client.follow import Cache, follow
from edgekube.control.config import Config
from edgekube.control.ownership import FOREGROUND, ORPHAN, Owner, OwnerState, Seen, Verdict, judge
from edgekube.control.resources import Resource, served_resources
from edgekube.errors import ApiError, Conflict, ConnectionFailed, NotFound
from edgekube.kinds.apiextensions import customresourcedefinition
from edgekube.kinds.core.references import ObjectReference
from edgekube.reconcile.drive import Service, Surroundings
from edgekube.reconcile.events import Speaker
from edgekube.reconcile.pace import Pace
from edgekube.reconcile.plan import Note
from edgekube.reconcile.queue import KeyQueue

NAME = "garbage-collector-controller"
WORKERS = 4
LEFT_ALONE = frozenset({("", "events"), ("events.k8s.io", "events"), ("", "componentstatuses"), ("", "bindings")})
SYNC_WAIT_S = 30.0  # a resource that cannot be listed must not hold up the collection of all others
SETTLE_S = 1.0  # after a definition changed, before asking what is served
ABSENT_REMEMBERED = 500  # as upstream: uids the server denied, so that a thousand dependents ask once

log = logging.getLogger(f"edgekube.control.{NAME}")


class BareMeta(Struct):
    """The few members of metadata that ownership is about."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    deletion_timestamp: Time | None = None
    owner_references: list[OwnerReference] = []
    finalizers: list[str] = []


class Bare(Object):
    """An object of any kind, all but its bare metadata unread."""

    metadata: BareMeta = zero(BareMeta)  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class Node:
    """One object in the graph."""

    resource: Resource
    meta: BareMeta


class Graph:
    """All objects by uid, and who depends on whom."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self._dependents: dict[str, dict[str, None]] = {}

    def put(self, node: Node, before: BareMeta | None) -> None:
        """Take in an object's new state."""
        self._unlink(before)
        self.nodes[node.meta.uid] = node
        for reference in node.meta.owner_references:
            self._dependents.setdefault(reference.uid, {})[node.meta.uid] = None

    def remove(self, meta: BareMeta) -> None:
        """An object is gone."""
        self._unlink(meta)
        self.nodes.pop(meta.uid, None)

    def dependents(self, uid: str) -> list[Node]:
        """Objects that name this uid as an owner."""
        return [self.nodes[found] for found in self._dependents.get(uid, ()) if found in self.nodes]

    def _unlink(self, meta: BareMeta | None) -> None:
        for reference in meta.owner_references if meta is not None else ():
            found = self._dependents.get(reference.uid, {})
            found.pop(meta.uid if meta is not None else "", None)
            if not found:
                self._dependents.pop(reference.uid, None)


def _blocks(dependent: Node, owner_uid: str) -> bool:
    return any(ref.uid == owner_uid and ref.block_owner_deletion for ref in dependent.meta.owner_references)


class Collector:
    """The graph, the queue of uids to look at, and the acting."""

    def __init__(self, near: Surroundings) -> None:
        self._near = near
        self.graph = Graph()
        self.queue: KeyQueue[str] = KeyQueue(Pace(first_s=0.2, longest_s=60.0, chance=near.clock.chance))
        self._absent: dict[str, None] = {}
        self._told: dict[tuple[str, str], None] = {}  # who was told of which impossible owner
        self._following: dict[tuple[str, str], trio.CancelScope] = {}
        self._resources: dict[tuple[str, str], Resource] = {}  # by (group, kind)

    async def run(self) -> None:
        """Follow everything; collect once the first round of caches has filled."""
        definitions: Cache[Bare] = Cache()
        changed = trio.Event()

        def on_definition(_: Bare | None, __: Bare | None) -> None:
            changed.set()

        async with trio.open_nursery() as nursery:
            for _ in range(WORKERS):
                nursery.start_soon(self._work)
            definition: Kind[Any] = customresourcedefinition.KIND
            definition = with_values(definition, type=Bare)
            nursery.start_soon(partial(follow, self._near.client, definition, definitions, on_change=on_definition))
            changed.set()
            while True:
                await changed.wait()
                changed = trio.Event()
                try:
                    await self._refresh(nursery)
                except (ApiError, ConnectionFailed) as error:
                    log.info("cannot ask what is served: %s", error)
                    changed.set()
                await trio.sleep(SETTLE_S)

    async def _refresh(self, nursery: trio.Nursery) -> None:
        served = {(item.group, item.plural): item for item in await served_resources(self._near.client)}
        wanted = {key: item for key, item in served.items() if key not in LEFT_ALONE and _can(item)}
        for key in [key for key in self._following if key not in wanted]:
            self._following.pop(key).cancel()
        self._resources = {(item.group, item.kind): item for item in served.values()}
        with trio.move_on_after(SYNC_WAIT_S):
            async with trio.open_nursery() as starting:
                for key, resource in wanted.items():
                    if key not in self._following:
                        starting.start_soon(nursery.start, self._follow, key, resource)

    async def _follow(
        self,
        key: tuple[str, str],
        resource: Resource,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        kind: Kind[Any] = with_values(resource.bare(), type=Bare)
        cache: Cache[Bare] = Cache()
        with trio.CancelScope() as scope:
            self._following[key] = scope
            listener = partial(self._on_change, resource)
            await follow(
                self._near.client,
                kind,
                cache,
                on_change=listener,
                chance=self._near.clock.chance,
                task_status=task_status,
            )
        for item in cache.list():  # no longer served: gone with its definition
            self._on_change(resource, item, None)

    def _on_change(self, resource: Resource, before: Bare | None, after: Bare | None) -> None:
        if before is not None and (after is None or after.metadata.uid != before.metadata.uid):
            self.graph.remove(before.metadata)
            self._remember_absent(before.metadata.uid)
            self._look_at_family(before.metadata)
            before = None
        if after is None:
            return
        meta = after.metadata
        self._absent.pop(meta.uid, None)
        self.graph.put(Node(resource, meta), before.metadata if before is not None else None)
        if meta.owner_references or (meta.deletion_timestamp and meta.finalizers):
            self.queue.add(meta.uid)

    def _look_at_family(self, gone: BareMeta) -> None:
        for dependent in self.graph.dependents(gone.uid):
            self.queue.add(dependent.meta.uid)
        for reference in gone.owner_references:
            owner = self.graph.nodes.get(reference.uid)
            if owner is not None and owner.meta.deletion_timestamp:
                self.queue.add(reference.uid)

    def _remember_absent(self, uid: str) -> None:
        self._absent[uid] = None
        while len(self._absent) > ABSENT_REMEMBERED:
            del self._absent[next(iter(self._absent))]

    async def _work(self) -> None:
        async for uid in self.queue:
            try:
                await self._look(uid)
            except (Conflict, NotFound) as error:
                log.debug("%s: %s", uid, error)
                self.queue.retry(uid)
            except (ApiError, ConnectionFailed) as error:
                log.info("%s: %s", uid, error)
                self.queue.retry(uid)
            except Exception as error:  # our mistake; the other objects must not suffer from it
                log.exception("%s could not be judged", uid)
                self.queue.retry(uid)
                self._near.troubles.report(NAME, f"{uid}: {type(error).__name__}: {error}")
            else:
                self.queue.settle(uid)

    async def _look(self, uid: str) -> None:
        node = self.graph.nodes.get(uid)
        if node is None:
            return
        dependents = self.graph.dependents(uid)
        seen = Seen(
            deleting=node.meta.deletion_timestamp is not None,
            finalizers=node.meta.finalizers,
            owners=[await self._owner(node, reference) for reference in node.meta.owner_references],
            blocking_dependents=sum(1 for dependent in dependents if _blocks(dependent, uid)),
            dependents=len(dependents),
        )
        await self._do(judge(seen), node, dependents, seen)

    async def _owner(self, node: Node, reference: OwnerReference) -> Owner:
        known = self.graph.nodes.get(reference.uid)
        if known is not None:
            if known.resource.namespaced and known.meta.namespace != node.meta.namespace:
                self._complain(node, reference)
                return Owner(reference.uid, OwnerState.ABSENT)  # owners are looked for beside their dependents only
            waiting = known.meta.deletion_timestamp is not None and FOREGROUND in known.meta.finalizers
            waits = waiting and bool(reference.block_owner_deletion)
            return Owner(reference.uid, OwnerState.WAITING if waits else OwnerState.SOLID)
        if reference.uid in self._absent:
            return Owner(reference.uid, OwnerState.ABSENT)
        return Owner(reference.uid, await self._ask(node, reference))

    async def _ask(self, node: Node, reference: OwnerReference) -> OwnerState:
        resource = self._resources.get((reference.api_version.rpartition("/")[0], reference.kind))
        if resource is not None and resource.namespaced and not node.meta.namespace:
            self._complain(node, reference)
            return OwnerState.UNKNOWN
        if resource is None:
            return OwnerState.UNKNOWN
        kind: Kind[Any] = with_values(resource.bare(), type=Bare)
        try:
            found = await self._near.client.get(
                kind, reference.name, node.meta.namespace if resource.namespaced else ""
            )
        except NotFound:
            self._remember_absent(reference.uid)
            return OwnerState.ABSENT
        if found.metadata.uid == reference.uid:
            return OwnerState.SOLID
        self._remember_absent(reference.uid)
        return OwnerState.ABSENT

    def _complain(self, node: Node, reference: OwnerReference) -> None:
        """An owner that cannot be one: it lives in another namespace, or in one at all while its dependent does not."""
        if (node.meta.uid, reference.uid) in self._told:
            return
        self._told[node.meta.uid, reference.uid] = None
        while len(self._told) > ABSENT_REMEMBERED:
            del self._told[next(iter(self._told))]
        resource = node.resource
        about = ObjectReference(
            kind=resource.kind,
            api_version=f"{resource.group}/{resource.version}" if resource.group else resource.version,
            namespace=node.meta.namespace,
            name=node.meta.name,
            uid=node.meta.uid,
        )
        where = f'namespace "{node.meta.namespace}"' if node.meta.namespace else 'namespace ""'
        words = (
            f"ownerRef [{reference.api_version}/{reference.kind}, namespace: {node.meta.namespace}, name: {reference.name},"
            f" uid: {reference.uid}] does not exist in {where}"
        )
        self._near.recorder.tell(Speaker(NAME), Note(about, "Warning", "OwnerRefInvalidNamespace", words))

    async def _do(self, verdict: Verdict, node: Node, dependents: Sequence[Node], seen: Seen) -> None:
        if verdict in (Verdict.DELETE_BACKGROUND, Verdict.DELETE_FOREGROUND, Verdict.DELETE_ORPHAN):
            await self._delete(node, verdict.value)
        elif verdict is Verdict.DROP_OWNERS:
            gone = {owner.uid for owner in seen.owners if owner.state is not OwnerState.SOLID}
            await self._without(node, owners=lambda uid: uid in gone)
        elif verdict is Verdict.DELETE_DEPENDENTS:
            for dependent in dependents:
                self.queue.add(dependent.meta.uid)
        elif verdict is Verdict.FINISH_FOREGROUND:
            await self._without(node, finalizer=FOREGROUND)
        elif verdict is Verdict.ORPHAN_DEPENDENTS:
            for dependent in dependents:
                try:
                    await self._without(dependent, owners=lambda uid: uid == node.meta.uid)
                except NotFound:
                    continue
            await self._without(node, finalizer=ORPHAN)

    async def _delete(self, node: Node, propagation: str) -> None:
        meta = node.meta
        await self._near.client.delete(
            node.resource.bare(),
            meta.name,
            meta.namespace,
            uid=meta.uid,
            revision=meta.resource_version,  # owners may have been changed meanwhile
            propagation=propagation,
        )

    async def _without(self, node: Node, *, owners: Callable[[str], bool] | None = None, finalizer: str = "") -> None:
        """Take references or a finalizer away, only if the object is still as it was seen."""
        meta = node.meta
        patch: dict[str, Any] = {"uid": meta.uid, "resourceVersion": meta.resource_version}
        if owners is not None:
            kept = [reference for reference in meta.owner_references if not owners(reference.uid)]
            patch["ownerReferences"] = [_wire(reference) for reference in kept] or None
        if finalizer:
            patch["finalizers"] = [name for name in meta.finalizers if name != finalizer] or None
        await self._near.client.patch(node.resource.bare(), meta.name, meta.namespace, {"metadata": patch})


def _can(resource: Resource) -> bool:
    return {"list", "watch", "delete"} <= set(resource.verbs)


def _wire(reference: OwnerReference) -> dict[str, Any]:
    made: dict[str, Any] = {
        "apiVersion": reference.api_version,
        "kind": reference.kind,
        "name": reference.name,
        "uid": reference.uid,
    }
    if reference.controller is not None:
        made["controller"] = reference.controller
    if reference.block_owner_deletion is not None:
        made["blockOwnerDeletion"] = reference.block_owner_deletion
    return made


def controller(_: Config) -> Service:
    """The loop."""

    async def run(near: Surroundings) -> None:
        await Collector(near).run()

    return Service(name=NAME, follows=(), run=run)
