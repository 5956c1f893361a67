"""The probes of one pod's running containers: a task per probe, verdicts by container id.

Startup first; liveness and readiness only once it has passed. A probe that made its verdict about this life of the container
(dead, or never started) stops; the worker replaces the container.
Source: kubelet prober/worker.go (order, initial delay, events).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import trio

from edgekube.clock import Clock
from edgekube.kinds.core.container import Probe
from edgekube.node import probing
from edgekube.node.pods.seen import AnyContainer, Health
from edgekube.node.pods.tally import DEFAULT_PERIOD_S, DEFAULT_TIMEOUT_S, Tally
from edgekube.node.probing import Result
from edgekube.node.runtime.cri import ContainerDetail, Runtime

Ask = Callable[[AnyContainer, str, Probe, str], Awaitable[Result]]
"""(container, its id, probe, the pod's address) -> result"""


def asking(runtime: Runtime) -> Ask:
    """How probes are really done."""

    async def ask(container: AnyContainer, container_id: str, probe: Probe, ip: str) -> Result:
        timeout_s = probe.timeout_seconds or DEFAULT_TIMEOUT_S
        if probe.exec is not None:
            return await probing.by_exec(runtime, container_id, probe.exec, timeout_s)
        if probe.http_get is not None:
            return await probing.by_http(container, probe.http_get, ip, timeout_s)
        if probe.tcp_socket is not None:
            return await probing.by_tcp(container, probe.tcp_socket, ip, timeout_s)
        if probe.grpc is not None:
            return await probing.by_grpc(probe.grpc, ip, timeout_s)
        return Result(None, "missing probe handler")

    return ask


@dataclass
class Watching:
    """Verdicts of one pod. `tell(container, type, reason, message)` writes events; `changed()` wakes the worker."""

    nursery: trio.Nursery
    ask: Ask
    clock: Clock
    tell: Callable[[AnyContainer, str, str, str], None]
    changed: Callable[[], None]
    health: dict[str, Health] = field(default_factory=dict)
    _scopes: dict[str, trio.CancelScope] = field(default_factory=dict)

    def watch(
        self, container: AnyContainer, detail: ContainerDetail, ip: str, *, known_started: bool, known_ready: bool
    ) -> None:
        """Begin probing a running container, once. `known_...`: what we told the API of it before a restart of ours."""
        if detail.id in self._scopes:
            return
        if not (container.liveness_probe or container.readiness_probe or container.startup_probe):
            return
        self._scopes[detail.id] = trio.CancelScope()
        started = True if container.startup_probe is None or known_started else None
        self.health[detail.id] = Health(started=started, ready=known_ready if container.readiness_probe else None)
        self.nursery.start_soon(self._all, container, detail, ip)

    def keep_only(self, container_ids: set[str]) -> None:
        """Stop probing whatever is not in this set."""
        for gone in set(self._scopes) - container_ids:
            self._scopes.pop(gone).cancel()
            self.health.pop(gone, None)

    def stop(self) -> None:
        """Stop all probes."""
        self.keep_only(set())

    async def _all(self, container: AnyContainer, detail: ContainerDetail, ip: str) -> None:
        with self._scopes[detail.id]:
            if container.startup_probe is not None and self.health[detail.id].started is None:
                await self._one(container, detail, ip, container.startup_probe, "Startup")
                if self.health[detail.id].started is not True:
                    return
            async with trio.open_nursery() as nursery:
                if container.liveness_probe is not None:
                    nursery.start_soon(self._one, container, detail, ip, container.liveness_probe, "Liveness")
                if container.readiness_probe is not None:
                    nursery.start_soon(self._one, container, detail, ip, container.readiness_probe, "Readiness")

    async def _one(self, container: AnyContainer, detail: ContainerDetail, ip: str, probe: Probe, sort: str) -> None:
        """One probe, until its verdict ends its work or the container does."""
        age_s = self.clock.now().timestamp() - detail.started_at / 1e9
        await trio.sleep(max(0.0, min(probe.initial_delay_seconds, probe.initial_delay_seconds - age_s)))
        tally = Tally()
        while True:
            begun = trio.current_time()
            result = await self.ask(container, detail.id, probe, ip)
            if result.passed is None:
                words = f"{sort} probe errored and resulted in unknown state: {result.output}"
                self.tell(container, "Warning", "Unhealthy", words)
            else:
                if not result.passed:
                    self.tell(container, "Warning", "Unhealthy", f"{sort} probe failed: {result.output}")
                tally = tally.note(result.passed, probe)
                if self._judge(detail.id, sort, tally.verdict):
                    return
            await trio.sleep_until(begun + (probe.period_seconds or DEFAULT_PERIOD_S))

    def _judge(self, container_id: str, sort: str, verdict: bool | None) -> bool:
        """Take in a verdict; whether this probe is done."""
        before = self.health[container_id]
        if sort == "Startup":
            after, done = replace(before, started=verdict), verdict is not None
        elif sort == "Liveness":
            after, done = replace(before, alive=verdict), verdict is False
        else:
            after, done = replace(before, ready=bool(verdict)), False
        if after != before:
            self.health[container_id] = after
            self.changed()
        return done
