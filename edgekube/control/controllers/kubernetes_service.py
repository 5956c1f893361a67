"""The endpoints of the `kubernetes` service: the addresses API servers can be reached at. The Service itself is the server's.

Source: k8s.io/kubernetes pkg/controlplane/reconcilers (instancecount and endpointsadapter).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from ipaddress import ip_address

import msgspec

from edgekube.api.meta import Object, ObjectMeta
from edgekube.control.config import Config
from edgekube.kinds.core import endpoints as endpoints_kind
from edgekube.kinds.core import service as service_kind
from edgekube.kinds.core.endpoints import EndpointAddress, Endpoints, EndpointSubset
from edgekube.kinds.core.endpoints import EndpointPort as OldPort
from edgekube.kinds.discovery import endpointslice as slice_kind
from edgekube.kinds.discovery.endpointslice import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from edgekube.reconcile.drive import Caches, Controller, Key, Watch
from edgekube.reconcile.plan import NOTHING, Action, Create, Plan, Update

NAMESPACE, NAME = "default", "kubernetes"
KEY = Key(NAMESPACE, NAME)
SKIP_MIRROR = {"endpointslice.kubernetes.io/skip-mirror": "true"}
SERVICE_NAME = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class Seen:
    """Where the API is, and what is published of it."""

    addresses: tuple[str, ...]
    port: int
    endpoints: Endpoints | None
    slice: EndpointSlice | None


def reconcile(seen: Seen) -> Plan:
    """Publish both forms."""
    if not seen.addresses:
        return NOTHING
    return Plan([*_endpoints(seen), *_slice(seen)])


def _endpoints(seen: Seen) -> list[Action]:
    subset = EndpointSubset(
        addresses=[EndpointAddress(ip=address) for address in seen.addresses],
        ports=[OldPort(name="https", port=seen.port, protocol="TCP")],
    )
    current = seen.endpoints
    if current is None:
        metadata = ObjectMeta(name=NAME, namespace=NAMESPACE, labels=dict(SKIP_MIRROR))
        return [Create(kind=endpoints_kind.KIND, item=Endpoints(metadata=metadata, subsets=[subset]))]
    labels = {**current.metadata.labels, **SKIP_MIRROR}
    if current.subsets == [subset] and current.metadata.labels == labels:
        return []
    metadata = msgspec.structs.replace(current.metadata, labels=labels)
    return [
        Update(kind=endpoints_kind.KIND, item=msgspec.structs.replace(current, metadata=metadata, subsets=[subset]))
    ]


def _slice(seen: Seen) -> list[Action]:
    endpoints = [Endpoint(addresses=[address], conditions=EndpointConditions(ready=True)) for address in seen.addresses]
    ports = [EndpointPort(name="https", port=seen.port, protocol="TCP")]
    current = seen.slice
    if current is None:
        made = EndpointSlice(
            metadata=ObjectMeta(name=NAME, namespace=NAMESPACE, labels={SERVICE_NAME: NAME}),
            address_type=f"IPv{ip_address(seen.addresses[0]).version}",
            endpoints=endpoints,
            ports=ports,
        )
        return [Create(kind=slice_kind.KIND, item=made)]
    if current.endpoints == endpoints and current.ports == ports:
        return []
    return [Update(kind=slice_kind.KIND, item=msgspec.structs.replace(current, endpoints=endpoints, ports=ports))]


def observe(config: Config, caches: Caches, key: Key, _: datetime) -> Seen | None:
    """Only the one service, once it is there."""
    if key != KEY or caches.of(service_kind.KIND).get(*KEY) is None:
        return None
    return Seen(
        config.api_addresses,
        config.api_port,
        caches.of(endpoints_kind.KIND).get(*KEY),
        caches.of(slice_kind.KIND).get(*KEY),
    )


def ours(_: Caches, item: Object, __: Object | None = None) -> Iterable[Key]:
    """Only default/kubernetes is looked at."""
    if (item.metadata.namespace, item.metadata.name) == KEY:
        yield KEY


def controller(config: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="kubernetes-service-controller",
        watches=tuple(Watch(kind, ours) for kind in (service_kind.KIND, endpoints_kind.KIND, slice_kind.KIND)),
        observe=partial(observe, config),
        reconcile=reconcile,
    )
