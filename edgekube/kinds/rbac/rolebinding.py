"""rbac.authorization.k8s.io/v1 RoleBinding: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind
from edgekube.api.meta import Object, list_atomic, zero
from edgekube.kinds.rbac.clusterrolebinding import RoleRef, Subject


class RoleBinding(Object):
    subjects: Annotated[list[Subject], list_atomic()] = []
    role_ref: RoleRef = zero(RoleRef)


KIND = Kind(
    type=RoleBinding,
    group="rbac.authorization.k8s.io",
    version="v1",
    name="RoleBinding",
    plural="rolebindings",
    singular="rolebinding",
)
