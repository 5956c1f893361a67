"""Machines with an agent each, as the simulator knows them: the real replica, registration and status writer, and make-believe containers.

A machine has a disk (which tears when its power goes), containers that run on when the agent process dies and end when the machine
does, and a line to the server that can be cut. What an agent does follows from what its copy shows it, as on a real one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import trio

from edgekube.api.meta import format_time
from edgekube.client.follow import Cache, follow
from edgekube.client.interface import Client
from edgekube.client.local import LocalClient
from edgekube.client.replica import Replica, open_replica
from edgekube.kinds.core import node as nodes
from edgekube.kinds.core import pod as pods
from edgekube.kinds.core import service as services
from edgekube.kinds.core.node import Node, NodeStatus
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podstatus import ContainerStatus, PodCondition, PodIP, PodStatus
from edgekube.kinds.core.service import Service
from edgekube.kinds.discovery import endpointslice as slices
from edgekube.kinds.discovery.endpointslice import EndpointSlice
from edgekube.network.localendpoints import LocalEndpoints
from edgekube.node.config import NodeConfig
from edgekube.node.pods.statuses import StatusWriter
from edgekube.node.registration import Registration, Vitals, describe
from edgekube.node.runtime.cri import Version
from edgekube.server.context import User
from tests.sim.nodes import FAIL_SHARE, MACHINE, RUN_S, START_S, STEADY_S, STOP_S
from tests.sim.promises import TERMINAL
from tests.sim.world import Disk, World

SURE_AFTER_S = 60.0  # what ran this long before the power went is on disk
UP_WITHIN_S = 120.0  # and runs again this long after it is back, server or not


@dataclass
class Run:
    """A pod's containers on a machine, as its runtime has them."""

    place: str
    address: str
    since_s: float
    ends_at_s: float = float("inf")
    outcome: str = ""
    restarts: int = 0


@dataclass
class Machine:
    """What outlives the agent process: containers; and what outlives the machine's power: how they ended, and the disk."""

    name: str
    world: World
    disk: Disk
    number: int
    running: dict[str, Run] = field(default_factory=dict)
    ends: dict[str, str] = field(default_factory=dict)
    begun: set[str] = field(default_factory=set)
    boots: int = 0
    _addresses: int = 1

    def address(self) -> str:
        """A fresh one for a pod; none comes again soon."""
        self._addresses += 1
        return f"10.42.{self.number}.{self._addresses % 250 + 2}"

    def start(self, uid: str, place: str) -> Run:
        """Run a pod's containers."""
        promises = self.world.promises
        promises.started(uid, place, self.name)
        promises.holds(uid not in self.running, f"{place} is started again while it runs")
        self.begun.add(uid)
        run = self.running[uid] = Run(place, self.address(), trio.current_time())
        return run

    def stop(self, uid: str) -> None:
        """They run no more."""
        if self.running.pop(uid, None) is not None:
            self.world.promises.stopped(uid)

    def end(self, uid: str, phase: str) -> None:
        """They ended by themselves, for good."""
        self.stop(uid)
        self.ends[uid] = phase
        self.world.promises.ended(uid)

    def lose_power(self) -> None:
        """Everything that runs stops."""
        for uid in list(self.running):
            self.stop(uid)
        self.boots += 1


