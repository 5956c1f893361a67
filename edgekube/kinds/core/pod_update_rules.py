"""Rules of changes to pods: the little that may change in a spec, a resize, new ephemeral containers, status reports.

Source: ValidatePodUpdate, ValidatePodStatusUpdate, ValidatePodResize and ValidatePodEphemeralContainersUpdate in upstream's
core validation.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from edgekube.api import names, rules
from edgekube.api.kind import FieldError
from edgekube.api.meta import Quantity
from edgekube.kinds.core import address_rules, container_rules, internal_form, scheduling_rules
from edgekube.kinds.core.container import Container, ResourceRequirements
from edgekube.kinds.core.pod_resources import QOS_RESOURCES, qos_class
from edgekube.kinds.core.pod_rules import INT32_MAX, MIRROR_ANNOTATION
from edgekube.kinds.core.podobject import Pod
from edgekube.kinds.core.podspec import Affinity, NodeAffinity, PodSpec, Toleration
from edgekube.kinds.core.podstatus import ContainerStatus

CHANGEABLE = (
    "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
    "`spec.tolerations` (only additions to existing tolerations),"
    "`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"
)
ONLY_COMPUTE = "only cpu and memory resources are mutable"


def update(new: Pod, old: Pod) -> list[FieldError]:
    """A write to the pod itself."""
    broken = _annotations(new, old)
    for member, ours, theirs in (
        ("containers", new.spec.containers or [], old.spec.containers or []),
        ("initContainers", new.spec.init_containers, old.spec.init_containers),
    ):
        if len(ours) != len(theirs):
            words = "pod updates may not add or remove containers"
            return [*broken, rules.forbidden(f"spec.{member}", words)]
        for position, one in enumerate(ours):
            at = f"spec.{member}[{position}]"
            if not one.image:
                broken.append(rules.required(f"{at}.image"))
            broken += container_rules.image_is_trimmed(at, one)
    deadline, stop = _deadline(new.spec, old.spec)
    broken += deadline
    if stop:
        return broken
    broken += _only_more_tolerations(new.spec.tolerations, old.spec.tolerations)
    broken += _only_fewer_gates(new.spec, old.spec)
    if new.spec == old.spec:
        return broken
    return broken + _rest_unchanged(new.spec, old.spec)


def _annotations(new: Pod, old: Pod) -> list[FieldError]:
    ours, theirs = new.metadata.annotations, old.metadata.annotations
    at = f"metadata.annotations[{MIRROR_ANNOTATION}]"
    if MIRROR_ANNOTATION in theirs and ours.get(MIRROR_ANNOTATION) != theirs[MIRROR_ANNOTATION]:
        return [rules.forbidden(at, "may not remove or update mirror pod annotation")]
    if MIRROR_ANNOTATION in ours and MIRROR_ANNOTATION not in theirs:
        return [rules.forbidden(at, "may not add mirror pod annotation")]
    return []


def _deadline(new: PodSpec, old: PodSpec) -> tuple[list[FieldError], bool]:
    """(what is wrong, whether that is enough said)."""
    at, ours, theirs = "spec.activeDeadlineSeconds", new.active_deadline_seconds, old.active_deadline_seconds
    if ours is not None:
        if not 0 <= ours <= INT32_MAX:
            return rules.each(at, ours, names.in_range(ours, 0, INT32_MAX)), True
        if theirs is not None and theirs < ours:
            return [rules.invalid(at, ours, "must be less than or equal to previous value")], True
    elif theirs is not None:
        return [rules.invalid(at, None, "must not update from a positive integer to nil value")], False
    return [], False


def _only_more_tolerations(new: Sequence[Toleration], old: Sequence[Toleration]) -> list[FieldError]:
    at = "spec.tolerations"
    for one in old:
        if not any(replace(one, toleration_seconds=other.toleration_seconds) == other for other in new):
            words = "existing toleration can not be modified except its tolerationSeconds"
            return [rules.forbidden(at, words)]
    return scheduling_rules.tolerations(at, list(new))


def _only_fewer_gates(new: PodSpec, old: PodSpec) -> list[FieldError]:
    known = {gate.name for gate in old.scheduling_gates}
    return [
        rules.forbidden(
            f"spec.schedulingGates[{position}].name",
            f"only deletion is allowed, but found new scheduling gate '{gate.name}'",
        )
        for position, gate in enumerate(new.scheduling_gates)
        if gate.name not in known
    ]


def _rest_unchanged(new: PodSpec, old: PodSpec) -> list[FieldError]:
    broken: list[FieldError] = []
    cut = replace(
        new,
        containers=_with_images(new.containers or [], old.containers or []),
        init_containers=_with_images(new.init_containers, old.init_containers),
        active_deadline_seconds=old.active_deadline_seconds,
        scheduling_gates=old.scheduling_gates,
        tolerations=old.tolerations,
    )
    before = old.termination_grace_period_seconds
    if before is not None and before < 0 and new.termination_grace_period_seconds == 1:
        cut.termination_grace_period_seconds = before
    if old.scheduling_gates:
        broken += _gated(cut, old)
    if cut != replace(old, containers=old.containers or []):
        how = internal_form.difference(internal_form.internal(old), internal_form.internal(cut))
        broken.append(rules.forbidden("spec", f"pod updates may not change fields other than {CHANGEABLE}{how}"))
    return broken


def _with_images(new: Sequence[Container], old: Sequence[Container]) -> list[Container]:
    return [replace(ours, image=theirs.image) for ours, theirs in zip(new, old, strict=True)]


def _gated(cut: PodSpec, old: PodSpec) -> list[FieldError]:
    """While it is gated, a pod's choice of nodes may be narrowed; `cut` is put back to the old choice."""
    broken: list[FieldError] = []
    if cut.node_selector != old.node_selector:
        for key, value in old.node_selector.items():
            if cut.node_selector.get(key) != value:
                words = "only additions are allowed (no mutations or deletions)"
                broken.append(rules.invalid("spec.nodeSelector", cut.node_selector, words))
                break
        cut.node_selector = old.node_selector
    ours = cut.affinity.node_affinity if cut.affinity else None
    theirs = old.affinity.node_affinity if old.affinity else None
    if ours != theirs:
        broken += _narrower(ours, theirs)
        alone = (
            cut.affinity is not None and cut.affinity.pod_affinity is None and cut.affinity.pod_anti_affinity is None
        )
        if old.affinity is None and alone:
            cut.affinity = None
        else:
            cut.affinity = replace(cut.affinity or Affinity(), node_affinity=theirs)
    return broken


