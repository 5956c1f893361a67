"""Whole pod lives on virtual time: a real node role, a fake runtime and a fake server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from edgekube.client.local import LocalClient
from edgekube.clock import SeededClock
from edgekube.errors import NotFound
from edgekube.kinds.coordination import lease as lease_kind
from edgekube.kinds.core import event as event_kind
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.pod import Pod
from edgekube.net.grpc import RpcFailed
from edgekube.node.config import NodeConfig
from edgekube.node.run import run_node
from edgekube.node.runtime.fake import FakeRuntime, Program
from tests.contract.noderig import Verbs, ready, running

APP = {"name": "app", "image": "app:1"}
EXEC = {"exec": {"command": ["check"]}, "periodSeconds": 1, "failureThreshold": 2}


@dataclass
class Small:
    """A node with its fakes."""

    client: LocalClient
    runtime: FakeRuntime
    clock: SeededClock
    programs: dict[str, Program] = field(default_factory=dict)
    restart: Callable[[], Any] = lambda: None

    async def create(self, name: str, *containers: dict[str, Any], **spec: Any) -> Pod:
        document = {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {"nodeName": "n1", "containers": list(containers) or [APP], **spec},
        }
        pod = pod_kind.KIND.from_dict(document)
        pod_kind.KIND.default(pod)
        return await self.client.create(pod_kind.KIND, pod, "default")

    async def until(self, name: str, holds: Callable[[Pod], Any], limit_s: float = 1000) -> Pod:
        pod = None
        with trio.move_on_after(limit_s):
            while True:
                pod = await self.client.get(pod_kind.KIND, name, "default")
                if holds(pod):
                    return pod
                await trio.sleep(0.05)
        raise AssertionError(f"never: {pod and pod_kind.KIND.to_dict(pod)['status']}\n{self.runtime.calls[-20:]}")

    async def gone(self, name: str) -> None:
        with trio.fail_after(1000):
            while True:
                try:
                    await self.client.get(pod_kind.KIND, name, "default")
                except NotFound:
                    return
                await trio.sleep(0.05)

    async def settled(self, holds: Callable[[], bool]) -> None:
        """Wait for something that ends in a worker thread, past which the virtual clock leaps."""
        for _ in range(100_000):
            if holds():
                return
            await trio.sleep(1)
        raise AssertionError("never")

    async def told(self, name: str) -> list[tuple[str, str]]:
        events = (await self.client.list(event_kind.KIND, "default")).items
        return [(e.reason, e.message) for e in events if e.involved_object.name == name]

    def starts(self) -> int:
        return sum(call.startswith("start_container") for call in self.runtime.calls)


@asynccontextmanager
async def small(directory: Path, **programs: Program) -> AsyncIterator[Small]:
    """A node on virtual time; leaving ends it."""
    clock = SeededClock(7)
    verbs = Verbs(clock=clock)
    config = NodeConfig(node_name="n1", node_ip="192.0.2.1", data_dir=directory, cgroup_mount=directory / "cgroup")
    async with trio.open_nursery() as nursery:
        runtime = FakeRuntime(clock, nursery, lambda pod, name, attempt: programs.get(name, Program()))
        runtime.add_image("app:1")
        client = verbs.client("kubelet")
        start = partial(run_node, client, clock, config, runtime=runtime)
        await nursery.start(start)
        yield Small(client, runtime, clock, programs)
        nursery.cancel_scope.cancel()


async def test_a_node_registers_and_renews_its_lease(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with small(tmp_path) as node:
        found = await node.client.get(node_kind.KIND, "n1")
        assert {c.type: c.status for c in found.status.conditions}["Ready"] == "True"
        assert found.metadata.labels["kubernetes.io/hostname"] == "n1"
        await trio.sleep(1)
        assert [reason for reason, _ in await node.told("n1")] == [
            "Starting", "NodeHasSufficientMemory", "NodeHasNoDiskPressure", "NodeHasSufficientPID", "NodeReady",
        ]  # fmt: skip
        first = await node.client.get(lease_kind.KIND, "n1", "kube-node-lease")
        await trio.sleep(60)
        later = await node.client.get(lease_kind.KIND, "n1", "kube-node-lease")
        assert later.spec.renew_time > first.spec.renew_time
        assert (
            await node.client.get(node_kind.KIND, "n1")
        ).metadata.resource_version == found.metadata.resource_version


async def test_a_pod_runs_quietly_and_goes_with_its_grace(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with small(tmp_path, app=Program(stop_s=3)) as node:
        await node.create("web")
        pod = await node.until("web", ready)
        revision = pod.metadata.resource_version
        await trio.sleep(3600)
        assert (await node.client.get(pod_kind.KIND, "web", "default")).metadata.resource_version == revision
        asked_at = trio.current_time()
        await node.client.delete(pod_kind.KIND, "web", "default")
        await node.gone("web")
        assert 3 <= trio.current_time() - asked_at < 5
        assert "stop_container app 30" in node.runtime.calls
        await node.settled(lambda: not node.runtime.boxes and not node.runtime.made)
        await node.settled(lambda: not list((tmp_path / "node" / "pods").iterdir()))


async def test_a_shorter_grace_overtakes_a_longer_one(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with small(tmp_path, app=Program(stop_s=None)) as node:
        await node.create("stubborn", terminationGracePeriodSeconds=600)
        await node.until("stubborn", ready)
        await node.client.delete(pod_kind.KIND, "stubborn", "default")
        await trio.sleep(5)
        asked_at = trio.current_time()
        await node.client.delete(pod_kind.KIND, "stubborn", "default", grace_s=2)
        await node.gone("stubborn")
        assert trio.current_time() - asked_at < 5


async def test_crashes_wait_longer_each_time(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with small(tmp_path, app=Program(run_s=1, code=1)) as node:
        await node.create("crash")
        begun, moments = trio.current_time(), []
        for count in range(1, 7):
            await node.until(
                "crash",
                lambda p, c=count: p.status.container_statuses and p.status.container_statuses[0].restart_count == c,
            )
            moments.append(round(trio.current_time() - begun))
        gaps = [b - a for a, b in pairwise(moments)]
        assert [round(gap, -1) for gap in gaps] == [10, 20, 40, 80, 160]
        told = await node.told("crash")
        assert any(
            reason == "BackOff" and message.startswith("Back-off restarting failed container app in pod crash_default(")
            for reason, message in told
        )


async def test_a_failing_liveness_probe_restarts_and_a_readiness_probe_only_hides(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with small(tmp_path) as node:
        probe = {"exec": {"command": ["ready"]}, "periodSeconds": 1, "failureThreshold": 1}
        await node.create("web", {**APP, "livenessProbe": EXEC, "readinessProbe": probe})
        await node.until("web", ready)
        node.runtime.exec_status["app", "ready"] = 1
        pod = await node.until("web", lambda p: not ready(p))
        assert pod.status.container_statuses[0].restart_count == 0
        node.runtime.exec_status["app", "ready"] = 0
        await node.until("web", ready)
        node.runtime.exec_status["app", "check"] = 1
        await node.until("web", lambda p: p.status.container_statuses[0].restart_count == 1)
        node.runtime.exec_status["app", "check"] = 0
        await node.until("web", ready)
        told = await node.told("web")
        assert ("Killing", "Container app failed liveness probe, will be restarted") in told
        assert ("Unhealthy", "Liveness probe failed: check") in told
        assert ("Unhealthy", "Readiness probe failed: ready") in told


async def test_a_startup_probe_holds_the_others(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with small(tmp_path) as node:
        node.runtime.exec_status["app", "up"] = 1
        startup = {"exec": {"command": ["up"]}, "periodSeconds": 2, "failureThreshold": 100}
        await node.create("slow", {**APP, "startupProbe": startup, "livenessProbe": EXEC})
        await node.until("slow", running)
        await trio.sleep(20)
        assert not [call for call in node.runtime.calls if call == "exec app check"]
        assert not ready(await node.client.get(pod_kind.KIND, "slow", "default"))
        node.runtime.exec_status["app", "up"] = 0
        await node.until("slow", ready)


async def test_an_image_is_pulled_again_with_growing_pauses(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with small(tmp_path) as node:
        await node.create("pull", {"name": "app", "image": "far:1"})
        await node.until(
            "pull",
            lambda p: (
                p.status.container_statuses
                and (w := p.status.container_statuses[0].state.waiting)
                and w.reason == "ImagePullBackOff"
            ),
        )
        await trio.sleep(100)
        pulls = [call for call in node.runtime.calls if call == "pull far:1"]
        assert 3 <= len(pulls) <= 5
        node.runtime.remote.add("far:1")
        await node.until("pull", ready)
        reasons = [reason for reason, _ in await node.told("pull")]
        assert {"Pulling", "Failed", "BackOff", "Pulled", "Created", "Started"} <= set(reasons)


async def test_deleting_a_pod_gives_up_its_pull(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with small(tmp_path) as node:
        node.runtime.pull_s = 10_000
        await node.create("pull", {"name": "app", "image": "far:1"})
        await node.until("pull", lambda _: "pull far:1" in node.runtime.calls)
        asked_at = trio.current_time()
        await node.client.delete(pod_kind.KIND, "pull", "default")
        await node.gone("pull")
        assert trio.current_time() - asked_at < 10


async def test_sidecars_start_first_and_stop_last(tmp_path: Path, autojump_clock: MockClock) -> None:
    side = {"name": "side", "image": "app:1", "restartPolicy": "Always"}
    async with small(tmp_path, app=Program(stop_s=2), side=Program(stop_s=1), first=Program(run_s=1)) as node:
        await node.create("web", initContainers=[{"name": "first", "image": "app:1"}, side])
        await node.until("web", ready)
        assert [c for c in node.runtime.calls if c.startswith("start_")] == [
            "start_container first",
            "start_container side",
            "start_container app",
        ]
        await node.client.delete(pod_kind.KIND, "web", "default")
        await node.gone("web")
        stops = [c.split()[1] for c in node.runtime.calls if c.startswith("stop_container")]
        assert stops == ["app", "side"]


async def test_a_job_pod_finishes_once_and_its_sidecar_with_it(tmp_path: Path, autojump_clock: MockClock) -> None:
    side = {"name": "side", "image": "app:1", "restartPolicy": "Always"}
    async with small(tmp_path, app=Program(run_s=5)) as node:
        await node.create("job", initContainers=[side], restartPolicy="Never")
        pod = await node.until(
            "job", lambda p: p.status.phase == "Succeeded" and p.status.init_container_statuses[0].state.terminated
        )
        starts = node.starts()
        await trio.sleep(600)
        assert node.starts() == starts
        assert pod.status.container_statuses[0].state.terminated.reason == "Completed"


async def test_a_crash_of_the_machine_starts_pods_again_but_finished_ones_never(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with small(tmp_path, app=Program(), once=Program(run_s=2)) as node:
        await node.create("web")
        await node.create("job", {"name": "once", "image": "app:1"}, restartPolicy="Never")
        await node.until("web", ready)
        await node.until("job", lambda p: p.status.phase == "Succeeded")
        node.runtime.crash()
        pod = await node.until("web", lambda p: p.status.container_statuses[0].restart_count == 1 and ready(p))
        assert pod.status.container_statuses[0].last_state.terminated.exit_code == 255
        assert (await node.client.get(pod_kind.KIND, "job", "default")).status.phase == "Succeeded"
        assert node.runtime.calls.count("start_container once") == 1


async def test_failures_of_the_runtime_are_told_and_tried_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with small(tmp_path) as node:
        node.runtime.fail_next("run_sandbox", RpcFailed("UNKNOWN", "no network"))
        node.runtime.fail_next("create_container", RpcFailed("UNKNOWN", "no disk"))
        await node.create("web")
        await node.until("web", ready)
        told = await node.told("web")
        assert (
            "FailedCreatePodSandBox",
            "Failed to create pod sandbox: rpc error: code = Unknown desc = no network",
        ) in told
        assert ("Failed", "Error: no disk") in told


async def test_what_belongs_to_nobody_is_removed(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with small(tmp_path) as node:
        meta = {"name": "ghost", "namespace": "default", "uid": "nobody", "attempt": 0}
        await node.runtime.run_sandbox({"metadata": meta, "labels": {"io.kubernetes.pod.uid": "nobody"}})
        await node.settled(lambda: not node.runtime.boxes)


async def test_a_deadline_ends_a_pod(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with small(tmp_path) as node:
        await node.create("late", activeDeadlineSeconds=30)
        pod = await node.until("late", lambda p: p.status.phase == "Failed")
        assert (pod.status.reason, pod.status.message) == (
            "DeadlineExceeded",
            "Pod was active on the node longer than the specified deadline",
        )
        assert 30 <= trio.current_time() < 40


async def test_a_resize_reaches_the_runtime_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with small(tmp_path) as node:
        await node.create("web", {**APP, "resources": {"limits": {"cpu": "100m", "memory": "64Mi"}}})
        await node.until("web", ready)
        await trio.sleep(200)
        assert "update_resources app" not in node.runtime.calls
        live = await node.client.get(pod_kind.KIND, "web", "default")
        spec = pod_kind.KIND.to_dict(live)["spec"]
        spec["containers"][0]["resources"]["limits"]["cpu"] = "200m"
        await node.client.patch(pod_kind.KIND, "web", "default", {"spec": spec})
        await trio.sleep(200)
        assert node.runtime.calls.count("update_resources app") == 1
        pod = await node.client.get(pod_kind.KIND, "web", "default")
        assert pod.status.container_statuses[0].resources.limits["cpu"] == "200m"


async def test_a_machine_short_of_memory_evicts(
    tmp_path: Path, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with small(tmp_path, app=Program(stop_s=None)) as node:
        await node.create("web")
        await node.until("web", ready)
        monkeypatch.setattr("edgekube.node.eviction.memory_figures", lambda: {"MemAvailable": 1 << 20})
        pod = await node.until(
            "web", lambda p: p.status.phase == "Failed" and p.status.container_statuses[0].state.terminated
        )
        assert pod.status.reason == "Evicted"
        assert "stop_container app 1" in node.runtime.calls
        assert "Evicted" in [reason for reason, _ in await node.told("web")]
