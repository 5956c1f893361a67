"""rbac.authorization.k8s.io/v1 ClusterRoleBinding: its types and rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, ClassVar

from edgekube.api import rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
from edgekube.api.meta import Object, Struct, list_atomic, zero
from edgekube.api.names import dns_subdomain, path_segment
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


def _subject_rules(path: str, subject: Subject, *, namespaced: bool) -> list[FieldError]:
    broken: list[FieldError] = []
    if subject.kind not in GROUPS_OF_SUBJECTS:
        broken.append(rules.not_supported(f"{path}.kind", subject.kind, GROUPS_OF_SUBJECTS))
    if not subject.name:
        broken.append(rules.required(f"{path}.name"))
    elif subject.kind == "ServiceAccount":
        broken += rules.each(f"{path}.name", subject.name, dns_subdomain(subject.name))
    group = GROUPS_OF_SUBJECTS.get(subject.kind)
    if group is not None and subject.api_group != group:
        broken.append(rules.not_supported(f"{path}.apiGroup", subject.api_group, [group]))
    if subject.kind == "ServiceAccount" and not namespaced and not subject.namespace:
        broken.append(rules.required(f"{path}.namespace"))
    return broken


def _rules(binding: Binding, kinds: tuple[str, ...]) -> list[FieldError]:
    reference = binding.role_ref
    broken: list[FieldError] = []
    if reference.api_group != RBAC:
        broken.append(rules.not_supported("roleRef.apiGroup", reference.api_group, [RBAC]))
    if reference.kind not in kinds:
        broken.append(rules.not_supported("roleRef.kind", reference.kind, kinds))
    if not reference.name:
        broken.append(rules.required("roleRef.name"))
    else:
        broken += rules.each("roleRef.name", reference.name, path_segment(reference.name))
    for at, subject in enumerate(binding.subjects):
        broken += _subject_rules(f"subjects[{at}]", subject, namespaced=len(kinds) > 1)
    return broken


def role_binding_rules(binding: Binding) -> list[FieldError]:
    """Of a binding in a namespace."""
    return _rules(binding, ("Role", "ClusterRole"))


def cluster_role_binding_rules(binding: Binding) -> list[FieldError]:
    """Of a binding everywhere: service accounts need their namespace."""
    return _rules(binding, ("ClusterRole",))


def binding_update_rules(new: Binding, old: Binding) -> list[FieldError]:
    """Another role is another binding."""
    if new.role_ref == old.role_ref:
        return []
    shown = {"APIGroup": new.role_ref.api_group, "Kind": new.role_ref.kind, "Name": new.role_ref.name}
    return [rules.invalid("roleRef", shown, "cannot change roleRef")]


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
    rules=cluster_role_binding_rules,
    update_rules=binding_update_rules,
)
