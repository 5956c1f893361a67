"""What the scheduler decides over: the cluster, frozen at one moment, with pods grouped by node and their requests summed up.

Pure. `Summaries` remembers per pod what is costly to work out, as long as the pod's spec is the same object.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from typing import NamedTuple

from edgekube.control import pods
from edgekube.control.owners import controller_uid
from edgekube.control.scheduler import amounts
from edgekube.control.scheduler.amounts import Amounts
from edgekube.kinds.core.container import Container
from edgekube.kinds.core.node import Node
from edgekube.kinds.core.persistentvolume import PersistentVolume
from edgekube.kinds.core.persistentvolumeclaim import PersistentVolumeClaim
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podspec import PodSpec
from edgekube.kinds.policy.poddisruptionbudget import PodDisruptionBudget
from edgekube.kinds.resource.resourceclaim import ResourceClaim
from edgekube.kinds.storage.csinode import CSINode
from edgekube.kinds.storage.storageclass import StorageClass


class HostPort(NamedTuple):
    """A port taken on a node's own addresses; `ip` "0.0.0.0" is all of them."""

    ip: str
    protocol: str
    port: int


class Summary(NamedTuple):
    """What is worked out of a pod's spec once."""

    requests: Amounts
    weights: Amounts  # requests with defaults, for comparing nodes
    ports: tuple[HostPort, ...]
    has_affinity: bool
    owner: str  # the uid of its controller, "" without one


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """A node and what runs on it."""

    node: Node
    pods: Sequence[Pod]
    allocatable: Amounts
    requested: Amounts
    weighted: Amounts
    ports: frozenset[HostPort]
    name: str
    labels: Mapping[str, str]
    with_affinity: Sequence[Pod]  # those of its pods that say which others they want to be near or away from
    by_owner: Mapping[str, int]  # how many of its pods each controller has, by the controller's uid
    images: Mapping[str, int]  # bytes of each image there, by every name it has


@dataclass(slots=True)
class Index:
    """What is found somewhere, without looking at every node."""

    choosy: dict[str, NodeInfo] = field(default_factory=dict)  # nodes that have pods with wishes about other pods
    owners: dict[str, dict[str, NodeInfo]] = field(
        default_factory=dict
    )  # by a controller's uid: the nodes with its pods
    images: dict[str, int] = field(default_factory=dict)  # on how many nodes an image is

    @classmethod
    def of(cls, nodes: Iterable[NodeInfo]) -> Index:
        """The index of these nodes."""
        made = cls()
        for info in nodes:
            made.put_in(info)
        return made

    def put_in(self, info: NodeInfo) -> None:
        """Count a node in."""
        if info.with_affinity:
            self.choosy[info.name] = info
        for uid in info.by_owner:
            self.owners.setdefault(uid, {})[info.name] = info
        for image in info.images:
            self.images[image] = self.images.get(image, 0) + 1

    def take_out(self, info: NodeInfo) -> None:
        """Count a node out."""
        self.choosy.pop(info.name, None)
        for uid in info.by_owner:
            there = self.owners[uid]
            there.pop(info.name, None)
            if not there:
                del self.owners[uid]
        for image in info.images:
            self.images[image] -= 1


def summarise(pod: Pod) -> Summary:
    """What a pod asks for."""
    ports = tuple(
        HostPort(port.host_ip or "0.0.0.0", port.protocol or "TCP", port.host_port)
        for container in [*(pod.spec.containers or []), *_sidecars(pod)]
        for port in container.ports
        if port.host_port > 0
    )
    affinity = pod.spec.affinity
    has_affinity = affinity is not None and bool(affinity.pod_affinity or affinity.pod_anti_affinity)
    return Summary(amounts.of_pod(pod), amounts.of_pod(pod, floor=True), ports, has_affinity, controller_uid(pod))


def _sidecars(pod: Pod) -> list[Container]:
    return [container for container in pod.spec.init_containers if container.restart_policy == "Always"]


def zones_in_turn(nodes: Iterable[Node]) -> list[str]:
    """The names of nodes, one of each zone after the other, so that any stretch of them has all zones in it."""
    zones: dict[tuple[str, str], list[str]] = {}
    for node in nodes:
        labels = node.metadata.labels
        place = labels.get("topology.kubernetes.io/region", ""), labels.get("topology.kubernetes.io/zone", "")
        zones.setdefault(place, []).append(node.metadata.name)
    rounds = zip_longest(*zones.values())
    return [name for turn in rounds for name in turn if name is not None]


