"""networking.k8s.io/v1 IngressClass: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Column, Kind, Scope
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
)
