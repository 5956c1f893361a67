"""The StorageClass `local-path`, put in place once: when the first node that offers its disk joins.

Once only: the namespace kube-system remembers it in an annotation, so that who deletes or changes the class is not fought. It is
the default class unless the cluster has another by then.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from edgekube.api.meta import ObjectMeta
from edgekube.control.config import Config
from edgekube.control.scheduler.rules.volumebinding import LOCAL_PATH, LOCAL_PATH_ROOT
from edgekube.kinds.core import namespace as namespace_kind
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core.node import Node
from edgekube.kinds.storage import storageclass as class_kind
from edgekube.kinds.storage.storageclass import DEFAULT_ANNOTATIONS, StorageClass, is_default
from edgekube.reconcile.drive import Caches, Controller, Key, Watch
from edgekube.reconcile.plan import NOTHING, Create, Patch, Plan

NAME = "local-path"
REMEMBERED_IN, REMEMBERED_AS = "kube-system", "edgekube.io/local-path-class"


@dataclass(frozen=True, slots=True)
class Seen:
    """Whether a node offers its disk, whether the class was made before, and whether there is another default."""

    is_offered: bool
    was_made: bool
    has_default: bool


def reconcile(seen: Seen) -> Plan:
    """First the class, then the memory of it: between the two it is merely found there again."""
    if seen.was_made or not seen.is_offered:
        return NOTHING
    annotations = {} if seen.has_default else {DEFAULT_ANNOTATIONS[0]: "true"}
    made = StorageClass(
        metadata=ObjectMeta(name=NAME, annotations=annotations),
        provisioner=LOCAL_PATH,
        reclaim_policy="Delete",
        volume_binding_mode="WaitForFirstConsumer",
    )
    remember = {"metadata": {"annotations": {REMEMBERED_AS: "created"}}}
    return Plan(
        [
            Create(kind=class_kind.KIND, item=made, may_exist=True),
            Patch(kind=namespace_kind.KIND, namespace="", name=REMEMBERED_IN, patch=remember),
        ]
    )


def observe(caches: Caches, _: Key, __: datetime) -> Seen | None:
    """None until the namespace that remembers is there."""
    namespace = caches.of(namespace_kind.KIND).get("", REMEMBERED_IN)
    if namespace is None:
        return None
    return Seen(
        is_offered=any(node.metadata.annotations.get(LOCAL_PATH_ROOT) for node in caches.of(node_kind.KIND).list()),
        was_made=REMEMBERED_AS in namespace.metadata.annotations,
        has_default=any(is_default(one) for one in caches.of(class_kind.KIND).list()),
    )


def of_node(_: Caches, node: Node, before: Node | None = None) -> Iterable[Key]:
    """A node that begins to offer its disk."""
    if before is None or before.metadata.annotations != node.metadata.annotations:
        yield Key("", REMEMBERED_IN)


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="local-path-class",
        watches=(Watch(node_kind.KIND, of_node),),
        observe=observe,
        reconcile=reconcile,
        lists_for=(namespace_kind.KIND, class_kind.KIND),
    )
