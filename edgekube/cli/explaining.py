"""Why a pod is not running as it should, in plain words. Pure: a pod, its events and its node go in, sentences come out.

Every sentence is a fact that was seen, followed by what a person can do about it where there is something. What the scheduler and
the kubelet said is quoted, not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Object = Mapping[str, Any]

IMAGE_REASONS = ("ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable")
SIGNALS = {
    1: "SIGHUP",
    2: "SIGINT",
    4: "SIGILL",
    6: "SIGABRT",
    9: "SIGKILL",
    11: "SIGSEGV",
    13: "SIGPIPE",
    15: "SIGTERM",
}
EXIT_CODES = {
    0: "it ended by itself, successfully",
    126: "its command is there but cannot be executed (wrong architecture, or not marked executable)",
    127: "its command was not found in the image",
}


@dataclass(frozen=True, slots=True)
class Sentence:
    """What was seen, and what can be done ("" when nothing needs to be)."""

    seen: str
    advice: str = ""


def explain(pod: Object, events: Sequence[Object], node: Object | None) -> list[Sentence]:
    """Everything worth saying about a pod, the most important first. One sentence when all is well."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    told = [*_going(pod), *_failed(pod), *_node(pod, node)]
    if not pod["spec"].get("nodeName"):
        told += _unscheduled(pod, events)
    else:
        told += [*_preparing(pod, events), *_containers(pod, events)]
    if told:
        return told
    if status.get("phase") == "Succeeded":
        return [Sentence(f"{name} has finished: all its containers ended successfully.")]
    if _condition(pod, "Ready") == "True":
        return [Sentence(f"{name} runs and is ready.")]
    return [
        *_not_ready(pod, events),
        Sentence(f"{name} is {status.get('phase', 'Pending')}; nothing was said yet about why."),
    ][:1]


def _going(pod: Object) -> Iterator[Sentence]:
    metadata = pod["metadata"]
    if not metadata.get("deletionTimestamp"):
        return
    finalizers = metadata.get("finalizers") or []
    if finalizers:
        words = f"It is being deleted, and waits for {', '.join(finalizers)} to let it go."
        yield Sentence(
            words, "Whoever put these finalizers there must remove them; look whether that program still runs."
        )
        return
    grace = metadata.get("deletionGracePeriodSeconds", 30)
    yield Sentence(f"It is being deleted since {metadata['deletionTimestamp']} (grace {grace} s).",
                   "Nothing, unless its node is gone: then kubectl delete pod --force --grace-period=0 forgets it.")  # fmt: skip


def _failed(pod: Object) -> Iterator[Sentence]:
    status = pod.get("status") or {}
    if status.get("phase") != "Failed":
        return
    reason, message = status.get("reason", ""), status.get("message", "")
    advice = {
        "Evicted": "Give it requests that match what it uses, or free the resource; its controller makes a new pod.",
        "DeadlineExceeded": "It ran longer than spec.activeDeadlineSeconds; raise that, or make the work shorter.",
        "NodeAffinity": "Its node no longer has the labels it asks for.",
        "Preempting": "Something more important needed its place.",
    }.get(reason, "")
    if reason or message:
        yield Sentence(
            f"It has failed for good{f' ({reason})' if reason else ''}{f': {message}' if message else '.'}", advice
        )


