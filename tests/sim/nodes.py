"""Nodes without containers: they register and report as real ones do, and make believe that what is bound to them runs.

A node's `disk` survives its crashes (which pods it began and how they ended, as a runtime keeps exited containers); its network
may be cut while its pods run on.
"""

from __future__ import annotations

import random
from functools import partial
from pathlib import Path
from typing import Any

import trio

from edgekube.api.meta import format_time
from edgekube.client.follow import Cache, follow
from edgekube.client.local import LocalClient
from edgekube.errors import Conflict, NotFound
from edgekube.kinds.core import pod as pods
from edgekube.kinds.core.node import NodeStatus
from edgekube.kinds.core.pod import Pod
from edgekube.node.config import NodeConfig
from edgekube.node.machine import Machine
from edgekube.node.registration import Registration, Vitals, describe
from edgekube.node.runtime.cri import Version
from edgekube.server.context import User
from tests.sim.promises import TERMINAL
from tests.sim.world import World, insist

CPUS = 4
START_S, STOP_S, RUN_S, STEADY_S = 3.0, 5.0, 30.0, 400.0  # at most, or on average
FAIL_SHARE = 0.15


class FakeNode:
    """One node; `run` for its whole life."""

    def __init__(self, world: World, number: int, *, steady: bool = False) -> None:
        self.name, self.world, self.steady = f"node-{number}", world, steady
        self.chance = random.Random(world.chance.random())
        self.line = world.line()
        user = User(f"system:node:{self.name}", ("system:nodes", "system:authenticated"))
        self.client = LocalClient(self.line, user, manager="kubelet")
        self.begun: set[str] = set()
        self.ends: dict[str, str] = {}  # uid -> the phase it ended in
        self._workers: dict[str, Worker] = {}
        self._number, self._addresses = number, 1
        self._power = trio.CancelScope()
        self._off_s = 0.0
        self._nursery: trio.Nursery | None = None

    def crash(self, off_s: float) -> None:
        """Everything on the node stops; it boots again after `off_s`."""
        self._off_s = off_s
        self._power.cancel()

    async def run(self) -> None:
        """Boot, work, crash, and boot again."""
        while True:
            with trio.CancelScope() as self._power:
                await self._work()
            self.world.promises.tell(f"{self.name} is off")
            await trio.sleep(self._off_s)

    async def _work(self) -> None:
        self._workers = {}
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            config = NodeConfig(node_name=self.name, node_ip=f"10.0.1.{self._number}", data_dir=Path("/nowhere"))
            registration = Registration(
                self.client, self.world.clock, config, MACHINE, partial(self._look, config), self._tell
            )
            await registration.register()
            nursery.start_soon(registration.keep_lease)
            nursery.start_soon(registration.keep_reporting)
            await follow(
                self.client,
                pods.KIND,
                Cache[Pod](),
                on_change=self._on_change,
                fields=f"spec.nodeName={self.name}",
                chance=self.chance.random,
            )

    async def _look(self, config: NodeConfig, last: NodeStatus) -> NodeStatus:
        return describe(config, MACHINE, Version("fake", "1"), Vitals(), [], last, self.world.clock.now())

    def _tell(self, reason: str, message: str) -> None:
        self.world.promises.tell(f"{self.name} says {reason}")

    def address(self) -> str:
        """A fresh address for a pod."""
        self._addresses += 1
        return f"10.42.{self._number}.{self._addresses % 250 + 2}"

    def _on_change(self, before: Pod | None, after: Pod | None) -> None:
        if before is not None and (after is None or after.metadata.uid != before.metadata.uid):
            self._workers.pop(before.metadata.uid).vanish()
        if after is None:
            return
        worker = self._workers.get(after.metadata.uid)
        if worker is None:
            assert self._nursery is not None
            worker = self._workers[after.metadata.uid] = Worker(self, after)
            self._nursery.start_soon(worker.run)
        else:
            worker.take(after)


MACHINE = Machine(CPUS, 4 << 30, 32 << 30, 32768, "machine", "system", "boot", "6.1", "Linux", "amd64", "fake", 0)


