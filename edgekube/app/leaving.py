"""Taking a node off its machine: the service, the cluster's knowledge of it, pods, network, files. Nothing is left, nothing reboots.

Each step goes on past what is not there, so that a half-done leave can be done again; whatever stays behind is said at the end.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import trio

from edgekube.app import service
from edgekube.app.agent import MachineConfig, network_config, node_config
from edgekube.app.identity import AgentConfig, Identity
from edgekube.client.remote import open_remote
from edgekube.clock import TrustedClock
from edgekube.errors import ApiError, EdgekubeError, EnvironmentError_
from edgekube.net.grpc import RpcFailed
from edgekube.net.process import ProgramFailed, run
from edgekube.net.tls import ClientTls
from edgekube.network.removal import tear_down
from edgekube.node import cgroups
from edgekube.node.config import NodeConfig
from edgekube.node.pods.resources import CGROUP_ROOT
from edgekube.node.run import own_containerd
from edgekube.node.runtime.containerd import keep_containerd
from edgekube.node.runtime.cri import ContainerBrief, Runtime

LEAVE_PAGE = "/edgekube/v1/leave"
SERVER_S = 15.0
AGENT_S = 30.0
CONTAINERD_S = 30.0
GRACE_S = 10
OURS = ("agent", "cni", "images", "network", "node", "volumes")  # below the data directory

LOG = logging.getLogger("edgekube.leaving")
Say = Callable[[str], None]


async def leave(config: AgentConfig, identity: Identity, say: Say, *, keep_images: bool) -> list[str]:
    """Undo joining; what is still there afterwards, in words (usually nothing)."""
    if service.remove():
        say("the service was stopped and removed")
    await _stop_agent(identity)
    say(await tell_server(config, identity))
    await take_pods_down(config)
    say("pods were stopped")
    await remove_from_kernel(config)
    say("network, mounts and processes were removed")
    return forget(config.data_dir, keep_images=keep_images)


async def _stop_agent(identity: Identity) -> None:
    """End the agent that runs with this identity, if one does. Raises EnvironmentError_ when it does not end."""
    deadline = time.monotonic() + AGENT_S
    while True:
        try:
            with identity.locked():
                return
        except EnvironmentError_:
            pid = identity.holder()
            if pid:
                try:
                    os.kill(pid, signal.SIGTERM)
                except ProcessLookupError:
                    pass
            if time.monotonic() > deadline:
                raise EnvironmentError_(f"the agent (process {pid}) does not end: stop it, then leave again") from None
        await trio.sleep(0.5)


async def tell_server(config: AgentConfig, identity: Identity) -> str:
    """Take this node out of the cluster; how that went."""
    with trio.move_on_after(SERVER_S):
        try:
            clock = TrustedClock(identity.directory / "time")
            tls = ClientTls(identity.authority.read_bytes(), clock.certain)
            tls.show(identity.certificate().read_bytes(), identity.key().read_bytes())
            async with open_remote(identity.access(config.server), tls=tls.context, manager="edgekube-leave") as client:
                await client.call("POST", LEAVE_PAGE)
            return f"{config.node_name} was taken out of the cluster"
        except (EdgekubeError, OSError) as error:
            why = error.message if isinstance(error, ApiError) else str(error)
            return _on_the_server(config, why)
    return _on_the_server(config, "no answer")


def _on_the_server(config: AgentConfig, why: str) -> str:
    return f"the server could not be told ({why}); there: edgekube node remove {config.node_name}"


async def take_pods_down(config: MachineConfig) -> None:
    """Stop and remove every sandbox and container of this node. The agent must not run."""
    node = node_config(config, config.node_ip or "127.0.0.1")
    if not config.container_runtime_endpoint and not own_containerd(node).root.exists():
        return
    try:
        async with trio.open_nursery() as nursery:
            runtime = await _runtime(node, nursery)
            if runtime is not None:
                await _remove_sandboxes(runtime)
            nursery.cancel_scope.cancel()
    except* (EdgekubeError, OSError, RpcFailed) as group:
        LOG.warning("pods are ended without their runtime: %s", group.exceptions[0])


async def _runtime(node: NodeConfig, nursery: trio.Nursery) -> Runtime | None:
    if node.runtime_endpoint:
        return Runtime(node.runtime_endpoint)
    with trio.move_on_after(CONTAINERD_S):
        runtime: Runtime = await nursery.start(keep_containerd, own_containerd(node))
        return runtime
    return None


async def _remove_sandboxes(runtime: Runtime) -> None:
    async def stop(container: ContainerBrief) -> None:
        try:
            await runtime.stop_container(container.id, GRACE_S)
        except RpcFailed as failed:
            LOG.debug("container %s: %s", container.id, failed.message)

    async with trio.open_nursery() as nursery:
        for container in await runtime.containers():
            nursery.start_soon(stop, container)
    for sandbox in await runtime.sandboxes():
        try:
            await runtime.stop_sandbox(sandbox.id)
            await runtime.remove_sandbox(sandbox.id)
        except RpcFailed as failed:
            LOG.warning("sandbox %s: %s", sandbox.id, failed.message)


async def remove_from_kernel(config: MachineConfig) -> None:
    """Processes, mounts, network and cgroups that belong to this data directory."""
    for _ in range(5):
        found = list(processes_of(config.data_dir))
        for pid in found:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        if not found:
            break
        await trio.sleep(0.2)
    for mount in mounts_below(config.data_dir):
        try:
            await run(["umount", "-l", mount])
        except ProgramFailed as failed:
            LOG.warning("%s", failed)
    await _remove_cgroups(node_config(config, config.node_ip or "127.0.0.1"))
    await tear_down(network_config(config, config.node_ip or "127.0.0.1"))


async def _remove_cgroups(node: NodeConfig) -> None:
    """Those of our pods, known by the directories they had; others may lie beside them."""
    if not node.pods_dir.is_dir():
        return
    for pod in list(node.pods_dir.iterdir()):
        for kind in ("", *(f"/{name}" for name in cgroups.CLASSES)):
            await cgroups.remove(node.cgroup_mount, f"{CGROUP_ROOT}{kind}/pod{pod.name}")


def processes_of(data_dir: Path) -> Iterator[int]:
    """containerd, its shims, and the shims' children (containers whose runtime is gone)."""
    mark = os.fsencode(data_dir) + b"/node/"
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            words = (entry / "cmdline").read_bytes()
            if mark not in words or b"containerd" not in words.partition(b"\0")[0]:
                continue
            children = (entry / "task" / entry.name / "children").read_text().split()
        except OSError:
            continue
        if b"shim" in words.partition(b"\0")[0]:
            yield from map(int, children)
        yield int(entry.name)


def mounts_below(directory: Path) -> list[str]:
    """Mount points in a directory, the deepest first."""
    found = [
        line.split()[1].encode().decode("unicode_escape") for line in Path("/proc/mounts").read_text().splitlines()
    ]
    return sorted((one for one in found if one.startswith(f"{directory}/")), key=len, reverse=True)


def forget(data_dir: Path, *, keep_images: bool) -> list[str]:
    """Remove our files; what could not be removed."""
    kept: list[str] = []
    for name in OURS:
        if name == "images" and keep_images:
            continue
        shutil.rmtree(data_dir / name, onerror=lambda _, path, __: kept.append(path))
    try:
        data_dir.rmdir()
    except OSError:
        pass  # somebody keeps other things there
    return [path for path in kept if os.path.lexists(path)]