def _node(pod: Object, node: Object | None) -> Iterator[Sentence]:
    name = pod["spec"].get("nodeName")
    if not name or (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return
    if node is None:
        yield Sentence(
            f"Its node {name} does not exist any more.", "It is removed soon; its controller makes a new pod."
        )
    elif _condition(node, "Ready") != "True":
        found: Object = next(
            (one for one in (node.get("status") or {}).get("conditions") or () if one["type"] == "Ready"), {}
        )
        yield Sentence(f"Its node {name} is not ready: {found.get('message') or 'it does not report'}.",
                       f"Look at that machine: power, network, and edgekube there (kubectl describe node {name}).")  # fmt: skip


def _unscheduled(pod: Object, events: Sequence[Object]) -> Iterator[Sentence]:
    spec = pod["spec"]
    gates = [gate["name"] for gate in spec.get("schedulingGates") or ()]
    if gates:
        yield Sentence(f"It waits for its scheduling gates: {', '.join(gates)}.", "Whoever set them must remove them.")
        return
    scheduler = spec.get("schedulerName", "default-scheduler")
    condition: Object = next(
        (one for one in (pod.get("status") or {}).get("conditions") or () if one["type"] == "PodScheduled"), {}
    )
    message = condition.get("message") or _last(events, "FailedScheduling")
    if not message:
        waits = f"No node was chosen yet, and the scheduler {scheduler} has not said why."
        yield Sentence(
            waits,
            ""
            if scheduler == "default-scheduler"
            else f"Is a scheduler of that name running? It asks for {scheduler}.",
        )
        return
    yield Sentence(f"No node fits. The scheduler says: {message}", "")
    for pattern, seen, advice in UNFIT:
        if re.search(pattern, message):
            yield Sentence(seen, advice)


#: What the scheduler's words mean, and what helps.
UNFIT = (
    (r"Insufficient (?:cpu|memory|ephemeral-storage)", "It asks for more than any node has left.",
     "Lower its requests, remove other pods, or add a machine (edgekube token create)."),
    (r"Too many pods", "A node holds as many pods as it may.", "Remove pods or add a machine."),
    (r"untolerated taint", "Nodes are reserved by a taint it does not tolerate.",
     "Add a toleration to the pod, or remove the taint (kubectl taint nodes NAME KEY-)."),
    (r"were unschedulable", "A node is cordoned.", "kubectl uncordon NAME"),
    (r"didn't match Pod's node affinity/selector", "No node has the labels it asks for (nodeSelector or node affinity).",
     "Label a node (kubectl label node NAME KEY=VALUE), or change the pod."),
    (r"unbound immediate PersistentVolumeClaims|didn't find available persistent volumes|persistentvolumeclaim .* not found",
     "A volume claim it uses is missing or has no volume.", "kubectl get pvc; look at the claim's events."),
    (r"free ports for the requested pod ports", "Another pod of the node has the host port it asks for.",
     "Use another hostPort, or a Service of type NodePort."),
    (r"anti-affinity|pod affinity rules", "It must be near, or away from, other pods, and no node allows that.", ""),
    (r"topology spread constraints", "Its spread over nodes or zones cannot be kept.", ""),
)  # fmt: skip


def _preparing(pod: Object, events: Sequence[Object]) -> Iterator[Sentence]:
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    waiting = [(one.get("state") or {}).get("waiting", {}).get("reason") for one in statuses]
    if statuses and not set(waiting) & {"ContainerCreating", "PodInitializing"}:
        return
    for reason, seen, advice in (
        (
            "FailedMount",
            "A volume cannot be mounted",
            "Does what it names (ConfigMap, Secret, claim, path) exist, in this namespace?",
        ),
        ("FailedAttachVolume", "A volume cannot be attached", ""),
        (
            "FailedCreatePodSandBox",
            "Its network or sandbox cannot be made",
            "edgekube doctor looks for what is wrong on the machine.",
        ),
    ):
        if message := _last(events, reason):
            yield Sentence(f"{seen}: {message}", advice)


def _containers(pod: Object, events: Sequence[Object]) -> Iterator[Sentence]:
    status = pod.get("status") or {}
    if status.get("phase") in ("Succeeded", "Failed") and status.get("reason"):
        return
    name = pod["metadata"]["name"]
    for one in status.get("initContainerStatuses") or ():
        if (one.get("state") or {}).get("running") and not one.get("started", False):
            yield Sentence(
                f"It waits for its init container {one['name']} to end.", f"kubectl logs {name} -c {one['name']}"
            )
    for one in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        yield from _container(one, events, name)


def _container(one: Object, events: Sequence[Object], pod: str) -> Iterator[Sentence]:
    state = one.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated") or {}
    last = (one.get("lastState") or {}).get("terminated") or {}
    reason, name = waiting.get("reason", ""), one["name"]
    if reason in IMAGE_REASONS:
        words = waiting.get("message") or _last(events, "Failed")
        yield Sentence(f"The image {one.get('image')} of {name} cannot be pulled: {words}", _image_advice(words))
    elif reason == "ErrImageNeverPull":
        yield Sentence(f"The image {one.get('image')} of {name} is not on the node, and imagePullPolicy Never forbids to pull it.",
                       "edgekube images import FILE on that machine, or another policy.")  # fmt: skip
    elif reason == "InvalidImageName":
        yield Sentence(f"{one.get('image')!r} of {name} is not a valid image name.", "Correct spec.containers[].image.")
    elif reason == "CreateContainerConfigError":
        yield Sentence(
            f"{name} cannot be configured: {waiting.get('message', '')}", "Make the ConfigMap, Secret or key it names."
        )
    elif reason in ("CreateContainerError", "RunContainerError"):
        yield Sentence(f"{name} cannot be started: {waiting.get('message', '')}", "")
    elif (
        reason == "CrashLoopBackOff"
        or (ended and ended.get("exitCode"))
        or (one.get("restartCount") and last.get("exitCode"))
    ):
        final = ended or last
        times = one.get("restartCount", 0)
        again = f" It was started {times + 1} times; the pauses between grow up to five minutes." if times else ""
        logs = f"kubectl logs {pod} -c {name}{' --previous' if not ended else ''}"
        yield Sentence(f"{name} ended: {ending(final)}.{again}", _ending_advice(final, logs))
        if message := _last(events, "Killing", "liveness"):
            yield Sentence(
                f"It was killed on purpose: {message}",
                "Is the liveness probe right, and patient enough (a startupProbe)?",
            )
        elif message := _last(events, "Unhealthy", "Liveness"):
            yield Sentence(message, "Is the liveness probe right, and patient enough (a startupProbe)?")


def ending(terminated: Object) -> str:
    """How a container ended, from its state `terminated`."""
    code, reason = terminated.get("exitCode", 0), terminated.get("reason", "")
    if reason == "OOMKilled":
        return "it used more memory than its limit allows and was killed (OOMKilled)"
    if reason in ("ContainerCannotRun", "StartError"):
        return f"it could not be started: {terminated.get('message', '')}"
    if code in EXIT_CODES:
        return EXIT_CODES[code]
    signal = terminated.get("signal") or (code - 128 if code > 128 else 0)
    if signal == 9:
        return "it was killed (SIGKILL): by the kernel for want of memory, or because it did not stop when asked"
    if signal:
        return f"it was ended by {SIGNALS.get(signal, f'signal {signal}')} (exit code {code})"
    return f"its program failed with exit code {code}"


def _ending_advice(terminated: Object, logs: str) -> str:
    if terminated.get("reason") == "OOMKilled":
        return "Raise resources.limits.memory, or make the program use less."
    if terminated.get("exitCode") == 0:
        return "A container of a Deployment should never end; for work that ends use a Job."
    return f"Its last words: {logs}"


def _image_advice(words: str) -> str:
    lowered = words.lower()
    if "not found" in lowered or "manifest unknown" in lowered:
        return "Is name and tag right, and is there an image for this machine's architecture?"
    if "unauthorized" in lowered or "forbidden" in lowered or "denied" in lowered:
        return "The registry wants credentials: imagePullSecrets, or /etc/edgekube/registries.yaml."
    if "x509" in lowered or "certificate" in lowered:
        return "The registry's certificate is not trusted: name its CA in /etc/edgekube/registries.yaml."
    if "no such host" in lowered or "timeout" in lowered or "refused" in lowered or "unreachable" in lowered:
        return "The registry cannot be reached from that machine; edgekube images import brings an image without it."
    return ""


def _not_ready(pod: Object, events: Sequence[Object]) -> Iterator[Sentence]:
    if message := _last(events, "Unhealthy", "Readiness"):
        yield Sentence(f"It runs but is not ready, so services leave it out. {message}",
                       "Does the readiness probe ask the right port and path? Is what the program itself waits for there?")  # fmt: skip
        return
    gates = [gate["conditionType"] for gate in pod["spec"].get("readinessGates") or ()]
    open_gates = [gate for gate in gates if _condition(pod, gate) != "True"]
    if open_gates:
        yield Sentence(
            f"It waits for its readiness gates: {', '.join(open_gates)}.", "Another program must set these conditions."
        )
        return
    waiting = [one["name"] for one in (pod.get("status") or {}).get("containerStatuses") or () if not one.get("ready")]
    if waiting:
        yield Sentence(f"Not ready yet: {', '.join(waiting)}.", "")


def _condition(item: Object, type_: str) -> str:
    for one in (item.get("status") or {}).get("conditions") or ():
        if one["type"] == type_:
            return str(one["status"])
    return ""


def _last(events: Sequence[Object], reason: str, containing: str = "") -> str:
    """The message of the newest event with a reason, "" when there is none."""
    found = [event for event in events if event.get("reason") == reason and containing in event.get("message", "")]
    found.sort(key=lambda event: event.get("lastTimestamp") or event.get("eventTime") or "")
    return str(found[-1].get("message", "")) if found else ""