def _narrower(new: NodeAffinity | None, old: NodeAffinity | None) -> list[FieldError]:
    at = "spec.affinity.nodeAffinity"
    wanted = old.required_during_scheduling_ignored_during_execution if old else None
    if wanted is None:
        return []
    given = new.required_during_scheduling_ignored_during_execution if new else None
    path = f"{at}.requiredDuringSchedulingIgnoredDuringExecution"
    ours, theirs = (given.node_selector_terms or [] if given else []), wanted.node_selector_terms or []
    if given is None or len(ours) != len(theirs):
        return [rules.invalid(path, given, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")]
    for position, (now, before) in enumerate(zip(ours, theirs, strict=True)):
        kept = (
            now.match_expressions[: len(before.match_expressions)] == before.match_expressions
            and now.match_fields[: len(before.match_fields)] == before.match_fields
        )
        if not kept or not (before.match_expressions or before.match_fields):
            words = "only additions are allowed (no mutations or deletions)"
            return [rules.invalid(f"{path}.nodeSelectorTerms[{position}]", now, words)]
    return []


def ephemeral_containers(new: Pod, old: Pod) -> list[FieldError]:
    """A write to the `ephemeralcontainers` subresource: only additions."""
    if MIRROR_ANNOTATION in old.metadata.annotations:
        return [rules.forbidden("", "static pods do not support ephemeral containers")]
    broken: list[FieldError] = []
    ours = {one.name: one for one in new.spec.ephemeral_containers}
    for one in old.spec.ephemeral_containers:
        words = f"existing ephemeral containers {rules.quoted(one.name)} may not be "
        if one.name not in ours:
            broken.append(rules.forbidden("spec.ephemeralContainers", f"{words}removed\n"))
        elif ours[one.name] != one:
            broken.append(rules.forbidden("spec.ephemeralContainers", f"{words}changed\n"))
    return broken


def resize(new: Pod, old: Pod) -> list[FieldError]:
    """A write to the `resize` subresource: cpu and memory of containers and sidecars, the QoS class staying as it is."""
    if MIRROR_ANNOTATION in old.metadata.annotations:
        return [rules.forbidden("", "static pods cannot be resized")]
    if old.spec.os is not None and old.spec.os.name == "windows":
        return [rules.forbidden("", "windows pods cannot be resized")]
    broken: list[FieldError] = []
    if qos_class(new.spec) != (old.status.qos_class or qos_class(old.spec)):
        words = "Pod QOS Class may not change as a result of resizing"
        broken.append(rules.invalid("spec", new.status.qos_class, words))
    for member, ours, theirs in (
        ("containers", new.spec.containers or [], old.spec.containers or []),
        ("initContainers", new.spec.init_containers, old.spec.init_containers),
    ):
        for position, (now, before) in enumerate(zip(ours, theirs, strict=False)):
            sidecar = member == "containers" or now.restart_policy == "Always"
            if not sidecar:
                if now != before:
                    words = "resources for non-sidecar init containers are immutable"
                    broken.append(rules.forbidden("spec", words))
                continue
            broken += _resized(f"spec.{member}[{position}].resources", now, before)
            if replace(now, resources=_without_compute(now, before), resize_policy=before.resize_policy) != before:
                broken.append(rules.forbidden("spec", ONLY_COMPUTE))
    return broken


def _resized(path: str, new: Container, old: Container) -> list[FieldError]:
    """Nothing may be taken away; whether memory can shrink in place is the node agent's decision."""
    broken: list[FieldError] = []
    if set(old.resources.requests) - set(new.resources.requests):
        broken.append(rules.forbidden(f"{path}.requests", "resource requests cannot be removed"))
    if set(old.resources.limits) - set(new.resources.limits):
        broken.append(rules.forbidden(f"{path}.limits", "resource limits cannot be removed"))
    return broken


def _without_compute(new: Container, old: Container) -> ResourceRequirements:
    def cut(ours: dict[str, Quantity], theirs: dict[str, Quantity]) -> dict[str, Quantity]:
        rest = {name: value for name, value in ours.items() if name not in QOS_RESOURCES}
        return rest | {name: value for name, value in theirs.items() if name in QOS_RESOURCES}

    return ResourceRequirements(
        limits=cut(new.resources.limits, old.resources.limits),
        requests=cut(new.resources.requests, old.resources.requests),
        claims=new.resources.claims,
    )


def status(new: Pod, old: Pod) -> list[FieldError]:
    """A report of the node agent, or of whoever writes status."""
    broken = _annotations(new, old)
    if new.spec.node_name != old.spec.node_name:
        broken.append(rules.forbidden("status.nodeName", "may not be changed directly"))
    nominated = new.status.nominated_node_name
    if nominated and nominated != old.status.nominated_node_name:
        broken += rules.each("status.nominatedNodeName", nominated, names.dns_subdomain(nominated))
    for position, condition in enumerate(new.status.conditions):
        at = f"metadata.conditions[{position}].Type"  # upstream's path
        broken += rules.each(at, condition.type, names.qualified_name(condition.type))
    broken += rules.same("status.qosClass", new.status.qos_class, old.status.qos_class)
    sidecars = {one.name for one in old.spec.init_containers if one.restart_policy == "Always"}
    policy, ours, theirs = old.spec.restart_policy, new.status, old.status
    broken += _stay_ended("containerStatuses", ours.container_statuses, theirs.container_statuses, policy)
    broken += _stay_ended(
        "initContainerStatuses", ours.init_container_statuses, theirs.init_container_statuses, policy, sidecars
    )
    broken += _stay_ended(
        "ephemeralContainerStatuses", ours.ephemeral_container_statuses, theirs.ephemeral_container_statuses, "Never"
    )
    return broken + _addresses(new)


def _stay_ended(
    member: str,
    new: Sequence[ContainerStatus],
    old: Sequence[ContainerStatus],
    policy: str,
    exempt: set[str] | None = None,
) -> list[FieldError]:
    """A container that will not be restarted stays terminated."""
    if policy == "Always":
        return []
    broken: list[FieldError] = []
    for position, before in enumerate(old):
        ended = before.state.terminated
        if ended is None or (ended.exit_code != 0 and policy == "OnFailure") or before.name in (exempt or ()):
            continue
        if any(now.name == before.name and now.state.terminated is None for now in new):
            words = "may not be transitioned to non-terminated state"
            broken.append(rules.forbidden(f"status.{member}[{position}].state", words))
    return broken


def _addresses(new: Pod) -> list[FieldError]:
    broken: list[FieldError] = []
    words = "may specify no more than one IP for each IP family"
    host_ips = new.status.host_ips
    if host_ips and host_ips[0].ip != new.status.host_ip:
        broken.append(rules.invalid("status.hostIPs[0].ip", host_ips[0].ip, "must be equal to `hostIP`"))
    for path, texts, shown in (
        ("status.podIPs", [one.ip for one in new.status.pod_ips], new.status.pod_ips),
        ("status.hostIPs", [one.ip for one in host_ips], host_ips),
    ):
        for position, text in enumerate(texts):
            broken += address_rules.ip(f"{path}[{position}]", text)
            if text in texts[:position]:
                broken.append(rules.duplicate(f"{path}[{position}]", shown[position]))
        if len(texts) > 1 and not address_rules.one_per_family(texts):
            broken.append(rules.invalid(path, shown, words))
    return broken
