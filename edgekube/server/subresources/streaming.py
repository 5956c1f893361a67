"""Connections to what runs on nodes: pods/exec, attach, portforward and log. Each answers its exchange by itself.

Checked here: the query, the pod, its container, its node; the words are upstream's. The work is the node's (`net.nodegate`), the
protocols are the net room's. Source: kubernetes pkg/registry/core/pod/rest/subresources.go, log.go, pkg/registry/core/pod/strategy.go
and the kubelet's pkg/kubelet/kubelet_pods.go.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import trio

from edgekube import errors
from edgekube.api import rules
from edgekube.api.kind import FieldError
from edgekube.api.meta import format_time, parse_time
from edgekube.kinds.core import pod as pod_kind
from edgekube.net.exchange import Exchange, Request
from edgekube.net.nodegate import LogOptions, NodeGate, RunOptions
from edgekube.server import answers
from edgekube.server.admission.interface import Cluster
from edgekube.server.context import User
from edgekube.server.paths import Asked
from edgekube.server.resources import Connector

Gates = Callable[[str], NodeGate]  # by node name; raises NotFound or ServiceUnavailable

LOG_STREAMS = ("All", "Stderr", "Stdout")


def connectors(cluster: Cluster, gates: Gates) -> Mapping[str, Connector]:
    """Handlers by "group/plural/subresource"."""
    from edgekube.server.subresources.proxy import Proxy

    streaming, proxy = Streaming(cluster, gates), Proxy(cluster, gates)
    return {
        "/pods/exec": streaming.exec,
        "/pods/attach": streaming.attach,
        "/pods/portforward": streaming.port_forward,
        "/pods/log": streaming.log,
        "/pods/proxy": proxy.pod,
        "/services/proxy": proxy.service,
        "/nodes/proxy": proxy.node,
    }


class Streaming:
    """The pods' connections."""

    def __init__(self, cluster: Cluster, gates: Gates) -> None:
        self._cluster, self._gates = cluster, gates

    async def exec(self, exchange: Exchange, _: User, asked: Asked) -> None:
        """Run a command in a container."""
        command = tuple(value for key, value in exchange.request.query if key == "command")
        await self._run(exchange, asked, command)

    async def attach(self, exchange: Exchange, _: User, asked: Asked) -> None:
        """Join a container's own process."""
        await self._run(exchange, asked, ())

    async def _run(self, exchange: Exchange, asked: Asked, command: tuple[str, ...]) -> None:
        from edgekube.net.remotecommand import accept_channels, upgrade_wanted

        request = exchange.request
        pod = self._pod(asked)
        container = chosen_container(pod, request.param("container"))
        gate = self._gate(pod)
        options = run_options(request, command)
        upgrade_wanted(request)
        async with accept_channels(exchange, options) as channels:
            await gate.run(asked.namespace, asked.name, container, options, channels)

    async def port_forward(self, exchange: Exchange, _: User, asked: Asked) -> None:
        """Carry TCP connections to a pod's ports."""
        from edgekube.net.portforward import forward_ports

        pod = self._pod(asked)
        gate = self._gate(pod)

        async def dial(port: int) -> trio.abc.Stream:
            return await gate.dial(asked.namespace, asked.name, port)

        await forward_ports(exchange, dial, target=f"pod {asked.name}, uid {pod.metadata.uid}")

    async def log(self, exchange: Exchange, _: User, asked: Asked) -> None:
        """What a container has said."""
        request = exchange.request
        options = log_options(request, asked.name)
        pod = self._pod(asked)
        container = chosen_container(pod, request.param("container"))
        if not pod.spec.node_name:
            await exchange.respond(204, [])
            return
        gate = self._gates(pod.spec.node_name)
        try:
            async with gate.logs(asked.namespace, asked.name, container, options) as pieces:
                await _send_pieces(exchange, pieces)
        except errors.NotFound as error:  # the node does not have it: say why, where the pod's status tells
            why = log_refusal(pod, container, previous=options.previous)
            raise errors.BadRequest(why) if why else error from error

    def _pod(self, asked: Asked) -> Any:
        pod = self._cluster.find(pod_kind.KIND, asked.namespace, asked.name)
        if pod is None:
            raise answers.not_found(pod_kind.KIND, asked.name)
        return pod

    def _gate(self, pod: Any) -> NodeGate:
        if not pod.spec.node_name:
            raise errors.BadRequest(f"pod {pod.metadata.name} does not have a host assigned")
        return self._gates(pod.spec.node_name)


async def _send_pieces(exchange: Exchange, pieces: AsyncIterator[bytes]) -> None:
    try:
        async with exchange.stream(200, [("Content-Type", "text/plain")]) as send:
            async for piece in pieces:
                await send(piece)
    finally:  # a client that leaves while we write leaves the iterator in the middle
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()


def containers_of(pod: Any) -> list[str]:
    """Every container's name, in upstream's order: init, ordinary, ephemeral."""
    spec = pod.spec
    return [one.name for one in (*spec.init_containers, *(spec.containers or ()), *spec.ephemeral_containers)]


