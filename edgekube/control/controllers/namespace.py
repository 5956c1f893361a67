"""Namespace: when one is deleted, everything in it goes first; conditions say what is still there.

What a namespace may hold is asked of the server (discovery), not known here, so that custom resources go too.
Source: k8s.io/kubernetes pkg/controller/namespace/deletion.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import msgspec

from edgekube.api.meta import Object, format_time, parse_time
from edgekube.client.interface import Client
from edgekube.control.config import Config
from edgekube.control.resources import Resource, namespaced_resources
from edgekube.errors import ApiError, MethodNotAllowed, NotFound
from edgekube.kinds.core import namespace as namespace_kind
from edgekube.kinds.core.namespace import Namespace, NamespaceCondition
from edgekube.reconcile.drive import Caches, Controller, Key, Watch
from edgekube.reconcile.plan import NOTHING, Action, Call, Plan, Update

KIND = namespace_kind.KIND
FINALIZER = "kubernetes"
# While content or finalizers remain nobody tells us of changes: look again after a part of the time it has taken so far.
LOOK_AGAIN_LEAST_S, LOOK_AGAIN_MOST_S, LOOK_AGAIN_SHARE = 0.5, 15.0, 0.1
PODS = "pods"


@dataclass(frozen=True, slots=True)
class Remaining:
    """What is left of one resource: how many, which finalizers they carry, and the longest grace they have been given."""

    resource: Resource
    count: int
    finalizers: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Seen:
    """A namespace that is going, and what was found in it after everything was asked to go."""

    namespace: Namespace
    now: datetime
    remaining: Sequence[Remaining] = ()
    discovery_error: str = ""
    deletion_errors: Sequence[str] = ()
    asked: bool = field(default=False)


def reconcile(seen: Seen) -> Plan:
    """Tell what remains; when nothing does, give the namespace up."""
    if not seen.asked:
        return NOTHING
    namespace = seen.namespace
    conditions = _conditions(seen)
    status = msgspec.structs.replace(namespace.status, phase="Terminating", conditions=conditions)
    clear = not seen.remaining and not seen.discovery_error and not seen.deletion_errors
    actions: list[Action] = []
    if clear:
        finalizers = [name for name in namespace.spec.finalizers if name != FINALIZER]
        spec = msgspec.structs.replace(namespace.spec, finalizers=finalizers)
        made = msgspec.structs.replace(namespace, spec=spec)
        document = {**KIND.to_dict(made), "kind": KIND.name, "apiVersion": KIND.api_version}
        actions.append(Call(method="PUT", path=f"/api/v1/namespaces/{namespace.metadata.name}/finalize", body=document))
    elif status != namespace.status:
        actions.append(Update(kind=KIND, item=msgspec.structs.replace(namespace, status=status), subresource="status"))
    return Plan(actions, look_again_s=None if clear else _pause(seen))


def _pause(seen: Seen) -> float:
    since = seen.namespace.metadata.deletion_timestamp
    age = (seen.now - parse_time(since)).total_seconds() if since else 0.0
    return min(max(age * LOOK_AGAIN_SHARE, LOOK_AGAIN_LEAST_S), LOOK_AGAIN_MOST_S)


def _conditions(seen: Seen) -> list[NamespaceCondition]:
    content = ", ".join(
        f"{left.resource.plural}{'.' + left.resource.group if left.resource.group else '.'} has {left.count} resource instances"
        for left in sorted(seen.remaining, key=lambda left: (left.resource.plural, left.resource.group))
    )
    finalizers: dict[str, int] = {}
    for left in seen.remaining:
        for name, count in left.finalizers.items():
            finalizers[name] = finalizers.get(name, 0) + count
    held = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(finalizers.items()))
    told = (
        ("NamespaceDeletionDiscoveryFailure", "DiscoveryFailed", seen.discovery_error, "ResourcesDiscovered",
         "All resources successfully discovered"),
        ("NamespaceDeletionGroupVersionParsingFailure", "GroupVersionParsingFailed", "", "ParsedGroupVersions",
         "All legacy kube types successfully parsed"),
        ("NamespaceDeletionContentFailure", "ContentDeletionFailed", _failures(seen.deletion_errors), "ContentDeleted",
         "All content successfully deleted, may be waiting on finalization"),
        ("NamespaceContentRemaining", "SomeResourcesRemain", f"Some resources are remaining: {content}" if content else "",
         "ContentRemoved", "All content successfully removed"),
        ("NamespaceFinalizersRemaining", "SomeFinalizersRemain",
         f"Some content in the namespace has finalizers remaining: {held}" if held else "",
         "ContentHasNoFinalizers", "All content-preserving finalizers finished"),
    )  # fmt: skip
    before = {found.type: found for found in seen.namespace.status.conditions}
    ours = [
        _condition(before.get(type_), type_, "True" if bad else "False", reason if bad else fine, bad or good, seen.now)
        for type_, reason, bad, fine, good in told
    ]
    others = [found for found in seen.namespace.status.conditions if found.type not in {made.type for made in ours}]
    return [*others, *ours]


def _failures(errors: Sequence[str]) -> str:
    if not errors:
        return ""
    words = errors[0] if len(errors) == 1 else f"[{', '.join(errors)}]"
    return f"Failed to delete all resource types, {len(errors)} remaining: {words}"


def _condition(
    before: NamespaceCondition | None, type_: str, status: str, reason: str, message: str, now: datetime
) -> NamespaceCondition:
    since = before.last_transition_time if before is not None and before.status == status else format_time(now)
    return NamespaceCondition(type=type_, status=status, last_transition_time=since, reason=reason, message=message)


class Inquiry:
    """Empties namespaces, and remembers what is empty already: nothing new comes into a namespace that is going.

    Pods go before everything else, so that none of them is left running without the policies and secrets it was made under. A
    look at a namespace that something holds costs one list of that resource; only before the end is all of it looked at again,
    for what slipped in while the deletion began.
    """

    def __init__(self) -> None:
        self._empty: dict[str, set[tuple[str, str]]] = {}  # by the namespace's uid

    async def __call__(self, client: Client, seen: Seen) -> Seen:
        """Ask everything in the namespace to go, then look what is still there."""
        try:
            resources = await namespaced_resources(client)
        except ApiError as error:
            return replace(seen, discovery_error=error.message, asked=True)
        uid = seen.namespace.metadata.uid
        empty = self._empty.setdefault(uid, set())
        known = bool(empty)
        pods = [one for one in resources if (one.group, one.plural) == ("", PODS)]
        found = await self._look(client, replace(seen, asked=True), pods, empty)
        if found.remaining:
            return found
        others = [one for one in resources if one not in pods]
        found = await self._look(client, found, others, empty)
        if known and not found.remaining and not found.deletion_errors:
            empty.clear()
            found = await self._look(client, found, resources, empty)
        if not found.remaining and not found.deletion_errors:
            self._empty.pop(uid, None)
        return found

    @staticmethod
    async def _look(client: Client, seen: Seen, resources: Sequence[Resource], empty: set[tuple[str, str]]) -> Seen:
        remaining, errors = list(seen.remaining), list(seen.deletion_errors)
        for resource in resources:
            identity = (resource.group, resource.plural)
            if identity in empty:
                continue
            try:
                left = await _empty(client, resource, seen.namespace.metadata.name)
            except ApiError as error:
                errors.append(f"unexpected error on {resource.plural}: {error.message}")
                continue
            if left is not None:
                remaining.append(left)
            else:
                empty.add(identity)
        return replace(seen, remaining=remaining, deletion_errors=errors)


async def _empty(client: Client, resource: Resource, namespace: str) -> Remaining | None:
    items = await _list(client, resource, namespace)
    if not items:
        return None
    if any(not item["metadata"].get("deletionTimestamp") for item in items) and "delete" in resource.verbs:
        await _delete_all(client, resource, namespace, items)
        items = await _list(client, resource, namespace)
    if not items:
        return None
    finalizers: dict[str, int] = {}
    for item in items:
        for finalizer in item["metadata"].get("finalizers") or ():
            finalizers[finalizer] = finalizers.get(finalizer, 0) + 1
    return Remaining(resource, len(items), finalizers)


async def _list(client: Client, resource: Resource, namespace: str) -> list[dict[str, Any]]:
    try:
        listed = await client.call("GET", resource.path(namespace))
    except (NotFound, MethodNotAllowed):  # a resource that went away meanwhile
        return []
    items: list[dict[str, Any]] = listed.get("items") or []
    return items


async def _delete_all(client: Client, resource: Resource, namespace: str, items: Sequence[dict[str, Any]]) -> None:
    options = {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Background"}
    if "deletecollection" in resource.verbs:
        await client.call("DELETE", resource.path(namespace), options)
        return
    for item in items:
        try:
            await client.call("DELETE", f"{resource.path(namespace)}/{item['metadata']['name']}", options)
        except NotFound:
            continue


def observe(caches: Caches, key: Key, now: datetime) -> Seen | None:
    """Only namespaces that are going and still held by us."""
    namespace = caches.of(KIND).get("", key.name)
    if namespace is None or namespace.metadata.deletion_timestamp is None or FINALIZER not in namespace.spec.finalizers:
        return None
    return Seen(namespace, now)


def going(_: Caches, item: Object, __: Object | None = None) -> Iterable[Key]:
    """Namespaces being deleted."""
    if item.metadata.deletion_timestamp is not None:
        yield Key("", item.metadata.name)


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="namespace-controller",
        watches=(Watch(KIND, going),),
        observe=observe,
        inquire=Inquiry(),
        reconcile=reconcile,
        workers=2,
    )
