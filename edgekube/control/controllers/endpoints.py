"""Endpoints: the older, single object with all pods behind a service.

Source: k8s.io/kubernetes pkg/controller/endpoint/endpoints_controller.go, api/v1/endpoints/util.go (RepackSubsets).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from edgekube.api.meta import ObjectMeta
from edgekube.control import backends, pods
from edgekube.control.backends import Port
from edgekube.control.config import Config
from edgekube.kinds.core import endpoints as endpoints_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core import service as service_kind
from edgekube.kinds.core.endpoints import EndpointAddress, EndpointPort, Endpoints, EndpointSubset
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.service import Service
from edgekube.reconcile.drive import Caches, Controller, Key, Watch, own_key
from edgekube.reconcile.plan import NOTHING, Create, Delete, Plan, Update

KIND = endpoints_kind.KIND
MANAGED_BY = "endpoints.kubernetes.io/managed-by"
MANAGER = "endpoint-controller"
OVER_CAPACITY = "endpoints.kubernetes.io/over-capacity"
MOST_ADDRESSES = 1000


@dataclass(frozen=True, slots=True)
class Seen:
    """A service (None: it is gone), its pods, and the Endpoints object there is."""

    service: Service | None
    pods: Sequence[Pod]
    endpoints: Endpoints | None


def reconcile(seen: Seen) -> Plan:
    """One object per service with a selector; it goes with its service."""
    service, current = seen.service, seen.endpoints
    if service is None:
        if current is None or current.metadata.labels.get(MANAGED_BY) != MANAGER:
            return NOTHING
        metadata = current.metadata
        return Plan([Delete(kind=KIND, namespace=metadata.namespace, name=metadata.name, uid=metadata.uid)])
    if not backends.has_backends(service) or service.metadata.deletion_timestamp is not None:
        return NOTHING
    made, cut = subsets(service, seen.pods)
    labels = {key: value for key, value in service.metadata.labels.items() if key != backends.HEADLESS}
    labels[MANAGED_BY] = MANAGER
    if backends.is_headless(service):
        labels[backends.HEADLESS] = ""
    if current is not None and made == current.subsets and labels == current.metadata.labels:
        return NOTHING
    annotations = dict(current.metadata.annotations) if current is not None else {}
    annotations.pop(OVER_CAPACITY, None)
    if cut:
        annotations[OVER_CAPACITY] = "truncated"
    if moment := backends.trigger_time(service, seen.pods):
        annotations[backends.TRIGGER_TIME] = moment
    if current is None:
        metadata = ObjectMeta(
            name=service.metadata.name, namespace=service.metadata.namespace, labels=labels, annotations=annotations
        )
        return Plan([Create(kind=KIND, item=Endpoints(metadata=metadata, subsets=made))])
    metadata = msgspec.structs.replace(current.metadata, labels=labels, annotations=annotations)
    return Plan([Update(kind=KIND, item=msgspec.structs.replace(current, metadata=metadata, subsets=made))])


def subsets(service: Service, behind: Sequence[Pod]) -> tuple[list[EndpointSubset], bool]:
    """Addresses grouped by the ports they serve, ready apart from not ready; and whether some were left out."""
    family = backends.families(service)[0]
    publish = service.spec.publish_not_ready_addresses
    groups: dict[tuple[Port, ...], tuple[list[EndpointAddress], list[EndpointAddress]]] = {}
    total, cut = 0, False
    for pod in behind:
        found = backends.addresses(pod, family)
        if not found or not backends.may_serve(pod, include_terminating=publish):
            continue
        ports = backends.ports_of(service, pod)
        if not ports and service.spec.ports:
            continue
        if total >= MOST_ADDRESSES:
            cut = True
            break
        total += 1
        address = EndpointAddress(
            ip=found[0],
            hostname=backends.hostname(service, pod) or "",
            node_name=pod.spec.node_name or None,
            target_ref=backends.reference(pod),
        )
        ready, unready = groups.setdefault(tuple(sorted(ports)), ([], []))
        (ready if publish or pods.is_ready(pod) else unready).append(address)
    return [_subset(group, *addresses) for group, addresses in sorted(groups.items(), key=_port_order)], cut


def _port_order(item: tuple[tuple[Port, ...], object]) -> list[tuple[str, int, str]]:
    return [(port.name, port.port, port.protocol) for port in item[0]]


def _subset(group: tuple[Port, ...], ready: list[EndpointAddress], unready: list[EndpointAddress]) -> EndpointSubset:
    def by_address(address: EndpointAddress) -> tuple[str, str]:
        return address.ip, address.target_ref.uid if address.target_ref is not None else ""

    return EndpointSubset(
        addresses=sorted(ready, key=by_address),
        not_ready_addresses=sorted(unready, key=by_address),
        ports=[EndpointPort(name=p.name, port=p.port, protocol=p.protocol, app_protocol=p.app_protocol) for p in group],
    )


def observe(caches: Caches, key: Key, _: datetime) -> Seen | None:
    """The service, its pods and its Endpoints."""
    service = caches.of(service_kind.KIND).get(*key)
    behind = backends.selected(caches, service) if service is not None and backends.has_backends(service) else []
    return Seen(service, behind, caches.of(KIND).get(*key))


def managed(_: Caches, item: Endpoints, __: Endpoints | None = None) -> Iterable[Key]:
    """Endpoints point at the service of the same name."""
    yield Key(item.metadata.namespace, item.metadata.name)


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="endpoint-controller",
        watches=(
            Watch(service_kind.KIND, own_key),
            Watch(pod_kind.KIND, backends.services_of),
            Watch(KIND, managed),
        ),
        observe=observe,
        reconcile=reconcile,
    )
