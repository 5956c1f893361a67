"""What agents cost: their own memory, their link while nothing happens, the time to join, and what each adds to the server.

`idle_agent` is a real agent with ten pods in a network namespace; its bytes are those of its cable, Ethernet and everything. For
`many_agents` real ones would need as many machines: those are simulated here with all that a server sees of an agent, joined one by
one: a certificate, a tunnel with heartbeats, the node's object and the watches, over real TLS.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import trio

from tests.benchmarks.figures import Figure, cpu_s, pss_mib, settle
from tests.e2e.conftest import missing
from tests.support import ROOT, Server, api_server, eventually

PODS = 10
IDLE_S = 120.0
SETTLE_S = 45.0  # an agent asks for its serving certificate half a minute after its start
AGENTS = 100
JOINING_AT_ONCE = 8
DAY_S = 86400.0


def idle_agent(directory: Path) -> list[Figure]:
    """Join a machine, give it ten pods, and leave it alone."""
    if reason := missing():
        print(f"idle_agent left out: {reason}")
        return []
    from tests.e2e.machines import IMAGE, Site

    with Site(directory / "site") as site:
        first, second = site.machine("gw1"), site.machine("gw2")
        first.start_server()
        site.bring_image(second)
        began = time.monotonic()
        site.join(second)
        joined_s = time.monotonic() - began
        eventually(lambda: first.kubectl_raw("get", "serviceaccount", "default").returncode == 0, within_s=60)
        container = {"name": "c", "image": IMAGE, "command": ["sleep", "86400"]}
        spec = {"nodeName": "gw2", "terminationGracePeriodSeconds": 0, "containers": [container]}
        pods = [
            {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": f"idle-{number}"}, "spec": spec}
            for number in range(PODS)
        ]
        first.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": pods}))
        first.kubectl("wait", "pods", "--all", "--for=condition=Ready", "--timeout=120s")
        time.sleep(SETTLE_S)
        assert second.process is not None
        pid = second.process.pid
        settle(pid)
        before, busy, began = sum(second.link_bytes()), cpu_s(pid), time.monotonic()
        time.sleep(IDLE_S)
        spent_s = time.monotonic() - began
        hourly = (sum(second.link_bytes()) - before) / spent_s * 3600
        cpu = (cpu_s(pid) - busy) / spent_s * 100
        weight = pss_mib(pid)
    return [
        Figure("agent: join line pasted to node Ready, images present", joined_s, "s", "5 s"),
        Figure(f"agent with {PODS} pods: memory (PSS)", weight, "MiB", "60 MiB"),
        Figure(f"agent with {PODS} pods: CPU idle", cpu, "% of a core", "1 %"),
        Figure(
            f"agent with {PODS} pods: bytes per idle hour on the link, both ways", hourly / 1024, "KiB", "203 KiB",
            f"{hourly * 24 / 1e6:.2f} MB a day",
        ),
    ]  # fmt: skip


def many_agents(directory: Path) -> list[Figure]:
    """A server alone, and the same with a hundred agents that have nothing to do."""
    with api_server(directory / "server") as server:
        settle(server.process.pid)
        pid = server.process.pid
        alone_mib = pss_mib(pid)
        token = _token(server)
        measured: dict[str, float] = {}
        trio.run(_simulate, server, token, directory, measured)
        added_kib = (measured["weight"] - alone_mib) * 1024 / AGENTS
    return [
        Figure("server alone: memory (PSS)", alone_mib, "MiB"),
        Figure(f"server with {AGENTS} agents: memory (PSS)", measured["weight"], "MiB"),
        Figure("one more agent: memory on the server", added_kib, "KiB"),
        Figure(f"server with {AGENTS} idle agents: CPU", measured["cpu"], "% of a core"),
        Figure("one more agent: CPU on the server", measured["cpu"] / AGENTS, "% of a core"),
        Figure(f"{AGENTS} agents: all joined and connected in", measured["joined_s"], "s"),
        Figure(
            f"one of {AGENTS} agents: bytes per idle hour on its link", measured["hourly"] / 1024, "KiB", "203 KiB",
            f"{measured['hourly'] * 24 / 1e6:.2f} MB a day",
        ),
    ]  # fmt: skip


def _token(server: Server) -> str:
    """A join token that many may use."""
    words = [sys.executable, "-m", "edgekube", "token", "create", "--reusable", "--kubeconfig", server.kubeconfig]
    done = subprocess.run(
        [str(word) for word in words], cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return done.stdout.split()[-1]


async def _simulate(server: Server, token: str, directory: Path, measured: dict[str, float]) -> None:
    limit = trio.CapacityLimiter(JOINING_AT_ONCE)
    began = time.monotonic()
    async with AsyncExitStack() as stack:
        nursery = await stack.enter_async_context(trio.open_nursery())
        up: list[str] = []
        for number in range(AGENTS):
            nursery.start_soon(_agent, server.url, token, directory / f"agent-{number}", limit, up)
        with trio.fail_after(600):
            while len(up) < AGENTS:  # noqa: ASYNC110 - a benchmark watches from outside
                await trio.sleep(0.1)
        measured["joined_s"] = time.monotonic() - began
        pid = server.process.pid
        await trio.sleep(10)
        measured["weight"] = pss_mib(pid)
        before, busy, since = _link_bytes(server), cpu_s(pid), time.monotonic()
        await trio.sleep(IDLE_S)
        spent_s = time.monotonic() - since
        measured["cpu"] = (cpu_s(pid) - busy) / spent_s * 100
        measured["hourly"] = (_link_bytes(server) - before) / AGENTS / spent_s * 3600
        nursery.cancel_scope.cancel()


def _link_bytes(server: Server) -> float:
    """As the server counts them, over all nodes."""
    lines = server.get("/metrics")[1].decode().splitlines()
    return sum(float(line.split()[-1]) for line in lines if line.startswith("edgekube_node_link_bytes_total{"))


async def _agent(url: str, token: str, directory: Path, limit: trio.CapacityLimiter, up: list[str]) -> None:
    """What a server sees of one agent."""
    from edgekube.client.follow import Cache, follow
    from edgekube.kinds.core import node, pod, service
    from edgekube.kinds.discovery import endpointslice

    name = directory.name
    async with _joined(url, token, directory, limit) as client, trio.open_nursery() as nursery:
        document = {"metadata": {"name": name}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
        await client.create(node.KIND, node.KIND.from_dict(document))
        kinds: tuple[tuple[Any, str], ...] = (
            (pod.KIND, f"spec.nodeName={name}"),
            (service.KIND, ""),
            (endpointslice.KIND, ""),
            (node.KIND, f"metadata.name={name}"),
        )
        for kind, fields in kinds:
            nursery.start_soon(lambda kind=kind, fields=fields: follow(client, kind, Cache(), fields=fields))
        up.append(name)
        await trio.sleep_forever()


@asynccontextmanager
async def _joined(url: str, token: str, directory: Path, limit: trio.CapacityLimiter) -> AsyncIterator[Any]:
    """The client of an agent that has joined, through its tunnel."""
    from edgekube.api.jointoken import parse
    from edgekube.app.identity import SERVER_NAME, AgentConfig, host_and_port, identity_of
    from edgekube.app.joining import join
    from edgekube.client.remote import open_remote
    from edgekube.clock import SystemClock
    from edgekube.net.tls import ClientTls
    from edgekube.net.tunnel import LateGate, ServerEnd, TunnelState, keep_tunnel

    clock, identity = SystemClock(), identity_of(directory)
    async with limit:
        config = AgentConfig(server=url, node_name=directory.name, data_dir=directory)
        await join(config, parse(token), identity, lambda _: None)
    tls = ClientTls(identity.authority.read_bytes(), clock.now)
    tls.show(identity.certificate().read_bytes(), identity.key().read_bytes())
    host, port = host_and_port(url)
    end, state = ServerEnd(host, port, tls.context, SERVER_NAME), TunnelState()
    access = identity.access(url)
    async with (
        trio.open_nursery() as nursery,
        open_remote(access, manager="edgekube-node", tls=tls.context, link=state.api) as client,
    ):
        nursery.start_soon(keep_tunnel, LateGate({}, directory.name), lambda: end, clock, state)
        with trio.fail_after(120):
            await state.api.came_up.wait()
        yield client
        nursery.cancel_scope.cancel()
