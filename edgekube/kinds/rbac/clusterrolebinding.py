"""rbac.authorization.k8s.io/v1 ClusterRoleBinding: its types and rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

from edgekube.api.kind import Column, Kind, Scope
from edgekube.api.meta import Object, Struct, list_atomic, zero
from edgekube.api.names import path_segment
from edgekube.kinds.columns import AGE, NAME, described


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


RBAC = "rbac.authorization.k8s.io"
GROUPS_OF_SUBJECTS = {"ServiceAccount": "", "User": RBAC, "Group": RBAC}


class Binding(Object):
    """What both kinds of bindings have."""

    subjects: Annotated[list[Subject], list_atomic()] = []
    role_ref: RoleRef = zero(RoleRef)


def default(binding: Binding) -> None:
    """Roles, users and groups belong to this API group, service accounts to core."""
    if not binding.role_ref.api_group:
        binding.role_ref.api_group = RBAC
    for subject in binding.subjects:
        if not subject.api_group:
            subject.api_group = GROUPS_OF_SUBJECTS.get(subject.kind, "")


def _subjects(kind: str) -> Callable[[Binding, str], str]:
    def names(binding: Binding, _now: str) -> str:
        chosen = [subject for subject in binding.subjects if subject.kind == kind]
        account = kind == "ServiceAccount"
        return ", ".join(f"{one.namespace}/{one.name}" if account else one.name for one in chosen)

    return names


BINDING_COLUMNS = (
    NAME,
    Column("Role", "string", lambda item, _: f"{item.role_ref.kind}/{item.role_ref.name}"),
    AGE,
    Column("Users", "string", _subjects("User"), priority=1),
    Column("Groups", "string", _subjects("Group"), priority=1),
    Column("ServiceAccounts", "string", _subjects("ServiceAccount"), priority=1),
)


class ClusterRoleBinding(Binding):
    pass


KIND = Kind(
    type=ClusterRoleBinding,
    group="rbac.authorization.k8s.io",
    version="v1",
    name="ClusterRoleBinding",
    plural="clusterrolebindings",
    singular="clusterrolebinding",
    scope=Scope.CLUSTER,
    default=default,
    generation=False,
    allow_create_on_update=True,
    name_rule=path_segment,
    columns=described("clusterrolebindings", *BINDING_COLUMNS),
)
