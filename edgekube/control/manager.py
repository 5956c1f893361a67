"""Runs all control loops: one cache per kind among them, each loop supervised.

Lives here: starting, restarting and reporting. A loop that raises is started again after a growing pause and shows in the health
registry meanwhile; it never takes the process down and never dies silently.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import trio

from edgekube.api.kind import Kind
from edgekube.api.meta import Object
from edgekube.client.interface import Client
from edgekube.clock import Clock
from edgekube.control import catalog, owners
from edgekube.control.config import Config
from edgekube.control.controllers import serviceaddresses
from edgekube.control.scheduler.loop import NAME as SCHEDULER
from edgekube.control.scheduler.loop import Scheduler
from edgekube.kinds.apps import controllerrevision, replicaset
from edgekube.kinds.batch import job
from edgekube.kinds.coordination import lease
from edgekube.kinds.core import configmap, pod, secret, service
from edgekube.kinds.core.pod import Pod
from edgekube.reconcile.caches import SharedCaches
from edgekube.reconcile.drive import Controller, Hands, Key, Service, Surroundings, Troubles, Watch, drive
from edgekube.reconcile.events import Recorder, Speaker
from edgekube.reconcile.pace import Pace
from edgekube.reconcile.queue import KeyQueue

RESTART_PACE = Pace(first_s=1.0, longest_s=60.0)
STEADY_S = 300.0  # a loop that ran this long starts over with the first pause

log = logging.getLogger("edgekube.control")


class Health:
    """The simplest health registry: what each part last said. `server` may bring its own with the same `report`."""

    def __init__(self) -> None:
        self.troubles: dict[str, str | None] = {}

    def report(self, part: str, trouble: str | None) -> None:
        """`trouble` None is well."""
        self.troubles[part] = trouble

    def summary(self) -> str | None:
        """All troubles in one line, None when there are none: what a readiness check wants."""
        return "; ".join(f"{part}: {trouble}" for part, trouble in self.troubles.items() if trouble) or None


def node_index(item: Pod) -> list[str]:
    """The node a pod is on, for the "node" index."""
    return [item.spec.node_name] if item.spec.node_name else []


def make_caches(client: Client, clock: Clock) -> SharedCaches:
    """Caches with the indices and bounds that loops rely on."""
    caches = SharedCaches(client, chance=clock.chance)
    caches.want(pod.KIND, indices={"owner": owners.owner_index, "node": node_index})
    owned: tuple[Kind[Any], ...] = (replicaset.KIND, job.KIND, controllerrevision.KIND)
    for kind in owned:
        caches.want(kind, indices={"owner": owners.owner_index})
    caches.want(service.KIND, indices={serviceaddresses.INDEX: serviceaddresses.addresses_of})
    caches.want(configmap.KIND, fields="metadata.name=kube-root-ca.crt")
    caches.want(lease.KIND, namespace="kube-node-lease")
    caches.want(secret.KIND, namespace="kube-system", fields="type=bootstrap.kubernetes.io/token")
    return caches


async def run_controllers(
    client: Client,
    clock: Clock,
    config: Config,
    *,
    health: Troubles,
    scheduler_client: Client | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Run every controller (and the scheduler) until cancelled. Started once all caches are synced and all loops run."""
    caches = make_caches(client, clock)
    recorder = Recorder(client, clock)
    surroundings = Surroundings(client, caches, clock, recorder, health)
    loops: list[_Loop] = []
    for part in catalog.load(config):
        if isinstance(part, Service):
            for kind in part.follows:
                caches.want(kind)
            loops.append(_Loop(part.name, partial(part.run, surroundings)))
        else:
            driven = _Driven(part, surroundings)
            loops.append(_Loop(part.name, driven.run))
    if config.scheduler:
        scheduling = replace(surroundings, client=scheduler_client or client)
        loops.append(_Loop(SCHEDULER, Scheduler(scheduling, config.scheduler_profiles).run))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(supervise, "events", recorder.run, clock, health)
        await nursery.start(caches.run)
        for loop in loops:
            nursery.start_soon(supervise, loop.name, loop.run, clock, health)
        task_status.started()


class _Loop:
    """A name and what to run under it."""

    def __init__(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        self.name, self.run = name, run


class _Driven:
    """A keyed controller: its queue, fed by the shared caches, and its workers."""

    def __init__(self, controller: Controller[Any], surroundings: Surroundings) -> None:
        self._controller, self._surroundings = controller, surroundings
        self._queue: KeyQueue[Key] | None = None
        caches = surroundings.caches
        assert isinstance(caches, SharedCaches)
        for kind in controller.lists_for:
            caches.want(kind)
        for watch in controller.watches:
            caches.listen(watch.kind, partial(self._on_change, watch))

    def _on_change(self, watch: Watch, before: Object | None, after: Object | None) -> None:
        if self._queue is None:  # between two runs; the next one looks at everything
            return
        item = after if after is not None else before
        assert item is not None
        previous = before if after is not None else None
        try:
            for key in watch.keys(self._surroundings.caches, item, previous):
                self._queue.add(key)
        except Exception as error:  # our mistake; the cache and its other listeners must not suffer from it
            log.exception("%s: a change of %s was lost", self._controller.name, watch.kind.plural)
            self._surroundings.troubles.report(self._controller.name, f"{type(error).__name__}: {error}")

    async def run(self) -> None:
        """Work for ever, beginning with everything there is."""
        near = self._surroundings
        self._queue = KeyQueue(Pace(chance=near.clock.chance))
        speaker = Speaker(self._controller.name)
        hands = Hands(near.client, near.caches, near.recorder, near.clock, speaker)
        for key in self._controller.seeds:
            self._queue.add(key)
        for watch in self._controller.watches:
            for item in near.caches.of(watch.kind).list():
                self._on_change(watch, None, item)
        try:
            async with trio.open_nursery() as nursery:
                for _ in range(self._controller.workers):
                    nursery.start_soon(drive, self._controller, self._queue, hands, near.troubles)
        finally:
            self._queue = None


async def supervise(name: str, run: Callable[[], Awaitable[None]], clock: Clock, health: Troubles) -> None:
    """Run a loop for ever, starting it again after a pause when it raises or returns."""
    failures = 0
    while True:
        begun = clock.monotonic()
        health.report(name, None)
        try:
            await run()
            trouble = "ended without being asked to"
        except Exception as error:
            log.exception("%s failed", name)
            trouble = f"{type(error).__name__}: {error}"
        failures = 1 if clock.monotonic() - begun > STEADY_S else failures + 1
        health.report(name, trouble)
        await trio.sleep(RESTART_PACE.pause(failures))
