"""rbac.authorization.k8s.io/v1 Role: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import FieldError, Kind
from edgekube.api.meta import Object, list_atomic, null
from edgekube.api.names import path_segment
from edgekube.kinds.rbac.clusterrole import PolicyRule, policy_rules


class Role(Object):
    rules: Annotated[list[PolicyRule] | None, list_atomic()] = null()


def prepare(role: Role, _old: Role | None = None) -> None:
    """No rules are null, as they come back from upstream's storage."""
    role.rules = role.rules or None


def role_rules(role: Role) -> list[FieldError]:
    """Every rule."""
    given = enumerate(role.rules or ())
    return [error for at, rule in given for error in policy_rules(f"rules[{at}]", rule, namespaced=True)]


KIND = Kind(
    type=Role,
    group="rbac.authorization.k8s.io",
    version="v1",
    name="Role",
    plural="roles",
    singular="role",
    prepare_create=prepare,
    prepare_update=prepare,
    generation=False,
    allow_create_on_update=True,
    name_rule=path_segment,
    rules=role_rules,
)
