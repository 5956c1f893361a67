"""A real containerd of its own, a bridge of its own, and a fake API server: what the node's contract tests run against.

Everything is below one temporary directory and is taken away at the end: containers, sandboxes, mounts, links, cgroups.
"""

# ruff: noqa: ASYNC110 - what is waited for happens in other processes

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from edgekube.client.fake import FakeVerbs
from edgekube.client.local import LocalClient
from edgekube.clock import SystemClock
from edgekube.kinds.core import configmap, secret
from edgekube.kinds.core import event as event_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.pod import Pod
from edgekube.net.grpc import RpcFailed
from edgekube.net.nodegate import LogOptions
from edgekube.node import mounting
from edgekube.node.config import NodeConfig
from edgekube.node.gate import Gate
from edgekube.node.run import own_containerd, run_node
from edgekube.node.runtime.cri import Runtime
from edgekube.node.runtime.packing import File, pack_image

IMAGE = "edgekube.local/busybox:1"
APPLETS = ("sh", "sleep", "cat", "echo", "ls", "id", "env", "nc", "httpd", "kill", "head", "hostname", "touch", "test", "true", "false", "dd", "grep", "wc", "mount")  # fmt: skip


def can_run() -> bool:
    """Whether this machine has what the tests need."""
    programs = ("containerd", "runc", "ip", "ctr")
    return os.geteuid() == 0 and all(shutil.which(p) for p in programs) and Path("/bin/busybox").exists()


