"""How fast pods find nodes: a thousand nodes, ten pods each, with the real API in memory, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.figures import Figure, pss_mib

NODES, PODS_PER_NODE, ZONES = 1000, 10, 5
ROOT = Path(__file__).parents[2]


def scheduling(directory: Path) -> list[Figure]:
    """Pods placed in a second, deciding alone and all the way through the API, and the memory it takes."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.scheduling"], cwd=ROOT, check=True, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(directory)},
    )  # fmt: skip
    found = json.loads(done.stdout)
    return [Figure(name, value, unit) for name, value, unit in found]


def node(number: int) -> dict[str, Any]:
    name, amounts = f"n{number:04}", {"cpu": "4", "memory": "8Gi", "pods": "110"}
    labels = {"kubernetes.io/hostname": name, "topology.kubernetes.io/zone": f"z{number % ZONES}"}
    conditions = [{"type": "Ready", "status": "True"}]
    return {"metadata": {"name": name, "labels": labels}, "status": {"allocatable": amounts, "capacity": amounts,
            "conditions": conditions}}  # fmt: skip


def pod(number: int) -> dict[str, Any]:
    requests = {"cpu": "300m", "memory": "256Mi"}
    container = {"name": "c", "image": "example.test/app:1", "resources": {"requests": requests}}
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": f"rs{number % 100}", "uid": f"u{number % 100}",
             "controller": True}  # fmt: skip
    labels = {"app": f"rs{number % 100}"}
    return {"metadata": {"name": f"p{number:05}", "labels": labels, "ownerReferences": [owner]},
            "spec": {"containers": [container]}}  # fmt: skip


def decisions() -> float:
    """Decisions a second, each seeing what the ones before it decided."""
    import msgspec

    from edgekube.control.scheduler.decide import Chosen, decide
    from edgekube.control.scheduler.picture import Picture
    from edgekube.control.scheduler.rules.catalog import RULES
    from edgekube.control.scheduler.scores.catalog import SCORES
    from edgekube.control.scheduler.snapshot import Snapshot, Summaries, node_info, zones_in_turn
    from edgekube.kinds.core import node as node_kind
    from edgekube.kinds.core import pod as pod_kind

    summaries = Summaries()
    nodes = [node_kind.KIND.from_dict(node(number)) for number in range(NODES)]
    infos = {one.metadata.name: node_info(one, (), summaries) for one in nodes}
    picture, start = Picture(), 0
    began = time.perf_counter()
    count = NODES * PODS_PER_NODE // 5
    for number in range(count):
        document = pod(number)
        document["metadata"] |= {"uid": f"p{number}", "namespace": "default"}
        asked = pod_kind.KIND.from_dict(document)
        seen, index = picture.look(lambda: zones_in_turn(nodes), infos.get)
        snapshot = Snapshot(seen, {"default": {}}, summaries=summaries, known=index)
        made = decide(asked, snapshot, RULES, SCORES, lambda: 0.5, start=start)
        assert isinstance(made, Chosen)
        start = (start + made.looked_at) % NODES
        bound = msgspec.structs.replace(asked, spec=msgspec.structs.replace(asked.spec, node_name=made.node))
        before = infos[made.node]
        infos[made.node] = node_info(before.node, [*before.pods, bound], summaries)
        picture.touch(made.node)
    return count / (time.perf_counter() - began)


async def whole_way() -> tuple[float, float, float]:
    """Pods bound a second by the scheduler's loop over an API in memory, milliseconds of CPU for each, MiB in use at the end."""
    import trio

    from edgekube.client.local import LocalClient
    from edgekube.clock import SeededClock
    from edgekube.control.manager import Health, make_caches
    from edgekube.control.scheduler.loop import Scheduler
    from edgekube.kinds.core import namespace as namespace_kind
    from edgekube.kinds.core import node as node_kind
    from edgekube.kinds.core import pod as pod_kind
    from edgekube.reconcile.drive import Surroundings
    from edgekube.reconcile.events import Recorder
    from edgekube.server.apiserver import ApiServer
    from edgekube.server.context import LOOPBACK, Attributes, User
    from edgekube.store.memory import MemoryStore

    class Everybody:
        async def authenticate(self, request: object) -> User:
            return LOOPBACK

        def refuse(self, attributes: Attributes) -> str | None:
            return None

    clock = SeededClock(7)
    server = ApiServer(MemoryStore(), authenticator=Everybody(), authorizer=Everybody(), clock=clock)
    await server.bootstrap()
    client = LocalClient(server.verbs, LOOPBACK, manager="benchmark")
    names = {item.metadata.name for item in (await client.list(namespace_kind.KIND, "")).items}
    if "default" not in names:
        await client.create(namespace_kind.KIND, namespace_kind.KIND.from_dict({"metadata": {"name": "default"}}), "")
    from edgekube.kinds.core import serviceaccount as account_kind

    await client.create(account_kind.KIND, account_kind.KIND.from_dict({"metadata": {"name": "default"}}), "default")
    for number in range(NODES):
        made = await client.create(node_kind.KIND, node_kind.KIND.from_dict(node(number)), "")
        status = node(number)["status"]
        await client.patch(node_kind.KIND, made.metadata.name, "", {"status": status}, subresource="status")
        await client.patch(node_kind.KIND, made.metadata.name, "", {"spec": {"taints": None}})
    total = NODES * PODS_PER_NODE
    for number in range(total):
        await client.create(pod_kind.KIND, pod_kind.KIND.from_dict(pod(number)), "default")
    caches = make_caches(client, clock)
    recorder = Recorder(client, clock)
    scheduler = Scheduler(Surroundings(client, caches, clock, recorder, Health()))
    left = {f"p{number:05}" for number in range(total)}
    done = trio.Event()

    def bound(before: Any, after: Any) -> None:
        if after is not None and after.spec.node_name:
            left.discard(after.metadata.name)
            if not left:
                done.set()

    caches.listen(pod_kind.KIND, bound)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(recorder.run)
        await nursery.start(caches.run)
        began, began_cpu = time.perf_counter(), time.process_time()
        nursery.start_soon(scheduler.run)
        await done.wait()
        took, took_cpu = time.perf_counter() - began, time.process_time() - began_cpu
        memory = pss_mib(os.getpid())
        nursery.cancel_scope.cancel()
    return total / took, took_cpu * 1000 / total, memory


def main() -> None:
    import trio

    decided = decisions()
    placed, cpu_ms, memory = trio.run(whole_way)
    shape = f"{NODES} nodes x {PODS_PER_NODE} pods"
    print(json.dumps([
        (f"scheduler: decisions, {NODES} nodes", decided, "/s"),
        (f"scheduler: pods bound through the API, {shape}", placed, "/s"),
        ("scheduler: CPU for each of them, API included", cpu_ms, "ms"),
        (f"scheduler and API in one process, {shape}", memory, "MiB PSS"),
    ]))  # fmt: skip


if __name__ == "__main__":
    main()
