"""The proxy's loop: caches of services and endpoint slices in, one `nft` transaction out per burst of changes.

`nft` runs cost about 20 ms each and leave no memory behind, so changes are collected for a moment first. A refused transaction
is answered by replacing the whole table; it is retried with growing pauses and shows in the health record.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import trio

from edgekube.errors import EnvironmentError_
from edgekube.kinds.core.service import Service
from edgekube.kinds.discovery.endpointslice import EndpointSlice
from edgekube.network import host
from edgekube.network.config import NetworkConfig
from edgekube.network.proxy import rules

LOG = logging.getLogger("edgekube.proxy")
COLLECT_S = 0.1
RETRY_LEAST_S = 0.5
RETRY_MOST_S = 30.0
REFRESH_S = 300.0  # somebody may have dropped our table


class Proxy:
    """Keeps the table equal to what services and slices say."""

    def __init__(
        self,
        config: NetworkConfig,
        services: Callable[[], Sequence[Service]],
        slices: Callable[[], Sequence[EndpointSlice]],
        zone: Callable[[], str] = lambda: "",
    ) -> None:
        """`zone` is that of the node, now."""
        self._config, self._services, self._slices, self._zone = config, services, slices, zone
        self._dirty = trio.Event()
        self._applied: rules.Ruleset | None = None
        self.transactions = 0
        self.failures = 0

    def touch(self) -> None:
        """Something changed: look again soon."""
        self._dirty.set()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Apply until cancelled; started once the first rule set is in the kernel."""
        pause = RETRY_LEAST_S
        started = False
        while True:
            self._dirty = trio.Event()
            try:
                await self._apply()
            except EnvironmentError_ as error:
                self.failures += 1
                self._applied = None
                LOG.warning("service rules were refused, trying again in %.1f s: %s", pause, error)
                await trio.sleep(pause)
                pause = min(pause * 2, RETRY_MOST_S)
                continue
            pause = RETRY_LEAST_S
            if not started:
                started = True
                task_status.started()
            with trio.move_on_after(REFRESH_S) as waiting:
                await self._dirty.wait()
                await trio.sleep(COLLECT_S)
            if waiting.cancelled_caught and not await self._present():
                LOG.warning("our nftables table was removed by somebody; putting it back")
                self._applied = None

    async def _apply(self) -> None:
        wanted = rules.ruleset(self._config, self._services(), self._slices(), self._zone())
        if self._applied is None:
            script = rules.text(self._config.table, wanted)
        else:
            script = rules.difference(self._config.table, self._applied, wanted)
        if script:
            await host.nft(script)
            self.transactions += 1
            await self._forget_flows(self._applied, wanted)
        self._applied = wanted

    async def _present(self) -> bool:
        status, _ = await host.run(["nft", "list", "chain", "ip", self._config.table, "services"], check=False)
        return status == 0

    async def _forget_flows(self, before: rules.Ruleset | None, after: rules.Ruleset) -> None:
        """UDP has no closing: flows to endpoints that went away would live on in the connection tracker."""
        for (address, port), had in (before.udp if before else {}).items():
            for endpoint in had - after.udp.get((address, port), frozenset()):
                where = ["--orig-dst", address] if address else []
                await host.run(
                    ["conntrack", "-D", "-p", "udp", *where, "--orig-port-dst", str(port), "--dst-nat", endpoint],
                    check=False,
                )
        for (address, port), has in after.udp.items():
            if has and address and not (before.udp.get((address, port)) if before else None):
                # Asked while there was no endpoint: the flow was recorded without translation.
                await host.run(
                    ["conntrack", "-D", "-p", "udp", "--orig-dst", address, "--orig-port-dst", str(port)], check=False
                )
