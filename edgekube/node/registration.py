"""The Node object and its Lease: registering, telling the node's condition, and showing that it lives.

`describe` is pure. Status is written only when something changed (or every `report_s`); life is shown by the Lease alone.
Source: kubelet kubelet_node_status.go, nodestatus/setters.go (conditions and their words), component-helpers lease.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec
import trio

from edgekube.api.meta import MicroTime, ObjectMeta, OwnerReference, Quantity, format_micro_time, format_time
from edgekube.api.quantity import canonical, milli, whole
from edgekube.client.interface import Client
from edgekube.clock import Clock
from edgekube.errors import AlreadyExists, ApiError, Conflict, ConnectionFailed, NotFound, Offline
from edgekube.kinds.coordination import lease as lease_kind
from edgekube.kinds.coordination.lease import Lease, LeaseSpec
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core.node import (
    ContainerImage,
    Node,
    NodeAddress,
    NodeCondition,
    NodeFeatures,
    NodeRuntimeHandler,
    NodeRuntimeHandlerFeatures,
    NodeSpec,
    NodeStatus,
    NodeSwapStatus,
    NodeSystemInfo,
)
from edgekube.node import localvolumes
from edgekube.node.config import NodeConfig
from edgekube.node.machine import Machine
from edgekube.node.runtime.cri import Image, Version

LEASE_NAMESPACE = "kube-node-lease"
LEASE_S = 40
RENEW_S = 10.0
LOOK_S = 10.0
LOOK_WHILE_UNREADY_S = 0.5  # mostly a network that is just being set up
IMAGES_AT_MOST = 50
HARD_MEMORY_RESERVE = 100 * 1024 * 1024  # memory.available<100Mi, kubelet's default eviction threshold
DISK_RESERVE_SHARE = 0.10  # nodefs.available<10%
DISK_PRESSURE_SHARE = 0.05
MEMORY_PRESSURE_BYTES = 100 * 1024 * 1024

TURNS = {
    ("MemoryPressure", "False"): "NodeHasSufficientMemory",
    ("MemoryPressure", "True"): "NodeHasInsufficientMemory",
    ("DiskPressure", "False"): "NodeHasNoDiskPressure",
    ("DiskPressure", "True"): "NodeHasDiskPressure",
    ("PIDPressure", "False"): "NodeHasSufficientPID",
    ("PIDPressure", "True"): "NodeHasInsufficientPID",
    ("Ready", "True"): "NodeReady",
    ("Ready", "False"): "NodeNotReady",
}

log = logging.getLogger("edgekube.node")


@dataclass(frozen=True, slots=True)
class Vitals:
    """What conditions are made from."""

    runtime_trouble: str = ""  # "" = ready
    network_trouble: str = ""
    memory_available: int = 1 << 62
    disk_available: int = 1 << 62
    disk_size: int = 1
    pids_available: int = 1 << 30


def labels(config: NodeConfig, machine: Machine) -> dict[str, str]:
    """The labels a node gives itself, then those of its configuration."""
    made = {
        "kubernetes.io/hostname": config.node_name,
        "kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "beta.kubernetes.io/arch": machine.architecture,
    }
    return made | dict(config.labels)


def capacity(config: NodeConfig, machine: Machine) -> dict[str, Quantity]:
    """What the machine has."""
    return {
        "cpu": Quantity(str(machine.cpus)),
        "memory": Quantity(canonical(f"{machine.memory // 1024}Ki")),
        "ephemeral-storage": Quantity(canonical(f"{machine.disk // 1024}Ki")),
        "pods": Quantity(str(config.pods_at_most)),
        "hugepages-1Gi": Quantity("0"),
        "hugepages-2Mi": Quantity("0"),
    }


def allocatable(config: NodeConfig, machine: Machine) -> dict[str, Quantity]:
    """What pods may have of it."""
    made = capacity(config, machine)
    kept = dict(config.reserved)
    memory = machine.memory - whole(kept.get("memory", "0")) - HARD_MEMORY_RESERVE
    made["memory"] = Quantity(canonical(f"{max(0, memory) // 1024}Ki"))
    disk = int(machine.disk * (1 - DISK_RESERVE_SHARE)) - whole(kept.get("ephemeral-storage", "0"))
    made["ephemeral-storage"] = Quantity(str(max(0, disk)))
    if "cpu" in kept:
        made["cpu"] = Quantity(canonical(f"{max(0, machine.cpus * 1000 - milli(kept['cpu']))}m"))
    return made


def conditions(vitals: Vitals, last: Sequence[NodeCondition], now: datetime) -> list[NodeCondition]:
    """MemoryPressure, DiskPressure, PIDPressure, Ready; conditions of others stay in front."""
    memory = vitals.memory_available < MEMORY_PRESSURE_BYTES
    disk = vitals.disk_available < vitals.disk_size * DISK_PRESSURE_SHARE
    pids = vitals.pids_available < 100
    troubles = [text for text in (vitals.runtime_trouble, vitals.network_trouble) if text]
    ready = (
        ("True", "KubeletReady", "kubelet is posting ready status")
        if not troubles
        else ("False", "KubeletNotReady", "[" + ", ".join(troubles) + "]" if len(troubles) > 1 else troubles[0])
    )
    wanted = {
        "MemoryPressure": (
            ("True", "KubeletHasInsufficientMemory", "kubelet has insufficient memory available")
            if memory
            else ("False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available")
        ),
        "DiskPressure": (
            ("True", "KubeletHasDiskPressure", "kubelet has disk pressure")
            if disk
            else ("False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure")
        ),
        "PIDPressure": (
            ("True", "KubeletHasInsufficientPID", "kubelet has insufficient PID available")
            if pids
            else ("False", "KubeletHasSufficientPID", "kubelet has sufficient PID available")
        ),
        "Ready": ready,
    }
    before = {condition.type: condition for condition in last}
    made = [condition for condition in last if condition.type not in wanted]
    for kind, (status, reason, message) in wanted.items():
        old = before.get(kind)
        made.append(
            NodeCondition(
                type=kind,
                status=status,
                reason=reason,
                message=message,
                last_heartbeat_time=format_time(now),
                last_transition_time=old.last_transition_time if old and old.status == status else format_time(now),
            )
        )
    return made


def shown_images(images: Sequence[Image]) -> list[ContainerImage]:
    """The largest images with their names."""
    largest = sorted(images, key=lambda image: (-image.size, image.id))[:IMAGES_AT_MOST]
    return [
        ContainerImage(names=[*image.digests, *image.tags][:5], size_bytes=image.size)
        for image in largest
        if image.digests or image.tags
    ]


def describe(
    config: NodeConfig,
    machine: Machine,
    version: Version,
    vitals: Vitals,
    images: Sequence[Image],
    last: NodeStatus,
    now: datetime,
) -> NodeStatus:
    """The status to publish; what others wrote into the last one stays."""
    made = msgspec.structs.replace(last)
    made.capacity = capacity(config, machine)
    made.allocatable = allocatable(config, machine)
    made.conditions = conditions(vitals, last.conditions, now)
    made.addresses = [
        NodeAddress(type="InternalIP", address=config.address),
        NodeAddress(type="Hostname", address=config.node_name),
    ]
    made.node_info = NodeSystemInfo(
        machine_id=machine.machine_id,
        system_uuid=machine.system_uuid,
        boot_id=machine.boot_id,
        kernel_version=machine.kernel,
        os_image=machine.os_image,
        container_runtime_version=f"{version.name}://{version.version}",
        kubelet_version=config.version,
        kube_proxy_version="",
        operating_system="linux",
        architecture=machine.architecture,
        swap=NodeSwapStatus(capacity=machine.swap) if machine.swap else None,
    )
    made.images = shown_images(images)
    made.runtime_handlers = [
        NodeRuntimeHandler(name="", features=NodeRuntimeHandlerFeatures()),
        NodeRuntimeHandler(name="runc", features=NodeRuntimeHandlerFeatures()),
    ]
    made.features = NodeFeatures(supplemental_groups_policy=False)
    return made


def same_but_heartbeat(one: NodeStatus, other: NodeStatus) -> bool:
    """Whether two statuses say the same, leaving out when it was said."""

    def bare(status: NodeStatus) -> NodeStatus:
        quiet = [msgspec.structs.replace(c, last_heartbeat_time=None) for c in status.conditions]
        return msgspec.structs.replace(status, conditions=quiet)

    return bare(one) == bare(other)


def _loudness(error: Exception) -> int:
    """That the server is away was said when it went."""
    return logging.DEBUG if isinstance(error, Offline) else logging.INFO


def condition_of(node: Node, type_: str) -> NodeCondition | None:
    """The condition of this type."""
    return next((found for found in node.status.conditions if found.type == type_), None)


class Registration:
    """Keeps the Node object and its Lease. `look` gives the newest status from the last one."""

    def __init__(
        self,
        client: Client,
        clock: Clock,
        config: NodeConfig,
        machine: Machine,
        look: Callable[[NodeStatus], Awaitable[NodeStatus]],
        tell: Callable[[str, str], None],
    ) -> None:
        """`tell(reason, message)` writes an event about the node."""
        self._client, self._clock, self._config, self._machine = client, clock, config, machine
        self._look, self._tell = look, tell
        self._told: dict[str, str] = {}
        self.node = Node()
        self._reported_at = float("-inf")
        self._lease: Lease | None = None
        self._is_registered = False
        self._news = trio.Event()

    async def register(self) -> Node:
        """Create the Node, or bring an existing one's labels up to date. Waits for the server as long as it takes.

        A node that is known already goes on without the server, and is brought up to date when that is back.
        """
        pause_s = 0.2
        while True:
            try:
                node = await self._register_once()
                self._tell("Starting", "Starting kubelet.")
                self._tell_turns(node.status)
                return node
            except (ApiError, ConnectionFailed) as error:
                log.info("the node is not registered yet: %s", error)
                if isinstance(error, ConnectionFailed) and await self._is_known():
                    return self.node
                await trio.sleep(pause_s)
                pause_s = min(2 * pause_s, 7.0)

    async def _is_known(self) -> bool:
        """Whether a client that keeps copies has the Node of an earlier life."""
        try:
            self.node = await self._client.get(node_kind.KIND, self._config.node_name)
        except (ApiError, ConnectionFailed):
            return False
        return True

    async def _register_once(self) -> Node:
        config = self._config
        wanted = labels(config, self._machine)
        node = Node(
            metadata=ObjectMeta(
                name=config.node_name,
                labels=wanted,
                annotations={
                    "volumes.kubernetes.io/controller-managed-attach-detach": "true",
                    localvolumes.ANNOTATION: str(config.volumes_dir),
                },
            ),
            spec=NodeSpec(taints=list(config.taints)),
        )
        node.status = await self._look(NodeStatus())
        try:
            self.node = await self._client.create(node_kind.KIND, node)
            self._reported_at = self._clock.monotonic()
            if not self.node.status.capacity:
                await self.report(force=True)
        except AlreadyExists:
            self.node = await self._client.get(node_kind.KIND, config.node_name)
            offered = {localvolumes.ANNOTATION: str(config.volumes_dir)}
            metadata = self.node.metadata
            changes = {
                "labels": {k: v for k, v in wanted.items() if metadata.labels.get(k) != v},
                "annotations": {k: v for k, v in offered.items() if metadata.annotations.get(k) != v},
            }
            missing = {member: values for member, values in changes.items() if values}
            if missing:
                self.node = await self._client.patch(node_kind.KIND, config.node_name, "", {"metadata": missing})
            await self.report(force=True)
        self._is_registered = True
        return self.node

    def _tell_turns(self, status: NodeStatus) -> None:
        """An event for each condition that turned since the last was told."""
        for condition in status.conditions:
            words = TURNS.get((condition.type, condition.status))
            if words is not None and self._told.get(condition.type) != condition.status:
                self._told[condition.type] = condition.status
                self._tell(words, f"Node {self._config.node_name} status is now: {words}")

    async def report(self, *, force: bool = False) -> None:
        """Write the status if it changed, or was last written long ago."""
        status = await self._look(self.node.status)
        due = self._clock.monotonic() - self._reported_at >= self._config.report_s
        if not force and not due and same_but_heartbeat(status, self.node.status):
            return
        for _ in range(5):
            try:
                self.node = await self._client.update(
                    node_kind.KIND, msgspec.structs.replace(self.node, status=status), subresource="status"
                )
                self._reported_at = self._clock.monotonic()
                self._tell_turns(status)
                return
            except Conflict:
                self.node = await self._client.get(node_kind.KIND, self._config.node_name)
                status = await self._look(self.node.status)

    async def keep_reporting(self) -> None:
        """For ever. A Node somebody deleted is registered again."""
        while True:
            hurries = self._is_registered and not self._ready()
            with trio.move_on_after(LOOK_WHILE_UNREADY_S if hurries else LOOK_S) as waiting:
                await self._news.wait()
            self._news = trio.Event()
            try:
                if self._is_registered:
                    await self.report(force=not waiting.cancelled_caught)
                else:
                    await self.register()
            except NotFound:
                await self.register()
            except (ApiError, ConnectionFailed) as error:
                log.log(_loudness(error), "the node's status is not told: %s", error)

    def compare(self, _: Node | None, shown: Node | None) -> None:
        """The API shows a Node (an `OnChange`): when it is ours, and is gone or says of it what we did not, tell it again."""
        name, ready = self._config.node_name, condition_of(self.node, "Ready")
        if shown is None or shown.metadata.name != name or ready is None:
            return
        said = condition_of(shown, "Ready")
        if said is None or said.status != ready.status:
            self._news.set()

    def _ready(self) -> bool:
        return any(c.type == "Ready" and c.status == "True" for c in self.node.status.conditions)

    async def keep_lease(self) -> None:
        """Renew the Lease for ever, unless somebody else does that for us."""
        while True:
            if self._lease is None or not self._config.lease_kept():
                await self._renew_patiently()
            await trio.sleep(RENEW_S)

    async def _renew_patiently(self) -> None:
        try:
            try:
                await self._renew()
            except (NotFound, Conflict):
                self._lease = None
                await self._renew()
        except (ApiError, ConnectionFailed) as error:
            log.log(_loudness(error), "the node's lease is not renewed: %s", error)

    async def _renew(self) -> None:
        name, now = self._config.node_name, format_micro_time(self._clock.now())
        if self._lease is None:
            try:
                self._lease = await self._client.get(lease_kind.KIND, name, LEASE_NAMESPACE)
            except NotFound:
                self._lease = await self._client.create(lease_kind.KIND, self._fresh_lease(now), LEASE_NAMESPACE)
                return
        spec = msgspec.structs.replace(
            self._lease.spec, holder_identity=name, lease_duration_seconds=LEASE_S, renew_time=now
        )
        renewed = msgspec.structs.replace(self._lease, spec=spec)
        self._lease = await self._client.update(lease_kind.KIND, renewed)

    def _fresh_lease(self, now: MicroTime) -> Lease:
        name = self._config.node_name
        owner = OwnerReference(api_version="v1", kind="Node", name=name, uid=self.node.metadata.uid)
        return Lease(
            metadata=ObjectMeta(name=name, namespace=LEASE_NAMESPACE, owner_references=[owner]),
            spec=LeaseSpec(holder_identity=name, lease_duration_seconds=LEASE_S, renew_time=now),
        )
