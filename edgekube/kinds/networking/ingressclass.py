"""networking.k8s.io/v1 IngressClass: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Object, Struct, zero


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


KIND = Kind(
    type=IngressClass,
    group="networking.k8s.io",
    version="v1",
    name="IngressClass",
    plural="ingressclasses",
    singular="ingressclass",
    scope=Scope.CLUSTER,
)
