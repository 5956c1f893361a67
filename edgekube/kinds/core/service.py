"""v1 Service: one stable address for a changing set of pods."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from edgekube.api import names
from edgekube.api.kind import Kind, Subresource
from edgekube.api.meta import Condition, Int32, IntOrString, Object, Struct, list_atomic, list_map, struct_atomic, zero
from edgekube.kinds.core import service_rules
from edgekube.kinds.core.service_printing import COLUMNS


class ServicePort(Struct):
    """A port of the service, and the port behind it."""

    name: str = ""
    protocol: str = ""
    app_protocol: str | None = None
    port: Int32 = zero(int)
    target_port: IntOrString | None = None
    node_port: Int32 = 0


class ClientIPConfig(Struct):
    """How long a client keeps its endpoint."""

    timeout_seconds: Int32 | None = None


class SessionAffinityConfig(Struct):
    """How clients are kept at their endpoint."""

    client_ip: ClientIPConfig | None = field(name="clientIP", default=None)


class ServiceSpec(Struct):
    """Which pods, at which address and ports, reached from where."""

    ports: Annotated[list[ServicePort], list_map("port", "protocol")] = []
    selector: Annotated[dict[str, str], struct_atomic()] = {}
    cluster_ip: str = field(name="clusterIP", default="")
    cluster_ips: Annotated[list[str], list_atomic()] = field(name="clusterIPs", default_factory=list)
    type: str = ""
    external_ips: Annotated[list[str], list_atomic()] = field(name="externalIPs", default_factory=list)
    session_affinity: str = ""
    load_balancer_ip: str = field(name="loadBalancerIP", default="")
    load_balancer_source_ranges: Annotated[list[str], list_atomic()] = []
    external_name: str = ""
    external_traffic_policy: str = ""
    health_check_node_port: Int32 = 0
    publish_not_ready_addresses: bool = False
    session_affinity_config: SessionAffinityConfig | None = None
    ip_families: Annotated[list[str], list_atomic()] = []
    ip_family_policy: str | None = None
    allocate_load_balancer_node_ports: bool | None = None
    load_balancer_class: str | None = None
    internal_traffic_policy: str | None = None
    traffic_distribution: str | None = None


class PortStatus(Struct):
    """What a load balancer says of one port."""

    port: Int32 = zero(int)
    protocol: str = zero(str)
    error: str | None = None


class LoadBalancerIngress(Struct):
    """An address or name of a load balancer."""

    ip: str = ""
    hostname: str = ""
    ip_mode: str | None = None
    ports: Annotated[list[PortStatus], list_atomic()] = []


class LoadBalancerStatus(Struct):
    """Where a load balancer can be reached."""

    ingress: Annotated[list[LoadBalancerIngress], list_atomic()] = []


class ServiceStatus(Struct):
    """What became of the wish for a load balancer."""

    load_balancer: LoadBalancerStatus = zero(LoadBalancerStatus)
    conditions: Annotated[list[Condition], list_map("type")] = []


class Service(Object):
    """A stable address for changing pods."""

    spec: ServiceSpec = zero(ServiceSpec)
    status: ServiceStatus = zero(ServiceStatus)


EXTERNALLY_REACHED = ("NodePort", "LoadBalancer")
AFFINITY_TIMEOUT_S = 10800


def default(service: Service) -> None:
    """Everything but addresses and node ports, which are allocated."""
    spec = service.spec
    spec.type = spec.type or "ClusterIP"
    _affinity(spec)
    for port in spec.ports:
        port.protocol = port.protocol or "TCP"
        port.target_port = port.target_port or port.port
    if (spec.type in EXTERNALLY_REACHED or (spec.type == "ClusterIP" and spec.external_ips)) and not (
        spec.external_traffic_policy
    ):
        spec.external_traffic_policy = "Cluster"
    if spec.internal_traffic_policy is None and spec.type in ("ClusterIP", *EXTERNALLY_REACHED):
        spec.internal_traffic_policy = "Cluster"
    if spec.type == "LoadBalancer":
        if spec.allocate_load_balancer_node_ports is None:
            spec.allocate_load_balancer_node_ports = True
        for ingress in service.status.load_balancer.ingress:
            if ingress.ip and ingress.ip_mode is None:
                ingress.ip_mode = "VIP"


def _affinity(spec: ServiceSpec) -> None:
    spec.session_affinity = spec.session_affinity or "None"
    if spec.session_affinity == "None":
        spec.session_affinity_config = None
    elif spec.session_affinity == "ClientIP":
        config = spec.session_affinity_config
        if config is None or config.client_ip is None or config.client_ip.timeout_seconds is None:
            spec.session_affinity_config = SessionAffinityConfig(
                client_ip=ClientIPConfig(timeout_seconds=AFFINITY_TIMEOUT_S)
            )


def normalize_cluster_ips(service: Service, old: Service | None) -> None:
    """`clusterIP` and the first of `clusterIPs` are one value; clients may know only the first of the two fields."""
    spec = service.spec
    if old is None:
        if spec.cluster_ip and not spec.cluster_ips:
            spec.cluster_ips = [spec.cluster_ip]
        return
    if spec.cluster_ip == old.spec.cluster_ip:
        return
    if spec.cluster_ips == old.spec.cluster_ips:
        spec.cluster_ips = [spec.cluster_ip] if spec.cluster_ip else []


def prepare_create(service: Service) -> None:
    """Status is written by the load balancer."""
    service.status = ServiceStatus()
    normalize_cluster_ips(service, None)


def prepare_update(service: Service, old: Service) -> None:
    """What an old client does not know, or has left to the server, stays as it is; what a new type cannot have goes."""
    service.status = old.status
    _keep_allocated(service, old)
    normalize_cluster_ips(service, old)
    _drop_what_the_type_lost(service.spec, old.spec)


def _keep_allocated(service: Service, old: Service) -> None:
    """A write without addresses or ports keeps those it was given."""
    new, was = service.spec, old.spec
    if new.type == "ExternalName" or was.type == "ExternalName":
        return
    if not new.cluster_ip:
        new.cluster_ip = was.cluster_ip
    if not new.cluster_ips and new.cluster_ip == was.cluster_ip:
        new.cluster_ips = list(was.cluster_ips)
    if new.type in EXTERNALLY_REACHED and was.type in EXTERNALLY_REACHED:
        _keep_node_ports(new, was)
    if _needs_health_port(new) and _needs_health_port(was):
        new.health_check_node_port = new.health_check_node_port or was.health_check_node_port


def _keep_node_ports(new: ServiceSpec, was: ServiceSpec) -> None:
    given = {(port.protocol, port.port): port.node_port for port in was.ports}
    taken = {(port.protocol, port.node_port) for port in new.ports if port.node_port}
    for port in new.ports:
        candidate = given.get((port.protocol, port.port), 0)
        if not port.node_port and candidate and (port.protocol, candidate) not in taken:
            port.node_port = candidate
            taken.add((port.protocol, candidate))


def _needs_health_port(spec: ServiceSpec) -> bool:
    return spec.type == "LoadBalancer" and spec.external_traffic_policy == "Local"


def _drop_what_the_type_lost(new: ServiceSpec, old: ServiceSpec) -> None:
    """Values a client merely carried over from another type are dropped, values it changed are kept (and refused)."""
    if old.type != "ExternalName" and new.type == "ExternalName":
        if new.cluster_ip == old.cluster_ip and new.cluster_ips == old.cluster_ips:
            new.cluster_ip, new.cluster_ips = "", []
        if new.ip_families == old.ip_families:
            new.ip_families = []
        if new.ip_family_policy == old.ip_family_policy:
            new.ip_family_policy = None
    same_ports = [port.node_port for port in new.ports] == [port.node_port for port in old.ports]
    if old.type in EXTERNALLY_REACHED and new.type not in EXTERNALLY_REACHED and same_ports:
        for port in new.ports:
            port.node_port = 0
    same_health_port = new.health_check_node_port == old.health_check_node_port
    if _needs_health_port(old) and not _needs_health_port(new) and same_health_port:
        new.health_check_node_port = 0
    if old.type == "LoadBalancer" and new.type != "LoadBalancer":
        if new.allocate_load_balancer_node_ports == old.allocate_load_balancer_node_ports:
            new.allocate_load_balancer_node_ports = None
        if new.load_balancer_class == old.load_balancer_class:
            new.load_balancer_class = None
    reached = new.type in EXTERNALLY_REACHED or bool(new.external_ips)
    if not reached and new.external_traffic_policy == old.external_traffic_policy:
        new.external_traffic_policy = ""


def prepare_status(service: Service, old: Service) -> None:
    """A status write leaves the rest alone."""
    service.spec = old.spec


KIND = Kind(
    type=Service,
    group="",
    version="v1",
    name="Service",
    plural="services",
    singular="service",
    short=("svc",),
    categories=("all",),
    has_status=True,
    subresources=(Subresource("proxy", "ServiceProxyOptions", ("create", "delete", "get", "patch", "update")),),
    generation=False,
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status=prepare_status,
    selectable={
        "spec.clusterIP": lambda service: service.spec.cluster_ip,
        "spec.type": lambda service: service.spec.type,
    },
    columns=COLUMNS,
    allow_create_on_update=True,
    rules=service_rules.service,
    update_rules=service_rules.update,
    status_rules=service_rules.status,
    warnings=service_rules.warnings,
    name_rule=names.dns_label,
)
