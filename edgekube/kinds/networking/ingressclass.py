"""networking.k8s.io/v1 IngressClass: its types and rules."""

from __future__ import annotations

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
from edgekube.api.meta import Object, Struct, zero
from edgekube.kinds.columns import AGE, NAME, NONE, described


class IngressClassParametersReference(Struct):
    api_group: str | None = None
    kind: str = zero(str)
    name: str = zero(str)
    scope: str | None = None
    namespace: str | None = None


class IngressClassSpec(Struct):
    controller: str = ""
    parameters: IngressClassParametersReference | None = None


class IngressClass(Object):
    spec: IngressClassSpec = zero(IngressClassSpec)


def default(ingress_class: IngressClass) -> None:
    """Parameters are cluster-wide."""
    parameters = ingress_class.spec.parameters
    if parameters is not None and parameters.scope is None:
        parameters.scope = "Cluster"


def _parameters(ingress_class: IngressClass, _now: str) -> str:
    found = ingress_class.spec.parameters
    if found is None:
        return NONE
    return f"{found.kind}.{found.api_group}/{found.name}" if found.api_group else f"{found.kind}/{found.name}"


CONTROLLER_MAX = 250
SCOPES = ("Cluster", "Namespace")
_DOMAIN_PATH = 'must be a domain-prefixed path (such as "acme.io/foo")'


def domain_prefixed_path(path: str, value: str) -> list[FieldError]:
    """A DNS name, a slash and a URL path."""
    domain, slash, rest = value.partition("/")
    if not slash or not domain or not rest:
        return [rules.invalid(path, value, _DOMAIN_PATH)]
    broken = rules.each(path, domain, names.dns_subdomain(domain))
    return broken + rules.each(path, rest, names.http_path(rest))


def _parameters_rules(parameters: IngressClassParametersReference) -> list[FieldError]:
    path = "spec.parameters"
    broken: list[FieldError] = []
    if parameters.api_group is not None:
        broken += rules.each(f"{path}.apiGroup", parameters.api_group, names.dns_subdomain(parameters.api_group))
    for member in ("kind", "name"):
        value = getattr(parameters, member)
        problems = rules.each(f"{path}.{member}", value, names.path_segment(value))
        broken += problems if value else [rules.required(f"{path}.{member}")]
    scope = parameters.scope or ""
    if scope not in SCOPES:
        return [*broken, rules.not_supported(f"{path}.scope", scope, SCOPES)]
    if scope == "Cluster" and parameters.namespace is not None:
        broken.append(rules.forbidden(f"{path}.namespace", "`parameters.scope` is set to 'Cluster'"))
    if scope == "Namespace" and parameters.namespace is None:
        broken.append(rules.required(f"{path}.namespace", "`parameters.scope` is set to 'Namespace'"))
    elif scope == "Namespace" and parameters.namespace is not None:
        broken += rules.each(f"{path}.namespace", parameters.namespace, names.dns_label(parameters.namespace))
    return broken


def class_rules(ingress_class: IngressClass) -> list[FieldError]:
    """Which controller, and its parameters."""
    spec = ingress_class.spec
    if not spec.controller:
        broken = [rules.required("spec.controller")]
    elif len(spec.controller) > CONTROLLER_MAX:
        broken = [rules.too_long("spec.controller", CONTROLLER_MAX)]
    else:
        broken = domain_prefixed_path("spec.controller", spec.controller)
    return broken if spec.parameters is None else broken + _parameters_rules(spec.parameters)


def class_update_rules(new: IngressClass, old: IngressClass) -> list[FieldError]:
    """A class never changes hands."""
    return rules.same("spec.controller", new.spec.controller, old.spec.controller)


KIND = Kind(
    type=IngressClass,
    group="networking.k8s.io",
    version="v1",
    name="IngressClass",
    plural="ingressclasses",
    singular="ingressclass",
    scope=Scope.CLUSTER,
    default=default,
    columns=described(
        "ingressclasses",
        NAME,
        Column("Controller", "string", lambda item, _: item.spec.controller),
        Column("Parameters", "string", _parameters),
        AGE,
    ),
    rules=class_rules,
    update_rules=class_update_rules,
)
