"""Connections under review: exec, attach, port-forward and proxies as the options objects that admission sees.

Source: kubernetes pkg/apis/core/v1 PodExecOptions and its kin, k8s.io/apiserver pkg/endpoints/handlers/rest.go (ConnectResource).
"""

from __future__ import annotations

from typing import Any

from edgekube.api.kind import Kind
from edgekube.net.exchange import Request
from edgekube.server.admission.interface import CONNECT, Review
from edgekube.server.context import Context, User
from edgekube.server.paths import Asked

ADMITTED = frozenset({"exec", "attach", "portforward", "proxy"})
KINDS = {"exec": "PodExecOptions", "attach": "PodAttachOptions", "portforward": "PodPortForwardOptions"}
PROXY_KINDS = {"pods": "PodProxyOptions", "services": "ServiceProxyOptions", "nodes": "NodeProxyOptions"}


def review_of(asked: Asked, kind: Kind[Any], request: Request, user: User) -> Review:
    """What the steps' `connect` is given."""
    return Review(
        kind=kind,
        operation=CONNECT,
        namespace=asked.namespace,
        name=asked.name,
        context=Context(user=user),
        item=options(asked, kind, request),
        subresource=asked.subresource,
        subresource_object=True,
    )


def options(asked: Asked, kind: Kind[Any], request: Request) -> dict[str, Any]:
    """The options object of a connection, from its query."""
    what = asked.subresource
    made: dict[str, Any] = {"kind": PROXY_KINDS[kind.plural] if what == "proxy" else KINDS[what], "apiVersion": "v1"}
    if what == "proxy":
        return {**made, "path": asked.tail} if asked.tail else made
    if what == "portforward":
        ports = [int(value) for key, value in request.query if key == "ports" and value.isdigit()]
        return {**made, "ports": ports} if ports else made
    for name in ("stdin", "stdout", "stderr", "tty"):
        if request.param(name).lower() in ("1", "true"):
            made[name] = True
    if container := request.param("container"):
        made["container"] = container
    command = [value for key, value in request.query if key == "command"]
    return {**made, "command": command} if command and what == "exec" else made
