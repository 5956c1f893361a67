"""NoExecute taints: pods that do not tolerate them leave, at once or after the time they tolerate.

A pod labelled `edgekube.io/autonomy=true`, or on a node labelled so, stays where it is however long its node cannot be heard:
it runs on there, and nobody needs a second one elsewhere. It leaves for every other taint.
Source: k8s.io/kubernetes pkg/controller/tainteviction/taint_eviction.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from edgekube.api.meta import format_time, parse_time
from edgekube.control import owners, pods
from edgekube.control.config import Config
from edgekube.control.scheduler.matching import tolerates
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.node import Node, Taint
from edgekube.kinds.core.pod import Pod
from edgekube.reconcile.drive import Caches, Controller, Key, Watch
from edgekube.reconcile.plan import NOTHING, Delete, Note, Patch, Plan, Tell, about

AUTONOMY = "edgekube.io/autonomy"
AWAY = ("node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable")


@dataclass(frozen=True, slots=True)
class Seen:
    """A pod and the NoExecute taints of its node."""

    pod: Pod
    taints: Sequence[Taint]
    now: datetime


def reconcile(seen: Seen) -> Plan:
    """Delete, wait, or leave alone."""
    left = seconds_left(seen)
    if left is None:
        return NOTHING
    if left > 0:
        return Plan(look_again_s=left)
    metadata = seen.pod.metadata
    told = Note(
        about(pod_kind.KIND, seen.pod),
        "Normal",
        "TaintManagerEviction",
        f"Marking for deletion Pod {metadata.namespace}/{metadata.name}",
    )
    target = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "DeletionByTaintManager",
        "message": "Taint manager: deleting due to NoExecute taint",
        "lastTransitionTime": format_time(seen.now),
    }
    mark = Patch(
        kind=pod_kind.KIND,
        namespace=metadata.namespace,
        name=metadata.name,
        patch={"metadata": {"uid": metadata.uid}, "status": {"conditions": [target]}},
        content_type=owners.STRATEGIC,
        subresource="status",
    )
    delete = Delete(kind=pod_kind.KIND, namespace=metadata.namespace, name=metadata.name, uid=metadata.uid)
    return Plan([Tell(told), mark, delete])


def seconds_left(seen: Seen) -> float | None:
    """How long the pod may stay: None for ever, 0 or less not at all."""
    waits: list[float] = []
    for taint in seen.taints:
        matching = [entry for entry in seen.pod.spec.tolerations if tolerates(entry, taint)]
        if not matching:
            return 0.0
        bounded = [max(0, entry.toleration_seconds) for entry in matching if entry.toleration_seconds is not None]
        if bounded:
            begun = parse_time(taint.time_added) if taint.time_added is not None else seen.now
            waits.append((begun + timedelta(seconds=min(bounded)) - seen.now).total_seconds())
    return min(waits, default=None)


def observe(caches: Caches, key: Key, now: datetime) -> Seen | None:
    """Only pods on tainted nodes."""
    pod = caches.of(pod_kind.KIND).get(*key)
    if pod is None or not pod.spec.node_name or pod.metadata.deletion_timestamp is not None or pods.is_terminal(pod):
        return None
    node = caches.of(node_kind.KIND).get("", pod.spec.node_name)
    if node is None:
        return None
    taints = [taint for taint in node.spec.taints if taint.effect == "NoExecute"]
    if is_autonomous(pod) or is_autonomous(node):
        taints = [taint for taint in taints if taint.key not in AWAY]
    return Seen(pod, taints, now) if taints else None


def is_autonomous(item: Pod | Node) -> bool:
    """Whether somebody asked for pods to stay with a node that is away."""
    return item.metadata.labels.get(AUTONOMY) == "true"


def of_node(caches: Caches, node: Node, previous: Node | None = None) -> Iterable[Key]:
    """A change of taints touches all pods of the node, and one of its autonomy."""
    if previous is None or previous.spec.taints != node.spec.taints or is_autonomous(previous) != is_autonomous(node):
        for pod in caches.of(pod_kind.KIND).by("node", node.metadata.name):
            yield Key(pod.metadata.namespace, pod.metadata.name)


def of_pod(_: Caches, pod: Pod, previous: Pod | None = None) -> Iterable[Key]:
    """A pod that was placed, or tolerates something else now."""
    if pod.spec.node_name and (
        previous is None or previous.spec != pod.spec or is_autonomous(previous) != is_autonomous(pod)
    ):
        yield Key(pod.metadata.namespace, pod.metadata.name)


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="taint-eviction-controller",
        watches=(Watch(node_kind.KIND, of_node), Watch(pod_kind.KIND, of_pod)),
        observe=observe,
        reconcile=reconcile,
        workers=2,
    )
