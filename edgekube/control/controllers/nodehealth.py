"""Node health: a node that gives no sign of life becomes Unknown, and its condition shows as taints.

Signs of life are counted on our own steady clock from when they are seen, so a node's wrong clock does not matter. How many nodes
are given up (NoExecute) and how fast depends on how many are silent at once: see `control.zones`.
Source: k8s.io/kubernetes pkg/controller/nodelifecycle/node_lifecycle_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec
import trio

from edgekube.api.meta import format_time, parse_time
from edgekube.control import owners, pods, zones
from edgekube.control.config import Config
from edgekube.kinds.coordination import lease as lease_kind
from edgekube.kinds.coordination.lease import Lease
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.node import Node, NodeCondition, Taint
from edgekube.kinds.core.pod import Pod
from edgekube.reconcile.drive import Caches, Controller, Key, Watch
from edgekube.reconcile.plan import Action, Note, Patch, Plan, Tell, Update, about

KIND = node_kind.KIND
LEASES = "kube-node-lease"
PERIOD_S = 5.0
NOT_READY, UNREACHABLE = "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"
BY_CONDITION = {
    ("MemoryPressure", "True"): "node.kubernetes.io/memory-pressure",
    ("DiskPressure", "True"): "node.kubernetes.io/disk-pressure",
    ("PIDPressure", "True"): "node.kubernetes.io/pid-pressure",
    ("NetworkUnavailable", "True"): "node.kubernetes.io/network-unavailable",
    ("Ready", "False"): NOT_READY,
    ("Ready", "Unknown"): UNREACHABLE,
}
CORDONED = "node.kubernetes.io/unschedulable"
OURS_NO_SCHEDULE = frozenset([*BY_CONDITION.values(), CORDONED])
OURS_NO_EXECUTE = frozenset([NOT_READY, UNREACHABLE])
REPORTED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


@dataclass(frozen=True, slots=True)
class Seen:
    """A node, how long it has been silent, its pods that count as ready, and whether it may be given up."""

    node: Node
    silent_s: float
    ready_pods: Sequence[Pod]
    may_be_given_up: bool
    grace_s: float
    startup_grace_s: float
    now: datetime


def condition(node: Node, type_: str) -> NodeCondition | None:
    """The condition of this type."""
    return next((found for found in node.status.conditions if found.type == type_), None)


def reconcile(seen: Seen) -> Plan:
    """Conditions first, then taints; look again before the silence could become too long."""
    node = seen.node
    actions: list[Action] = []
    ready = condition(node, "Ready")
    grace = seen.grace_s if ready is not None and ready.last_heartbeat_time else seen.startup_grace_s
    if seen.silent_s > grace:
        conditions = _unknown(node, seen.now)
        if conditions != node.status.conditions:
            status = msgspec.structs.replace(node.status, conditions=conditions)
            node = msgspec.structs.replace(node, status=status)
            actions.append(Update(kind=KIND, item=node, subresource="status"))
            return Plan(actions, look_again_s=0.1)  # the taints follow, once this is seen
    now_ready = condition(node, "Ready")
    taints = wanted_taints(node, evict=seen.may_be_given_up, now=seen.now)
    if taints != node.spec.taints:
        actions.append(_write_taints(node, taints))
    if now_ready is not None and now_ready.status != "True":
        stale = [pod for pod in seen.ready_pods if _ready_since_before(pod, now_ready)]
        name = node.metadata.name
        note = Note(about(KIND, node), "Normal", "NodeNotReady", f"Node {name} status is now: NodeNotReady")
        actions += [Tell(note)] if stale else []
        actions += [action for pod in stale for action in _unready(pod, seen.now)]
    return Plan(actions, look_again_s=PERIOD_S)


def _unknown(node: Node, now: datetime) -> list[NodeCondition]:
    """All reported conditions Unknown, those that already are left as they are."""
    stamp = format_time(now)
    made = list(node.status.conditions)
    for type_ in REPORTED:
        before = condition(node, type_)
        if before is None:
            reason, message = "NodeStatusNeverUpdated", "Kubelet never posted node status."
            created = node.metadata.creation_timestamp
            fresh = NodeCondition(
                type=type_, status="Unknown", last_heartbeat_time=created, reason=reason, message=message
            )
            fresh.last_transition_time = stamp
            made.append(fresh)
        elif before.status != "Unknown":
            made[made.index(before)] = msgspec.structs.replace(
                before,
                status="Unknown",
                reason="NodeStatusUnknown",
                message="Kubelet stopped posting node status.",
                last_transition_time=stamp,
            )
    return made


def wanted_taints(node: Node, *, evict: bool, now: datetime) -> list[Taint]:
    """The node's taints with ours as its conditions ask for; taints of others stay as they are."""
    no_schedule = [key for found in node.status.conditions if (key := BY_CONDITION.get((found.type, found.status)))]
    if node.spec.unschedulable:
        no_schedule.append(CORDONED)
    no_execute = [key for key in no_schedule if key in OURS_NO_EXECUTE and evict]
    wanted = {*((key, "NoSchedule") for key in no_schedule), *((key, "NoExecute") for key in no_execute)}
    kept = [taint for taint in node.spec.taints if not _is_ours(taint) or (taint.key, taint.effect) in wanted]
    there = {(taint.key, taint.effect) for taint in kept}
    made = [
        Taint(key=key, effect=effect, time_added=format_time(now))
        for key, effect in sorted(wanted)
        if (key, effect) not in there
    ]
    return [*kept, *made]


