"""One real cluster for all of e2e: own containerd, own bridge, real kubectl. Namespaces keep tests apart."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT, Server, eventually, has, start

IMAGE = "edgekube.local/test:1"
PROGRAMS = ("containerd", "runc", "nft", "ip", "kubectl", "busybox")
#: Ranges of their own, so that a server already running on this machine is left alone.
FLAGS = ("--cluster-cidr", "10.142.0.0/16", "--service-cidr", "10.143.0.0/16", "--node-name", "edge-1",
         "--service-node-port-range", "31000-31999")  # fmt: skip


def missing() -> str:
    """Why the real runtime cannot be used here, or ""."""
    if os.geteuid() != 0:
        return "needs root"
    lacking = [program for program in PROGRAMS if not has(program)]
    return f"not installed: {', '.join(lacking)}" if lacking else ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """On a machine without the runtime say so, once per test, rather than fail."""
    here = Path(__file__).parent
    reason = missing()
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.runtime)
            item.add_marker(pytest.mark.kubectl)
            if reason:
                item.add_marker(pytest.mark.skip(reason=reason))


def tear_down(server: Server, dns: str = "10.143.0.10") -> None:
    """Stop the server, then everything it left running on purpose: containers, shims, containerd, mounts, links."""
    server.kubectl_raw("delete", "pods", "--all", "-A", "--grace-period=1", "--wait=true", "--timeout=60s")
    server.stop()
    data = server.directory / "data"
    subprocess.run(
        [sys.executable, "-m", "tests.e2e.clean", str(data), dns],
        check=False,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    shutil.rmtree(server.directory, ignore_errors=True)


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("cluster")
    subprocess.run(
        [sys.executable, "packaging/pack-busybox.py", IMAGE, str(directory / "data/images/test.tar")],
        cwd=ROOT, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    server = start(directory, *FLAGS)
    try:
        eventually(lambda: node_ready(server), within_s=90, why="a Ready node")
        yield server
    finally:
        tear_down(server)


def node_ready(server: Server) -> bool:
    nodes = server.json("get", "nodes")["items"]
    return any(
        condition["type"] == "Ready" and condition["status"] == "True"
        for node in nodes
        for condition in node["status"].get("conditions", ())
    )


class Space:
    """A namespace of a test's own, with the handful of moves tests make."""

    def __init__(self, server: Server, name: str) -> None:
        self.server, self.name = server, name

    def kubectl(self, *words: str, **more: Any) -> str:
        return self.server.kubectl("-n", self.name, *words, **more)

    def raw(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.server.kubectl_raw("-n", self.name, *words, **more)

    def json(self, *words: str) -> Any:
        return self.server.json("-n", self.name, *words)

    def apply(self, manifest: str) -> str:
        return self.kubectl("apply", "-f", "-", stdin=manifest)

    def pod(
        self, name: str, command: str = "sleep 3600", *, spec: str = "", container: str = "", wait: bool = True
    ) -> None:
        """A one-container pod; `spec` and `container` are further YAML lines at their level."""
        extra_spec = "".join(f"  {line}\n" for line in spec.splitlines())
        extra_container = "".join(f"    {line}\n" for line in container.splitlines())
        self.apply(
            f"apiVersion: v1\nkind: Pod\nmetadata:\n  name: {name}\n  labels: {{app: {name}}}\nspec:\n"
            f"  terminationGracePeriodSeconds: 1\n{extra_spec}"
            f"  containers:\n  - name: main\n    image: {IMAGE}\n    command: [sh, -c, {command!r}]\n{extra_container}"
        )
        if wait:
            self.wait_ready(name)

    def wait_ready(self, name: str, timeout: str = "60s") -> None:
        self.kubectl("wait", f"pod/{name}", "--for=condition=Ready", f"--timeout={timeout}")

    def phase(self, name: str) -> str:
        return str(self.json("get", "pod", name)["status"].get("phase", ""))

    def until_phase(self, name: str, phase: str, within_s: float = 60) -> Any:
        eventually(lambda: self.phase(name) == phase, within_s=within_s, why=f"pod {name} {phase}")
        return self.json("get", "pod", name)

    def exec(self, pod: str, *command: str, **more: Any) -> str:
        return self.kubectl("exec", pod, "--", *command, **more)

    def logs(self, name: str, *words: str) -> str:
        return self.kubectl("logs", name, *words)


@pytest.fixture
def space(cluster: Server) -> Iterator[Space]:
    name = f"t-{uuid.uuid4().hex[:8]}"
    cluster.kubectl("create", "namespace", name)
    made = Space(cluster, name)
    eventually(lambda: made.raw("get", "serviceaccount", "default").returncode == 0, why="the default service account")
    yield made
    cluster.kubectl("delete", "namespace", name, "--wait=false")
