"""rbac.authorization.k8s.io/v1 RoleBinding: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Kind
from edgekube.api.names import path_segment
from edgekube.kinds.columns import described
from edgekube.kinds.rbac.clusterrolebinding import (
    BINDING_COLUMNS,
    Binding,
    binding_update_rules,
    default,
    role_binding_rules,
)


class RoleBinding(Binding):
    pass


KIND = Kind(
    type=RoleBinding,
    group="rbac.authorization.k8s.io",
    version="v1",
    name="RoleBinding",
    plural="rolebindings",
    singular="rolebinding",
    default=default,
    generation=False,
    allow_create_on_update=True,
    name_rule=path_segment,
    columns=described("rolebindings", *BINDING_COLUMNS),
    rules=role_binding_rules,
    update_rules=binding_update_rules,
)
