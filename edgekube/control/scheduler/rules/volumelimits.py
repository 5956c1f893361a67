"""A node's storage drivers can attach so many volumes and no more.

Source: k8s.io/kubernetes pkg/scheduler/framework/plugins/nodevolumelimits/csi.go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from edgekube.control.scheduler.decide import Refusal, Rule
from edgekube.control.scheduler.rules.volumebinding import claim_names
from edgekube.control.scheduler.snapshot import NodeInfo, Snapshot
from edgekube.kinds.core.pod import Pod

REFUSAL = Refusal(("node(s) exceed max volume count",))


@dataclass(frozen=True, slots=True)
class State:
    """The volumes a pod brings, each with its driver."""

    brings: Mapping[str, str]
    snapshot: Snapshot


def volumes_of(pod: Pod, snapshot: Snapshot) -> Iterator[tuple[str, str]]:
    """A pod's volumes of storage drivers as (unique name, driver)."""
    namespace = pod.metadata.namespace
    for name in claim_names(pod):
        claim = snapshot.claims.get((namespace, name))
        if claim is None:
            continue
        volume = snapshot.volumes.get(claim.spec.volume_name) if claim.spec.volume_name else None
        if volume is not None:
            if volume.spec.csi is not None:
                yield f"{volume.spec.csi.driver}/{volume.spec.csi.volume_handle}", volume.spec.csi.driver
        else:
            storage_class = snapshot.classes.get(claim.spec.storage_class_name or "")
            if storage_class is not None and storage_class.provisioner:
                yield f"{storage_class.provisioner}/{namespace}/{name}", storage_class.provisioner


def prepare(pod: Pod, snapshot: Snapshot) -> State | None:
    """Only where drivers state limits and the pod brings volumes."""
    if not snapshot.drivers or not pod.spec.volumes:
        return None
    brings = dict(volumes_of(pod, snapshot))
    return State(brings, snapshot) if brings else None


def refuse(state: State, info: NodeInfo) -> Refusal | None:
    """Nodes whose driver has no place left."""
    node = state.snapshot.drivers.get(info.name)
    limits = {
        driver.name: driver.allocatable.count
        for driver in (node.spec.drivers or () if node is not None else ())
        if driver.allocatable is not None and driver.allocatable.count is not None
    }
    if not limits.keys() & set(state.brings.values()):
        return None
    there = {name: driver for other in info.pods for name, driver in volumes_of(other, state.snapshot)}
    for driver, limit in limits.items():
        used = sum(1 for name in there if there[name] == driver)
        new = sum(1 for name, its in state.brings.items() if its == driver and name not in there)
        if new and used + new > limit:
            return REFUSAL
    return None


RULE = Rule("NodeVolumeLimits", prepare, refuse, frozenset({"nodes", "pods", "csinodes", "persistentvolumeclaims"}))