class Agent:
    """A machine and the agent on it, through all its lives; `run` for ever."""

    def __init__(self, world: World, number: int, root: Path, *, steady: bool = False, names: bool = False) -> None:
        self.name, self.world, self.steady = f"node-{number}", world, steady
        self.chance = random.Random(world.chance.random())
        self.line = world.line()
        self.machine = Machine(self.name, world, Disk(root / self.name, random.Random(self.chance.random())), number)
        self.replica: Replica | None = None
        self.endpoints: LocalEndpoints | None = None
        self.labels: dict[str, str] = {}
        self._with_names = names
        self._power = trio.CancelScope()
        self._off_s = 0.0
        self._workers: dict[str, Worker] = {}
        self._nursery: trio.Nursery | None = None
        self.statuses: StatusWriter | None = None
        self._lease_at_s = float("-inf")

    # ---- what happens to it

    def kill(self, off_s: float) -> None:
        """The process dies; containers go on. It starts again after `off_s`."""
        self._off_s = off_s
        self.machine.disk.lose_power()
        self._power.cancel()

    def reboot(self, off_s: float) -> None:
        """The power goes; what surely was on disk must run again, server or not."""
        now = trio.current_time()
        sure = [
            uid for uid, run in self.machine.running.items() if now - run.since_s > SURE_AFTER_S and not run.outcome
        ]
        self.machine.lose_power()
        self.kill(off_s)
        if self._nursery is not None and self.line.cut:
            self.world.watch_over(partial(self._must_be_up, sure, self.machine.boots, off_s))

    async def _must_be_up(self, uids: Sequence[str], boot: int, off_s: float) -> None:
        await trio.sleep(off_s + UP_WITHIN_S)
        if self.machine.boots != boot or not self.line.cut or self.replica is None:
            return  # something else happened to it
        for uid in uids:
            worker = self._workers.get(uid)
            wanted = worker is not None and not worker.going.is_set() and uid not in self.machine.ends
            self.world.promises.holds(
                worker is not None, f"{self.name} forgot pod {uid} when it booted without its server"
            )
            self.world.promises.holds(
                not wanted or uid in self.machine.running or not self.steady,
                f"{self.name} does not run pod {uid} though it booted {UP_WITHIN_S} s ago",
            )

    async def run(self) -> None:
        """Boot, work, die, and boot again."""
        while True:
            with trio.CancelScope() as self._power:
                await self._live()
            self.replica = self.endpoints = None
            self.world.promises.tell(f"{self.name} is off")
            await trio.sleep(self._off_s)

    # ---- one life of the process

    async def _live(self) -> None:
        user = User(f"system:node:{self.name}", ("system:nodes", "system:authenticated"))
        remote = LocalClient(self.line, user, manager="kubelet")
        self._workers = {}
        disk = self.machine.disk
        async with (
            open_replica(
                disk.file,
                remote,
                self.world.clock,
                node_name=self.name,
                cluster="sim",
                probe=_ask_version,
                offloader=disk.offloader,
            ) as replica,
            trio.open_nursery() as nursery,
        ):
            self.replica, self._nursery = replica, nursery
            cache: Cache[Pod] = Cache()
            self.statuses = StatusWriter(replica, cache.get)
            nursery.start_soon(self.statuses.run)
            await self._register(replica, nursery)
            if self._with_names:
                await self._follow_names(replica, nursery)
            await follow(
                replica,
                pods.KIND,
                cache,
                on_change=self._on_change,
                fields=f"spec.nodeName={self.name}",
                chance=self.chance.random,
            )

    async def _register(self, replica: Replica, nursery: trio.Nursery) -> None:
        config = NodeConfig(
            node_name=self.name,
            node_ip=f"10.0.1.{self.machine.number}",
            data_dir=Path("/nowhere"),
            labels=self.labels,
            lease_kept=self._is_lease_fresh,
        )

        async def look(last: NodeStatus) -> NodeStatus:
            return describe(config, MACHINE, Version("fake", "1"), Vitals(), [], last, self.world.clock.now())

        registration = Registration(replica, self.world.clock, config, MACHINE, look, lambda *_: None)
        await registration.register()
        nursery.start_soon(registration.keep_lease)
        nursery.start_soon(registration.keep_reporting)
        fields = f"metadata.name={self.name}"
        nursery.start_soon(
            partial(follow, replica, nodes.KIND, Cache[Node](), on_change=registration.compare, fields=fields)
        )

    def _is_lease_fresh(self) -> bool:
        """A lease is renewed every `world.lease_every_s`; asked every ten seconds."""
        now = trio.current_time()
        if now - self._lease_at_s < self.world.lease_every_s:
            return True
        self._lease_at_s = now
        return False

    async def _follow_names(self, replica: Replica, nursery: trio.Nursery) -> None:
        known: Cache[Service] = Cache()
        pieces: Cache[EndpointSlice] = Cache()
        self.endpoints = LocalEndpoints(replica, self.name, known.list, pieces.list, lambda *_: None)
        nursery.start_soon(partial(follow, replica, services.KIND, known, chance=self.chance.random))
        nursery.start_soon(partial(follow, replica, slices.KIND, pieces, chance=self.chance.random))
        nursery.start_soon(self.endpoints.run)

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


async def _ask_version(client: Client) -> object:
    return await client.call("GET", "/version")


