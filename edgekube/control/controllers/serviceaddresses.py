"""IPAddresses: every cluster IP of a Service has an object of its own, so that others see it taken; put right whatever happens.

Which address a Service gets is the server's business (it looks at Services and IPAddresses both); here the record is kept true.
Addresses that somebody else wrote down stay as they are. Source: kubernetes pkg/registry/core/service/ipallocator/controller.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address

from edgekube.api.meta import Object, ObjectMeta
from edgekube.control.config import Config
from edgekube.kinds.core import service as service_kind
from edgekube.kinds.core.service import Service
from edgekube.kinds.networking import ipaddress as address_kind
from edgekube.kinds.networking.ipaddress import IPAddress, IPAddressSpec, ParentReference
from edgekube.reconcile.drive import Caches, Controller, Key, Watch
from edgekube.reconcile.plan import NOTHING, Create, Delete, Plan

KIND = address_kind.KIND
INDEX = "address"
FAMILY = "ipaddress.kubernetes.io/ip-family"
MANAGED_BY = "ipaddress.kubernetes.io/managed-by"
US = "ipallocator.k8s.io"


@dataclass(frozen=True, slots=True)
class Seen:
    """An address: the Services that have it (one, if all is well) and its record."""

    address: str
    services: tuple[tuple[str, str], ...]
    recorded: IPAddress | None


def addresses_of(service: Service) -> list[str]:
    """The cluster IPs of a Service; also the index that finds Services by them."""
    return [text for text in service.spec.cluster_ips if text and text != "None"]


def reconcile(seen: Seen) -> Plan:
    """Write down what is used, forget what is not."""
    recorded = seen.recorded
    if recorded is None:
        if not seen.services:
            return NOTHING
        namespace, name = seen.services[0]
        family = f"IPv{ip_address(seen.address).version}"
        made = IPAddress(
            metadata=ObjectMeta(name=seen.address, labels={FAMILY: family, MANAGED_BY: US}),
            spec=IPAddressSpec(parent_ref=ParentReference(resource="services", namespace=namespace, name=name)),
        )
        return Plan([Create(kind=KIND, item=made, may_exist=True)])
    parent = recorded.spec.parent_ref
    owner = (parent.namespace, parent.name) if parent is not None else ("", "")
    if owner in seen.services or recorded.metadata.labels.get(MANAGED_BY) != US:
        return NOTHING
    return Plan([Delete(kind=KIND, namespace="", name=seen.address, uid=recorded.metadata.uid)])


def observe(caches: Caches, key: Key, _: datetime) -> Seen:
    """Keyed by address."""
    services = caches.of(service_kind.KIND).by(INDEX, key.name)
    found = sorted((item.metadata.namespace, item.metadata.name) for item in services)
    return Seen(key.name, tuple(found), caches.of(KIND).get("", key.name))


def of_service(_: Caches, item: Service, before: Service | None = None) -> Iterable[Key]:
    """The addresses it has and had."""
    known = addresses_of(item) + (addresses_of(before) if before is not None else [])
    for text in dict.fromkeys(known):
        yield Key("", text)


def of_address(_: Caches, item: Object, __: Object | None = None) -> Iterable[Key]:
    """Itself."""
    yield Key("", item.metadata.name)


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="service-ip-address-controller",
        watches=(Watch(service_kind.KIND, of_service), Watch(KIND, of_address)),
        observe=observe,
        reconcile=reconcile,
    )
