"""Publishing pod statuses: only when something changed, the newest only, and again until the API has it.

One task writes for all pods; a pod that changes faster than the API answers is written once with its last state. Conditions of
others are kept, and what others say of what is ours (that a pod is not ready, since its node was away) is put right. While the node
is cut off every newest status is still handed to the client, which shows it to who follows pods on this node. Also deletes pods
whose end was published. Knows nothing of containers.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass

import msgspec
import trio

from edgekube.client.interface import Client
from edgekube.client.replica_rows import is_local
from edgekube.errors import ApiError, Conflict, ConnectionFailed, NotFound, Offline
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podstatus import PodCondition, PodStatus
from edgekube.node.pods.status import FINISHED, OWN_CONDITIONS

PAUSE_AFTER_FAILURE_S = 1.0
LONGEST_PAUSE_S = 30.0
PAUSE_OFFLINE_S = 2.0  # asking is free then, and news must not wait
ATTEMPTS_ON_CONFLICT = 5

log = logging.getLogger("edgekube.node.status")


@dataclass(frozen=True, slots=True)
class _Wanted:
    namespace: str
    name: str
    uid: str
    status: PodStatus | None  # None: delete the object


class StatusWriter:
    """`publish` and `delete` never block; `run` writes. `current(namespace, name)` is the pod as the API last showed it."""

    def __init__(self, client: Client, current: Callable[[str, str], Pod | None]) -> None:
        self._client, self._current = client, current
        self._waiting: dict[str, _Wanted] = {}
        self._told: dict[str, PodStatus] = {}
        self._written: dict[str, int] = {}  # uid -> revision of our last write
        self._news = trio.Event()
        self._settled: dict[str, trio.Event] = {}

    def publish(self, pod: Pod, status: PodStatus) -> None:
        """Make the API show this status of the pod (by uid; a pod reborn under the name is left alone)."""
        uid = pod.metadata.uid
        if self._told.get(uid) == status:
            return
        self._told[uid] = status
        self._want(_Wanted(pod.metadata.namespace, pod.metadata.name, uid, status))

    def delete(self, pod: Pod) -> None:
        """Delete the object for good: everything of it has stopped, and its last status was published."""
        self._want(_Wanted(pod.metadata.namespace, pod.metadata.name, pod.metadata.uid, None))

    def forget(self, uid: str) -> None:
        """A pod is gone."""
        self._told.pop(uid, None)
        self._written.pop(uid, None)
        self._waiting.pop(uid, None)
        if (settled := self._settled.pop(uid, None)) is not None:
            settled.set()

    async def written(self, uid: str) -> None:
        """Until nothing of this pod waits to be written."""
        if uid in self._settled:
            await self._settled[uid].wait()

    def _want(self, wanted: _Wanted) -> None:
        self._waiting[wanted.uid] = wanted
        self._settled.setdefault(wanted.uid, trio.Event())
        self._news.set()

    def compare(self, pod: Pod) -> None:
        """The API shows a pod: when that is not what was told last, and nobody of ours wrote it, tell it again."""
        uid, revision = pod.metadata.uid, pod.metadata.resource_version
        told = self._told.get(uid)
        if told is None or uid in self._waiting or is_local(revision) or not revision.isdigit():
            return
        if int(revision) > self._written.get(uid, 0) and _contradicts(pod.status, told):
            self._want(_Wanted(pod.metadata.namespace, pod.metadata.name, uid, told))

    async def run(self) -> None:
        """Write for ever."""
        pause_s = PAUSE_AFTER_FAILURE_S
        again_s = float("inf")
        while True:
            with trio.move_on_after(again_s):
                await self._news.wait()
            self._news = trio.Event()
            again_s = float("inf")
            for uid in list(self._waiting):
                wanted = self._waiting.get(uid)
                if wanted is None:
                    continue
                try:
                    await self._write(wanted)
                except Offline:
                    again_s = PAUSE_OFFLINE_S
                    continue
                except (ApiError, ConnectionFailed) as error:
                    log.info("status of %s/%s: %s", wanted.namespace, wanted.name, error)
                    if not _refused(error):
                        again_s = 0.0
                        await trio.sleep(pause_s)
                        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                        continue
                    self._told.pop(uid, None)  # the same words would be refused again; the next look tries afresh
                else:
                    pause_s = PAUSE_AFTER_FAILURE_S
                if self._waiting.get(uid) is wanted:
                    del self._waiting[uid]
                    if (settled := self._settled.pop(uid, None)) is not None:
                        settled.set()

    async def _write(self, wanted: _Wanted) -> None:
        if wanted.status is None:
            try:
                await self._client.delete(pod_kind.KIND, wanted.name, wanted.namespace, uid=wanted.uid, grace_s=0)
            except (NotFound, Conflict):
                pass  # gone, or another pod has the name by now
            return
        live = self._current(wanted.namespace, wanted.name)
        for _ in range(ATTEMPTS_ON_CONFLICT):
            try:
                if live is None or live.metadata.uid != wanted.uid:
                    live = await self._client.get(pod_kind.KIND, wanted.name, wanted.namespace)
                if live.metadata.uid != wanted.uid:
                    return
                merged = merge(live.status, wanted.status)
                if merged == live.status and not is_local(live.metadata.resource_version):
                    return
                made = await self._client.update(
                    pod_kind.KIND, msgspec.structs.replace(live, status=merged), subresource="status"
                )
                if wanted.uid in self._told:
                    self._written[wanted.uid] = int(made.metadata.resource_version or 0)
                return
            except NotFound:
                return
            except Conflict:
                live = None
        raise Conflict(f"status of pod {wanted.name!r} keeps changing under us")


def _refused(error: ApiError | ConnectionFailed) -> bool:
    """Whether the server understood and said no, so that others need not wait for it to come back."""
    return isinstance(error, ApiError) and 400 <= error.code < 500 and error.code not in (408, 409, 429)


def merge(live: PodStatus, ours: PodStatus) -> PodStatus:
    """Our status with what others own of the live one: their conditions, and moments we only see second-hand."""
    before = {condition.type: condition for condition in live.conditions}
    mine = [
        _steady(condition, before.get(condition.type))
        for condition in ours.conditions
        if condition.type in OWN_CONDITIONS
    ]
    others = [condition for condition in live.conditions if condition.type not in OWN_CONDITIONS]
    return msgspec.structs.replace(
        ours,
        phase=live.phase if live.phase in FINISHED else ours.phase,  # for good, whoever said so
        conditions=mine + others,
        start_time=live.start_time or ours.start_time,
        nominated_node_name=live.nominated_node_name,
        resource_claim_statuses=live.resource_claim_statuses,
        resize=live.resize,
        qos_class=live.qos_class or ours.qos_class,
    )


def _contradicts(live: PodStatus, told: PodStatus) -> bool:
    """Whether a status says something else of what is ours to say: phase, addresses and our conditions."""
    if live.phase in FINISHED:
        return False  # whoever said so: a pod that ended stays so, and the worker ends it
    if (live.phase, live.pod_ip) != (told.phase, told.pod_ip):
        return True
    ours = {condition.type: condition.status for condition in told.conditions if condition.type in OWN_CONDITIONS}
    shown = {condition.type: condition.status for condition in live.conditions}
    return any(shown.get(type_) != status for type_, status in ours.items())


def _steady(ours: PodCondition, live: PodCondition | None) -> PodCondition:
    """A condition that did not turn keeps the moment it last did."""
    if live is None or live.status != ours.status:
        return ours
    return msgspec.structs.replace(
        ours, last_transition_time=live.last_transition_time, last_probe_time=live.last_probe_time
    )


def differs(before: Pod, after: Pod) -> bool:
    """Whether a pod changed in anything that is not the kubelet's own to write."""

    def others(pod: Pod) -> list[tuple[str, str]]:
        return [(c.type, c.status) for c in pod.status.conditions if c.type not in OWN_CONDITIONS]

    one, two = before.metadata, after.metadata
    return (
        one.generation != two.generation
        or one.labels != two.labels
        or one.annotations != two.annotations
        or one.deletion_timestamp != two.deletion_timestamp
        or others(before) != others(after)
    )