class Worker:
    """One pod on one node, from when it is seen until it is gone."""

    def __init__(self, node: FakeNode, pod: Pod) -> None:
        self._node, self._pod, self._uid = node, pod, pod.metadata.uid
        self._place = f"{pod.metadata.namespace}/{pod.metadata.name}"
        self.going = trio.Event()
        self._news = trio.Event()
        self._said: tuple[bool, str] | None = None  # ready, address
        self._vanished = trio.Event()
        self._restarts = sum(one.restart_count for one in pod.status.container_statuses)
        if pod.metadata.deletion_timestamp is not None:
            self.going.set()

    def vanish(self) -> None:
        """The API has it no more."""
        self._vanished.set()
        self.going.set()
        self._news.set()

    def take(self, pod: Pod) -> None:
        """A newer state from the API."""
        self._pod = pod
        if pod.metadata.deletion_timestamp is not None:
            self.going.set()
        self._news.set()

    @property
    def _once(self) -> bool:
        return self._pod.spec.restart_policy != "Always"

    async def run(self) -> None:
        """Start, run, report, end, and clear away."""
        node = self._node
        if self._pod.status.phase in TERMINAL:
            node.ends[self._uid] = self._pod.status.phase
        elif self._once and self._uid in node.begun and self._uid not in node.ends:
            self._end("Failed")  # the node went down under it
        if self._uid not in node.ends:
            await self._live()
        if self._uid in node.ends and self._pod.status.phase not in TERMINAL:
            await self._report(node.ends[self._uid], ready=False)
        await self.going.wait()
        if not self._vanished.is_set():
            if self._uid not in node.ends:
                self._end("Succeeded" if not self._once else "Failed")
                await self._report(node.ends[self._uid], ready=False)
            await self._remove()
        node.begun.discard(self._uid)

    def _end(self, phase: str) -> None:
        self._node.ends[self._uid] = phase
        self._node.world.promises.ended(self._uid)

    async def _live(self) -> None:
        """Containers run in here and nowhere else. Returns when they ended for good, or are to go."""
        chance, promises = self._node.chance, self._node.world.promises
        if await self._passes(chance.random() * START_S):
            return
        promises.started(self._uid, self._place, self._node.name)
        self._node.begun.add(self._uid)
        try:
            address = self._node.address()
            await self._report("Running", ready=True, address=address)
            while not self._once:
                if await self._passes(chance.expovariate(1 / STEADY_S) if not self._node.steady else float("inf")):
                    break
                self._restarts += 1
                await self._report("Running", ready=False, address=address)
                if await self._passes(chance.random() * START_S):
                    break
                await self._report("Running", ready=True, address=address)
            if self._once and not await self._passes(chance.random() * RUN_S):
                failed = chance.random() < FAIL_SHARE
                self._end("Failed" if failed else "Succeeded")
            elif not self._vanished.is_set():
                await self._report("Running", ready=False, address=address)
                with trio.move_on_after(chance.random() * STOP_S):
                    await self._vanished.wait()
        finally:
            promises.stopped(self._uid)

    async def _passes(self, seconds: float) -> bool:
        """Wait; True when the pod is to go before that. What others say of the pod meanwhile is put right."""
        deadline = trio.current_time() + seconds
        while not self.going.is_set() and trio.current_time() < deadline:
            with trio.move_on_at(deadline):
                await self._news.wait()
                self._news = trio.Event()
            if self._said is not None and not self.going.is_set() and self._contradicted(*self._said):
                await self._report("Running", ready=self._said[0], address=self._said[1])
        return self.going.is_set()

    def _contradicted(self, ready: bool, _: str) -> bool:
        return any(one.type == "Ready" and one.status != str(ready) for one in self._pod.status.conditions)

    async def _report(self, phase: str, *, ready: bool, address: str = "") -> None:
        self._said = (ready, address)
        metadata, now = self._pod.metadata, str(format_time(self._node.world.clock.now()))
        status: dict[str, Any] = {
            "phase": phase,
            "conditions": [
                {"type": kind, "status": str(ready), "lastTransitionTime": now} for kind in ("Ready", "ContainersReady")
            ],
            "containerStatuses": [
                {"name": one.name, "image": one.image, "imageID": "", "ready": ready, "restartCount": self._restarts}
                for one in self._pod.spec.containers
            ],
        }
        if address:
            status |= {"podIP": address, "podIPs": [{"ip": address}]}
        patch = {"metadata": {"uid": self._uid}, "status": status}

        async def attempt() -> None:
            if not self._vanished.is_set():
                try:
                    await self._node.client.patch(
                        pods.KIND, metadata.name, metadata.namespace, patch, subresource="status"
                    )
                except Conflict:
                    if not await self._is_there():
                        return
                    raise

        try:
            await insist(attempt)
        except NotFound:
            return

    async def _is_there(self) -> bool:
        metadata = self._pod.metadata
        found = await self._node.client.get(pods.KIND, metadata.name, metadata.namespace)
        return found.metadata.uid == self._uid

    async def _remove(self) -> None:
        metadata = self._pod.metadata

        async def attempt() -> None:
            try:
                await self._node.client.delete(pods.KIND, metadata.name, metadata.namespace, uid=self._uid, grace_s=0)
            except Conflict:
                if await self._is_there():
                    raise

        try:
            await insist(attempt)
        except NotFound:
            return
