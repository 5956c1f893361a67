"""What must hold whatever happens, checked at every step of a simulation.

Three witnesses report here: a watch on the store itself (`witness`, the whole published history), the nodes (`started`, `stopped`,
`finished`: what containers really do) and the lines (`acknowledged`). A broken promise raises at once, in the task that broke it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import trio

from edgekube.api.quantity import milli
from edgekube.clock import SeededClock
from edgekube.store.interface import Change, Key
from edgekube.store.sqlite import SqliteStore

PODS, SETS, JOBS, MAPS = "/pods", "apps/replicasets", "batch/jobs", "/configmaps"
TERMINAL = ("Succeeded", "Failed")

Document = dict[str, Any]


class Broken(AssertionError):
    """A promise was broken."""


@dataclass(frozen=True, slots=True)
class Step:
    """One published change."""

    revision: int
    type: str
    key: Key


@dataclass(frozen=True, slots=True)
class Limits:
    """Between what a rollout keeps an app: ready pods at least, wished-for pods at most."""

    least_ready: int
    most: int


@dataclass(slots=True)
class Pods:
    """The pods as published, by key, and what became of each uid."""

    now: dict[Key, Document] = field(default_factory=dict)
    phase: dict[str, str] = field(default_factory=dict)
    node: dict[str, str] = field(default_factory=dict)

    def of(self, owner: str) -> list[Document]:
        """The pods of a controller that count: neither going nor done."""
        return [pod for pod in self.now.values() if owner_of(pod) == owner and is_active(pod)]


class Promises:
    """See the module's opening."""

    resources = (PODS, SETS, JOBS, MAPS)

    def __init__(self, clock: SeededClock) -> None:
        self._clock = clock
        self.history: dict[str, list[Step]] = {resource: [] for resource in self.resources}
        self.pods = Pods()
        self.running: dict[str, tuple[str, str]] = {}  # uid -> (node, namespace/name)
        self._ended: set[str] = set()
        self._wished: dict[str, int] = defaultdict(
            int
        )  # the most replicas a set, or pods at once a job, was ever to have
        self._complete: set[str] = set()
        self._acknowledged: dict[Key, int] = {}
        self._removed: dict[Key, int] = {}
        self._lost: tuple[dict[Key, int], set[Key], int] = ({}, set(), 0)
        self._sets: dict[Key, Document] = {}
        self.limits: dict[tuple[str, str], Limits] = {}  # by namespace and label "app"
        self.node_milli_cpu = 0  # 0: not checked
        self.autonomous: set[str] = set()  # nodes whose pods stay however long they are away
        self.trace: list[str] = []

    def holds(self, true: bool, what: str) -> None:
        """Break the promise in words unless it is true."""
        self._holds(true, what)

    def _holds(self, true: bool, what: str) -> None:
        if not true:
            raise Broken(f"at {self._clock.monotonic():.3f} s: {what}")

    def tell(self, what: str) -> None:
        """Write a line into the story of this run."""
        self.trace.append(f"{self._clock.monotonic():9.3f} {what}")

    # -- nothing acknowledged is lost ----------------------------------------------------------------------------------

    def acknowledged(self, key: Key, revision: int) -> None:
        """Somebody was told that a write happened."""
        if key.resource in self.resources:
            self._acknowledged[key] = max(revision, self._acknowledged.get(key, 0))

    def power_lost(self, lasting: dict[Key, int], touched: set[Key], revision: int) -> None:
        """What everybody could see when the power went; `touched` may have changed or not."""
        self._lost = (lasting, touched, revision)
        self.tell("power lost")

    def power_back(self, lasting: dict[Key, int], revision: int) -> None:
        """What the next life finds. What was published is there, as new as it was or, where a write was under way, newer."""
        before, touched, newest = self._lost
        self._holds(revision >= newest, f"revisions went back from {newest} to {revision}")
        for key in (before.keys() | lasting.keys()) - touched:
            was, now = before.get(key), lasting.get(key)
            self._holds(was == now, f"{'/'.join(key)} was at revision {was} and is at {now} after the power cut")
        for key in touched & before.keys() & lasting.keys():
            self._holds(
                lasting[key] >= before[key], f"{'/'.join(key)} went back from revision {before[key]} to {lasting[key]}"
            )
        for key in (touched & before.keys()) - lasting.keys():
            self._removed[key] = revision  # written, and lost before anybody was told
        for key, told in self._acknowledged.items():
            reached = max(lasting.get(key, 0), self._removed.get(key, 0))
            self._holds(reached >= told, f"{'/'.join(key)} was acknowledged at revision {told} and is at {reached}")

    # -- the published history -----------------------------------------------------------------------------------------

    async def witness(
        self, store: SqliteStore, resource: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Read everything a store publishes about a resource."""
        self._prime(store, resource)
        async with store.watch(resource, after=store.revision) as watch:
            task_status.started()
            try:
                async for change in watch:
                    self._saw(change)
            finally:
                for change in watch.take_nowait():
                    self._saw(change)

    def _prime(self, store: SqliteStore, resource: str) -> None:
        """After a power cut, take in what was written but never published."""
        rows = {row.key: row for row in store.list(resource).rows}
        newest: dict[Key, Step] = {step.key: step for step in self.history[resource]}
        for key, step in newest.items():
            if step.type != "DELETED" and key not in rows:
                self._note(Step(store.revision, "DELETED", key), None)
        for key, row in rows.items():
            if key not in newest or newest[key].revision != row.revision:
                self._note(Step(row.revision, "MODIFIED", key), json.loads(row.value))

    def _saw(self, change: Change) -> None:
        steps = self.history[change.row.key.resource]
        last = steps[-1].revision if steps else 0
        self._holds(change.row.revision > last, f"revision {change.row.revision} was published after {last}")
        self._note(Step(change.row.revision, change.type.value, change.row.key), json.loads(change.row.value))

    def _note(self, step: Step, document: Document | None) -> None:
        history = self.history[step.key.resource]
        history.append(step)
        if len(history) > 1 and history[-2].revision > step.revision:
            history.sort(key=lambda one: one.revision)
        self.tell(f"{step.revision} {step.type} {'/'.join(step.key)}")
        gone = step.type == "DELETED"
        if gone:
            self._removed[step.key] = step.revision
        if step.key.resource == PODS:
            self._check_pod(step.key, None if gone else document)
        elif gone:
            self._sets.pop(step.key, None)
        elif document is not None:
            self._check_owner(step.key, document)

    def state_at(self, resource: str, revision: int) -> dict[Key, int]:
        """What was there at a revision, by key, with the revision of each."""
        found: dict[Key, int] = {}
        for step in self.history[resource]:
            if step.revision > revision:
                break
            if step.type == "DELETED":
                found.pop(step.key, None)
            else:
                found[step.key] = step.revision
        return found

    def _check_pod(self, key: Key, pod: Document | None) -> None:
        if pod is None:
            gone = self.pods.now.pop(key, None)
            if gone is not None:
                self._check_limits(key.namespace, app_of(gone))
            return
        self.pods.now[key] = pod
        uid, phase = pod["metadata"]["uid"], pod.get("status", {}).get("phase", "")
        before = self.pods.phase.get(uid, "")
        self._holds(before not in TERMINAL or phase == before, f"pod {key.name} was {before} and is {phase}")
        self.pods.phase[uid] = phase
        node = pod["spec"].get("nodeName", "")
        bound = self.pods.node.setdefault(uid, node) or node
        self._holds(node == bound, f"pod {key.name} was on {bound} and is on {node}")
        self.pods.node[uid] = node
        if node in self.autonomous:
            self._holds(not was_evicted(pod), f"pod {key.name} was evicted from {node}, which is autonomous")
        owner = owner_of(pod)
        if owner in self._wished and is_active(pod):
            count = len(self.pods.of(owner))
            self._holds(
                count <= self._wished[owner], f"pod {key.name} is one too many: {count} of {self._wished[owner]}"
            )
        self._check_limits(key.namespace, app_of(pod))
        if node and self.node_milli_cpu and is_active(pod):
            self._check_room(node)

    def _check_limits(self, namespace: str, app: str) -> None:
        limits = self.limits.get((namespace, app))
        if limits is None:
            return
        pods = [pod for key, pod in self.pods.now.items() if key.namespace == namespace and app_of(pod) == app]
        ready = sum(is_active(pod) and is_ready(pod) for pod in pods)
        self._holds(
            ready >= limits.least_ready, f"{namespace}/{app} has {ready} ready pods, less than {limits.least_ready}"
        )
        sets = [one for key, one in self._sets.items() if key.namespace == namespace and app_of(one) == app]
        wished = sum(one["spec"].get("replicas", 0) for one in sets)
        self._holds(wished <= limits.most, f"{namespace}/{app} wishes for {wished} pods, more than {limits.most}")

    def _check_room(self, node: str) -> None:
        taken = sum(
            milli(container.get("resources", {}).get("requests", {}).get("cpu", "0"))
            for pod in self.pods.now.values()
            if pod["spec"].get("nodeName") == node and pod.get("status", {}).get("phase") not in TERMINAL
            for container in pod["spec"]["containers"]
        )
        self._holds(
            taken <= self.node_milli_cpu,
            f"{node} has pods that want {taken} milli cpu, {self.node_milli_cpu} are there",
        )

    def _check_owner(self, key: Key, document: Document) -> None:
        uid, spec, name = document["metadata"]["uid"], document.get("spec", {}), key.name
        if key.resource == SETS:
            self._wished[uid] = max(self._wished[uid], spec.get("replicas", 0))
            self._sets[key] = document
            self._check_limits(key.namespace, app_of(document))
        elif key.resource == JOBS:
            self._wished[uid] = max(self._wished[uid], spec.get("parallelism", 1))
            conditions = document.get("status", {}).get("conditions", [])
            complete = any(one["type"] == "Complete" and one["status"] == "True" for one in conditions)
            self._holds(complete or uid not in self._complete, f"job {name} was complete and is not")
            if complete:
                self._complete.add(uid)
                count = document["status"].get("succeeded", 0)
                self._holds(
                    count == spec["completions"], f"job {name} is complete with {count} of {spec['completions']}"
                )

    # -- what containers do --------------------------------------------------------------------------------------------

    def started(self, uid: str, place: str, node: str) -> None:
        """A node runs a pod's containers."""
        self.tell(f"{node} starts {place} {uid}")
        self._holds(uid not in self._ended, f"pod {place} {uid} ran to its end and is started again on {node}")
        bound = self.pods.node.get(uid, "")
        self._holds(bound == node, f"pod {place} {uid} is bound to {bound!r} and started on {node}")
        for other, (where, what) in self.running.items():
            self._holds(what != place, f"{place} runs on {where} as {other} and is started on {node} as {uid}")
        self.running[uid] = (node, place)

    def stopped(self, uid: str) -> None:
        """They run no more; they may again."""
        node, place = self.running.pop(uid)
        self.tell(f"{node} stops {place} {uid}")

    def ended(self, uid: str) -> None:
        """They never will again."""
        self._ended.add(uid)


def owner_of(document: Document) -> str:
    """The uid of the controller an object belongs to, "" without one."""
    owners = document["metadata"].get("ownerReferences", [])
    return next((str(owner["uid"]) for owner in owners if owner.get("controller")), "")


def was_evicted(pod: Document) -> bool:
    """Whether a pod had to leave a node that was away."""
    return any(one.get("reason") == "DeletionByTaintManager" for one in pod.get("status", {}).get("conditions", []))


def app_of(document: Document) -> str:
    """The label "app"."""
    return str(document["metadata"].get("labels", {}).get("app", ""))


def is_ready(pod: Document) -> bool:
    """Whether a pod says so."""
    return any(
        one["type"] == "Ready" and one["status"] == "True" for one in pod.get("status", {}).get("conditions", [])
    )


def is_active(pod: Document) -> bool:
    """Whether a pod counts as one of its controller's."""
    return "deletionTimestamp" not in pod["metadata"] and pod.get("status", {}).get("phase") not in TERMINAL