class Summaries:
    """Summaries by pod uid."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[PodSpec, Summary]] = {}

    def of(self, pod: Pod) -> Summary:
        """The pod's summary, worked out at most once per spec."""
        known = self._known.get(pod.metadata.uid)
        if known is not None and known[0] is pod.spec:
            return known[1]
        made = summarise(pod)
        if pod.metadata.uid:
            self._known[pod.metadata.uid] = (pod.spec, made)
        return made

    def forget(self, pod: Pod) -> None:
        """The pod is gone."""
        self._known.pop(pod.metadata.uid, None)


def node_info(node: Node, on_it: Iterable[Pod], summaries: Summaries) -> NodeInfo:
    """A node with its pods; finished pods hold nothing."""
    running = [pod for pod in on_it if not pods.is_terminal(pod)]
    requested: dict[str, int] = {}
    weighted: dict[str, int] = {}
    ports: set[HostPort] = set()
    choosy: list[Pod] = []
    by_owner: dict[str, int] = {}
    for pod in running:
        summary = summaries.of(pod)
        if summary.has_affinity:
            choosy.append(pod)
        if summary.owner:
            by_owner[summary.owner] = by_owner.get(summary.owner, 0) + 1
        for name, value in summary.requests.items():
            requested[name] = requested.get(name, 0) + value
        for name in ("cpu", "memory"):
            weighted[name] = weighted.get(name, 0) + summary.weights.get(name, 0)
        ports.update(summary.ports)
    return NodeInfo(
        node,
        running,
        amounts.of_node(node),
        requested,
        weighted,
        frozenset(ports),
        node.metadata.name,
        node.metadata.labels,
        choosy,
        by_owner,
        {name: image.size_bytes for image in node.status.images for name in image.names or ()},
    )


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything rules and scores may look at."""

    nodes: Sequence[NodeInfo]
    namespaces: Mapping[str, Mapping[str, str]] = field(default_factory=dict)  # name -> labels
    claims: Mapping[tuple[str, str], PersistentVolumeClaim] = field(default_factory=dict)
    volumes: Mapping[str, PersistentVolume] = field(default_factory=dict)
    classes: Mapping[str, StorageClass] = field(default_factory=dict)
    drivers: Mapping[str, CSINode] = field(default_factory=dict)  # by node: how many volumes each driver can attach
    devices: Mapping[tuple[str, str], ResourceClaim] = field(default_factory=dict)  # claims of devices
    budgets: Sequence[PodDisruptionBudget] = ()
    nominated: Mapping[str, Sequence[Pod]] = field(default_factory=dict)  # by node: pods promised a place on it
    summaries: Summaries = field(default_factory=Summaries)
    known: Index | None = None  # of these nodes, where somebody keeps one

    @property
    def index(self) -> Index:
        """What is where."""
        return self.known if self.known is not None else Index.of(self.nodes)

    def indexed(self) -> Snapshot:
        """The same, with an index."""
        return self if self.known is not None else replace(self, known=Index.of(self.nodes))

    def node(self, name: str) -> NodeInfo | None:
        """A node by name."""
        return next((info for info in self.nodes if info.name == name), None) if name else None

    def node_with(self, info: NodeInfo, running: Sequence[Pod]) -> NodeInfo:
        """A node as it would be with these pods."""
        return node_info(info.node, running, self.summaries)

    def with_node(self, changed: NodeInfo) -> Snapshot:
        """The cluster with one node as it would be."""
        nodes = [changed if info.name == changed.name else info for info in self.nodes]
        index, choosy = self.index, dict(self.index.choosy)
        choosy.pop(changed.name, None)
        if changed.with_affinity:
            choosy[changed.name] = changed
        # Owners and images are for comparing nodes, which nobody does with a cluster as it would be.
        return replace(self, nodes=nodes, known=Index(choosy, index.owners, index.images))

    def promised_before(self, pod: Pod, node: str) -> list[Pod]:
        """The pods nominated for a node that are at least as important as this one."""
        priority = pod.spec.priority or 0
        return [
            other
            for other in self.nominated.get(node, ())
            if (other.spec.priority or 0) >= priority and other.metadata.uid != pod.metadata.uid
        ]