def chosen_container(pod: Any, wanted: str) -> str:
    """The container a request means. Raises BadRequest."""
    name = pod.metadata.name
    if wanted:
        if wanted not in containers_of(pod):
            raise errors.BadRequest(f"container {wanted} is not valid for pod {name}")
        return wanted
    if len(pod.spec.containers or ()) == 1:
        only: str = pod.spec.containers[0].name
        return only
    if not pod.spec.containers:
        raise errors.BadRequest(f"a container name must be specified for pod {name}")
    names = " ".join(containers_of(pod))
    raise errors.BadRequest(f"a container name must be specified for pod {name}, choose one of: [{names}]")


def flag(request: Request, name: str) -> bool:
    """A boolean of the query as upstream reads it: present and neither "false" nor "0"."""
    values = [value for key, value in request.query if key == name]
    return bool(values) and values[0].lower() not in ("false", "0")


def run_options(request: Request, command: tuple[str, ...]) -> RunOptions:
    """The query of exec and attach. Raises BadRequest."""
    stdin, stdout, stderr, tty = (flag(request, name) for name in ("stdin", "stdout", "stderr", "tty"))
    if tty:
        stderr = False  # a terminal has one output
    if not (stdin or stdout or stderr):
        raise errors.BadRequest("you must specify at least 1 of stdin, stdout, stderr")
    return RunOptions(command=command, stdin=stdin, stdout=stdout, stderr=stderr, tty=tty)


def log_options(request: Request, name: str) -> LogOptions:
    """The query of pods/log. Raises BadRequest for what cannot be read, Invalid for what makes no sense."""
    tail_lines, limit_bytes, since_seconds = (
        _integer(request, key) for key in ("tailLines", "limitBytes", "sinceSeconds")
    )
    since_time, stream = request.param("sinceTime"), request.param("stream") or "All"
    if since_time:
        try:
            since_time = format_time(parse_time(since_time))
        except ValueError as error:
            raise errors.BadRequest(str(error)) from error
    broken: list[FieldError] = []
    if tail_lines is not None and tail_lines < 0:
        broken.append(rules.invalid("tailLines", tail_lines, "must be greater than or equal to 0"))
    if limit_bytes is not None and limit_bytes < 1:
        broken.append(rules.invalid("limitBytes", limit_bytes, "must be greater than 0"))
    if since_seconds is not None and since_time:
        broken.append(rules.forbidden("", "at most one of `sinceTime` or `sinceSeconds` may be specified"))
    elif since_seconds is not None and since_seconds < 1:
        broken.append(rules.invalid("sinceSeconds", since_seconds, "must be greater than 0"))
    if stream not in LOG_STREAMS:
        broken.append(rules.not_supported("stream", stream, LOG_STREAMS))
    elif stream != "All" and tail_lines is not None:
        broken.append(rules.forbidden("", "`tailLines` and specific `stream` are mutually exclusive for now"))
    if broken:
        raise answers.invalid_named("PodLogOptions", "PodLogOptions", "", name, broken)
    return LogOptions(
        follow=flag(request, "follow"),
        previous=flag(request, "previous"),
        timestamps=flag(request, "timestamps"),
        since_seconds=since_seconds,
        since_time=since_time,
        tail_lines=tail_lines,
        limit_bytes=limit_bytes,
        stream=stream,
    )


def _integer(request: Request, name: str) -> int | None:
    text = request.param(name)
    if not text:
        return None
    try:
        number = int(text)
    except ValueError:
        raise errors.BadRequest(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None
    if not -(2**63) <= number < 2**63:
        raise errors.BadRequest(f'strconv.ParseInt: parsing "{text}": value out of range')
    return number


def log_refusal(pod: Any, container: str, *, previous: bool) -> str:
    """Why there is no log of a container, from its status; "" when there should be one."""
    status = pod.status
    lists: Sequence[Any] = (
        *status.init_container_statuses,
        *status.container_statuses,
        *status.ephemeral_container_statuses,
    )
    named = f'container "{container}" in pod "{pod.metadata.name}"'
    found = next((one for one in lists if one.name == container), None)
    if found is None:
        return f"{named} is not available"
    state, last = found.state, found.last_state.terminated
    had_last = last is not None and bool(last.container_id)
    if previous:
        return "" if had_last else f"previous terminated {named} not found"
    if state.running is not None:
        return ""
    if state.terminated is not None:
        return "" if state.terminated.container_id or had_last else f"{named} is terminated"
    if last is not None:
        return "" if had_last else f"{named} is terminated"
    if state.waiting is None:
        return f"{named} is waiting to start - no logs yet"
    reason = state.waiting.reason
    if reason == "ErrImagePull":
        return f"{named} is waiting to start: image can't be pulled"
    if reason == "ImagePullBackOff":
        return f"{named} is waiting to start: trying and failing to pull image"
    return f"{named} is waiting to start: {reason}"
