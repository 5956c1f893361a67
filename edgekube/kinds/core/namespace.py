"""v1 Namespace: a scope for names, and what must happen before it is gone."""

from __future__ import annotations

from typing import Annotated

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind, Scope, Subresource
from edgekube.api.meta import Object, Struct, Time, list_atomic, list_map, null, zero
from edgekube.kinds.core.printing import AGE, NAME, described


class NamespaceSpec(Struct):
    """What must happen before the namespace is gone."""

    finalizers: Annotated[list[str], list_atomic()] = []


class NamespaceCondition(Struct):
    """What stands in the way of a deletion."""

    type: str = zero(str)
    status: str = zero(str)
    last_transition_time: Time | None = null()
    reason: str = ""
    message: str = ""


class NamespaceStatus(Struct):
    """Active or Terminating."""

    phase: str = ""
    conditions: Annotated[list[NamespaceCondition], list_map("type")] = []


class Namespace(Object):
    """A scope for names."""

    spec: NamespaceSpec = zero(NamespaceSpec)
    status: NamespaceStatus = zero(NamespaceStatus)


FINALIZER = "kubernetes"
NAME_LABEL = "kubernetes.io/metadata.name"


def default(namespace: Namespace) -> None:
    """A namespace is labelled with its own name, and is Active until deleted."""
    if namespace.metadata.name:
        namespace.metadata.labels = namespace.metadata.labels | {NAME_LABEL: namespace.metadata.name}
    namespace.status.phase = namespace.status.phase or "Active"


def prepare_create(namespace: Namespace) -> None:
    """The server itself always has to finish a namespace."""
    default(namespace)  # a generated name was not known before
    namespace.status = NamespaceStatus(phase="Active")
    if FINALIZER not in namespace.spec.finalizers:
        namespace.spec.finalizers = [*namespace.spec.finalizers, FINALIZER]


def prepare_update(namespace: Namespace, old: Namespace) -> None:
    """Finalizers go through the finalize subresource only."""
    namespace.spec.finalizers = old.spec.finalizers
    namespace.status = old.status


def prepare_status(namespace: Namespace, old: Namespace) -> None:
    """A status write leaves the finalizers alone."""
    namespace.spec.finalizers = old.spec.finalizers


def broken_rules(namespace: Namespace) -> list[FieldError]:
    """Finalizers have a domain, but for the server's own."""
    broken: list[FieldError] = []
    if namespace.metadata.resource_version not in ("", "0"):
        return broken  # only on creation
    for name in namespace.spec.finalizers:
        broken += finalizer_name("spec.finalizers", name)
    return broken


def finalizer_name(path: str, name: str) -> list[FieldError]:
    """A qualified name, or one of the old bare ones."""
    broken = rules.each(path, name, names.qualified_name(name))
    if "/" not in name and name not in (FINALIZER, "orphan", "foregroundDeletion"):
        broken.append(rules.invalid(path, name, "name is neither a standard finalizer name nor is it fully qualified"))
    return broken


def status_rules(namespace: Namespace, _old: Namespace) -> list[FieldError]:
    """The phase follows from the deletion timestamp."""
    deleted = namespace.metadata.deletion_timestamp is not None
    phase, wanted = namespace.status.phase, "Terminating" if deleted else "Active"
    if phase == wanted:
        return []
    words = f"may only be '{wanted}' if `deletionTimestamp` is {'not ' if deleted else ''}empty"
    return [rules.invalid("status.Phase", phase, words)]


KIND = Kind(
    type=Namespace,
    group="",
    version="v1",
    name="Namespace",
    plural="namespaces",
    singular="namespace",
    short=("ns",),
    scope=Scope.CLUSTER,
    verbs=("create", "delete", "get", "list", "patch", "update", "watch"),
    has_status=True,
    subresources=(Subresource("finalize", "Namespace", ("update",)),),
    generation=False,
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status=prepare_status,
    selectable={"status.phase": lambda namespace: namespace.status.phase},
    columns=described("namespaces", NAME, Column("Status", "string", lambda item, _: item.status.phase), AGE),
    rules=broken_rules,
    status_rules=status_rules,
    name_rule=names.dns_label,
)
