"""EndpointSlice: the pods behind each service, in slices of at most a hundred.

Endpoints stay in the slice they are in, so that one pod's change is one small update.
Source: k8s.io/endpointslice reconciler.go, pkg/controller/endpointslice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import msgspec

from edgekube.api.meta import ObjectMeta
from edgekube.control import backends, owners, pods
from edgekube.control.backends import Port
from edgekube.control.config import Config
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core import service as service_kind
from edgekube.kinds.core.node import Node
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.service import Service
from edgekube.kinds.discovery import endpointslice as slice_kind
from edgekube.kinds.discovery.endpointslice import (
    Endpoint,
    EndpointConditions,
    EndpointHints,
    EndpointPort,
    EndpointSlice,
    ForNode,
    ForZone,
)
from edgekube.reconcile.drive import Caches, Controller, Key, Watch, own_key
from edgekube.reconcile.plan import NOTHING, Action, Create, Delete, Plan, Update

KIND = slice_kind.KIND
SERVICE_NAME = "kubernetes.io/service-name"
MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
MANAGER = "endpointslice-controller.k8s.io"
ZONE = "topology.kubernetes.io/zone"
SAME_NODE = "PreferSameNode"
NEAR = ("PreferClose", "PreferSameZone", SAME_NODE)
ENDPOINTS_PER_SLICE = 100


@dataclass(frozen=True, slots=True)
class Seen:
    """A service, its pods, the nodes they are on, and the slices there are."""

    service: Service
    pods: Sequence[Pod]
    nodes: Mapping[str, Node]
    slices: Sequence[EndpointSlice]


def reconcile(seen: Seen) -> Plan:
    """Slices as they should be, family by family."""
    service = seen.service
    if service.metadata.deletion_timestamp is not None:
        return NOTHING
    actions: list[Action] = []
    kept = backends.families(service) if backends.has_backends(service) else ()
    for family in kept:
        actions += _family(seen, family, [item for item in seen.slices if item.address_type == family])
    actions += [_delete(item) for item in seen.slices if item.address_type not in kept]
    return Plan(actions)


def _family(seen: Seen, family: str, existing: Sequence[EndpointSlice]) -> list[Action]:
    wanted: dict[tuple[Port, ...], dict[str, Endpoint]] = {}
    for pod in seen.pods:
        endpoint = endpoint_of(seen, pod, family)
        if endpoint is not None:
            group = tuple(sorted(backends.ports_of(seen.service, pod)))
            wanted.setdefault(group, {})[pod.metadata.uid] = endpoint
    fresh: list[EndpointSlice] = []
    actions: list[Action] = []
    empty: list[EndpointSlice] = []
    for item in existing:
        filled = _refill(item, wanted.get(_ports_of(item), {}))
        if not filled:
            empty.append(item)
        else:
            actions += _change(seen, item, filled)
    # what has no place yet goes where there is room, then into new slices
    for group, left in wanted.items():
        actions = _add_to_roomy(seen, actions, existing, group, left)
        endpoints = list(left.values())
        for start in range(0, len(endpoints), ENDPOINTS_PER_SLICE):
            fresh.append(_birth(seen, family, group, endpoints[start : start + ENDPOINTS_PER_SLICE]))
    if not fresh and len(empty) == len(existing):
        fresh.append(_birth(seen, family, (), []))  # a service without endpoints still has one slice
    return [*actions, *_reuse(empty, fresh)]


def endpoint_of(seen: Seen, pod: Pod, family: str) -> Endpoint | None:
    """The endpoint a pod is, or None while it is none."""
    service = seen.service
    found = backends.addresses(pod, family)
    node_name = pod.spec.node_name
    node = seen.nodes.get(node_name)
    if not found or not backends.may_serve(pod, include_terminating=True):
        return None
    if node_name and node is None and not service.spec.publish_not_ready_addresses:
        return None
    serving = pods.is_ready(pod)
    terminating = pod.metadata.deletion_timestamp is not None
    ready = service.spec.publish_not_ready_addresses or (serving and not terminating)
    zone = node.metadata.labels.get(ZONE, "") if node is not None else ""
    return Endpoint(
        addresses=found,
        conditions=EndpointConditions(ready=ready, serving=serving, terminating=terminating),
        hostname=backends.hostname(service, pod),
        target_ref=backends.reference(pod),
        node_name=node_name or None,
        zone=zone or None,
        hints=hints(service.spec.traffic_distribution or "", zone, node_name) if ready else None,
    )


def hints(distribution: str, zone: str, node_name: str) -> EndpointHints | None:
    """For whom an endpoint is meant, when its service wants traffic to stay near.
    Source: k8s.io/endpointslice/trafficdist."""
    if distribution not in NEAR:
        return None
    made = EndpointHints(
        for_zones=[ForZone(name=zone)] if zone else [],
        for_nodes=[ForNode(name=node_name)] if node_name and distribution == SAME_NODE else [],
    )
    return made if made.for_zones or made.for_nodes else None


def _ports_of(item: EndpointSlice) -> tuple[Port, ...]:
    return tuple(sorted(Port(p.name or "", p.port or 0, p.protocol or "TCP", p.app_protocol) for p in item.ports or ()))


def _refill(item: EndpointSlice, wanted: dict[str, Endpoint]) -> list[Endpoint]:
    """The slice's endpoints that are still wanted, as they are now; they are taken out of `wanted`."""
    filled = []
    for endpoint in item.endpoints or ():
        uid = endpoint.target_ref.uid if endpoint.target_ref is not None else ""
        if uid in wanted:
            filled.append(wanted.pop(uid))
    return filled


