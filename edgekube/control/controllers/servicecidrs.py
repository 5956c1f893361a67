"""ServiceCIDRs: a range is Ready once it is held by us, and does not go while addresses lie in it that no other range has.

Source: kubernetes pkg/controller/servicecidrs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address, ip_network

import msgspec

from edgekube.api.meta import Condition, Object, format_time
from edgekube.control.config import Config
from edgekube.kinds.networking import ipaddress as address_kind
from edgekube.kinds.networking import servicecidr
from edgekube.kinds.networking.servicecidr import ServiceCIDR
from edgekube.reconcile.drive import Caches, Controller, Key, Watch
from edgekube.reconcile.plan import NOTHING, Action, Patch, Plan, Update

KIND = servicecidr.KIND
FINALIZER = "networking.k8s.io/service-cidr-finalizer"
READY_WORDS = "Kubernetes Service CIDR is ready"
TERMINATING_WORDS = (
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR"
)


@dataclass(frozen=True, slots=True)
class Seen:
    """A range, and how many addresses only it holds (counted when it is going)."""

    range: ServiceCIDR
    alone: int
    now: datetime


def reconcile(seen: Seen) -> Plan:
    """Hold it and say that it is ready; let it go when nobody needs it."""
    meta = seen.range.metadata
    if meta.deletion_timestamp is None:
        actions: list[Action] = []
        if FINALIZER not in meta.finalizers:
            finalizers = [*meta.finalizers, FINALIZER]
            actions.append(_finalizers(seen.range, finalizers))
        return Plan([*actions, *_condition(seen, "True", "", READY_WORDS)])
    if FINALIZER not in meta.finalizers:
        return NOTHING
    if seen.alone:
        return Plan(_condition(seen, "False", "Terminating", TERMINATING_WORDS))
    return Plan([_finalizers(seen.range, [name for name in meta.finalizers if name != FINALIZER])])


def _finalizers(item: ServiceCIDR, finalizers: list[str]) -> Patch:
    meta = item.metadata
    patch = {"metadata": {"uid": meta.uid, "resourceVersion": meta.resource_version, "finalizers": finalizers or None}}
    return Patch(kind=KIND, namespace="", name=meta.name, patch=patch)


def _condition(seen: Seen, status: str, reason: str, message: str) -> list[Action]:
    known = {one.type: one for one in seen.range.status.conditions}
    before = known.get("Ready")
    if before is not None and (before.status, before.reason, before.message) == (status, reason, message):
        return []
    since = before.last_transition_time if before is not None and before.status == status else format_time(seen.now)
    known["Ready"] = Condition(type="Ready", status=status, reason=reason, message=message, last_transition_time=since)
    changed = msgspec.structs.replace(seen.range.status, conditions=list(known.values()))
    item = msgspec.structs.replace(seen.range, status=changed)
    if FINALIZER not in item.metadata.finalizers:  # the patch before this one moves the revision
        item = msgspec.structs.replace(item, metadata=msgspec.structs.replace(item.metadata, resource_version=""))
    return [Update(kind=KIND, item=item, subresource="status")]


def holds(cidrs: Sequence[str], address: str) -> bool:
    """Whether an address lies in one of these networks."""
    found = ip_address(address)
    return any(found in ip_network(text, strict=False) for text in cidrs)


def observe(caches: Caches, key: Key, now: datetime) -> Seen | None:
    """Keyed by name."""
    ranges = caches.of(KIND)
    found = ranges.get("", key.name)
    if found is None:
        return None
    if found.metadata.deletion_timestamp is None:
        return Seen(found, 0, now)
    others = [
        text
        for one in ranges.list()
        if one.metadata.name != key.name and one.metadata.deletion_timestamp is None
        for text in one.spec.cidrs
    ]
    addresses = [item.metadata.name for item in caches.of(address_kind.KIND).list()]
    alone = sum(holds(found.spec.cidrs, text) and not holds(others, text) for text in addresses)
    return Seen(found, alone, now)


def of_range(caches: Caches, item: ServiceCIDR, __: Object | None = None) -> Iterable[Key]:
    """Itself, and those that are going: one more range may free them."""
    yield Key("", item.metadata.name)
    for one in caches.of(KIND).list():
        if one.metadata.deletion_timestamp is not None and one.metadata.name != item.metadata.name:
            yield Key("", one.metadata.name)


def of_address(caches: Caches, item: Object, __: Object | None = None) -> Iterable[Key]:
    """Ranges that are going and have it."""
    for one in caches.of(KIND).list():
        if one.metadata.deletion_timestamp is not None and holds(one.spec.cidrs, item.metadata.name):
            yield Key("", one.metadata.name)


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="service-cidrs-controller",
        watches=(Watch(KIND, of_range), Watch(address_kind.KIND, of_address)),
        observe=observe,
        reconcile=reconcile,
    )
