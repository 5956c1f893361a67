"""EndpointSlice mirroring: Endpoints written by hand, for services without a selector, appear as slices too.

Source: k8s.io/kubernetes pkg/controller/endpointslicemirroring.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

import msgspec

from edgekube.api.meta import ObjectMeta
from edgekube.control import owners
from edgekube.control.config import Config
from edgekube.kinds.core import endpoints as endpoints_kind
from edgekube.kinds.core import service as service_kind
from edgekube.kinds.core.endpoints import EndpointAddress, Endpoints, EndpointSubset
from edgekube.kinds.discovery import endpointslice as slice_kind
from edgekube.kinds.discovery.endpointslice import Endpoint, EndpointConditions, EndpointPort, EndpointSlice
from edgekube.reconcile.drive import Caches, Controller, Key, Watch, own_key
from edgekube.reconcile.plan import Action, Create, Delete, Plan, Update

SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslicemirroring-controller.k8s.io"
SKIP = "endpointslice.kubernetes.io/skip-mirror"
LEADER = "control-plane.alpha.kubernetes.io/leader"
NOT_MIRRORED = ("endpoints.kubernetes.io/last-change-trigger-time", "kubectl.kubernetes.io/last-applied-configuration")
MOST_ADDRESSES = 1000


@dataclass(frozen=True, slots=True)
class Seen:
    """Endpoints to mirror (None: not, or no longer) and the slices mirrored before."""

    endpoints: Endpoints | None
    slices: Sequence[EndpointSlice]


def reconcile(seen: Seen) -> Plan:
    """One slice per subset and address family."""
    wanted = mirrored(seen.endpoints) if seen.endpoints is not None else []
    actions: list[Action] = []
    left = list(seen.slices)
    for made in wanted:
        same = next(
            (item for item in left if item.address_type == made.address_type and item.ports == made.ports), None
        )
        if same is None:
            actions.append(Create(kind=slice_kind.KIND, item=made))
            continue
        left.remove(same)
        if same.endpoints != made.endpoints or same.metadata.labels != made.metadata.labels:
            metadata = msgspec.structs.replace(
                same.metadata, labels=made.metadata.labels, annotations=made.metadata.annotations
            )
            actions.append(Update(kind=slice_kind.KIND, item=msgspec.structs.replace(made, metadata=metadata)))
    for item in left:
        metadata = item.metadata
        actions.append(Delete(kind=slice_kind.KIND, namespace=metadata.namespace, name=metadata.name, uid=metadata.uid))
    return Plan(actions)


def mirrored(endpoints: Endpoints) -> list[EndpointSlice]:
    """The slices these Endpoints are shown as."""
    made = []
    for subset in endpoints.subsets:
        for family, version in (("IPv4", 4), ("IPv6", 6)):
            found = _endpoints(subset, version)
            if found:
                made.append(_slice(endpoints, subset, family, found))
    return made


def _endpoints(subset: EndpointSubset, version: int) -> list[Endpoint]:
    both = [(address, True) for address in subset.addresses] + [(a, False) for a in subset.not_ready_addresses]
    return [_endpoint(address, ready) for address, ready in both if _version(address.ip) == version][:MOST_ADDRESSES]


def _version(text: str) -> int:
    try:
        return ip_address(text).version
    except ValueError:
        return 0


def _endpoint(address: EndpointAddress, ready: bool) -> Endpoint:
    return Endpoint(
        addresses=[address.ip],
        conditions=EndpointConditions(ready=ready),
        hostname=address.hostname or None,
        target_ref=address.target_ref,
        node_name=address.node_name,
    )


def _slice(endpoints: Endpoints, subset: EndpointSubset, family: str, found: list[Endpoint]) -> EndpointSlice:
    metadata = endpoints.metadata
    labels = {**metadata.labels, SERVICE_NAME: metadata.name, MANAGED_BY: MANAGER}
    annotations = {key: value for key, value in metadata.annotations.items() if key not in NOT_MIRRORED}
    return EndpointSlice(
        metadata=ObjectMeta(
            generate_name=f"{metadata.name}-",
            namespace=metadata.namespace,
            labels=labels,
            annotations=annotations,
            owner_references=[owners.reference_to(endpoints_kind.KIND, endpoints)],
        ),
        address_type=family,
        endpoints=found,
        ports=[
            EndpointPort(name=port.name, port=port.port, protocol=port.protocol, app_protocol=port.app_protocol)
            for port in subset.ports
        ],
    )


def observe(caches: Caches, key: Key, _: datetime) -> Seen | None:
    """The Endpoints if they are to be mirrored, and our slices of that name."""
    endpoints = caches.of(endpoints_kind.KIND).get(*key)
    service = caches.of(service_kind.KIND).get(*key)
    if endpoints is not None and (
        service is None
        or service.spec.selector
        or endpoints.metadata.labels.get(SKIP) == "true"
        or LEADER in endpoints.metadata.annotations
        or endpoints.metadata.deletion_timestamp is not None
        or key == Key("default", "kubernetes")
    ):
        endpoints = None
    slices = [
        item
        for item in caches.of(slice_kind.KIND).list(key.namespace)
        if item.metadata.labels.get(SERVICE_NAME) == key.name and item.metadata.labels.get(MANAGED_BY) == MANAGER
    ]
    return Seen(endpoints, slices)


def of_slice(_: Caches, item: EndpointSlice, __: EndpointSlice | None = None) -> Iterable[Key]:
    """A slice of ours points at its Endpoints."""
    if item.metadata.labels.get(MANAGED_BY) == MANAGER and SERVICE_NAME in item.metadata.labels:
        yield Key(item.metadata.namespace, item.metadata.labels[SERVICE_NAME])


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="endpoint-slice-mirroring-controller",
        watches=(
            Watch(endpoints_kind.KIND, own_key),
            Watch(service_kind.KIND, own_key),
            Watch(slice_kind.KIND, of_slice),
        ),
        observe=observe,
        reconcile=reconcile,
    )
