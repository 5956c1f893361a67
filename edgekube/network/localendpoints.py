"""Endpoints of this node's own pods while the server is away: made here, from the pods as this node knows them.

The slices last seen go on for pods of other nodes. For services with a selector, what they say of this node's pods is replaced, so
that services and names lead to pods that got new addresses in a reboot. Once the server is back this goes on for a moment, until its
slices have caught up. `overlaid` is pure; how pods' statuses come to be known is the client's business.
Source: k8s.io/endpointslice reconciler.go, utils.go (podToEndpoint, getEndpointPorts).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import trio

from edgekube.api.meta import ObjectMeta
from edgekube.client.follow import Cache, follow
from edgekube.client.replica import Replica
from edgekube.kinds.core.pod import KIND as PODS
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.references import ObjectReference
from edgekube.kinds.core.service import Service, ServicePort
from edgekube.kinds.discovery.endpointslice import Endpoint, EndpointConditions, EndpointPort, EndpointSlice

SERVICE_NAME = "kubernetes.io/service-name"
CATCH_UP_S = 20.0  # after the server is back: statuses go up, slices come down
FINISHED = ("Succeeded", "Failed")
FAMILIES = {"IPv4": ".", "IPv6": ":"}

Ports = tuple[tuple[str, str, int, str | None], ...]  # (name, protocol, number, application protocol)


def overlaid(
    node: str, services: Iterable[Service], slices: Iterable[EndpointSlice], pods: Sequence[Pod]
) -> list[EndpointSlice]:
    """The slices with this node's part made anew from `pods`, all of them on this node."""
    ours = {(s.metadata.namespace, s.metadata.name): s for s in services if s.spec.selector and _has_endpoints(s)}
    before: dict[tuple[str, str], Endpoint] = {}  # what the server knew of this node's place
    made = []
    for piece in slices:
        key = (piece.metadata.namespace, piece.metadata.labels.get(SERVICE_NAME, ""))
        if key in ours:
            here = [endpoint for endpoint in piece.endpoints or () if endpoint.node_name == node]
            if here:
                before.setdefault(key, here[0])
            elsewhere = [endpoint for endpoint in piece.endpoints or () if endpoint.node_name != node]
            piece = _with(piece, elsewhere)
        made.append(piece)
    for key, service in ours.items():
        made += _local_slices(node, service, pods, before.get(key))
    return made


def _has_endpoints(service: Service) -> bool:
    return service.spec.type != "ExternalName" and service.metadata.deletion_timestamp is None


def _with(piece: EndpointSlice, endpoints: list[Endpoint]) -> EndpointSlice:
    return EndpointSlice(
        metadata=piece.metadata, address_type=piece.address_type, endpoints=endpoints, ports=piece.ports
    )


def _local_slices(node: str, service: Service, pods: Sequence[Pod], like: Endpoint | None) -> list[EndpointSlice]:
    meta, selector = service.metadata, service.spec.selector.items()
    groups: dict[tuple[str, Ports], list[Endpoint]] = {}
    for pod in pods:
        if pod.metadata.namespace != meta.namespace or not selector <= pod.metadata.labels.items():
            continue
        for family, mark in FAMILIES.items():
            addresses = [address for address in addresses_of(pod) if mark in address]
            if addresses and pod.status.phase not in FINISHED:
                group = groups.setdefault((family, ports_of(service, pod)), [])
                group.append(_endpoint(node, service, pod, addresses[:1], like))
    return [
        EndpointSlice(
            metadata=ObjectMeta(
                name=f"{meta.name}-local-{place}", namespace=meta.namespace, labels={SERVICE_NAME: meta.name}
            ),
            address_type=family,
            endpoints=endpoints,
            ports=[EndpointPort(name=n, protocol=p, port=number, app_protocol=a) for n, p, number, a in ports],
        )
        for place, ((family, ports), endpoints) in enumerate(groups.items())
    ]


def addresses_of(pod: Pod) -> list[str]:
    """All addresses of a pod, the first one first."""
    return list(dict.fromkeys(ip for ip in (pod.status.pod_ip, *(one.ip for one in pod.status.pod_ips)) if ip))


def _endpoint(node: str, service: Service, pod: Pod, addresses: list[str], like: Endpoint | None) -> Endpoint:
    serving = any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions)
    terminating = pod.metadata.deletion_timestamp is not None
    named = pod.spec.hostname and pod.spec.subdomain == service.metadata.name
    return Endpoint(
        addresses=addresses,
        conditions=EndpointConditions(
            ready=service.spec.publish_not_ready_addresses or (serving and not terminating),
            serving=serving,
            terminating=terminating,
        ),
        hostname=pod.spec.hostname if named else None,
        target_ref=ObjectReference(
            kind="Pod", namespace=pod.metadata.namespace, name=pod.metadata.name, uid=pod.metadata.uid
        ),
        node_name=node,
        zone=like.zone if like is not None else None,
        hints=like.hints if like is not None else None,
    )


def ports_of(service: Service, pod: Pod) -> Ports:
    """The service's ports as numbers in this pod; a name that the pod does not have is left out."""
    found = ((port, _number(port, pod)) for port in service.spec.ports)
    return tuple((port.name, port.protocol or "TCP", number, port.app_protocol) for port, number in found if number)


def _number(port: ServicePort, pod: Pod) -> int:
    target = port.target_port
    if target in (None, 0, ""):
        return port.port
    if isinstance(target, int):
        return target
    restartable = [one for one in pod.spec.init_containers if one.restart_policy == "Always"]
    for container in [*(pod.spec.containers or ()), *restartable]:
        for entry in container.ports:
            if entry.name == target and (entry.protocol or "TCP") == (port.protocol or "TCP"):
                return int(entry.container_port)
    return 0


class LocalEndpoints:
    """Gives the slices to go by: the server's, or the overlaid ones while it is away. `changed` is called when to look again."""

    def __init__(
        self,
        client: Replica,
        node: str,
        services: Callable[[], Sequence[Service]],
        slices: Callable[[], Sequence[EndpointSlice]],
        changed: Callable[..., Any],
    ) -> None:
        self._client, self._node = client, node
        self._services, self._slices, self._changed = services, slices, changed
        self._pods: Cache[Pod] = Cache()
        self._alone = not client.online

    def slices(self) -> Sequence[EndpointSlice]:
        """What is true now."""
        if not self._alone:
            return self._slices()
        return overlaid(self._node, self._services(), self._slices(), self._pods.list())

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Follow this node's pods (which the node does anyway) and the line."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._follow_pods)
            task_status.started()
            while True:
                await self._client.wait_offline()
                self._turn(True)
                await self._client.wait_online()
                with trio.move_on_after(CATCH_UP_S):
                    await self._client.wait_offline()
                    continue
                self._turn(False)

    async def _follow_pods(self, *, task_status: trio.TaskStatus[None]) -> None:
        await follow(
            self._client,
            PODS,
            self._pods,
            on_change=self._pod_changed,
            fields=f"spec.nodeName={self._node}",
            task_status=task_status,
        )

    def _pod_changed(self, before: Pod | None, after: Pod | None) -> None:
        if self._alone:
            self._changed()

    def _turn(self, alone: bool) -> None:
        if self._alone is not alone:
            self._alone = alone
            self._changed()
