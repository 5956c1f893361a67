"""Which pods stand behind a service, with which ports: shared by EndpointSlice and Endpoints.

Pure. Source: k8s.io/endpointslice (reconciler.go, utils.go), k8s.io/kubernetes pkg/controller/endpoint.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any

from edgekube.api.meta import LabelSelector, Object
from edgekube.api.selectors import from_label_selector
from edgekube.control import pods
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core import service as service_kind
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.references import ObjectReference
from edgekube.kinds.core.service import Service, ServicePort
from edgekube.reconcile.drive import Caches, Key

HEADLESS = "service.kubernetes.io/headless"
TRIGGER_TIME = "endpoints.kubernetes.io/last-change-trigger-time"


@dataclass(frozen=True, slots=True, order=True)
class Port:
    """One port of one pod behind a service."""

    name: str
    port: int
    protocol: str
    app_protocol: str | None = None


def is_headless(service: Service) -> bool:
    """Whether the service has no virtual address."""
    return service.spec.cluster_ip == "None"


def has_backends(service: Service) -> bool:
    """Whether pods are selected for the service at all."""
    return bool(service.spec.selector) and service.spec.type != "ExternalName"


def families(service: Service) -> tuple[str, ...]:
    """Address types of the service: IPv4, IPv6 or both."""
    return tuple(service.spec.ip_families) or ("IPv4",)


def addresses(pod: Pod, family: str) -> list[str]:
    """The pod's addresses of a family."""
    listed = [entry.ip for entry in pod.status.pod_ips] or ([pod.status.pod_ip] if pod.status.pod_ip else [])
    version = 6 if family == "IPv6" else 4
    return [text for text in listed if _version(text) == version]


def _version(text: str) -> int:
    try:
        return ip_address(text).version
    except ValueError:
        return 0


def may_serve(pod: Pod, *, include_terminating: bool) -> bool:
    """Whether the pod belongs among the endpoints, ready or not."""
    if pods.is_terminal(pod) or not (pod.status.pod_ip or pod.status.pod_ips):
        return False
    return include_terminating or pod.metadata.deletion_timestamp is None


def port_number(pod: Pod, port: ServicePort) -> int | None:
    """The number a service port has in this pod; None when its name is not found."""
    target = port.target_port if port.target_port is not None else port.port
    if isinstance(target, int):
        return target or port.port
    sidecars = [container for container in pod.spec.init_containers if container.restart_policy == "Always"]
    for container in [*(pod.spec.containers or []), *sidecars]:
        for found in container.ports:
            if found.name == target and (found.protocol or "TCP") == (port.protocol or "TCP"):
                return found.container_port
    return None


def ports_of(service: Service, pod: Pod) -> tuple[Port, ...]:
    """The pod's ports behind the service, in the service's order."""
    made = []
    for port in service.spec.ports:
        number = port_number(pod, port)
        if number is not None:
            made.append(Port(port.name, number, port.protocol or "TCP", port.app_protocol))
    return tuple(made)


def hostname(service: Service, pod: Pod) -> str | None:
    """The pod's own DNS name under a headless service."""
    same = pod.spec.subdomain == service.metadata.name and pod.metadata.namespace == service.metadata.namespace
    return pod.spec.hostname if pod.spec.hostname and same else None


def reference(pod: Pod) -> ObjectReference:
    """How an endpoint points at its pod."""
    metadata = pod.metadata
    return ObjectReference(kind="Pod", namespace=metadata.namespace, name=metadata.name, uid=metadata.uid)


def trigger_time(service: Service, behind: Iterable[Pod]) -> str | None:
    """The latest change that endpoints show: the service's birth or a pod's change of readiness."""
    moments = [service.metadata.creation_timestamp or ""]
    for pod in behind:
        ready = pods.condition(pod, "Ready")
        moments.append((ready.last_transition_time or "") if ready is not None else "")
    return max(moments) or None


def selected(caches: Caches, service: Service) -> list[Pod]:
    """The pods a service selects, by name."""
    query = from_label_selector(LabelSelector(match_labels=service.spec.selector))
    found = [
        pod for pod in caches.of(pod_kind.KIND).list(service.metadata.namespace) if query.matches(pod.metadata.labels)
    ]
    return sorted(found, key=lambda pod: pod.metadata.name)


def services_of(caches: Caches, pod: Pod, previous: Pod | None = None) -> Iterable[Key]:
    """The services a changed pod stands, or stood, behind. Changes that endpoints do not show point nowhere."""
    if previous is not None and _shown(pod) == _shown(previous):
        return
    labels: list[Mapping[str, str]] = [pod.metadata.labels]
    if previous is not None and previous.metadata.labels != pod.metadata.labels:
        labels.append(previous.metadata.labels)
    for service in caches.of(service_kind.KIND).list(pod.metadata.namespace):
        if not has_backends(service):
            continue
        wanted = service.spec.selector.items()
        if any(wanted <= found.items() for found in labels):
            yield Key(service.metadata.namespace, service.metadata.name)


def _shown(pod: Pod) -> tuple[Any, ...]:
    return (
        pod.metadata.labels,
        pod.metadata.uid,
        pod.metadata.deletion_timestamp,
        pod.status.phase,
        pod.status.pod_ip,
        pod.status.pod_ips,
        pods.is_ready(pod),
        pod.spec.node_name,
        pod.spec.hostname,
        pod.spec.subdomain,
    )


def owner_key(_: Caches, item: Object, __: Object | None = None) -> Iterable[Key]:
    """The service an EndpointSlice says it belongs to."""
    name = item.metadata.labels.get("kubernetes.io/service-name")
    if name:
        yield Key(item.metadata.namespace, name)
