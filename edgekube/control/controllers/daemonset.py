"""DaemonSet: one pod on every node that suits, replaced a few at a time when the template changes.

Source: k8s.io/kubernetes pkg/controller/daemon (daemon_controller.go, update.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from edgekube.api.selectors import LabelQuery, from_label_selector
from edgekube.control import owners, pods, revisions
from edgekube.control.config import Config
from edgekube.control.portions import surge_and_unavailable
from edgekube.control.scheduler.matching import untolerated, wants_node
from edgekube.kinds.apps import controllerrevision as revision_kind
from edgekube.kinds.apps import daemonset as set_kind
from edgekube.kinds.apps.controllerrevision import ControllerRevision
from edgekube.kinds.apps.daemonset import DaemonSet, DaemonSetStatus
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.node import Node
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podspec import Affinity, NodeAffinity, Toleration
from edgekube.kinds.core.references import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm
from edgekube.reconcile.drive import Caches, Controller, Key, Watch, own_key
from edgekube.reconcile.plan import Action, Create, Delete, Note, Plan, Tell, Update, about

KIND = set_kind.KIND
GENERATION = "deprecated.daemonset.template.generation"
TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
)
NO_NETWORK = ("node.kubernetes.io/network-unavailable", "NoSchedule")
MOST_AT_ONCE = 250


@dataclass(frozen=True, slots=True)
class Seen:
    """A daemon set, its pods, its history, and all nodes."""

    owner: DaemonSet
    pods: Sequence[Pod]
    revisions: Sequence[ControllerRevision]
    nodes: Sequence[Node]
    now: datetime


def reconcile(seen: Seen) -> Plan:
    """The right pods on the right nodes, then the status."""
    owner = seen.owner
    query = from_label_selector(owner.spec.selector)
    if query.everything:
        message = "This daemon set is selecting all pods. A non-empty selector is required."
        return Plan([Tell(Note(about(KIND, owner), "Warning", "SelectingAll", message))])
    mine, claims = owners.claim(pod_kind.KIND, seen.pods, KIND, owner, query, may_adopt=pods.is_active)
    labels = dict(owner.spec.selector.match_labels) if owner.spec.selector is not None else {}
    past = revisions.history(KIND, owner, owners.owned(seen.revisions, owner), labels, owner.status.collision_count)
    if owner.metadata.deletion_timestamp is not None:
        return Plan(claims)
    if past.writes:
        return Plan([*claims, *past.writes])  # pods carry the revision's name: it must exist first
    short = past.now.metadata.labels.get(revisions.LABEL, "")
    on_node = _by_node(mine)
    pod = _pod(owner, "", short)
    changes = _manage(seen, on_node, pod, short)
    if not changes and owner.spec.update_strategy.type != "OnDelete":
        changes = _replace(seen, on_node, pod, short)
    live = {f"{owner.metadata.name}-{item.metadata.labels.get(revisions.LABEL, '')}" for item in mine}
    cleaning = revisions.surplus(past, live, owner.spec.revision_history_limit)
    status = _status(seen, on_node, pod, short)
    writes: list[Action] = []
    if status != owner.status:
        writes.append(Update(kind=KIND, item=msgspec.structs.replace(owner, status=status), subresource="status"))
    wait = pods.soonest_available_s(mine, owner.spec.min_ready_seconds, seen.now)
    return Plan([*claims, *changes, *cleaning], lambda _: writes, wait)


def should_run(pod: Pod, node: Node) -> tuple[bool, bool]:
    """(may a daemon pod start here, may one that is here go on)."""
    if pod.spec.node_name not in ("", node.metadata.name) or not wants_node(pod, node):
        return False, False
    if untolerated(node, pod.spec.tolerations, ("NoSchedule", "NoExecute")) is not None:
        return False, untolerated(node, pod.spec.tolerations, ("NoExecute",)) is None
    return True, True


def target_of(pod: Pod) -> str:
    """The node a daemon pod is on, or was made for."""
    if pod.spec.node_name:
        return pod.spec.node_name
    affinity = pod.spec.affinity.node_affinity if pod.spec.affinity is not None else None
    required = affinity.required_during_scheduling_ignored_during_execution if affinity is not None else None
    for term in (required.node_selector_terms or ()) if required is not None else ():
        for field in term.match_fields:
            if field.key == "metadata.name" and len(field.values) == 1:
                return field.values[0]
    return ""


def _by_node(mine: Iterable[Pod]) -> dict[str, list[Pod]]:
    found: dict[str, list[Pod]] = {}
    for pod in sorted(mine, key=lambda pod: (pod.metadata.creation_timestamp or "", pod.metadata.name)):
        found.setdefault(target_of(pod), []).append(pod)
    return found


def _pod(owner: DaemonSet, node: str, short: str) -> Pod:
    """A daemon pod for one node ("" for looking only)."""
    pod = owners.pod_from(owner.spec.template, KIND, owner)
    pod.metadata.labels[revisions.LABEL] = short
    if generation := owner.metadata.annotations.get(GENERATION):
        pod.metadata.labels["pod-template-generation"] = generation
    tolerations = list(pod.spec.tolerations)
    for key, effect in [*TOLERATED, *([NO_NETWORK] if pod.spec.host_network else [])]:
        made = Toleration(key=key, operator="Exists", effect=effect)
        if made not in tolerations:
            tolerations.append(made)
    affinity = _only(pod.spec.affinity, node) if node else pod.spec.affinity
    pod.spec = msgspec.structs.replace(pod.spec, tolerations=tolerations, affinity=affinity)
    return pod


def _only(affinity: Affinity | None, node: str) -> Affinity:
    """The pod's affinity, narrowed to one node by name."""
    field = NodeSelectorRequirement(key="metadata.name", operator="In", values=[node])
    before = affinity.node_affinity if affinity is not None else None
    required = before.required_during_scheduling_ignored_during_execution if before is not None else None
    terms = [
        msgspec.structs.replace(term, match_fields=[field]) for term in (required.node_selector_terms or ())
    ] if required is not None else []  # fmt: skip
    selector = NodeSelector(node_selector_terms=terms or [NodeSelectorTerm(match_fields=[field])])
    narrowed = msgspec.structs.replace(
        before or NodeAffinity(), required_during_scheduling_ignored_during_execution=selector
    )
    return msgspec.structs.replace(affinity or Affinity(), node_affinity=narrowed)


