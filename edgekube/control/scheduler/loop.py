"""The scheduler's loop: take the most important waiting pod, decide, bind, and believe in the binding before it is seen.

The decision is `decide`; the only place that acts is here.
Source: k8s.io/kubernetes pkg/scheduler/schedule_one.go, eventhandlers.go.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import msgspec
import trio

from edgekube.api.kind import Kind
from edgekube.control import pods
from edgekube.control.scheduler import decide as decision
from edgekube.control.scheduler import outcomes
from edgekube.control.scheduler.decide import Chosen, Refused, Rule
from edgekube.control.scheduler.picture import Picture
from edgekube.control.scheduler.preempt import Nothing, Sacrifice, preempt
from edgekube.control.scheduler.profiles import DEFAULT_NAME, Profile
from edgekube.control.scheduler.rules.volumebinding import SELECTED_NODE, claim_names, volume_for, waits_for_node
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot, Summaries, node_info, zones_in_turn
from edgekube.control.scheduler.waiting import Waiting
from edgekube.errors import ApiError, ConnectionFailed, NotFound
from edgekube.kinds.core import namespace as namespace_kind
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core import persistentvolume as volume_kind
from edgekube.kinds.core import persistentvolumeclaim as claim_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.references import ObjectReference
from edgekube.kinds.policy import poddisruptionbudget as budget_kind
from edgekube.kinds.resource import resourceclaim as devices_kind
from edgekube.kinds.storage import csinode as csinode_kind
from edgekube.kinds.storage import storageclass as class_kind
from edgekube.reconcile.caches import SharedCaches
from edgekube.reconcile.drive import Key, Surroundings, path_of

NAME = DEFAULT_NAME
BINDINGS_AT_ONCE = 16
CLUSTER_KINDS = (
    node_kind.KIND,
    namespace_kind.KIND,
    claim_kind.KIND,
    volume_kind.KIND,
    class_kind.KIND,
    csinode_kind.KIND,
    devices_kind.KIND,
)

log = logging.getLogger("edgekube.scheduler")


def waits(pod: Pod) -> bool:
    """Whether the pod wants a node and may have one."""
    return (
        not pod.spec.node_name
        and pod.metadata.deletion_timestamp is None
        and not pods.is_terminal(pod)
        and not pod.spec.scheduling_gates
    )


class Scheduler:
    """One scheduler over shared caches. Make it before the caches fill, then `run` it."""

    def __init__(self, near: Surroundings, profiles: Sequence[Profile] = ()) -> None:
        assert isinstance(near.caches, SharedCaches)
        self._near, self._caches = near, near.caches
        self._profiles = {profile.name: profile for profile in profiles or (Profile(),)}
        self._waiting = Waiting()
        self._assumed: dict[str, Pod] = {}  # uid -> the pod as it will be once its binding is seen
        self._nominated: dict[str, tuple[str, Pod]] = {}  # uid -> the node a pod has been promised a place on
        self._preempting: set[str] = set()  # uids of pods whose victims are being told
        self._start = 0  # where in the round of nodes the next decision begins
        self._summaries = Summaries()
        self._picture = Picture()
        self._troubled: set[Key] = set()
        self._changed = trio.Event()
        rules: set[Rule] = {rule for profile in self._profiles.values() for rule in profile.rules}
        self._wakes: dict[str, frozenset[str]] = {
            plural: frozenset(rule.name for rule in rules if plural in rule.wakes)
            for plural in {plural for rule in rules for plural in rule.wakes}
        }
        self._caches.listen(pod_kind.KIND, self._on_pod)
        self._caches.want(budget_kind.KIND)
        kinds: tuple[Kind[Any], ...] = CLUSTER_KINDS
        for kind in kinds:
            self._caches.listen(kind, partial(self._on_cluster, kind.plural))

    async def run(self) -> None:
        """Place pods for ever."""
        self._assumed.clear()
        self._nominated.clear()
        self._preempting.clear()
        self._picture = Picture()
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
                self._picture.touch(state.spec.node_name)
        if after is None:
            self._summaries.forget(pod)
            self._assumed.pop(pod.metadata.uid, None)
        elif after.spec.node_name:
            self._assumed.pop(after.metadata.uid, None)
        self._note_nomination(before, pod if after is not None else None, pod.metadata.uid)
        if after is not None and self._is_ours(after):
            if after.metadata.uid not in self._assumed and (before is None or _changes_placement(before, after)):
                self._waiting.add(key, after.spec.priority or 0)
        elif key in self._waiting:
            self._waiting.remove(key)
        if pod.spec.node_name and _frees_or_fills(before, after):
            self._waiting.wake(self._wakes.get("pods", frozenset()), trio.current_time())
        self._wake()

    def _is_ours(self, pod: Pod) -> bool:
        return (pod.spec.scheduler_name or NAME) in self._profiles and waits(pod)

    def _note_nomination(self, before: Pod | None, after: Pod | None, uid: str) -> None:
        """Keep in mind who has been promised a place; a promise of our own holds until the API shows another or none."""
        if after is None or not waits(after):
            self._nominated.pop(uid, None)
        elif after.status.nominated_node_name:
            self._nominated[uid] = (after.status.nominated_node_name, after)
        elif before is not None and before.status.nominated_node_name:
            self._nominated.pop(uid, None)

    def _on_cluster(self, plural: str, before: Any, after: Any) -> None:
        if plural == "nodes":
            self._picture.touch((before or after).metadata.name)
            if before is None or after is None or before.metadata.labels != after.metadata.labels:
                self._picture.reorder()
        if plural == "nodes" and before is not None and after is not None and not _changes_node(before, after):
            return
        self._waiting.wake(self._wakes.get(plural, frozenset()), trio.current_time())
        self._wake()

    def snapshot(self) -> Snapshot:
        """The cluster now, bindings under way included."""
        nodes = self._caches.of(node_kind.KIND)
        infos, index = self._picture.look(lambda: zones_in_turn(nodes.list()), self._info_of)
        namespaces = self._caches.of(namespace_kind.KIND).list()
        claims = self._caches.of(claim_kind.KIND).list()
        promised: dict[str, list[Pod]] = {}
        for uid, (name, pod) in self._nominated.items():
            if uid not in self._assumed:
                promised.setdefault(name, []).append(pod)
        return Snapshot(
            nodes=infos,
            known=index,
            namespaces={item.metadata.name: item.metadata.labels for item in namespaces},
            claims={(item.metadata.namespace, item.metadata.name): item for item in claims},
            volumes={item.metadata.name: item for item in self._caches.of(volume_kind.KIND).list()},
            classes={item.metadata.name: item for item in self._caches.of(class_kind.KIND).list()},
            drivers={item.metadata.name: item for item in self._caches.of(csinode_kind.KIND).list()},
            devices={
                (one.metadata.namespace, one.metadata.name): one for one in self._caches.of(devices_kind.KIND).list()
            },
            budgets=self._caches.of(budget_kind.KIND).list(),
            nominated=promised,
            summaries=self._summaries,
        )

    def _info_of(self, name: str) -> NodeInfo | None:
        node = self._caches.of(node_kind.KIND).get("", name)
        if node is None:
            return None
        arriving = [pod for pod in self._assumed.values() if pod.spec.node_name == name]
        return node_info(node, [*self._caches.of(pod_kind.KIND).by("node", name), *arriving], self._summaries)

    async def _place(self, key: Key, limit: trio.CapacityLimiter) -> None:
        try:
            pod = self._caches.of(pod_kind.KIND).get(*key)
            if pod is None or not self._is_ours(pod) or pod.metadata.uid in self._assumed:
                self._waiting.remove(key)
                return
            if pod.metadata.uid in self._preempting:
                self._waiting.failed(key, trio.current_time())
                return
            snapshot, profile = self.snapshot(), self._profiles[pod.spec.scheduler_name or NAME]
            chance = self._near.clock.chance
            made = decision.decide(pod, snapshot, profile.rules, profile.scores, chance, start=self._start)
            if isinstance(made, Refused):
                self._waiting.refused(key, made.rules, trio.current_time())
                await self._refused(pod, made, snapshot, profile)
            else:
                self._start = (self._start + made.looked_at) % len(snapshot.nodes)
                if await self._bind_volumes(pod, made, snapshot):
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
        self._picture.touch(made.node)
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
            self._picture.touch(made.node)
            self._waiting.failed(key, trio.current_time())
            if not isinstance(error, NotFound):
                outcomes.tell(self._near, pod, "Warning", "FailedScheduling", f"binding rejected: {error}")
            return
        self._nominated.pop(uid, None)
        self._waiting.remove(key)
        assigned = f"Successfully assigned {key.namespace}/{key.name} to {made.node}"
        outcomes.tell(self._near, pod, "Normal", "Scheduled", assigned, action="Binding")

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

    async def _refused(self, pod: Pod, made: Refused, snapshot: Snapshot, profile: Profile) -> None:
        """Make room where that may be; say why the pod waits."""
        if not profile.preempts or not snapshot.nodes:
            await outcomes.say_refused(self._near, pod, made.message)
            return
        found = preempt(pod, snapshot, profile.rules, made, self._near.clock.chance)
        if isinstance(found, Nothing):
            if found.forget_nomination:
                self._nominated.pop(pod.metadata.uid, None)
            nominated = "" if found.forget_nomination and pod.status.nominated_node_name else None
            await outcomes.say_refused(self._near, pod, f"{made.message} preemption: {found.words}", nominated)
            return
        await self._make_room(pod, found, made.message)

    async def _make_room(self, pod: Pod, found: Sacrifice, message: str) -> None:
        uid = pod.metadata.uid
        weaker = [
            other
            for other_uid, (node, other) in self._nominated.items()
            if node == found.node and other_uid != uid and (other.spec.priority or 0) < (pod.spec.priority or 0)
        ]
        self._nominated[uid] = (found.node, pod)
        self._preempting.add(uid)
        try:
            await outcomes.say_refused(self._near, pod, message, found.node)
            for other in weaker:
                self._nominated.pop(other.metadata.uid, None)
                await outcomes.take_back_nomination(self._near, other)
            for victim in found.victims:
                if victim.metadata.deletion_timestamp is None:
                    await outcomes.send_away(self._near, victim, pod, found.node)
        finally:
            self._preempting.discard(uid)


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
        or before.status.resource_claim_statuses != after.status.resource_claim_statuses
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
