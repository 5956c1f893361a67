"""What the scheduler says and does about pods it did not place: conditions, events, and victims told to go.

Each function is one step over the API; deciding is elsewhere. A pod that is gone meanwhile is no error.
Source: k8s.io/kubernetes pkg/scheduler/schedule_one.go (handleSchedulingFailure), framework/preemption.
"""

from __future__ import annotations

from typing import Any

from edgekube.api.meta import format_time
from edgekube.control import pods
from edgekube.control.owners import STRATEGIC
from edgekube.control.scheduler.preempt import REASON
from edgekube.errors import Conflict, NotFound
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.pod import Pod
from edgekube.reconcile.drive import Surroundings
from edgekube.reconcile.events import Speaker
from edgekube.reconcile.plan import Note, about

DEFAULT_NAME = "default-scheduler"


def tell(near: Surroundings, pod: Pod, type_: str, reason: str, message: str, *, action: str = "Scheduling") -> None:
    """Write an event about a pod under the name of its scheduler."""
    speaker = Speaker(pod.spec.scheduler_name or DEFAULT_NAME, modern=True, action=action)
    near.recorder.tell(speaker, Note(about(pod_kind.KIND, pod), type_, reason, message))


async def say_refused(near: Surroundings, pod: Pod, message: str, nominated: str | None = None) -> None:
    """The pod's condition and an event. `nominated`: the node it is promised a place on, "" takes a promise back."""
    tell(near, pod, "Warning", "FailedScheduling", message)
    before = pods.condition(pod, "PodScheduled")
    said = before is not None and (before.status, before.reason, before.message) == ("False", "Unschedulable", message)
    if said and (nominated is None or nominated == pod.status.nominated_node_name):
        return
    now = format_time(near.clock.now())
    since = before.last_transition_time if before is not None and before.status == "False" else now
    status: dict[str, Any] = {
        "conditions": [
            {
                "type": "PodScheduled",
                "status": "False",
                "observedGeneration": pod.metadata.generation,
                "lastProbeTime": None,
                "lastTransitionTime": since,
                "reason": "Unschedulable",
                "message": message,
            }
        ]
    }
    if nominated is not None:
        status["nominatedNodeName"] = nominated or None
    await _patch_status(near, pod, status)


async def take_back_nomination(near: Surroundings, pod: Pod) -> None:
    """A more important pod gets the place this one had been promised."""
    if pod.status.nominated_node_name:
        await _patch_status(near, pod, {"nominatedNodeName": None})


async def send_away(near: Surroundings, victim: Pod, preemptor: Pod, node: str) -> None:
    """Delete a victim gracefully, with the condition that says why, and an event."""
    scheduler = preemptor.spec.scheduler_name or DEFAULT_NAME
    condition = {
        "type": "DisruptionTarget",
        "status": "True",
        "observedGeneration": victim.metadata.generation,
        "lastTransitionTime": format_time(near.clock.now()),
        "reason": REASON,
        "message": f"{scheduler}: preempting to accommodate a higher priority pod",
    }
    await _patch_status(near, victim, {"conditions": [condition]})
    try:
        await near.client.delete(
            pod_kind.KIND, victim.metadata.name, victim.metadata.namespace, uid=victim.metadata.uid
        )
    except (NotFound, Conflict):
        return
    speaker = Speaker(scheduler, modern=True, action="Preempting")
    message = f"Preempted by pod {preemptor.metadata.uid} on node {node}"
    near.recorder.tell(speaker, Note(about(pod_kind.KIND, victim), "Normal", "Preempted", message))


async def _patch_status(near: Surroundings, pod: Pod, status: dict[str, Any]) -> None:
    try:
        await near.client.patch(
            pod_kind.KIND,
            pod.metadata.name,
            pod.metadata.namespace,
            {"metadata": {"uid": pod.metadata.uid}, "status": status},
            content_type=STRATEGIC,
            subresource="status",
        )
    except (NotFound, Conflict):
        return