def _fences(seen: Seen, wanted: int) -> tuple[int, int]:
    rolling = seen.owner.spec.update_strategy.rolling_update
    if rolling is None:
        return surge_and_unavailable(0, 1, wanted)
    return surge_and_unavailable(rolling.max_surge, rolling.max_unavailable, wanted)


def _manage(seen: Seen, on_node: Mapping[str, Sequence[Pod]], pod: Pod, short: str) -> list[Action]:
    owner = seen.owner
    births: list[Action] = []
    deaths: list[Action] = []
    surging = _fences(seen, len(seen.nodes))[0] > 0
    for node in seen.nodes:
        name = node.metadata.name
        may_start, may_go_on = should_run(pod, node)
        here = [item for item in on_node.get(name, ()) if item.metadata.deletion_timestamp is None]
        if not may_go_on:
            deaths += [_death(owner, item) for item in here]
            continue
        ended = [item for item in here if pods.is_terminal(item)]
        deaths += [action for item in ended for action in _bury(owner, item, name)]
        running = [item for item in here if item not in ended]
        if may_start and not on_node.get(name):
            births.append(_birth(owner, name, short))
        elif len(running) > 1 and not (
            surging and len(running) == 2 and _revision(running[0]) != _revision(running[1])
        ):
            deaths += [_death(owner, item) for item in running[1:]]
    known = {node.metadata.name for node in seen.nodes}
    for name, lost in on_node.items():  # made for a node that went before they were placed
        if name not in known:
            deaths += [_death(owner, item) for item in lost if not item.spec.node_name]
    return [*births[:MOST_AT_ONCE], *deaths[:MOST_AT_ONCE]]


def _revision(pod: Pod) -> str:
    return pod.metadata.labels.get(revisions.LABEL, "")


def _replace(seen: Seen, on_node: Mapping[str, Sequence[Pod]], pod: Pod, short: str) -> list[Action]:
    """One step of a rolling update."""
    nodes = [node for node in seen.nodes if should_run(pod, node)[0]]
    surge, unavailable = _fences(seen, len(nodes))
    spare, room = unavailable, surge
    broken: list[Action] = []
    healthy: list[Action] = []
    extra: list[Action] = []
    for node in nodes:
        here = [item for item in on_node.get(node.metadata.name, ()) if item.metadata.deletion_timestamp is None]
        old = [item for item in here if _revision(item) != short]
        new = [item for item in here if _revision(item) == short]
        fresh_is_well = any(_is_available(seen, item) for item in new)
        if not old:
            spare -= 0 if fresh_is_well else 1
        elif surge and fresh_is_well:
            broken += [_death(seen.owner, item) for item in old]
        elif surge and new:
            room -= 1
        elif surge and _is_available(seen, old[0]):
            extra.append(_birth(seen.owner, node.metadata.name, short))
        elif not _is_available(seen, old[0]):
            spare -= 1
            broken.append(_death(seen.owner, old[0]))
        else:
            healthy.append(_death(seen.owner, old[0]))
    return [*broken, *healthy[: max(0, spare)], *extra[: max(0, room)]]