class Worker:
    """One pod while this agent lives: finds its containers or starts them, reports, and sees it off."""

    def __init__(self, agent: Agent, pod: Pod) -> None:
        self._agent, self._machine, self._pod, self._uid = agent, agent.machine, pod, pod.metadata.uid
        self._place = f"{pod.metadata.namespace}/{pod.metadata.name}"
        self._news = trio.Event()
        self._vanished = False
        self.going = trio.Event()
        if pod.metadata.deletion_timestamp is not None:
            self.going.set()

    def vanish(self) -> None:
        """The API has it no more."""
        self._vanished = True
        self.going.set()
        self._news.set()

    def take(self, pod: Pod) -> None:
        """A newer state from the API, or of our own."""
        self._pod = pod
        if pod.metadata.deletion_timestamp is not None or pod.status.phase in TERMINAL:
            self.going.set()
        assert self._agent.statuses is not None
        self._agent.statuses.compare(pod)
        self._news.set()

    @property
    def _once(self) -> bool:
        return self._pod.spec.restart_policy != "Always"

    async def run(self) -> None:
        """From what is there to the end."""
        machine, uid = self._machine, self._uid
        if self._pod.status.phase in TERMINAL:
            machine.ends.setdefault(uid, self._pod.status.phase)
        elif self._once and uid in machine.begun and uid not in machine.ends and uid not in machine.running:
            machine.end(uid, "Failed")  # the machine went down under it
        if uid not in machine.ends:
            await self._live()
        assert self._agent.statuses is not None
        if uid in machine.ends:
            self._say(machine.ends[uid], ready=False)
        await self.going.wait()
        if uid in machine.running:
            with trio.move_on_after(self._agent.chance.random() * STOP_S):
                await self._until_vanished()
            machine.end(uid, "Succeeded" if not self._once else "Failed")
        while not self._vanished and self._pod.metadata.deletion_timestamp is None:
            self._news = trio.Event()  # ended, and kept to be looked at
            await self._news.wait()
        if not self._vanished:
            self._say(machine.ends.get(uid, "Failed"), ready=False)
            await self._agent.statuses.written(uid)
            self._agent.statuses.delete(self._pod)
            await self._until_vanished()
        self._agent.statuses.forget(uid)
        machine.begun.discard(uid)

    async def _until_vanished(self) -> None:
        while not self._vanished:
            self._news = trio.Event()
            await self._news.wait()

    async def _live(self) -> None:
        """Until its containers ended for good, or are to go."""
        machine, chance, uid = self._machine, self._agent.chance, self._uid
        run = machine.running.get(uid)
        if run is None:
            if await self._passes(chance.random() * START_S):
                return
            run = machine.start(uid, self._place)
            if self._once:
                run.ends_at_s = trio.current_time() + chance.random() * RUN_S
                run.outcome = "Failed" if chance.random() < FAIL_SHARE else "Succeeded"
        run.restarts = max(run.restarts, sum(one.restart_count for one in self._pod.status.container_statuses))
        self._say("Running", ready=True, run=run)
        while not self._once:
            if await self._passes(chance.expovariate(1 / STEADY_S) if not self._agent.steady else float("inf")):
                return
            run.restarts += 1
            self._say("Running", ready=False, run=run)
            if await self._passes(chance.random() * START_S):
                return
            self._say("Running", ready=True, run=run)
        if not await self._passes(run.ends_at_s - trio.current_time()):
            machine.end(uid, run.outcome)

    async def _passes(self, seconds: float) -> bool:
        """Wait; True when the pod is to go before that."""
        with trio.move_on_after(max(0.0, seconds)):
            await self.going.wait()
        return self.going.is_set()

    def _say(self, phase: str, *, ready: bool, run: Run | None = None) -> None:
        now = format_time(self._agent.world.clock.now())
        status = PodStatus(
            phase=phase,
            conditions=[
                PodCondition(type=kind, status=str(ready), last_transition_time=now)
                for kind in ("Ready", "ContainersReady")
            ],
            container_statuses=[
                ContainerStatus(
                    name=one.name, image=one.image, ready=ready, restart_count=run.restarts if run is not None else 0
                )
                for one in self._pod.spec.containers or ()
            ],
        )
        if run is not None:
            status.pod_ip, status.pod_ips = run.address, [PodIP(ip=run.address)]
        assert self._agent.statuses is not None
        self._agent.statuses.publish(self._pod, status)
