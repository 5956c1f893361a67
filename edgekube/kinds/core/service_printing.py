"""The cells of a service in a table. Source: printService in upstream's pkg/printers/internalversion/printers.go."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekube.api.kind import Column
from edgekube.kinds.core.printing import AGE, NAME, NONE, described, labels_text

if TYPE_CHECKING:
    from edgekube.kinds.core.service import Service, ServicePort


def _cluster_ip(service: Service, _now: str) -> str:
    spec = service.spec
    return spec.cluster_ips[0] if spec.cluster_ips else spec.cluster_ip or NONE


def _external_ip(service: Service, _now: str) -> str:
    spec = service.spec
    if spec.type == "ExternalName":
        return spec.external_name
    given = list(spec.external_ips)
    if spec.type == "LoadBalancer":
        found = {one.ip or one.hostname for one in service.status.load_balancer.ingress}
        return ",".join(sorted(found - {""}) + given) or "<pending>"
    return ",".join(given) or NONE


def _port(port: ServicePort) -> str:
    return f"{port.port}:{port.node_port}/{port.protocol}" if port.node_port else f"{port.port}/{port.protocol}"


COLUMNS = described(
    "services",
    NAME,
    Column("Type", "string", lambda service, _: service.spec.type),
    Column("Cluster-IP", "string", _cluster_ip),
    Column("External-IP", "string", _external_ip),
    Column("Port(s)", "string", lambda service, _: ",".join(map(_port, service.spec.ports)) or NONE),
    AGE,
    Column("Selector", "string", lambda service, _: labels_text(service.spec.selector), priority=1),
)
