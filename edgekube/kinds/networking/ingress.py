"""networking.k8s.io/v1 Ingress: its types and rules."""

from __future__ import annotations

from typing import Annotated, ClassVar

from edgekube.api.kind import Column, Kind
from edgekube.api.meta import Int32, Object, Struct, list_atomic, zero
from edgekube.kinds.columns import AGE, NAME, NONE, described, listed
from edgekube.kinds.core.references import TypedLocalObjectReference


class ServiceBackendPort(Struct):
    ATOMIC: ClassVar[bool] = True
    name: str = ""
    number: Int32 = 0


class IngressServiceBackend(Struct):
    name: str = zero(str)
    port: ServiceBackendPort = zero(ServiceBackendPort)


class IngressBackend(Struct):
    service: IngressServiceBackend | None = None
    resource: TypedLocalObjectReference | None = None


class HTTPIngressPath(Struct):
    path: str = ""
    path_type: str | None = None
    backend: IngressBackend = zero(IngressBackend)


class HTTPIngressRuleValue(Struct):
    paths: Annotated[list[HTTPIngressPath] | None, list_atomic()] = None


class IngressRule(Struct):
    host: str = ""
    http: HTTPIngressRuleValue | None = None


class IngressTLS(Struct):
    hosts: Annotated[list[str], list_atomic()] = []
    secret_name: str = ""


class IngressSpec(Struct):
    ingress_class_name: str | None = None
    default_backend: IngressBackend | None = None
    tls: Annotated[list[IngressTLS], list_atomic()] = []
    rules: Annotated[list[IngressRule], list_atomic()] = []


class IngressPortStatus(Struct):
    port: Int32 = zero(int)
    protocol: str = zero(str)
    error: str | None = None


class IngressLoadBalancerIngress(Struct):
    ip: str = ""
    hostname: str = ""
    ports: Annotated[list[IngressPortStatus], list_atomic()] = []


class IngressLoadBalancerStatus(Struct):
    ingress: Annotated[list[IngressLoadBalancerIngress], list_atomic()] = []


class IngressStatus(Struct):
    load_balancer: IngressLoadBalancerStatus = zero(IngressLoadBalancerStatus)


class Ingress(Object):
    spec: IngressSpec = zero(IngressSpec)
    status: IngressStatus = zero(IngressStatus)


CLASS_ANNOTATION = "kubernetes.io/ingress.class"


def _class(ingress: Ingress, _now: str) -> str:
    named = ingress.spec.ingress_class_name
    return named if named is not None else ingress.metadata.annotations.get(CLASS_ANNOTATION, NONE)


def _hosts(ingress: Ingress, _now: str) -> str:
    return listed([rule.host for rule in ingress.spec.rules if rule.host]) or "*"


def _address(ingress: Ingress, _now: str) -> str:
    return ",".join(sorted({point.ip or point.hostname for point in ingress.status.load_balancer.ingress} - {""}))


KIND = Kind(
    type=Ingress,
    group="networking.k8s.io",
    version="v1",
    name="Ingress",
    plural="ingresses",
    singular="ingress",
    short=("ing",),
    has_status=True,
    columns=described(
        "ingresses",
        NAME,
        Column("Class", "string", _class),
        Column("Hosts", "string", _hosts),
        Column("Address", "string", _address),
        Column("Ports", "string", lambda item, _: "80, 443" if item.spec.tls else "80"),
        AGE,
    ),
)