def busybox_image() -> bytes:
    """A root file system of one static program."""
    files = {
        "bin/": File(),
        "bin/busybox": File(Path("/bin/busybox").read_bytes()),
        "etc/": File(),
        "etc/passwd": File(b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n", 0o644),
        "etc/group": File(b"root:x:0:\nnobody:x:65534:\n", 0o644),
        "tmp/": File(mode=0o1777),
        "www/": File(),
        "www/ok": File(b"fine", 0o644),
    }
    files |= {f"bin/{name}": File(link="busybox") for name in APPLETS}
    return pack_image(IMAGE, files, machine=os.uname().machine, config={"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]})


class Verbs(FakeVerbs):
    """The fake server, with the two things of a real one that a node leans on: graceful deletion of pods, and tokens."""

    tokens = 0

    async def delete(self, asker: Any, kind: Any, namespace: str, name: str, options: dict[str, Any]) -> bytes | None:
        if kind is pod_kind.KIND and options.get("gracePeriodSeconds") != 0:
            live = json.loads(await self.get(asker, kind, namespace, name))
            if live["spec"].get("nodeName"):
                grace_s = options.get("gracePeriodSeconds")
                grace_s = live["spec"].get("terminationGracePeriodSeconds", 30) if grace_s is None else grace_s
                live["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
                live["metadata"]["deletionGracePeriodSeconds"] = grace_s
                return await self._put(kind, live, int(live["metadata"]["resourceVersion"]))
        return await super().delete(asker, kind, namespace, name, options)

    async def call(self, asker: Any, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        if path.endswith("/token"):
            self.tokens += 1
            return {"status": {"token": f"token-{self.tokens}", "expirationTimestamp": "2099-01-01T00:00:00Z"}}
        return await super().call(asker, method, path, body)


@dataclass
class Rig:
    """A node that runs."""

    verbs: Verbs
    client: LocalClient
    config: NodeConfig
    gate: Gate | None = None
    runtime: Runtime | None = None
    nursery: trio.Nursery | None = None
    _scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    _done: trio.Event = field(default_factory=trio.Event)

    async def start(self) -> None:
        """Start the node role."""
        assert self.nursery is not None
        self._scope, self._done = trio.CancelScope(), trio.Event()

        async def life(task_status: trio.TaskStatus[Any] = trio.TASK_STATUS_IGNORED) -> None:
            with self._scope:
                await run_node(self.client, SystemClock(), self.config, task_status=task_status)
            self._done.set()

        with trio.fail_after(60):
            self.gate = await self.nursery.start(life)
        self.runtime = self.gate._tools.runtime

    async def stop(self) -> None:
        """Stop it; pods run on."""
        self._scope.cancel()
        await self._done.wait()

    async def create(self, manifest: dict[str, Any], *, namespace: str = "default") -> Pod:
        """Create a pod on this node, defaulted as the real server does."""
        document = {"kind": "Pod", "apiVersion": "v1", **manifest}
        document["spec"] = {"nodeName": self.config.node_name, "terminationGracePeriodSeconds": 1, **document["spec"]}
        document["metadata"]["namespace"] = namespace
        pod = pod_kind.KIND.from_dict(document)
        pod_kind.KIND.default(pod)
        return await self.client.create(pod_kind.KIND, pod, namespace)

    async def get(self, name: str, namespace: str = "default") -> Pod:
        """The pod as the API shows it."""
        return await self.client.get(pod_kind.KIND, name, namespace)

    async def until(
        self, name: str, holds: Callable[[Pod], bool], *, limit_s: float = 30, namespace: str = "default"
    ) -> Pod:
        """Wait for the API to show something of a pod."""
        pod = None
        try:
            with trio.fail_after(limit_s):
                while True:
                    pod = await self.get(name, namespace)
                    if holds(pod):
                        return pod
                    await trio.sleep(0.02)
        except trio.TooSlowError:
            events = [(e.reason, e.message) for e in await self.events(name)]
            shown = pod_kind.KIND.to_dict(pod)["status"] if pod else None
            raise AssertionError(f"{name} never got there: {json.dumps(shown, indent=1)}\n{events}") from None

    async def until_gone(self, name: str, *, limit_s: float = 30, namespace: str = "default") -> None:
        """Wait for the API to forget a pod."""
        from edgekube.errors import NotFound

        with trio.fail_after(limit_s):
            while True:
                try:
                    await self.get(name, namespace)
                except NotFound:
                    return
                await trio.sleep(0.02)

    @staticmethod
    def document(pod: Pod) -> dict[str, Any]:
        """The wire form."""
        return pod_kind.KIND.to_dict(pod)

    def power_cut(self) -> None:
        """Kill every shim and what runs under it, and undo its mounts, as a reboot does; what is on the disk stays as it was."""
        state = own_containerd(self.config).state
        for process in Path("/proc").iterdir():
            try:
                if process.name.isdigit() and str(state).encode() in (process / "cmdline").read_bytes():
                    children = (process / "task" / process.name / "children").read_text().split()
                    for pid in [*children, process.name]:
                        os.kill(int(pid), 9)
            except OSError:
                continue
        for point in mounting.mounts_below(state):
            mounting.unmount(point)

    async def until_clean(self, *, limit_s: float = 20) -> None:
        """Wait until nothing of any pod is left in the runtime and on the disk."""
        assert self.runtime is not None
        with trio.fail_after(limit_s):
            while (
                await self.runtime.sandboxes() or any(self.config.pods_dir.iterdir()) or any(self.config.logs.iterdir())
            ):
                await trio.sleep(0.05)

    async def put(self, kind_name: str, name: str, *, update: bool = False, **members: Any) -> None:
        """Create (or replace) a ConfigMap or Secret."""
        kind: Any = {"ConfigMap": configmap.KIND, "Secret": secret.KIND}[kind_name]
        item = kind.from_dict({"metadata": {"name": name, "namespace": "default"}, **members})
        if update:
            await self.client.update(kind, item)
        else:
            await self.client.create(kind, item, "default")

    async def exec(self, pod: str, name: str, *command: str) -> tuple[int, bytes]:
        """Run a command in a container: (status, output)."""
        assert self.runtime is not None
        shown = await self.get(pod)
        container_id = next(s.container_id for s in shown.status.container_statuses if s.name == name)
        return await self.runtime.exec_sync(container_id.rpartition("/")[2], command, 10)

    async def log_with(self, pod: str, name: str, wanted: bytes) -> bytes:
        """A log, once something stands in it."""
        assert self.gate is not None
        text = b""
        with trio.fail_after(10):
            while wanted not in text:
                async with self.gate.logs("default", pod, name, LogOptions()) as pieces:
                    text = b"".join([piece async for piece in pieces])
                await trio.sleep(0.05)
        return text

    async def events(self, name: str) -> list[Any]:
        """Events about a pod."""
        listing = await self.client.list(event_kind.KIND, "default")
        return [event for event in listing.items if event.involved_object.name == name]


def container(name: str, command: str, **more: Any) -> dict[str, Any]:
    """A container of a manifest that runs a shell command."""
    return {"name": name, "image": IMAGE, "command": ["/bin/sh", "-c", command], **more}


def running(pod: Pod) -> bool:
    """The pod is Running and every container of it runs."""
    return pod.status.phase == "Running" and all(s.state.running for s in pod.status.container_statuses)


def ready(pod: Pod) -> bool:
    """The pod's Ready condition."""
    return any(c.type == "Ready" and c.status == "True" for c in pod.status.conditions)


@asynccontextmanager
async def rig(**settings: Any) -> AsyncIterator[Rig]:
    """A node in a temporary directory, started; all of it gone afterwards."""
    base = Path(tempfile.mkdtemp(prefix="ekt-"))
    suffix = base.name[-6:]
    bridge = f"ekt{suffix}".lower().replace("_", "x")
    subnet = f"10.24{hash(suffix) % 10}.{hash(suffix[::-1]) % 250}.0/24"
    (base / "cni").mkdir()
    conflist = {
        "cniVersion": "0.4.0",
        "name": bridge,
        "plugins": [
            {
                "type": "bridge",
                "bridge": bridge,
                "isGateway": True,
                "ipam": {"type": "host-local", "dataDir": str(base / "ipam"), "ranges": [[{"subnet": subnet}]]},
            }
        ],
    }
    (base / "cni" / "10.conflist").write_text(json.dumps(conflist))
    (base / "images").mkdir()
    (base / "images" / "busybox.tar").write_bytes(busybox_image())
    config = NodeConfig(
        node_name=settings.pop("node_name", "test-node"),
        node_ip="127.0.0.1",
        data_dir=base,
        cni_conf_dir=base / "cni",
        cluster_dns=("10.43.0.10",),
        **settings,
    )
    verbs = Verbs(clock=SystemClock())
    made = Rig(verbs, verbs.client("kubelet"), config)
    try:
        async with trio.open_nursery() as nursery:
            made.nursery = nursery
            await made.start()
            try:
                yield made
            finally:
                with trio.CancelScope(shield=True):
                    await _empty(made)
            await made.stop()
            nursery.cancel_scope.cancel()
    finally:
        _sweep(base, bridge, config)


async def _empty(made: Rig) -> None:
    """Delete all pods, and remove whatever the runtime still has then."""
    for pod in (await made.client.list(pod_kind.KIND)).items:
        await made.client.delete(pod_kind.KIND, pod.metadata.name, pod.metadata.namespace, grace_s=0)
    try:
        await made.until_clean(limit_s=15)
    except (trio.TooSlowError, RpcFailed) as error:
        print(f"left for the sweep: {error!r}")


def _sweep(base: Path, bridge: str, config: NodeConfig) -> None:
    try:
        pid = int((own_containerd(config).state / "containerd.pid").read_text())
        os.kill(pid, 15)
        Path(f"/proc/{pid}").exists() and os.waitpid(pid, 0)
    except (OSError, ValueError):
        pass
    for process in Path("/proc").iterdir():  # shims whose containerd was killed under them
        try:
            if process.name.isdigit() and str(base).encode() in (process / "cmdline").read_bytes():
                os.kill(int(process.name), 9)
        except OSError:
            pass
    for point in mounting.mounts_below(base):
        mounting.unmount(point)
    subprocess.run(["ip", "link", "delete", bridge], check=False, capture_output=True)
    shutil.rmtree(base, ignore_errors=True)
