"""The node's figures: how long a pod takes to start beside the raw runtime calls, and what a server with its node weighs."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import trio

from tests.benchmarks.figures import Figure, cpu_s, pss_mib, written_bytes
from tests.e2e.conftest import FLAGS, IMAGE, missing, node_ready, tear_down
from tests.support import ROOT, Server, eventually, start

STARTS = 7
IDLE_S = 60.0


def cluster(directory: Path) -> Server:
    """A server with its node, and the test image."""
    subprocess.run(
        [sys.executable, "packaging/pack-busybox.py", IMAGE, str(directory / "data/images/test.tar")],
        cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    server = start(directory, *FLAGS)
    eventually(partial(node_ready, server), within_s=90, why="a Ready node")
    return server


def pod_start(directory: Path) -> list[Figure]:
    """`kubectl apply` until the container runs, beside sandbox + create + start called by hand on the same containerd."""
    if reason := missing():
        print(f"pod_start left out: {reason}")
        return []
    server = cluster(directory)
    try:
        applied = [_applied(server, f"bench-{number}") for number in range(STARTS)]
        raw = [
            trio.run(_raw, next((directory / "data" / "node").glob("*/containerd.sock")), number)
            for number in range(STARTS)
        ]
    finally:
        tear_down(server)
    ours, bare = statistics.median(applied), statistics.median(raw)
    return [
        Figure(
            "pod: POST to container running", ours * 1000, "ms", "raw + 100 ms", f"raw CRI calls: {bare * 1000:,.0f} ms"
        ),
        Figure("pod: added to the raw CRI calls", (ours - bare) * 1000, "ms", "100 ms"),
    ]


def _applied(server: Server, name: str) -> float:
    """Seconds from the POST until the API shows the pod running."""
    manifest: dict[str, Any] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "c", "image": IMAGE, "imagePullPolicy": "Never", "command": ["sleep", "3600"]}],
        },
    }
    from tests.benchmarks.api import Connection, tls

    connection = Connection(server, tls(server))
    connection.ask("GET", "/readyz")
    began = time.time()
    connection.ask("POST", "/api/v1/namespaces/default/pods", manifest)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        status = json.loads(connection.ask("GET", f"/api/v1/namespaces/default/pods/{name}"))["status"]
        if status.get("phase") == "Running":
            return time.time() - began
        time.sleep(0.002)
    raise AssertionError(f"{name} did not start")


async def _raw(socket: Path, number: int) -> float:
    from edgekube.node.runtime.cri import Runtime

    runtime = Runtime(f"unix://{socket}")
    name = f"raw-{number}"
    sandbox = {
        "metadata": {"name": name, "uid": name, "namespace": "default", "attempt": 0},
        "hostname": name,
        "log_directory": f"/tmp/{name}",
        "linux": {"security_context": {"namespace_options": {"network": 0, "pid": 1}}},
    }
    container = {
        "metadata": {"name": "c", "attempt": 0},
        "image": {"image": IMAGE},
        "command": ["sh", "-c", "sleep 3600"],
        "log_path": "c.log",
        "linux": {"security_context": {"namespace_options": {"network": 0, "pid": 1}}},
    }
    try:
        began = time.monotonic()
        sandbox_id = await runtime.run_sandbox(sandbox)
        container_id = await runtime.create_container(sandbox_id, container, sandbox)
        await runtime.start_container(container_id)
        took = time.monotonic() - began
        await runtime.stop_container(container_id, 0)
        await runtime.stop_sandbox(sandbox_id)
        await runtime.remove_sandbox(sandbox_id)
        return took
    finally:
        runtime.close()


def memory_with_node(directory: Path) -> list[Figure]:
    """The server with node, network and ten pods, left alone for a minute."""
    if reason := missing():
        print(f"memory_with_node left out: {reason}")
        return []
    server = cluster(directory)
    try:
        pid = server.process.pid
        time.sleep(10)
        figures = [Figure("server with node: memory (PSS) idle, no pods", pss_mib(pid), "MiB", "90 MiB")]
        server.kubectl("create", "deployment", "ten", f"--image={IMAGE}", "--replicas=10", "--", "sleep", "3600")
        server.kubectl("rollout", "status", "deployment/ten", "--timeout=120s")
        time.sleep(20)
        disk, cpu = written_bytes(pid), cpu_s(pid)
        time.sleep(IDLE_S)
        disk, cpu = written_bytes(pid) - disk, cpu_s(pid) - cpu
        figures += [
            Figure("server with node: memory (PSS) idle, ten pods", pss_mib(pid), "MiB", "90 MiB"),
            Figure("server with node, ten pods, idle: disk", disk / IDLE_S * 3600 / 1e6, "MB/h", "1 MB/h"),
            Figure("server with node, ten pods, idle: CPU", cpu / IDLE_S * 100, "% of a core", "1 %"),
        ]
    finally:
        tear_down(server)
    return figures
