"""What happens to a pod between decoding and its rules: its defaults, its first status, what an update may not touch.

Source: podStrategy in upstream's pkg/registry/core/pod/strategy.go.
"""

from __future__ import annotations

from edgekube.api.meta import LabelSelector, LabelSelectorRequirement
from edgekube.kinds.core import pod_defaults
from edgekube.kinds.core.pod_resources import default_pod_level, qos_class
from edgekube.kinds.core.podobject import Pod
from edgekube.kinds.core.podspec import PodAffinityTerm
from edgekube.kinds.core.podstatus import PodCondition, PodIP, PodStatus

FINISHED = ("Succeeded", "Failed")
GATED_MESSAGE = "Scheduling is blocked due to non-empty scheduling gates"


def default(pod: Pod) -> None:
    """Defaults of the template and of the pod itself."""
    spec = pod.spec
    pod_defaults.pod_spec(spec)
    for containers in (spec.containers or [], spec.init_containers):
        pod_defaults.requests_from_limits(containers)
        if spec.host_network:
            pod_defaults.host_ports(containers)
    default_pod_level(spec)
    if spec.enable_service_links is None:
        spec.enable_service_links = True
    _one_address(pod.status)
    if pod.status.phase:  # an old client's report; the class was decided on creation and follows from the spec
        pod.status.qos_class = pod.status.qos_class or qos_class(spec)


def _one_address(status: PodStatus) -> None:
    """`podIP` and the first of `podIPs` are one value; `podIP` wins, as it did before there were two."""
    if status.pod_ip and (not status.pod_ips or status.pod_ips[0].ip != status.pod_ip):
        status.pod_ips = [PodIP(ip=status.pod_ip)]
    elif status.pod_ips:
        status.pod_ip = status.pod_ips[0].ip


def prepare_create(pod: Pod) -> None:
    """A new pod is pending, whatever its sender says."""
    pod.status = PodStatus(phase="Pending", qos_class=qos_class(pod.spec))
    if pod.spec.scheduling_gates:
        pod.status.conditions = [
            PodCondition(
                type="PodScheduled",
                status="False",
                reason="SchedulingGated",
                message=GATED_MESSAGE,
                last_transition_time=pod.metadata.creation_timestamp,
            )
        ]
    _spell_out_match_labels(pod)


def prepare_update(pod: Pod, old: Pod) -> None:
    """Status and ephemeral containers have their own subresources."""
    pod.status = old.status
    pod.spec.ephemeral_containers = old.spec.ephemeral_containers


def prepare_status(pod: Pod, old: Pod) -> None:
    """The class was decided once; owners are not the kubelet's to change."""
    pod.spec = old.spec
    pod.metadata.deletion_timestamp = old.metadata.deletion_timestamp
    pod.metadata.owner_references = old.metadata.owner_references
    pod.status.qos_class = pod.status.qos_class or old.status.qos_class


def grace_s(pod: Pod) -> int:
    """How long a deletion leaves the pod; 0 when nothing runs (never scheduled, or finished)."""
    if not pod.spec.node_name or pod.status.phase in FINISHED:
        return 0
    wished = pod.spec.termination_grace_period_seconds
    return 0 if wished is None else max(wished, 1) if wished < 0 else wished


def _spell_out_match_labels(pod: Pod) -> None:
    """`matchLabelKeys` mean "labelled as this pod is": written into the selectors once, on creation."""
    labels = pod.metadata.labels
    for term in _pod_terms(pod):
        for keys, operator in ((term.match_label_keys, "In"), (term.mismatch_label_keys, "NotIn")):
            _require_labels(term, [key for key in keys if key in labels], operator, labels)
    for constraint in pod.spec.topology_spread_constraints:
        _require_labels(constraint, [key for key in constraint.match_label_keys if key in labels], "In", labels)


def _require_labels(holder: PodAffinityTerm | object, keys: list[str], operator: str, labels: dict[str, str]) -> None:
    selector: LabelSelector | None = getattr(holder, "label_selector", None)
    if selector is not None and keys:
        selector.match_expressions = [
            *selector.match_expressions,
            *(LabelSelectorRequirement(key=key, operator=operator, values=[labels[key]]) for key in keys),
        ]


def _pod_terms(pod: Pod) -> list[PodAffinityTerm]:
    affinity = pod.spec.affinity
    if affinity is None:
        return []
    found: list[PodAffinityTerm] = []
    for group in (affinity.pod_affinity, affinity.pod_anti_affinity):
        if group is not None:
            found += group.required_during_scheduling_ignored_during_execution
            found += [one.pod_affinity_term for one in group.preferred_during_scheduling_ignored_during_execution]
    return found
