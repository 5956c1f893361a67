"""When the machine itself runs short of memory or disk, a pod is made to fail before the kernel picks one. `choose` is pure.

One pod a round, then another look: what a pod held is back only when it has ended.
Source: kubelet eviction/helpers.go (ranking, wording); the disk threshold is 5 %, as small cards need every byte.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import trio

from edgekube.api.quantity import format_amount, whole
from edgekube.kinds.core.pod import Pod
from edgekube.net.grpc import RpcFailed
from edgekube.node.machine import disk_figures, memory_figures
from edgekube.node.pods.lifecycle import Stage
from edgekube.node.pods.manager import Manager
from edgekube.node.pods.seen import regular
from edgekube.node.registration import DISK_PRESSURE_SHARE, MEMORY_PRESSURE_BYTES
from edgekube.node.runtime.cri import POD_UID

EVERY_S = 10.0
CRITICAL = 2_000_000_000  # system-cluster-critical and above stay

log = logging.getLogger("edgekube.node.eviction")


@dataclass(frozen=True, slots=True)
class Shortage:
    """What the machine is short of, in bytes. `resource`: "memory" or "ephemeral-storage"."""

    resource: str
    threshold: int
    available: int


@dataclass(frozen=True, slots=True)
class Candidate:
    """A pod and what it uses of the resource."""

    pod: Pod
    used: int

    @property
    def over(self) -> int:
        """How much more it uses than it asked for."""
        return self.used - _requested(self.pod, "memory")


def _requested(pod: Pod, resource: str) -> int:
    return sum(whole(container.resources.requests.get(resource, "0")) for container in regular(pod))


def shortage(memory_available: int, disk_size: int, disk_available: int) -> Shortage | None:
    """The worst want of the machine, or None."""
    if memory_available < MEMORY_PRESSURE_BYTES:
        return Shortage("memory", MEMORY_PRESSURE_BYTES, memory_available)
    threshold = int(disk_size * DISK_PRESSURE_SHARE)
    if disk_available < threshold:
        return Shortage("ephemeral-storage", threshold, disk_available)
    return None


def choose(candidates: Sequence[Candidate]) -> Candidate | None:
    """Who goes: first those above their request, then the least priority, then the furthest above."""
    eligible = [c for c in candidates if (c.pod.spec.priority or 0) < CRITICAL]
    if not eligible:
        return None
    return min(eligible, key=lambda c: (c.over <= 0, c.pod.spec.priority or 0, -c.over, c.pod.metadata.uid))


def words(short: Shortage, chosen: Candidate) -> str:
    """The message of the failed pod, as the kubelet puts it."""
    made = (
        f"The node was low on resource: {short.resource}. Threshold quantity: {_binary(short.threshold)}, "
        f"available: {_binary(short.available)}. "
    )
    if short.resource == "memory" and chosen.over > 0 and len(regular(chosen.pod)) == 1:
        container = regular(chosen.pod)[0]
        made += (
            f"Container {container.name} was using {_binary(chosen.used)}, "
            f"request is {container.resources.requests.get('memory', '0')}, has larger consumption of memory. "
        )
    return made


def _binary(amount: int) -> str:
    return format_amount(amount // 1024 * 1024, "binary")


class Evictor:
    """Looks every EVERY_S."""

    def __init__(self, manager: Manager) -> None:
        self._manager = manager

    async def run(self) -> None:
        """For ever."""
        while True:
            await trio.sleep(EVERY_S)
            if any(worker.stage is Stage.TERMINATING for worker in self._manager.workers.values()):
                continue  # something is on its way out; see first what that gives back
            size, free, _, _ = disk_figures(self._manager.tools.config.data_dir)
            short = shortage(memory_figures().get("MemAvailable", 1 << 62), size, free)
            if short is not None:
                try:
                    await self._relieve(short)
                except RpcFailed as failed:
                    log.warning("the node is low on %s, and the runtime failed: %s", short.resource, failed.message)

    async def _relieve(self, short: Shortage) -> None:
        used = await self._usage(short.resource)
        workers = {
            uid: worker
            for uid, worker in self._manager.workers.items()
            if worker.stage is Stage.SYNC and not worker.static and worker.seen.running
        }
        chosen = choose([Candidate(worker.pod, used.get(uid, 0)) for uid, worker in workers.items()])
        if chosen is None:
            log.warning("the node is low on %s, and there is no pod to evict", short.resource)
            return
        message = words(short, chosen)
        log.warning("evicting %s/%s: %s", chosen.pod.metadata.namespace, chosen.pod.metadata.name, message)
        self._manager.tools.tell(chosen.pod, "Warning", "Evicted", message)
        workers[chosen.pod.metadata.uid].evict("Evicted", message, at_once=True)

    async def _usage(self, resource: str) -> Mapping[str, int]:
        found: dict[str, int] = {}
        for usage in await self._manager.tools.runtime.usage():
            uid = usage.labels.get(POD_UID, "")
            amount = usage.working_set if resource == "memory" else usage.disk_used
            found[uid] = found.get(uid, 0) + (amount or 0)
        return found
