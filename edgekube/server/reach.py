"""Out of the API server: to a URL or to a pod behind a service, over TLS, for webhooks, conversion and aggregation.

A service is reached at one of its ready endpoints: the server's host need not be on the service network. Where the endpoint is a
pod, its node's gate dials (an agent's tunnel leads there when nothing else does); other addresses are dialled as they are. The
certificate is the service's: `<name>.<namespace>.svc`. Nothing is known here of what is said over the connection.

Source: kube-aggregator pkg/apiserver/resolvers.go and k8s.io/apiserver pkg/util/webhook/client.go.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import trio

from edgekube import errors
from edgekube.kinds.core import service as service_kind
from edgekube.kinds.discovery import endpointslice as slice_kind
from edgekube.net.exchange import Headers
from edgekube.net.nodegate import NodeGate
from edgekube.server.admission.interface import Cluster

SERVICE_LABEL = "kubernetes.io/service-name"
HTTPS_PORT = 443
DIRECT_S = 5.0  # for a pod whose node has no gate: it answers at once or there is no way

Gates = Callable[[str], NodeGate]  # by node name; raises ServiceUnavailable


class NoWay(Exception):
    """Nothing to connect to: no such service, no endpoint. The message is upstream's."""


@dataclass(frozen=True, slots=True)
class Place:
    """An endpoint: an address, and the pod and node behind it where that is known."""

    host: str
    port: int
    namespace: str = ""
    pod: str = ""
    node: str = ""


@dataclass(frozen=True, slots=True)
class Destination:
    """What a configuration names. `url` is how errors show it, without query; `service`: (namespace, name, port) or None."""

    url: str
    authorities: bytes = b""
    service: tuple[str, str, int] | None = None
    verified: bool = True
    identity: tuple[str, str] | None = None

    @property
    def host(self) -> str:
        """The host the certificate must be for."""
        return urlsplit(self.url).hostname or ""


def to_service(
    namespace: str, name: str, port: int | None, path: str | None, authorities: bytes, **more: Any
) -> Destination:
    """A service as a destination."""
    number = port or HTTPS_PORT
    return Destination(
        f"https://{name}.{namespace}.svc:{number}{path or ''}", authorities, (namespace, name, number), **more
    )


def destination(config: Any) -> Destination:
    """Of a webhook's `clientConfig`. A bundle of nothing but white space is none."""
    bundle = config.ca_bundle if config.ca_bundle.strip() else b""
    if config.service is not None:
        one = config.service
        return to_service(one.namespace, one.name, one.port, one.path, bundle)
    return Destination(config.url or "", bundle)


def places(cluster: Cluster, namespace: str, name: str, port: int) -> list[Place]:
    """The ready endpoints of a service's port. Raises NoWay."""
    service = cluster.find(service_kind.KIND, namespace, name)
    if service is None:
        raise NoWay(f"service {_quoted(name)} not found")
    if service.spec.type == "ExternalName":
        return [Place(service.spec.external_name, port)]
    declared = next((one for one in service.spec.ports if one.port == port), None)
    if declared is None:
        raise NoWay(f"no service port {port} found for service {_quoted(name)}")
    found: list[Place] = []
    for one in cluster.all(slice_kind.KIND, namespace):
        if one.metadata.labels.get(SERVICE_LABEL) != name:
            continue
        number = next((at.port for at in one.ports or () if (at.name or "") == declared.name and at.port), None)
        for endpoint in (one.endpoints or ()) if number else ():
            if endpoint.conditions.ready is False or not endpoint.addresses:
                continue
            target = endpoint.target_ref
            pod = target.name if target is not None and target.kind == "Pod" else ""
            assert number is not None
            found.append(Place(endpoint.addresses[0], number, namespace, pod, endpoint.node_name or ""))
    if not found:
        raise NoWay(f"no endpoints available for service {_quoted(name)}")
    return found


