"""The node role: a runtime, a Node object, and a worker per pod. `run_node` is what `app` starts.

Order: runtime up, registered, image archives in, then pods. Leaving stops containerd (when it is ours) and nothing else: pods run on
and are found again by the next start.
"""

from __future__ import annotations

import logging
import os
from functools import partial

import trio

from edgekube.client.follow import Cache, follow
from edgekube.client.interface import Client
from edgekube.client.replica import Replica
from edgekube.clock import Clock
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core import service as service_kind
from edgekube.kinds.core.node import Node, NodeStatus
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.references import ObjectReference
from edgekube.kinds.core.service import Service
from edgekube.net.grpc import RpcFailed
from edgekube.net.nodegate import NodeGate
from edgekube.net.process import ProgramFailed
from edgekube.node import archives, cgroups, machine
from edgekube.node.config import NodeConfig
from edgekube.node.eviction import Evictor
from edgekube.node.garbage import ImageCollector
from edgekube.node.gate import Gate
from edgekube.node.images import ImageKeeper
from edgekube.node.machine import Machine, disk_figures, memory_figures
from edgekube.node.objects import ReferredObjects
from edgekube.node.pods.health import asking
from edgekube.node.pods.manager import Manager
from edgekube.node.pods.names import Dns, parse_resolv_conf
from edgekube.node.pods.statuses import StatusWriter
from edgekube.node.pods.tools import Tools
from edgekube.node.registration import Registration, Vitals, allocatable, describe
from edgekube.node.runtime.containerd import ContainerdConfig, ensure_pause_image, keep_containerd
from edgekube.node.runtime.cri import Image, Runtime, Version
from edgekube.node.tokens import TokenKeeper
from edgekube.reconcile.events import Recorder, Speaker
from edgekube.reconcile.plan import Note

log = logging.getLogger("edgekube.node")


