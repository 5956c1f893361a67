"""v1 Namespace: a scope for names, and what must happen before it is gone."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Column, Kind, Scope, Subresource
from edgekube.api.meta import Object, Struct, Time, list_atomic, list_map, zero
from edgekube.kinds.core.printing import AGE, NAME, described


class NamespaceSpec(Struct):
    finalizers: Annotated[list[str], list_atomic()] = []


class NamespaceCondition(Struct):
    type: str = zero(str)
    status: str = zero(str)
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class NamespaceStatus(Struct):
    phase: str = ""
    conditions: Annotated[list[NamespaceCondition], list_map("type")] = []


class Namespace(Object):
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
)
