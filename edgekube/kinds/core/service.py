"""v1 Service: its types and rules."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from edgekube.api.kind import Kind, Subresource
from edgekube.api.meta import Condition, Int32, IntOrString, Object, Struct, list_atomic, list_map, struct_atomic, zero


class ServicePort(Struct):
    name: str = ""
    protocol: str = ""
    app_protocol: str | None = None
    port: Int32 = zero(int)
    target_port: IntOrString | None = None
    node_port: Int32 = 0


class ClientIPConfig(Struct):
    timeout_seconds: Int32 | None = None


class SessionAffinityConfig(Struct):
    client_ip: ClientIPConfig | None = field(name="clientIP", default=None)


class ServiceSpec(Struct):
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
    port: Int32 = zero(int)
    protocol: str = zero(str)
    error: str | None = None


class LoadBalancerIngress(Struct):
    ip: str = ""
    hostname: str = ""
    ip_mode: str | None = None
    ports: Annotated[list[PortStatus], list_atomic()] = []


class LoadBalancerStatus(Struct):
    ingress: Annotated[list[LoadBalancerIngress], list_atomic()] = []


class ServiceStatus(Struct):
    load_balancer: LoadBalancerStatus = zero(LoadBalancerStatus)
    conditions: Annotated[list[Condition], list_map("type")] = []


class Service(Object):
    spec: ServiceSpec = zero(ServiceSpec)
    status: ServiceStatus = zero(ServiceStatus)


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
)