def _quoted(text: str) -> str:
    return f'"{text}"'


@dataclass(slots=True)
class Reach:
    """The way out. `gates` is given by whoever has nodes; without it only direct connections are made."""

    gates: Gates | None = None
    _client: Any = None
    _turn: dict[tuple[str, str, int], int] = field(default_factory=dict)

    @property
    def client(self) -> Any:
        """The HTTPS client, imported when something is first reached."""
        if self._client is None:
            from edgekube.net.httpsclient import HttpsClient

            self._client = HttpsClient()
        return self._client

    async def aclose(self) -> None:
        """Close the connections that are kept."""
        if self._client is not None:
            await self._client.aclose()

    async def call(
        self,
        cluster: Cluster,
        to: Destination,
        method: str,
        query: str = "",
        *,
        tail: str = "",
        headers: Headers = (),
        body: bytes = b"",
    ) -> Any:
        """A `net.httpsclient.Reply`. Raises CallFailed in Go's words (without the `Post "https://…"` before them)."""
        peer, dial = self.way(cluster, to)
        split = urlsplit(to.url)
        target = (split.path.rstrip("/") + tail if tail else split.path or "/") + (f"?{query}" if query else "")
        all_headers = [("host", split.netloc), ("user-agent", "kube-apiserver-admission"), *headers]
        return await self.client.call(peer, dial, method, target, headers=all_headers, body=body)

    async def connect(self, cluster: Cluster, to: Destination) -> trio.abc.Stream:
        """A secured stream to it. Raises CallFailed."""
        peer, dial = self.way(cluster, to)
        stream: trio.abc.Stream = await self.client.connect(peer, dial)
        return stream

    def way(self, cluster: Cluster, to: Destination) -> tuple[Any, Any]:
        """(the peer, how to dial it). Raises CallFailed when a service leads nowhere."""
        from edgekube.net.httpsclient import CallFailed, Peer, dial_tcp

        if to.service is None:
            split = urlsplit(to.url)
            host, port = split.hostname or "", split.port or HTTPS_PORT
            peer = Peer(f"{host}:{port}", host, to.authorities, to.verified, to.identity)
            return peer, partial(dial_tcp, host, port)
        try:
            found = places(cluster, *to.service)
        except NoWay as problem:
            raise CallFailed(str(problem)) from None
        turn = self._turn[to.service] = self._turn.get(to.service, -1) + 1
        place = found[turn % len(found)]
        peer = Peer(f"{place.host}:{place.port}", to.host, to.authorities, to.verified, to.identity)
        return peer, partial(self._dial, [place, *(one for one in found if one is not place)])

    async def _dial(self, candidates: list[Place]) -> trio.abc.Stream:
        """The first that answers: one endpoint may be gone though nobody has noticed yet."""
        from edgekube.net.httpsclient import CallFailed

        failed: CallFailed | None = None
        for place in candidates:
            try:
                return await self._dial_one(place)
            except CallFailed as problem:
                failed = problem
        assert failed is not None
        raise failed

    async def _dial_one(self, place: Place) -> trio.abc.Stream:
        from edgekube.net.httpsclient import CallFailed, dial_tcp, dial_words

        if place.pod and place.node and self.gates is not None:
            try:
                return await self.gates(place.node).dial(place.namespace, place.pod, place.port)
            except errors.ServiceUnavailable:
                pass  # its node is not connected: perhaps there is a route
            except (OSError, errors.EdgekubeError, trio.BrokenResourceError) as problem:
                raise CallFailed(dial_words(f"{place.host}:{place.port}", problem)) from problem
        if _is_loopback(place.host):
            raise CallFailed(f"dial tcp {place.host}:{place.port}: address not allowed")
        with trio.move_on_after(DIRECT_S):
            return await dial_tcp(place.host, place.port)
        raise CallFailed(f"dial tcp {place.host}:{place.port}: i/o timeout")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
