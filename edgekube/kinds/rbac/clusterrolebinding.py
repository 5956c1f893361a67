"""rbac.authorization.k8s.io/v1 ClusterRoleBinding: its types and rules."""

from __future__ import annotations

from typing import Annotated, ClassVar

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Object, Struct, list_atomic, zero


class RoleRef(Struct):
    ATOMIC: ClassVar[bool] = True
    api_group: str = zero(str)
    kind: str = zero(str)
    name: str = zero(str)


class Subject(Struct):
    ATOMIC: ClassVar[bool] = True
    kind: str = zero(str)
    api_group: str = ""
    name: str = zero(str)
    namespace: str = ""


class ClusterRoleBinding(Object):
    subjects: Annotated[list[Subject], list_atomic()] = []
    role_ref: RoleRef = zero(RoleRef)


KIND = Kind(
    type=ClusterRoleBinding,
    group="rbac.authorization.k8s.io",
    version="v1",
    name="ClusterRoleBinding",
    plural="clusterrolebindings",
    singular="clusterrolebinding",
    scope=Scope.CLUSTER,
)
