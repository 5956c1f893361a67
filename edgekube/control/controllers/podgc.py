"""Pods nobody will clean up otherwise: on nodes that are gone, deleted before they were placed, or finished long ago.

A pod that is to end on a node that cannot be heard stays Terminating (it may still run there) until the node is back, is deleted, or
somebody who knows says that it is off, with the taint node.kubernetes.io/out-of-service.

Source: k8s.io/kubernetes pkg/controller/podgc/gc_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import trio

from edgekube.api.meta import format_time
from edgekube.control import owners, pods
from edgekube.control.config import Config
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.node import Node
from edgekube.kinds.core.pod import Pod
from edgekube.reconcile.drive import Caches, Controller, Key, Watch
from edgekube.reconcile.plan import Action, Delete, Patch, Plan

KIND = pod_kind.KIND
PERIOD_S = 20.0
QUARANTINE_S = 40.0  # a node may be deleted and come back; its pods wait this long
ALL = Key("", "all")
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"


@dataclass(frozen=True, slots=True)
class Seen:
    """All pods, how long each missing node has been missing, and which nodes are out of service."""

    pods: Sequence[Pod]
    missing_s: Mapping[str, float]
    out_of_service: frozenset[str]
    kept: int
    now: datetime


def reconcile(seen: Seen) -> Plan:
    """Everything that is due, in one go; look again only while something waits."""
    actions: list[Action] = []
    waiting = False
    for pod in seen.pods:
        missing = seen.missing_s.get(pod.spec.node_name)
        if pod.spec.node_name and missing is not None:
            if missing >= QUARANTINE_S:
                actions += _end(pod, seen.now, "DeletionByPodGC", "PodGC: node no longer exists")
            waiting = True
        elif pod.spec.node_name in seen.out_of_service and pod.metadata.deletion_timestamp is not None:
            actions += _fail(pod)
        elif not pod.spec.node_name and pod.metadata.deletion_timestamp is not None and not pod.metadata.finalizers:
            actions.append(_delete(pod))
    finished = [pod for pod in seen.pods if pods.is_terminal(pod) and pod.metadata.deletion_timestamp is None]
    surplus = len(finished) - seen.kept
    if surplus > 0:
        finished.sort(key=lambda pod: (pod.metadata.creation_timestamp or "", pod.metadata.name))
        actions += [_delete(pod) for pod in finished[:surplus]]
    return Plan(actions, look_again_s=PERIOD_S if waiting else None)


def _delete(pod: Pod) -> Delete:
    metadata = pod.metadata
    return Delete(kind=KIND, namespace=metadata.namespace, name=metadata.name, uid=metadata.uid, grace_s=0)


def _fail(pod: Pod) -> list[Action]:
    """Without a word from its node a pod cannot be said to have succeeded."""
    if pods.is_terminal(pod):
        return [_delete(pod)]
    patch = {"metadata": {"uid": pod.metadata.uid}, "status": {"phase": "Failed"}}
    namespace, name = pod.metadata.namespace, pod.metadata.name
    mark = Patch(kind=KIND, namespace=namespace, name=name, patch=patch, subresource="status")
    return [mark, _delete(pod)]


def _end(pod: Pod, now: datetime, reason: str, message: str) -> list[Action]:
    """A pod whose node cannot say any more how it ended counts as failed."""
    if pods.is_terminal(pod):
        return [_delete(pod)]
    target = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": reason,
        "message": message,
        "lastTransitionTime": format_time(now),
    }
    mark = Patch(
        kind=KIND,
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        patch={"metadata": {"uid": pod.metadata.uid}, "status": {"phase": "Failed", "conditions": [target]}},
        content_type=owners.STRATEGIC,
        subresource="status",
    )
    return [mark, _delete(pod)]


def is_out_of_service(node: Node) -> bool:
    """Whether somebody said that the node is off, and nothing contradicts."""
    marked = any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints)
    return marked and not any(one.type == "Ready" and one.status == "True" for one in node.status.conditions)


def of_pod(caches: Caches, pod: Pod, _: Pod | None = None) -> Iterable[Key]:
    """Pods that finished, are going, or are on a node that is not there."""
    lost = pod.spec.node_name and caches.of(node_kind.KIND).get("", pod.spec.node_name) is None
    if lost or pods.is_terminal(pod) or pod.metadata.deletion_timestamp is not None:
        yield ALL


def of_node(caches: Caches, node: Node, _: Node | None = None) -> Iterable[Key]:
    """Nodes that went or came back."""
    if caches.of(pod_kind.KIND).by("node", node.metadata.name):
        yield ALL


def controller(config: Config) -> Controller[Seen]:
    """The loop: one key stands for all pods."""
    since: dict[str, float] = {}

    def observe(caches: Caches, _: Key, now: datetime) -> Seen | None:
        everything = caches.of(KIND).list()
        names = {pod.spec.node_name for pod in everything if pod.spec.node_name}
        missing = {name for name in names if caches.of(node_kind.KIND).get("", name) is None}
        for name in set(since) - missing:
            del since[name]
        for name in missing:
            since.setdefault(name, trio.current_time())
        waits = {name: trio.current_time() - begun for name, begun in since.items()}
        out = frozenset(item.metadata.name for item in caches.of(node_kind.KIND).list() if is_out_of_service(item))
        return Seen(everything, waits, out, config.terminated_pods_kept, now)

    return Controller(
        name="pod-garbage-collector",
        watches=(Watch(KIND, of_pod), Watch(node_kind.KIND, of_node)),
        observe=observe,
        reconcile=reconcile,
    )
