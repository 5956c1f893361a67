"""LimitRanger: amounts that containers do not give get the namespace's defaults, and all must stay within its bounds.

Source: kubernetes plugin/pkg/admission/limitranger/admission.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgekube.api import quantity
from edgekube.api.meta import Quantity
from edgekube.kinds.core import limitrange
from edgekube.kinds.core.container import ResourceRequirements
from edgekube.server import answers
from edgekube.server.admission.interface import CREATE, UPDATE, Cluster, Review, Step

ANNOTATION = "kubernetes.io/limit-ranger"
Amounts = Mapping[str, str]


class LimitRanger(Step):
    """For pods on creation, and claims."""

    name = "LimitRanger"

    @staticmethod
    def _concerned(review: Review) -> bool:
        if review.subresource:
            return review.resource == "/pods" and review.subresource == "resize" and review.operation == UPDATE
        if review.resource == "/pods":
            return review.operation == CREATE
        return review.resource == "/persistentvolumeclaims" and review.operation in (CREATE, UPDATE)

    async def mutate(self, review: Review, cluster: Cluster) -> None:
        """Fill defaults into a pod's containers and say so in an annotation."""
        if not self._concerned(review) or review.resource != "/pods" or review.subresource:
            return
        for limits in cluster.all(limitrange.KIND, review.namespace):
            requests, maxima = _defaults(limits)
            notes = [
                *(_merge(one, "container", requests, maxima) for one in review.item.spec.containers or ()),
                *(_merge(one, "init container", requests, maxima) for one in review.item.spec.init_containers),
            ]
            told = [note for pair in notes for note in pair]
            if told:
                meta = review.item.metadata
                text = f"LimitRanger plugin set: {'; '.join(told)}"
                meta.annotations = {**meta.annotations, ANNOTATION: text}

    async def validate(self, review: Review, cluster: Cluster) -> None:
        """Raises Forbidden naming every bound that is broken."""
        if not self._concerned(review):
            return
        broken: list[str] = []
        for limits in cluster.all(limitrange.KIND, review.namespace):
            for one in limits.spec.limits or ():
                if review.resource == "/pods":
                    broken += _pod_problems(one, review.item.spec)
                elif one.type == "PersistentVolumeClaim":
                    broken += _claim_problems(one, review.item.spec.resources.requests)
        if broken:
            why = broken[0] if len(broken) == 1 else f"[{', '.join(broken)}]"
            raise answers.forbidden(review.kind, review.name, why)


def _defaults(limits: Any) -> tuple[dict[str, Quantity], dict[str, Quantity]]:
    """(requests, limits) for containers that say nothing."""
    requests: dict[str, Quantity] = {}
    maxima: dict[str, Quantity] = {}
    for one in limits.spec.limits or ():
        if one.type == "Container":
            requests |= one.default_request
            maxima |= one.default
    return requests, maxima


def _merge(container: Any, what: str, requests: Amounts, maxima: Amounts) -> list[str]:
    """Fill in what is missing; returns what was set, in words."""
    resources = container.resources or ResourceRequirements()
    new_requests = {key: value for key, value in requests.items() if key not in resources.requests}
    new_limits = {key: value for key, value in maxima.items() if key not in resources.limits}
    resources.requests = {**resources.requests, **new_requests}
    resources.limits = {**resources.limits, **new_limits}
    container.resources = resources
    return [
        f"{', '.join(sorted(added))} {word} for {what} {container.name}"
        for word, added in (("request", new_requests), ("limit", new_limits))
        if added
    ]


def _pod_problems(bounds: Any, spec: Any) -> list[str]:
    if bounds.type == "Container":
        found: list[str] = []
        for container in (*(spec.containers or ()), *spec.init_containers):
            found += _problems(bounds, container.resources.requests, container.resources.limits)
        return found
    if bounds.type == "Pod":
        return _problems(bounds, total(spec, "requests"), total(spec, "limits"))
    return []


def total(spec: Any, which: str) -> dict[str, str]:
    """What a pod's containers ask for together: the sum of those that run, or the greatest that runs before them."""
    summed = _sum(getattr(one.resources, which) for one in spec.containers or ())
    for one in spec.init_containers:
        if one.restart_policy == "Always":
            summed = _sum((summed, getattr(one.resources, which)))
    for one in spec.init_containers:
        for key, value in getattr(one.resources, which).items():
            if key not in summed or quantity.amount(value) > quantity.amount(summed[key]):
                summed[key] = value
    return summed


def _sum(parts: Iterable[Amounts]) -> dict[str, str]:
    made: dict[str, str] = {}
    for part in parts:
        for key, value in part.items():
            made[key] = quantity.total([made[key], value]) if key in made else value
    return made


def _problems(bounds: Any, requests: Amounts, limits: Amounts) -> list[str]:
    found: list[str] = []
    for key in sorted(bounds.min):
        found += _below(bounds.type, key, bounds.min[key], requests.get(key), limits.get(key))
    for key in sorted(bounds.max):
        found += _above(bounds.type, key, bounds.max[key], requests.get(key), limits.get(key))
    for key in sorted(bounds.max_limit_request_ratio):
        found += _ratio(bounds.type, key, bounds.max_limit_request_ratio[key], requests.get(key), limits.get(key))
    return found


def _below(kind: str, key: str, least: str, request: str | None, limit: str | None) -> list[str]:
    start, bound = f"minimum {key} usage per {kind} is {least}", quantity.amount(least)
    if request is None:
        return [f"{start}.  No request is specified"]
    if quantity.amount(request) < bound:
        return [f"{start}, but request is {request}"]
    if limit is not None and quantity.amount(limit) < bound:
        return [f"{start}, but limit is {limit}"]
    return []


def _above(kind: str, key: str, most: str, request: str | None, limit: str | None) -> list[str]:
    start, bound = f"maximum {key} usage per {kind} is {most}", quantity.amount(most)
    if limit is None:
        return [f"{start}.  No limit is specified"]
    if quantity.amount(limit) > bound:
        return [f"{start}, but limit is {limit}"]
    if request is not None and quantity.amount(request) > bound:
        return [f"{start}, but request is {request}"]
    return []


def _ratio(kind: str, key: str, most: str, request: str | None, limit: str | None) -> list[str]:
    start = f"{key} max limit to request ratio per {kind} is {most}"
    if request is None or not quantity.amount(request):
        return [f"{start}, but no request is specified or request is 0"]
    if limit is None or not quantity.amount(limit):
        return [f"{start}, but no limit is specified or limit is 0"]
    actual = quantity.amount(limit) / quantity.amount(request)
    if actual > quantity.amount(most):
        return [f"{start}, but provided ratio is {float(actual):f}"]
    return []


def _claim_problems(bounds: Any, requests: Amounts) -> list[str]:
    found: list[str] = []
    for key in sorted(bounds.min):
        found += _below(bounds.type, key, bounds.min[key], requests.get(key), None)
    for key in sorted(bounds.max):
        asked, start = requests.get(key), f"maximum {key} usage per {bounds.type} is {bounds.max[key]}"
        if asked is None:
            found.append(f"{start}.  No request is specified")
        elif quantity.amount(asked) > quantity.amount(bounds.max[key]):
            found.append(f"{start}, but request is {asked}")
    return found
