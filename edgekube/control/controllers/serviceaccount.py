"""ServiceAccount: every namespace has one called `default`. Source: k8s.io/kubernetes pkg/controller/serviceaccount."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from edgekube.api.meta import Object, ObjectMeta
from edgekube.control.config import Config
from edgekube.kinds.core import namespace as namespace_kind
from edgekube.kinds.core import serviceaccount
from edgekube.kinds.core.serviceaccount import ServiceAccount
from edgekube.reconcile.drive import Caches, Controller, Key, Watch
from edgekube.reconcile.plan import NOTHING, Create, Plan

NAMES = ("default",)


@dataclass(frozen=True, slots=True)
class Seen:
    """An active namespace and the accounts it lacks."""

    namespace: str
    missing: tuple[str, ...]


def reconcile(seen: Seen) -> Plan:
    """Make what is missing."""
    if not seen.missing:
        return NOTHING
    accounts = [ServiceAccount(metadata=ObjectMeta(name=name, namespace=seen.namespace)) for name in seen.missing]
    return Plan([Create(kind=serviceaccount.KIND, item=account, may_exist=True) for account in accounts])


def observe(caches: Caches, key: Key, _: datetime) -> Seen | None:
    """Keyed by namespace; one that is going is left alone."""
    namespace = caches.of(namespace_kind.KIND).get("", key.name)
    if (
        namespace is None
        or namespace.status.phase == "Terminating"
        or namespace.metadata.deletion_timestamp is not None
    ):
        return None
    cache = caches.of(serviceaccount.KIND)
    return Seen(key.name, tuple(name for name in NAMES if cache.get(key.name, name) is None))


def namespace_of(_: Caches, item: Object, __: Object | None = None) -> Iterable[Key]:
    """The namespace an object lives in."""
    if item.metadata.name in NAMES:
        yield Key("", item.metadata.namespace)


def of_namespace(_: Caches, item: Object, __: Object | None = None) -> Iterable[Key]:
    """The namespace itself."""
    yield Key("", item.metadata.name)


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="service-account-controller",
        watches=(Watch(namespace_kind.KIND, of_namespace), Watch(serviceaccount.KIND, namespace_of)),
        observe=observe,
        reconcile=reconcile,
    )
