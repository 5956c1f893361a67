"""v1 Pod: the smallest thing that is scheduled and run."""

from __future__ import annotations

from edgekube.api.kind import Kind, Subresource
from edgekube.kinds.core import pod_printing, pod_rules, pod_strategy, pod_update_rules, pod_warnings
from edgekube.kinds.core.podobject import Pod

__all__ = ["KIND", "Pod"]

KIND = Kind(
    type=Pod,
    group="",
    version="v1",
    name="Pod",
    plural="pods",
    singular="pod",
    short=("po",),
    categories=("all",),
    has_status=True,
    subresources=(
        Subresource("attach", "PodAttachOptions", ("create", "get")),
        Subresource("binding", "Binding", ("create",)),
        Subresource("ephemeralcontainers", "Pod", ("get", "patch", "update")),
        Subresource("eviction", "Eviction", ("create",), "policy", "v1"),
        Subresource("exec", "PodExecOptions", ("create", "get")),
        Subresource("log", "Pod", ("get",)),
        Subresource("portforward", "PodPortForwardOptions", ("create", "get")),
        Subresource("proxy", "PodProxyOptions", ("create", "delete", "get", "patch", "update")),
        Subresource("resize", "Pod", ("get", "patch", "update")),
    ),
    default=pod_strategy.default,
    prepare_create=pod_strategy.prepare_create,
    prepare_update=pod_strategy.prepare_update,
    prepare_status=pod_strategy.prepare_status,
    rules=pod_rules.pod,
    update_rules=pod_update_rules.update,
    status_rules=pod_update_rules.status,
    subresource_rules={
        "ephemeralcontainers": pod_update_rules.ephemeral_containers,
        "resize": pod_update_rules.resize,
    },
    warnings=pod_warnings.pod,
    grace_s=pod_strategy.grace_s,
    selectable={
        "spec.nodeName": lambda pod: pod.spec.node_name,
        "spec.restartPolicy": lambda pod: pod.spec.restart_policy,
        "spec.schedulerName": lambda pod: pod.spec.scheduler_name,
        "spec.serviceAccountName": lambda pod: pod.spec.service_account_name,
        "spec.hostNetwork": lambda pod: "true" if pod.spec.host_network else "false",
        "status.phase": lambda pod: pod.status.phase,
        "status.podIP": pod_printing.pod_ip,
        "status.podIPs": lambda _: "",  # known, but upstream never fills it in
        "status.nominatedNodeName": lambda pod: pod.status.nominated_node_name,
    },
    columns=pod_printing.COLUMNS,
    row_conditions=pod_printing.row_conditions,
)
