"""How much of each resource a pod asks for, and the quality-of-service class that follows from it.

Source: upstream's component-helpers/resource and pkg/apis/core/helper/qos.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from itertools import chain

from edgekube.api.meta import Quantity
from edgekube.api.quantity import amount, format_amount
from edgekube.kinds.core.container import Container
from edgekube.kinds.core.podspec import PodSpec

QOS_RESOURCES = ("cpu", "memory")
HUGE_PAGES = "hugepages-"
Amounts = dict[str, Decimal]


def is_pod_level(name: str) -> bool:
    """Whether a resource may be asked for by the pod as a whole."""
    return name in QOS_RESOURCES or name.startswith(HUGE_PAGES)


def can_overcommit(name: str) -> bool:
    """Whether a limit may exceed the request: standard resources other than huge pages."""
    return ("/" not in name or "kubernetes.io/" in name) and not name.startswith(HUGE_PAGES)


def _add(into: Amounts, more: Mapping[str, Decimal]) -> None:
    for name, value in more.items():
        into[name] = into.get(name, Decimal(0)) + value


def _raise(into: Amounts, floor: Mapping[str, Decimal]) -> None:
    for name, value in floor.items():
        into[name] = max(into.get(name, value), value)


def aggregate(spec: PodSpec, pick: Callable[[Container], Mapping[str, Quantity]]) -> Amounts:
    """What the containers need at once: all plain ones and sidecars, or an init container beside earlier sidecars."""
    total: Amounts = {}
    for container in spec.containers or ():
        _add(total, {name: amount(value) for name, value in pick(container).items()})
    sidecars: Amounts = {}
    starting: Amounts = {}
    for container in spec.init_containers:
        wanted = {name: amount(value) for name, value in pick(container).items()}
        if container.restart_policy == "Always":
            _add(total, wanted)
            _add(sidecars, wanted)
            wanted = dict(sidecars)
        else:
            _add(wanted, sidecars)
        _raise(starting, wanted)
    _raise(total, starting)
    return total


def default_pod_level(spec: PodSpec) -> None:
    """Complete requests and limits of the pod as a whole when they are partly given, in place."""
    own = spec.resources
    if own is None or not (own.limits or own.requests):
        return
    for name, value in aggregate(spec, lambda one: one.resources.limits).items():
        if name.startswith(HUGE_PAGES) and name not in own.requests and name not in own.limits:
            own.limits[name] = Quantity(format_amount(value, "binary"))
    if own.limits:
        for name, value in aggregate(spec, lambda one: one.resources.requests).items():
            if is_pod_level(name) and can_overcommit(name) and name not in own.requests:
                own.requests[name] = _like(value, name)
        for name, limit in own.limits.items():
            if is_pod_level(name):
                own.requests.setdefault(name, limit)
    elif any(is_pod_level(name) for name in own.requests):
        everyone = list(chain(spec.containers or (), spec.init_containers))
        for name, value in aggregate(spec, lambda one: one.resources.limits).items():
            if is_pod_level(name) and can_overcommit(name) and all(name in one.resources.limits for one in everyone):
                own.limits[name] = _like(value, name)


def _like(value: Decimal, name: str) -> Quantity:
    return Quantity(format_amount(value, "decimal" if name == "cpu" else "binary"))


def qos_class(spec: PodSpec) -> str:
    """ "Guaranteed", "Burstable" or "BestEffort", from cpu and memory only."""
    if spec.resources is not None and (spec.resources.requests or spec.resources.limits):
        holders = [spec.resources]
    else:
        holders = [one.resources for one in chain(spec.containers or (), spec.init_containers)]
    requests: Amounts = {}
    limits: Amounts = {}
    guaranteed = True
    for holder in holders:
        wanted = _positive(holder.requests)
        capped = _positive(holder.limits)
        _add(requests, wanted)
        _add(limits, capped)
        if set(capped) != set(QOS_RESOURCES):
            guaranteed = False
    if not requests and not limits:
        return "BestEffort"
    return "Guaranteed" if guaranteed and requests == limits else "Burstable"


def _positive(amounts: Mapping[str, Quantity]) -> Amounts:
    return {name: amount(amounts[name]) for name in QOS_RESOURCES if name in amounts and amount(amounts[name]) > 0}