async def run_node(
    client: Client,
    clock: Clock,
    config: NodeConfig,
    *,
    runtime: Runtime | None = None,
    task_status: trio.TaskStatus[NodeGate] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Be a node until cancelled; hands back its gate when it is registered and its pods are being kept.

    `runtime` is for tests and simulations; else there is our own, or the one the configuration points at. Raises EnvironmentError_ when no container runtime can be had.
    """
    for directory in (config.root, config.pods_dir, config.logs):
        directory.mkdir(parents=True, exist_ok=True)
    os.chmod(config.pods_dir, 0o750)
    async with trio.open_nursery() as nursery:
        used: Runtime = runtime or await nursery.start(_runtime, config)
        if runtime is None:
            await _bring_images(used, config)
        await _run_with(client, clock, config, used, nursery, task_status)


async def _runtime(config: NodeConfig, *, task_status: trio.TaskStatus[Runtime]) -> None:
    """Our own containerd, or the one we were pointed at."""
    if not config.runtime_endpoint:
        await keep_containerd(own_containerd(config), task_status=task_status)
        return
    runtime = Runtime(config.runtime_endpoint)
    try:
        pause_s = 0.2
        while True:
            try:
                await runtime.version()
                break
            except RpcFailed as failed:
                log.warning("container runtime %s: %s", config.runtime_endpoint, failed.message)
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, 5.0)
        task_status.started(runtime)
        await trio.sleep_forever()
    finally:
        runtime.close()


async def _bring_images(runtime: Runtime, config: NodeConfig) -> None:
    """Image archives, and for an adopted containerd the sandbox image it wants: no registry is needed to start a pod."""
    if not config.runtime_endpoint:
        await archives.import_all(runtime, str(own_containerd(config).socket), config.images_dir, config.root)
        return
    socket = config.runtime_endpoint.removeprefix("unix://")
    try:
        if (await runtime.version()).name != "containerd":
            return  # others have no way to import an archive
        if wanted := await runtime.sandbox_image():
            await ensure_pause_image(runtime, socket, wanted)
        await archives.import_all(runtime, socket, config.images_dir, config.root)
    except (RpcFailed, ProgramFailed, OSError) as failed:
        log.warning("images could not be brought into %s: %s", config.runtime_endpoint, failed)


def own_containerd(config: NodeConfig) -> ContainerdConfig:
    """Where our containerd lives."""
    return ContainerdConfig(
        root=config.root / "containerd",
        state=config.state,
        cni_conf_dir=str(config.cni_conf_dir),
        cni_bin_dir=str(config.cni_bin_dir),
        binary=config.containerd,
        registry_hosts_dir=str(config.registry_hosts_dir) if config.registry_hosts_dir else "",
        registry_credentials=config.registry_credentials,
    )


class _Look:
    """The node's status, looked up afresh each time; the list of images is asked for only when their number changed."""

    def __init__(self, config: NodeConfig, seen: Machine, runtime: Runtime, version: Version, clock: Clock) -> None:
        self._config, self._machine, self._runtime = config, seen, runtime
        self._version, self._clock = version, clock
        self._images: list[Image] = []

    async def __call__(self, last: NodeStatus) -> NodeStatus:
        vitals = await self._vitals()
        now = self._clock.now()
        return describe(self._config, self._machine, self._version, vitals, self._images, last, now)

    async def _vitals(self) -> Vitals:
        size, free, _, _ = disk_figures(self._config.data_dir)
        available = memory_figures().get("MemAvailable", 1 << 62)
        try:
            told = await self._runtime.conditions()
            self._images = await self._runtime.images()
        except RpcFailed as failed:
            trouble = f"container runtime is down: {failed.message}"
            return Vitals(runtime_trouble=trouble, memory_available=available, disk_available=free, disk_size=size)
        runtime_ready, runtime_why = told.get("RuntimeReady", (True, ""))
        network_ready, network_why = told.get("NetworkReady", (True, ""))
        network_words = f"container runtime network not ready: NetworkReady=false {network_why}"
        return Vitals(
            runtime_trouble="" if runtime_ready else f"container runtime not ready: {runtime_why}",
            network_trouble="" if network_ready else network_words,
            memory_available=available,
            disk_available=free,
            disk_size=size,
        )


async def _run_with(
    client: Client,
    clock: Clock,
    config: NodeConfig,
    runtime: Runtime,
    nursery: trio.Nursery,
    task_status: trio.TaskStatus[NodeGate],
) -> None:
    seen = machine.look(config.data_dir)
    recorder = Recorder(client, clock)
    look = _Look(config, seen, runtime, await runtime.version(), clock)
    registration = Registration(client, clock, config, seen, look, partial(_tell_of_node, recorder, config.node_name))
    pods: Cache[Pod] = Cache()
    services: Cache[Service] = Cache()
    woken: list[Manager] = []
    objects = ReferredObjects(client, nursery, lambda uids: woken[0].wake_users(uids))
    tools = Tools(
        config=config,
        client=client,
        clock=clock,
        runtime=runtime,
        images=ImageKeeper(runtime, lambda: clock.now().timestamp()),
        objects=objects,
        tokens=TokenKeeper(client, clock),
        recorder=recorder,
        statuses=StatusWriter(client, pods.get),
        ask=asking(runtime),
        services=lambda: services.list(),
        host_dns=lambda: _host_dns(config),
        allocatable={name: str(amount) for name, amount in allocatable(config, seen).items()},
        memory_capacity=seen.memory,
        cgroup_v2=cgroups.is_v2(config.cgroup_mount),
        cgroups=cgroups.PodCgroups(config.cgroup_mount),
    )
    manager = Manager(tools, nursery, pods)
    woken.append(manager)
    tools.cgroups.prepare()
    nursery.start_soon(recorder.run)
    nursery.start_soon(manager.keep_going, tools.statuses.run)
    nursery.start_soon(
        manager.keep_going, manager.keep_static
    )  # static pods ask nobody, not even a server that is not there yet
    nursery.start_soon(manager.keep_going, manager.follow_events)
    node = await registration.register()
    manager.node_uid = node.metadata.uid
    nursery.start_soon(manager.keep_going, registration.keep_lease)
    nursery.start_soon(manager.keep_going, registration.keep_reporting)
    nursery.start_soon(_follow_nodes, client, registration, config.node_name)
    await nursery.start(lambda task_status: follow(client, service_kind.KIND, services, task_status=task_status))
    await nursery.start(
        lambda task_status: follow(
            client,
            pod_kind.KIND,
            pods,
            on_change=manager.take,
            fields=f"spec.nodeName={config.node_name}",
            task_status=task_status,
        )
    )
    manager.start_tasks()
    nursery.start_soon(manager.keep_going, ImageCollector(runtime, clock, config.data_dir).run)
    nursery.start_soon(manager.keep_going, Evictor(manager).run)
    task_status.started(Gate(manager))


async def _follow_nodes(client: Client, registration: Registration, name: str) -> None:
    """Notice what others say of this node. An agent's network room follows all nodes: sharing its watch costs the line nothing."""
    fields = "" if isinstance(client, Replica) else f"metadata.name={name}"
    await follow(client, node_kind.KIND, Cache[Node](), on_change=registration.compare, fields=fields)


def _tell_of_node(recorder: Recorder, name: str, reason: str, message: str) -> None:
    """An event about the node itself; its uid is its name there, which is what `kubectl describe node` looks for."""
    about = ObjectReference(kind="Node", name=name, uid=name)
    recorder.tell(Speaker("kubelet", name), Note(about, "Normal", reason, message))


def _host_dns(config: NodeConfig) -> Dns:
    try:
        return parse_resolv_conf(config.host_resolv_conf.read_text(errors="replace"))
    except OSError:
        return Dns()
