"""rbac.authorization.k8s.io/v1 Role: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind
from edgekube.api.meta import Object, list_atomic
from edgekube.kinds.rbac.clusterrole import PolicyRule


class Role(Object):
    rules: Annotated[list[PolicyRule] | None, list_atomic()] = None


KIND = Kind(
    type=Role,
    group="rbac.authorization.k8s.io",
    version="v1",
    name="Role",
    plural="roles",
    singular="role",
)
