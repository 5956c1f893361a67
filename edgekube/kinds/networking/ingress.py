"""networking.k8s.io/v1 Ingress: its types and rules."""

from __future__ import annotations

from typing import Annotated, ClassVar

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind
from edgekube.api.meta import Int32, Object, Struct, list_atomic, null, zero
from edgekube.kinds.columns import AGE, NAME, NONE, described, listed
from edgekube.kinds.core.address_rules import ip, parse_ip
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
    paths: Annotated[list[HTTPIngressPath] | None, list_atomic()] = null()


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


PATH_TYPES = ("Exact", "ImplementationSpecific", "Prefix")
FORBIDDEN_IN_PATHS = ("//", "/./", "/../", "%2f", "%2F")
FORBIDDEN_AT_THE_END = ("/..", "/.")
NOT_AN_IP = "must be a DNS name, not an IP address"


def _host_name(path: str, host: str) -> list[FieldError]:
    """A DNS name, or one with a wildcard in front."""
    check = names.wildcard_dns_subdomain if "*" in host else names.dns_subdomain
    return rules.each(path, host, check(host))


def typed_reference(path: str, reference: TypedLocalObjectReference) -> list[FieldError]:
    """Group, kind and name of something in the same namespace."""
    broken: list[FieldError] = []
    if reference.api_group is not None:
        broken += rules.each(f"{path}.apiGroup", reference.api_group, names.dns_subdomain(reference.api_group))
    for member in ("kind", "name"):
        value = getattr(reference, member)
        problems = rules.each(f"{path}.{member}", value, names.path_segment(value))
        broken += problems if value else [rules.required(f"{path}.{member}")]
    return broken


def _service(path: str, service: IngressServiceBackend) -> list[FieldError]:
    broken: list[FieldError] = []
    if not service.name:
        broken.append(rules.required(f"{path}.service.name"))
    else:
        broken += rules.each(f"{path}.service.name", service.name, names.dns_label(service.name))
    port = service.port
    if port.name and port.number:
        broken.append(rules.invalid(path, "", "cannot set both port name & port number"))
    elif port.name:
        broken += rules.each(f"{path}.service.port.name", port.name, names.port_name(port.name))
    elif port.number:
        broken += rules.each(f"{path}.service.port.number", port.number, names.port_number(port.number))
    else:
        broken.append(rules.required(path, "port name or number is required"))
    return broken


def _backend(path: str, backend: IngressBackend) -> list[FieldError]:
    if backend.resource is not None and backend.service is not None:
        return [rules.invalid(path, "", "cannot set both resource and service backends")]
    if backend.resource is not None:
        return typed_reference(f"{path}.resource", backend.resource)
    if backend.service is not None:
        return _service(path, backend.service)
    return [rules.invalid(path, "", "resource or service backend is required")]


def _http_path(path: str, given: HTTPIngressPath) -> list[FieldError]:
    if given.path_type is None:
        return [rules.required(f"{path}.pathType", "pathType must be specified")]
    broken: list[FieldError] = []
    if given.path_type not in PATH_TYPES:
        broken.append(rules.not_supported(f"{path}.pathType", given.path_type, PATH_TYPES))
    elif not given.path.startswith("/") and (given.path or given.path_type != "ImplementationSpecific"):
        broken.append(rules.invalid(f"{path}.path", given.path, "must be an absolute path"))
    if given.path_type in ("Exact", "Prefix"):
        at = f"{path}.path"
        for part in FORBIDDEN_IN_PATHS:
            if part in given.path:
                broken.append(rules.invalid(at, given.path, f"must not contain '{part}'"))
        for end in FORBIDDEN_AT_THE_END:
            if given.path.endswith(end):
                broken.append(rules.invalid(at, given.path, f"cannot end with '{end}'"))
    return broken + _backend(f"{path}.backend", given.backend)


def _rule(path: str, rule: IngressRule) -> list[FieldError]:
    broken: list[FieldError] = []
    if rule.host:
        if parse_ip(rule.host) is not None:
            broken.append(rules.invalid(f"{path}.host", rule.host, NOT_AN_IP))
        broken += _host_name(f"{path}.host", rule.host)
    if rule.http is not None:
        if not rule.http.paths:
            broken.append(rules.required(f"{path}.http.paths"))
        for at, given in enumerate(rule.http.paths or ()):
            broken += _http_path(f"{path}.http.paths[{at}]", given)
    return broken


def _tls(path: str, tls: IngressTLS) -> list[FieldError]:
    broken: list[FieldError] = []
    for at, host in enumerate(tls.hosts):
        broken += _host_name(f"{path}.hosts[{at}]", host)
    if tls.secret_name:
        broken += rules.each(f"{path}.secretName", tls.secret_name, names.dns_subdomain(tls.secret_name))
    return broken


def ingress_rules(ingress: Ingress) -> list[FieldError]:
    """The spec."""
    spec = ingress.spec
    broken: list[FieldError] = []
    if not spec.rules and spec.default_backend is None:
        broken.append(rules.invalid("spec", None, "either `defaultBackend` or `rules` must be specified"))
    if spec.default_backend is not None:
        broken += _backend("spec.defaultBackend", spec.default_backend)
    for at, rule in enumerate(spec.rules):
        broken += _rule(f"spec.rules[{at}]", rule)
    for at, tls in enumerate(spec.tls):
        broken += _tls(f"spec.tls[{at}]", tls)
    if (chosen := spec.ingress_class_name) is not None:
        broken += rules.each("spec.ingressClassName", chosen, names.dns_subdomain(chosen))
        annotated = ingress.metadata.annotations.get(CLASS_ANNOTATION)
        if annotated is not None and annotated != chosen and not ingress.metadata.resource_version:
            words = "must match `ingressClassName` when both are specified"
            broken.append(rules.invalid(f"annotations.{CLASS_ANNOTATION}", annotated, words))
    return broken


def status_rules(new: Ingress, _old: Ingress) -> list[FieldError]:
    """Addresses are addresses, host names are not."""
    broken: list[FieldError] = []
    for at, point in enumerate(new.status.load_balancer.ingress):
        path = f"status.loadBalancer.ingress[{at}]"
        if point.ip:
            broken += ip(f"{path}.ip", point.ip)
        if point.hostname:
            broken += rules.each(f"{path}.hostname", point.hostname, names.dns_subdomain(point.hostname))
            if parse_ip(point.hostname) is not None:
                broken.append(rules.invalid(f"{path}.hostname", point.hostname, NOT_AN_IP))
    return broken


def ingress_warnings(ingress: Ingress, old: Ingress | None) -> list[str]:
    """The annotation from before there was a member for it."""
    if old is not None or CLASS_ANNOTATION not in ingress.metadata.annotations:
        return []
    return [f"annotation \"{CLASS_ANNOTATION}\" is deprecated, please use 'spec.ingressClassName' instead"]


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
    rules=ingress_rules,
    status_rules=status_rules,
    warnings=ingress_warnings,
)