def _add_to_roomy(
    seen: Seen,
    actions: list[Action],
    existing: Sequence[EndpointSlice],
    group: tuple[Port, ...],
    left: dict[str, Endpoint],
) -> list[Action]:
    for item in existing:
        if not left or _ports_of(item) != group or not item.endpoints:
            continue
        planned = next((a for a in actions if isinstance(a, Update) and a.item.metadata.uid == item.metadata.uid), None)
        now = planned.item if planned is not None else item
        assert isinstance(now, EndpointSlice)
        endpoints = list(now.endpoints or ())
        while left and len(endpoints) < ENDPOINTS_PER_SLICE:
            endpoints.append(left.pop(next(iter(left))))
        actions = [action for action in actions if action is not planned]
        actions += _change(seen, item, endpoints)
    return actions


def _labels(service: Service) -> dict[str, str]:
    labels = {key: value for key, value in service.metadata.labels.items() if key not in (SERVICE_NAME, MANAGED_BY)}
    labels.pop(backends.HEADLESS, None)
    labels |= {SERVICE_NAME: service.metadata.name, MANAGED_BY: MANAGER}
    if backends.is_headless(service):
        labels[backends.HEADLESS] = ""
    return labels


def _annotations(seen: Seen, before: Mapping[str, str]) -> dict[str, str]:
    moment = backends.trigger_time(seen.service, seen.pods)
    return {**before, backends.TRIGGER_TIME: moment} if moment else dict(before)


def _change(seen: Seen, item: EndpointSlice, endpoints: list[Endpoint]) -> list[Action]:
    labels = _labels(seen.service)
    if endpoints == item.endpoints and labels == item.metadata.labels:
        return []
    annotations = item.metadata.annotations
    if endpoints != item.endpoints:
        annotations = _annotations(seen, annotations)
    metadata = msgspec.structs.replace(item.metadata, labels=labels, annotations=annotations)
    return [Update(kind=KIND, item=msgspec.structs.replace(item, metadata=metadata, endpoints=endpoints))]


def _birth(seen: Seen, family: str, group: tuple[Port, ...], endpoints: list[Endpoint]) -> EndpointSlice:
    service = seen.service
    order = {port.name: position for position, port in enumerate(service.spec.ports)}
    ports = sorted(group, key=lambda port: order.get(port.name, 0))
    return EndpointSlice(
        metadata=ObjectMeta(
            generate_name=f"{service.metadata.name}-",
            namespace=service.metadata.namespace,
            labels=_labels(service),
            annotations=_annotations(seen, {}),
            owner_references=[owners.reference_to(service_kind.KIND, service)],
        ),
        address_type=family,
        endpoints=endpoints,
        ports=[EndpointPort(name=p.name, port=p.port, protocol=p.protocol, app_protocol=p.app_protocol) for p in ports],
    )


def _reuse(empty: Sequence[EndpointSlice], fresh: list[EndpointSlice]) -> list[Action]:
    """Slices no longer needed take over new content; only what is left over is deleted or created."""
    actions: list[Action] = []
    for item in empty:
        if not fresh:
            actions.append(_delete(item))
            continue
        made = fresh.pop()
        same = (made.endpoints or []) == (item.endpoints or []) and (made.ports or []) == (item.ports or [])
        if same and made.metadata.labels == item.metadata.labels:
            continue
        metadata = msgspec.structs.replace(
            item.metadata, labels=made.metadata.labels, annotations=made.metadata.annotations
        )
        actions.append(Update(kind=KIND, item=msgspec.structs.replace(made, metadata=metadata)))
    return [*actions, *(Create(kind=KIND, item=item) for item in fresh)]


def _delete(item: EndpointSlice) -> Delete:
    return Delete(kind=KIND, namespace=item.metadata.namespace, name=item.metadata.name, uid=item.metadata.uid)


def observe(caches: Caches, key: Key, _: datetime) -> Seen | None:
    """The service with pods, nodes and its own slices."""
    service = caches.of(service_kind.KIND).get(*key)
    if service is None:
        return None  # the garbage collector takes its slices
    behind = backends.selected(caches, service) if backends.has_backends(service) else []
    nodes = {}
    for name in {pod.spec.node_name for pod in behind if pod.spec.node_name}:
        node = caches.of(node_kind.KIND).get("", name)
        if node is not None:
            nodes[name] = node
    slices = [
        item
        for item in caches.of(KIND).list(key.namespace)
        if item.metadata.labels.get(SERVICE_NAME) == key.name and item.metadata.labels.get(MANAGED_BY) == MANAGER
    ]
    return Seen(service, behind, nodes, slices)


def of_node(caches: Caches, node: Node, previous: Node | None = None) -> Iterable[Key]:
    """A node's birth or change of zone touches the services of its pods."""
    if previous is not None and node.metadata.labels.get(ZONE) == previous.metadata.labels.get(ZONE):
        return
    for pod in caches.of(pod_kind.KIND).by("node", node.metadata.name):
        yield from backends.services_of(caches, pod)


def of_slice(_: Caches, item: EndpointSlice, __: EndpointSlice | None = None) -> Iterable[Key]:
    """A slice of ours points at its service."""
    if item.metadata.labels.get(MANAGED_BY) == MANAGER and SERVICE_NAME in item.metadata.labels:
        yield Key(item.metadata.namespace, item.metadata.labels[SERVICE_NAME])


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="endpoint-slice-controller",
        watches=(
            Watch(service_kind.KIND, own_key),
            Watch(pod_kind.KIND, backends.services_of),
            Watch(node_kind.KIND, of_node),
            Watch(KIND, of_slice),
        ),
        observe=observe,
        reconcile=reconcile,
    )
