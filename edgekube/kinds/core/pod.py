"""v1 Pod: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Kind, Subresource
from edgekube.api.meta import Object, zero
from edgekube.kinds.core.podspec import PodSpec
from edgekube.kinds.core.podstatus import PodStatus


class Pod(Object):
    spec: PodSpec = zero(PodSpec)
    status: PodStatus = zero(PodStatus)


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
)
