"""pods/proxy, services/proxy and nodes/proxy: HTTP to what runs in the cluster, through the API server.

Finds where to; the passing on is `net.forwarding`'s and the connection `NodeGate.dial`'s. HTML is passed on as it is (upstream also
rewrites links in it). Source: kubernetes pkg/registry/core/{pod,service,node} ResourceLocation.
"""

from __future__ import annotations

import ipaddress
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

import trio

from edgekube import errors
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core import service as service_kind
from edgekube.kinds.discovery import endpointslice as slice_kind
from edgekube.net.exchange import Exchange, Request
from edgekube.net.nodegate import NodeGate
from edgekube.server import answers
from edgekube.server.admission.interface import Cluster
from edgekube.server.context import User
from edgekube.server.paths import Asked

DIAL_S = 30.0
SERVICE_LABEL = "kubernetes.io/service-name"
KUBELET_PORTS = ("", "10250")
SERVERS_OWN = "/edgekube/volumes"  # takes data away: no page to read
DEFAULT_PORTS = {"": 80, "http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a proxied request goes."""

    namespace: str
    pod: str
    node: str
    port: int
    scheme: str


class Proxy:
    """The three proxies."""

    def __init__(self, cluster: Cluster, gates: Callable[[str], NodeGate]) -> None:
        self._cluster, self._gates = cluster, gates

    async def pod(self, exchange: Exchange, _: User, asked: Asked) -> None:
        """To a pod's port."""
        scheme, name, port = split_name(asked.name, "pod")
        pod = self._cluster.find(pod_kind.KIND, asked.namespace, name)
        if pod is None:
            raise answers.not_found(pod_kind.KIND, name)
        declared = [port.container_port for one in pod.spec.containers or () for port in one.ports[:1]]
        number = port or (str(declared[0]) if declared else str(DEFAULT_PORTS[scheme]))
        if not _may_be_reached(pod.status.pod_ip):
            raise errors.BadRequest("address not allowed")
        if not number.isascii() or not number.isdigit() or not 0 < int(number) < 65536:
            raise _unreachable(f"dial tcp: lookup tcp/{number}: unknown port")
        await self._pass_on(exchange, asked, Place(asked.namespace, name, pod.spec.node_name, int(number), scheme))

    async def service(self, exchange: Exchange, _: User, asked: Asked) -> None:
        """To one of the ready pods behind a service."""
        scheme, name, port = split_name(asked.name, "service")
        service = self._cluster.find(service_kind.KIND, asked.namespace, name)
        if service is None:
            raise answers.not_found(service_kind.KIND, name)
        if port.isascii() and port.isdigit():
            declared = next((one for one in service.spec.ports if one.port == int(port)), None)
            if declared is None:
                raise _unavailable(f'no service port {int(port)} found for service "{name}"')
            port = declared.name
        await self._pass_on(exchange, asked, self._behind(asked.namespace, name, port, scheme))

    def _behind(self, namespace: str, name: str, port_name: str, scheme: str) -> Place:
        """A ready endpoint that is a pod. Raises ServiceUnavailable."""
        for one in self._cluster.all(slice_kind.KIND, namespace):
            if one.metadata.labels.get(SERVICE_LABEL) != name:
                continue
            port = next((port.port for port in one.ports or () if (port.name or "") == port_name and port.port), None)
            for endpoint in (one.endpoints or ()) if port else ():
                target = endpoint.target_ref
                if endpoint.conditions.ready is False or target is None or target.kind != "Pod":
                    continue
                pod = self._cluster.find(pod_kind.KIND, namespace, target.name)
                if pod is not None and pod.spec.node_name:
                    assert port is not None
                    return Place(namespace, target.name, pod.spec.node_name, port, scheme)
        raise _unavailable(f'no endpoints available for service "{name}"')

    async def node(self, exchange: Exchange, _: User, asked: Asked) -> None:
        """To the node's own pages."""
        _scheme, name, port = split_name(asked.name, "node")
        if self._cluster.find(node_kind.KIND, "", name) is None:
            raise answers.not_found(node_kind.KIND, name)
        if port not in KUBELET_PORTS:
            raise _unreachable(f"port {port} of a node is not reached through the proxy")
        if exchange.request.method not in ("GET", "HEAD"):
            raise errors.MethodNotAllowed("the server does not allow this method on the requested resource")
        tail = proxied_target(exchange.request)
        if not tail:
            await _redirect(exchange)
            return
        if tail.startswith(SERVERS_OWN):
            raise errors.Forbidden(f"{SERVERS_OWN} of a node is the server's own to ask for", details=False)
        status, media, body = await self._gates(name).fetch(tail)
        await exchange.respond(status, [("Content-Type", media)] if media else [], body)

    async def _pass_on(self, exchange: Exchange, asked: Asked, place: Place) -> None:
        from edgekube.net.forwarding import forward

        request = exchange.request
        target = proxied_target(request)
        if not target.partition("?")[0]:
            if request.method in ("GET", "HEAD"):
                await _redirect(exchange)
                return
            target = "/" + target
        stream = await self._connect(place)
        prefix = proxy_prefix(request)

        def relocate(location: str) -> str:
            parts = urlsplit(location)
            if (parts.netloc and parts.netloc != request.header("host")) or not parts.path.startswith("/"):
                return location
            back = location if parts.path.startswith(prefix) else prefix + parts.path
            return back + (f"?{parts.query}" if parts.query and back != location else "")

        extra = [
            ("x-forwarded-uri", prefix + target.partition("?")[0]),
            ("x-forwarded-host", request.header("host")),
            ("x-forwarded-proto", "https" if request.peer_certificate else "http"),
        ]
        await forward(exchange, stream, target=target, extra=extra, relocate=relocate)

    async def _connect(self, place: Place) -> trio.abc.Stream:
        gate = self._gates(place.node)
        try:
            with trio.fail_after(DIAL_S):
                stream = await gate.dial(place.namespace, place.pod, place.port)
                if place.scheme != "https":
                    return stream
                context = ssl.create_default_context()  # as upstream: the pod's certificate is nobody's to verify
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                secured = trio.SSLStream(stream, context, server_hostname=place.pod, https_compatible=True)
                await secured.do_handshake()
                return secured
        except (OSError, trio.TooSlowError, trio.BrokenResourceError, errors.ConnectionFailed) as error:
            raise _unreachable(str(error) or type(error).__name__) from error


def split_name(text: str, what: str) -> tuple[str, str, str]:
    """(scheme, name, port) of "name", "name:port" or "scheme:name:port". Raises BadRequest."""
    parts = text.split(":")
    scheme, name, port = {1: ("", *parts, ""), 2: ("", *parts), 3: tuple(parts)}.get(len(parts), ("", "", ""))
    if not name or scheme not in ("", "http", "https"):
        raise errors.BadRequest(f'invalid {what} request "{text}"')
    return scheme, name, port


def _at(request: Request) -> int:
    """How many segments of the path stand before what is proxied."""
    return 8 if "/namespaces/" in request.path.partition("/proxy")[0] else 6


def proxied_target(request: Request) -> str:
    """What follows ".../proxy" in the request's target, as it was written, with its query; "" when nothing follows."""
    path, mark, query = request.raw_target.partition("?")
    rest = path.split("/", _at(request))
    tail = "/" + rest[_at(request)] if len(rest) > _at(request) else ""
    return tail + mark + query


def proxy_prefix(request: Request) -> str:
    """The path up to and including "/proxy", as it was written."""
    return "/".join(request.raw_target.partition("?")[0].split("/")[: _at(request)])


async def _redirect(exchange: Exchange) -> None:
    path, mark, query = exchange.request.raw_target.partition("?")
    await exchange.respond(301, [("Location", f"{path}/{mark}{query}")])


def _may_be_reached(address: str) -> bool:
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not (ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified)


def _unavailable(message: str) -> errors.ServiceUnavailable:
    return errors.ServiceUnavailable(message, details=False)


def _unreachable(why: str) -> errors.ServiceUnavailable:
    return _unavailable(f"error trying to reach service: {why}")
