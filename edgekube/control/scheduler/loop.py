"""The scheduler's loop: take the most important waiting pod, decide, bind, and believe in the binding before it is seen.

The decision is `decide`; the only place that acts is here.
Source: k8s.io/kubernetes pkg/scheduler/schedule_one.go, eventhandlers.go.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

import msgspec
import trio

from edgekube.api.kind import Kind
from edgekube.api.meta import format_time
from edgekube.control import pods
from edgekube.control.owners import STRATEGIC
from edgekube.control.scheduler import decide as decision
from edgekube.control.scheduler.decide import Chosen, Refused
from edgekube.control.scheduler.rules.catalog import RULES
from edgekube.control.scheduler.rules.volumebinding import SELECTED_NODE, claim_names, volume_for, waits_for_node
from edgekube.control.scheduler.scores.catalog import SCORES
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot, Summaries, node_info
from edgekube.control.scheduler.waiting import Waiting
from edgekube.errors import ApiError, ConnectionFailed, NotFound
from edgekube.kinds.core import namespace as namespace_kind
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core import persistentvolume as volume_kind
from edgekube.kinds.core import persistentvolumeclaim as claim_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.references import ObjectReference
from edgekube.kinds.storage import storageclass as class_kind
from edgekube.reconcile.caches import SharedCaches
from edgekube.reconcile.drive import Key, Surroundings, path_of
from edgekube.reconcile.events import Speaker
from edgekube.reconcile.plan import Note, about

NAME = "default-scheduler"
BINDINGS_AT_ONCE = 16
CLUSTER_KINDS = (node_kind.KIND, namespace_kind.KIND, claim_kind.KIND, volume_kind.KIND, class_kind.KIND)

log = logging.getLogger("edgekube.scheduler")


def is_ours(pod: Pod) -> bool:
    """Whether the pod waits for this scheduler."""
    return (
        not pod.spec.node_name
        and pod.spec.scheduler_name in ("", NAME)
        and pod.metadata.deletion_timestamp is None
        and not pods.is_terminal(pod)
        and not pod.spec.scheduling_gates
    )


class Scheduler:
    """One scheduler over shared caches. Make it before the caches fill, then `run` it."""

    def __init__(self, near: Surroundings) -> None:
        assert isinstance(near.caches, SharedCaches)
        self._near, self._caches = near, near.caches
        self._waiting = Waiting()
        self._assumed: dict[str, Pod] = {}  # uid -> the pod as it will be once its binding is seen
        self._summaries = Summaries()
        self._infos: dict[str, NodeInfo] = {}  # of nodes nothing happened on since they were made
        self._troubled: set[Key] = set()
        self._changed = trio.Event()
        self._wakes: dict[str, frozenset[str]] = {
            plural: frozenset(rule.name for rule in RULES if plural in rule.wakes)
            for plural in {plural for rule in RULES for plural in rule.wakes}
        }
        self._caches.listen(pod_kind.KIND, self._on_pod)
        kinds: tuple[Kind[Any], ...] = CLUSTER_KINDS
        for kind in kinds:
            self._caches.listen(kind, partial(self._on_cluster, kind.plural))

    async def run(self) -> None:
        """Place pods for ever."""
        self._assumed.clear()
        self._infos.clear()
        self._waiting = Waiting()
        for pod in self._caches.of(pod_kind.KIND).list():
            self._on_pod(None, pod)
        limit = trio.CapacityLimiter(BINDINGS_AT_ONCE)
        async with trio.open_nursery() as nursery:
            while True:
                key = self._waiting.next(trio.current_time())
                if key is None:
                    await self._rest()
                    continue
                await limit.acquire_on_behalf_of(key)
                nursery.start_soon(self._place, key, limit)
                await trio.lowlevel.checkpoint()

    async def _rest(self) -> None:
        changed = self._changed
        with trio.move_on_at(self._waiting.wake_at()):
            await changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _on_pod(self, before: Pod | None, after: Pod | None) -> None:
        pod = after if after is not None else before
        assert pod is not None
        key = Key(pod.metadata.namespace, pod.metadata.name)
        for state in (before, after, self._assumed.get(pod.metadata.uid)):
            if state is not None:
                self._infos.pop(state.spec.node_name, None)
        if after is None:
            self._summaries.forget(pod)
            self._assumed.pop(pod.metadata.uid, None)
        elif after.spec.node_name:
            self._assumed.pop(after.metadata.uid, None)
        if after is not None and is_ours(after):
            if after.metadata.uid not in self._assumed and (before is None or _changes_placement(before, after)):
                self._waiting.add(key, after.spec.priority or 0)
        elif key in self._waiting:
            self._waiting.remove(key)
        if pod.spec.node_name and _frees_or_fills(before, after):
            self._waiting.wake(self._wakes["pods"], trio.current_time())
        self._wake()

    def _on_cluster(self, plural: str, before: Any, after: Any) -> None:
        if plural == "nodes":
            self._infos.pop((before or after).metadata.name, None)
        if plural == "nodes" and before is not None and after is not None and not _changes_node(before, after):
            return
        self._waiting.wake(self._wakes.get(plural, frozenset()), trio.current_time())
        self._wake()

    def snapshot(self) -> Snapshot:
        """The cluster now, bindings under way included."""
        on_node: dict[str, list[Pod]] = {}
        for pod in self._assumed.values():
            on_node.setdefault(pod.spec.node_name, []).append(pod)
        cache = self._caches.of(pod_kind.KIND)
        infos = []
        for node in self._caches.of(node_kind.KIND).list():
            name = node.metadata.name
            info = self._infos.get(name)
            if info is None:
                info = node_info(node, [*cache.by("node", name), *on_node.get(name, ())], self._summaries)
                self._infos[name] = info
            infos.append(info)
        namespaces = self._caches.of(namespace_kind.KIND).list()
        claims = self._caches.of(claim_kind.KIND).list()
        return Snapshot(
            nodes=infos,
            namespaces={item.metadata.name: item.metadata.labels for item in namespaces},
            claims={(item.metadata.namespace, item.metadata.name): item for item in claims},
            volumes={item.metadata.name: item for item in self._caches.of(volume_kind.KIND).list()},
            classes={item.metadata.name: item for item in self._caches.of(class_kind.KIND).list()},
        )

    async def _place(self, key: Key, limit: trio.CapacityLimiter) -> None:
        try:
            pod = self._caches.of(pod_kind.KIND).get(*key)
            if pod is None or not is_ours(pod) or pod.metadata.uid in self._assumed:
                self._waiting.remove(key)
                return
            snapshot = self.snapshot()
            made = decision.decide(pod, snapshot, RULES, SCORES, self._near.clock.chance)
            if isinstance(made, Refused):
                self._waiting.refused(key, made.rules, trio.current_time())
                await self._tell_refused(pod, made)
            elif await self._bind_volumes(pod, made, snapshot):
                self._waiting.refused(key, {"VolumeBinding"}, trio.current_time())
            else:
                await self._bind(key, pod, made)
        except (ApiError, ConnectionFailed) as error:
            log.info("%s/%s: %s", key.namespace, key.name, error)
            self._waiting.failed(key, trio.current_time())
        except Exception as error:  # our mistake; the other pods must not suffer from it
            log.exception("%s/%s could not be placed", key.namespace, key.name)
            self._waiting.failed(key, trio.current_time())
            self._troubled.add(key)
            self._near.troubles.report(NAME, f"{key.namespace}/{key.name}: {type(error).__name__}: {error}")
        else:
            if key in self._troubled:
                self._troubled.discard(key)
                self._near.troubles.report(NAME, None)
        finally:
            limit.release_on_behalf_of(key)
            self._wake()

    async def _bind(self, key: Key, pod: Pod, made: Chosen) -> None:
        uid = pod.metadata.uid
        self._infos.pop(made.node, None)
        self._assumed[uid] = msgspec.structs.replace(pod, spec=msgspec.structs.replace(pod.spec, node_name=made.node))
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": key.name, "namespace": key.namespace, "uid": uid},
            "target": {"kind": "Node", "name": made.node},
        }
        try:
            await self._near.client.call("POST", path_of(pod_kind.KIND, key.namespace, key.name, "binding"), binding)
        except (ApiError, ConnectionFailed) as error:
            self._assumed.pop(uid, None)
            self._infos.pop(made.node, None)
            self._waiting.failed(key, trio.current_time())
            if not isinstance(error, NotFound):
                self._tell(pod, "Warning", "FailedScheduling", f"binding rejected: {error}")
            return
        self._waiting.remove(key)
        self._tell(
            pod, "Normal", "Scheduled", f"Successfully assigned {key.namespace}/{key.name} to {made.node}", "Binding"
        )

    async def _bind_volumes(self, pod: Pod, made: Chosen, snapshot: Snapshot) -> bool:
        """Give waiting claims their volumes; True when there were any: the pod is placed once they are bound."""
        info = next(info for info in snapshot.nodes if info.name == made.node)
        taken: set[str] = set()
        waiting = False
        for name in claim_names(pod):
            claim = snapshot.claims[pod.metadata.namespace, name]
            if claim.spec.volume_name or not waits_for_node(claim, snapshot):
                continue
            waiting = True
            volume = volume_for(claim, info, snapshot, taken)
            if volume is None:
                patch: Mapping[str, Any] = {"metadata": {"annotations": {SELECTED_NODE: made.node}}}
                await self._near.client.patch(claim_kind.KIND, name, pod.metadata.namespace, dict(patch))
                continue
            taken.add(volume.metadata.name)
            if volume.spec.claim_ref is None:
                spec = msgspec.structs.replace(volume.spec, claim_ref=_claim_reference(claim))
                await self._near.client.update(volume_kind.KIND, msgspec.structs.replace(volume, spec=spec))
        return waiting

    async def _tell_refused(self, pod: Pod, made: Refused) -> None:
        self._tell(pod, "Warning", "FailedScheduling", made.message)
        before = pods.condition(pod, "PodScheduled")
        if before is not None and (before.status, before.reason, before.message) == (
            "False",
            "Unschedulable",
            made.message,
        ):
            return
        now = format_time(self._near.clock.now())
        since = before.last_transition_time if before is not None and before.status == "False" else now
        condition = {
            "type": "PodScheduled",
            "status": "False",
            "observedGeneration": pod.metadata.generation,
            "lastProbeTime": None,
            "lastTransitionTime": since,
            "reason": "Unschedulable",
            "message": made.message,
        }
        try:
            await self._near.client.patch(
                pod_kind.KIND,
                pod.metadata.name,
                pod.metadata.namespace,
                {"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [condition]}},
                content_type=STRATEGIC,
                subresource="status",
            )
        except NotFound:
            return

    def _tell(self, pod: Pod, type_: str, reason: str, message: str, action: str = "Scheduling") -> None:
        speaker = Speaker(NAME, modern=True, action=action)
        self._near.recorder.tell(speaker, Note(about(pod_kind.KIND, pod), type_, reason, message))


def _claim_reference(claim: Any) -> ObjectReference:
    metadata = claim.metadata
    return ObjectReference(
        kind="PersistentVolumeClaim",
        api_version="v1",
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        resource_version=metadata.resource_version,
    )


def _changes_placement(before: Pod, after: Pod) -> bool:
    """A change of status alone (our own condition, usually) is no reason to look at a waiting pod again."""
    return (
        before.metadata.uid != after.metadata.uid
        or before.spec != after.spec
        or before.metadata.labels != after.metadata.labels
    )


def _frees_or_fills(before: Pod | None, after: Pod | None) -> bool:
    """Whether a placed pod's change can matter to others: it came, went, finished, or changed labels or requests."""
    if before is None or after is None:
        return True
    return (
        before.spec.node_name != after.spec.node_name
        or pods.is_terminal(before) != pods.is_terminal(after)
        or before.metadata.labels != after.metadata.labels
        or before.metadata.deletion_timestamp != after.metadata.deletion_timestamp
        or before.spec.containers != after.spec.containers
    )


def _changes_node(before: Any, after: Any) -> bool:
    """Heartbeats and image lists change nothing for waiting pods."""
    return bool(
        before.spec != after.spec
        or before.metadata.labels != after.metadata.labels
        or before.status.allocatable != after.status.allocatable
    )