def _is_available(seen: Seen, pod: Pod) -> bool:
    return pods.is_available(pod, seen.owner.spec.min_ready_seconds, seen.now)


def _birth(owner: DaemonSet, node: str, short: str) -> Create:
    reference = about(KIND, owner)
    return Create(
        kind=pod_kind.KIND,
        item=_pod(owner, node, short),
        done=Note(reference, "Normal", "SuccessfulCreate", "Created pod: {name}"),
        failed=Note(reference, "Warning", "FailedCreate", "Error creating: {error}"),
    )


def _death(owner: DaemonSet, pod: Pod) -> Delete:
    reference = about(KIND, owner)
    return Delete(
        kind=pod_kind.KIND,
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        uid=pod.metadata.uid,
        done=Note(reference, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}"),
        failed=Note(reference, "Warning", "FailedDelete", "Error deleting: {error}"),
    )


def _bury(owner: DaemonSet, pod: Pod, node: str) -> list[Action]:
    failed = pod.status.phase == "Failed"
    word, kill = ("failed", "kill") if failed else ("succeeded", "delete")
    message = (
        f"Found {word} daemon pod {pod.metadata.namespace}/{pod.metadata.name} on node {node}, will try to {kill} it"
    )
    reason = "FailedDaemonPod" if failed else "SucceededDaemonPod"
    return [Tell(Note(about(KIND, owner), "Warning" if failed else "Normal", reason, message)), _death(owner, pod)]


def _status(seen: Seen, on_node: Mapping[str, Sequence[Pod]], pod: Pod, short: str) -> DaemonSetStatus:
    desired = current = ready = available = updated = misscheduled = 0
    for node in seen.nodes:
        here = on_node.get(node.metadata.name, ())
        if not should_run(pod, node)[0]:
            misscheduled += 1 if here else 0
            continue
        desired += 1
        if not here:
            continue
        current += 1
        best = sorted(here, key=lambda item: (not _is_available(seen, item), not pods.is_ready(item)))[0]
        ready += 1 if pods.is_ready(best) else 0
        available += 1 if _is_available(seen, best) else 0
        updated += 1 if any(_revision(item) == short for item in here) else 0
    return msgspec.structs.replace(
        seen.owner.status,
        current_number_scheduled=current,
        number_misscheduled=misscheduled,
        desired_number_scheduled=desired,
        number_ready=ready,
        observed_generation=seen.owner.metadata.generation,
        updated_number_scheduled=updated,
        number_available=available,
        number_unavailable=desired - available,
    )


def query_of(owner: DaemonSet) -> LabelQuery:
    """Which pods may be its own."""
    return from_label_selector(owner.spec.selector)


def observe(caches: Caches, key: Key, now: datetime) -> Seen | None:
    """The set with pods, history and nodes."""
    owner = caches.of(KIND).get(*key)
    if owner is None:
        return None
    past = caches.of(revision_kind.KIND).by("owner", owner.metadata.uid)
    nodes = sorted(caches.of(node_kind.KIND).list(), key=lambda node: node.metadata.name)
    return Seen(owner, owners.candidates(caches.of(pod_kind.KIND), owner), past, nodes, now)


def of_node(caches: Caches, node: Node, previous: Node | None = None) -> Iterable[Key]:
    """Labels and taints decide who runs where."""
    if previous is not None and (previous.spec, previous.metadata.labels) == (node.spec, node.metadata.labels):
        return
    for owner in caches.of(KIND).list():
        yield Key(owner.metadata.namespace, owner.metadata.name)


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    orphans = owners.those_selecting(KIND, query_of)
    return Controller(
        name="daemonset-controller",
        watches=(
            Watch(KIND, own_key),
            Watch(pod_kind.KIND, owners.keys_of_owner(KIND, orphans=orphans)),
            Watch(revision_kind.KIND, owners.keys_of_owner(KIND)),
            Watch(node_kind.KIND, of_node),
        ),
        observe=observe,
        reconcile=reconcile,
    )