def _is_ours(taint: Taint) -> bool:
    if taint.effect == "NoSchedule":
        return taint.key in OURS_NO_SCHEDULE
    return taint.effect == "NoExecute" and taint.key in OURS_NO_EXECUTE


def _write_taints(node: Node, taints: Sequence[Taint]) -> Patch:
    wire: list[dict[str, Any]] = []
    for taint in taints:
        entry: dict[str, Any] = {"key": taint.key, "effect": taint.effect}
        entry.update({"value": taint.value} if taint.value else {})
        entry.update({"timeAdded": str(taint.time_added)} if taint.time_added else {})
        wire.append(entry)
    metadata = {"resourceVersion": node.metadata.resource_version}
    patch = {"metadata": metadata, "spec": {"taints": wire or None}}
    return Patch(kind=KIND, namespace="", name=node.metadata.name, patch=patch)


def _ready_since_before(pod: Pod, ready: NodeCondition) -> bool:
    """Whether a pod turned ready before its node stopped to be: one that did later was said so by a node that is there."""
    own = next((one for one in pod.status.conditions if one.type == "Ready"), None)
    if own is None or own.last_transition_time is None or ready.last_transition_time is None:
        return True
    return parse_time(own.last_transition_time) <= parse_time(ready.last_transition_time)


def _unready(pod: Pod, now: datetime) -> list[Action]:
    made = {"type": "Ready", "status": "False", "lastTransitionTime": format_time(now)}
    patch = Patch(
        kind=pod_kind.KIND,
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        patch={"metadata": {"uid": pod.metadata.uid}, "status": {"conditions": [made]}},
        content_type=owners.STRATEGIC,
        subresource="status",
    )
    return [patch, Tell(Note(about(pod_kind.KIND, pod), "Warning", "NodeNotReady", "Node is not ready"))]


class Signs:
    """When each node last gave a sign of life, by our steady clock. A sign is a renewed lease or a fresh heartbeat."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[tuple[Any, ...], float]] = {}

    def silent_s(self, node: Node, lease: Lease | None) -> float:
        """How long the node has been silent."""
        now = trio.current_time()
        heartbeats = [
            c.last_heartbeat_time for c in node.status.conditions if c.type == "Ready" and c.status != "Unknown"
        ]
        sign = (node.metadata.uid, lease.spec.renew_time if lease is not None else None, *heartbeats)
        known = self._last.get(node.metadata.name)
        if known is None or known[0] != sign:
            became_unknown = known is not None and known[0][:2] == sign[:2] and len(known[0]) > len(sign)
            self._last[node.metadata.name] = (sign, known[1] if known is not None and became_unknown else now)
        return now - self._last[node.metadata.name][1]

    def forget(self, name: str) -> None:
        """The node is gone."""
        self._last.pop(name, None)


def of_lease(_: Caches, item: Lease, __: Lease | None = None) -> Iterable[Key]:
    """A node's lease has its name."""
    if item.metadata.namespace == LEASES:
        yield Key("", item.metadata.name)


def of_node(_: Caches, item: Node, __: Node | None = None) -> Iterable[Key]:
    """The node itself; the others see a change of the whole within their period."""
    yield Key("", item.metadata.name)


def controller(config: Config) -> Controller[Seen]:
    """The loop."""
    signs, pace = Signs(), zones.Pace()

    def may_be_given_up(caches: Caches, node: Node) -> bool:
        """Whether a node that is not ready gets (or keeps) its NoExecute taints."""
        ready = condition(node, "Ready")
        if ready is None or ready.status == "True":
            return False
        zone = zones.zone_of(node)
        rate = zones.rate_in(zone, caches.of(KIND).list(), config)
        if not rate:  # taken back too: those that fell silent first were given up before it was clear how many would
            return False
        has = any(taint.effect == "NoExecute" and _is_ours(taint) for taint in node.spec.taints)
        return has or pace.allows(zone, rate, trio.current_time())

    def observe(caches: Caches, key: Key, now: datetime) -> Seen | None:
        node = caches.of(KIND).get("", key.name)
        if node is None:
            signs.forget(key.name)
            return None
        lease = caches.of(lease_kind.KIND).get(LEASES, key.name)
        ready = [pod for pod in caches.of(pod_kind.KIND).by("node", key.name) if pods.is_ready(pod)]
        silent_s = signs.silent_s(node, lease)
        lost = may_be_given_up(caches, node)
        return Seen(node, silent_s, ready, lost, config.node_grace_s, config.node_startup_grace_s, now)

    return Controller(
        name="node-controller",
        watches=(Watch(KIND, of_node), Watch(lease_kind.KIND, of_lease)),
        observe=observe,
        reconcile=reconcile,
    )
