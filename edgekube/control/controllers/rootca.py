"""kube-root-ca.crt: every namespace carries the cluster's CA as a ConfigMap, put right whenever it is changed.

Source: k8s.io/kubernetes pkg/controller/certificates/rootcacertpublisher.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

import msgspec

from edgekube.api.meta import Object, ObjectMeta
from edgekube.control.config import Config
from edgekube.kinds.core import configmap
from edgekube.kinds.core import namespace as namespace_kind
from edgekube.kinds.core.configmap import ConfigMap
from edgekube.reconcile.drive import Caches, Controller, Key, Watch
from edgekube.reconcile.plan import NOTHING, Create, Plan, Update

NAME = "kube-root-ca.crt"
DESCRIPTION_KEY = "kubernetes.io/description"
DESCRIPTION = (
    "Contains a CA bundle that can be used to verify the kube-apiserver when using internal endpoints such as the internal "
    "service IP or kubernetes.default.svc. No other usage is guaranteed across distributions of Kubernetes clusters."
)


@dataclass(frozen=True, slots=True)
class Seen:
    """An active namespace, what it has, and what it should have."""

    namespace: str
    published: ConfigMap | None
    certificate: str


def reconcile(seen: Seen) -> Plan:
    """Publish, or correct."""
    if not seen.certificate:
        return NOTHING
    data = {"ca.crt": seen.certificate}
    if seen.published is None:
        metadata = ObjectMeta(name=NAME, namespace=seen.namespace, annotations={DESCRIPTION_KEY: DESCRIPTION})
        return Plan([Create(kind=configmap.KIND, item=ConfigMap(metadata=metadata, data=data), may_exist=True)])
    annotations = seen.published.metadata.annotations
    if seen.published.data == data and annotations.get(DESCRIPTION_KEY) == DESCRIPTION:
        return NOTHING
    metadata = msgspec.structs.replace(
        seen.published.metadata, annotations={**annotations, DESCRIPTION_KEY: DESCRIPTION}
    )
    return Plan(
        [Update(kind=configmap.KIND, item=msgspec.structs.replace(seen.published, metadata=metadata, data=data))]
    )


def observe(config: Config, caches: Caches, key: Key, _: datetime) -> Seen | None:
    """Keyed by namespace; one that is going is left alone."""
    namespace = caches.of(namespace_kind.KIND).get("", key.name)
    if (
        namespace is None
        or namespace.status.phase == "Terminating"
        or namespace.metadata.deletion_timestamp is not None
    ):
        return None
    return Seen(key.name, caches.of(configmap.KIND).get(key.name, NAME), config.ca_certificate)


def of_namespace(_: Caches, item: Object, __: Object | None = None) -> Iterable[Key]:
    """The namespace itself."""
    yield Key("", item.metadata.name)


def of_configmap(_: Caches, item: Object, __: Object | None = None) -> Iterable[Key]:
    """Only ours point at their namespace."""
    if item.metadata.name == NAME:
        yield Key("", item.metadata.namespace)


def controller(config: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="root-ca-certificate-publisher",
        watches=(Watch(namespace_kind.KIND, of_namespace), Watch(configmap.KIND, of_configmap)),
        observe=partial(observe, config),
        reconcile=reconcile,
    )
