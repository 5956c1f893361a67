"""ResourceQuota: what a namespace may hold in total, checked on the way in and counted after every write.

Usage is counted from what is stored, not kept beside it, plus what writes under way have been promised; so it cannot drift and
needs no controller. Counting lives in `quota_usage`. Source: k8s.io/apiserver pkg/admission/plugin/resourcequota.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any

from edgekube.api import quantity
from edgekube.api.kind import Kind
from edgekube.kinds.catalog import built_in
from edgekube.kinds.core import resourcequota
from edgekube.server import answers
from edgekube.server.admission import quota_usage
from edgekube.server.admission.interface import CREATE, DELETE, UPDATE, Cluster, Review, Step

Usage = dict[str, str]
Report = Callable[[str, str, Usage, Usage], Awaitable[None]]  # (namespace, name, hard, used)
CHANGING_USAGE = frozenset({"/pods", "/services", "/persistentvolumeclaims"})  # updates of these are measured too


class ResourceQuota(Step):
    """The last step: everything else has said yes."""

    name = "ResourceQuota"

    def __init__(self) -> None:
        self.kinds: Callable[[], Iterable[Kind[Any]]] = built_in  # what is served; given by whoever owns the registry
        self._promised: dict[int, tuple[Review, Usage]] = {}
        self.report: Report | None = None  # writes a quota's status; given by whoever owns the writer

    async def validate(self, review: Review, cluster: Cluster) -> None:
        """Raises Forbidden naming the quota and what of it is used up."""
        if not self._measured(review):
            return
        quotas = [one for one in cluster.all(resourcequota.KIND, review.namespace) if one.spec.hard]
        if not quotas:
            return
        asked = quota_usage.of(review.kind, review.item)
        if review.old is not None:
            asked = _grown(asked, quota_usage.of(review.kind, review.old))
        for quota in quotas:
            if not quota_usage.matches(quota, review.kind, review.item):
                continue
            name = quota.metadata.name
            if review.operation == CREATE and (missing := quota_usage.unspecified(quota, review.kind, review.item)):
                raise answers.forbidden(review.kind, review.name, f"failed quota: {name}: must specify {missing}")
            self._check(review, quota, asked, cluster)
        if not review.context.dry_run:
            self._promised[id(review)] = (review, asked)

    @staticmethod
    def _measured(review: Review) -> bool:
        if not review.kind.namespaced or review.operation == DELETE:
            return False
        if review.operation == UPDATE:
            resizes = review.resource == "/pods" and review.subresource == "resize"
            return resizes or (review.resource in CHANGING_USAGE - {"/pods"} and not review.subresource)
        return not review.subresource

    def _check(self, review: Review, quota: Any, asked: Usage, cluster: Cluster) -> None:
        hard = {name: str(value) for name, value in quota.spec.hard.items()}
        wanted = {name: value for name, value in asked.items() if name in hard and quantity.amount(value) > 0}
        if not wanted:
            return
        used = self._used(quota, wanted, cluster)
        over = sorted(
            name for name, value in wanted.items() if quantity.compare(quantity.add(used[name], value), hard[name]) > 0
        )
        if over:
            told = [
                f"{word}: {','.join(f'{name}={amounts[name]}' for name in over)}"
                for word, amounts in (("requested", wanted), ("used", used), ("limited", hard))
            ]
            why = f"exceeded quota: {quota.metadata.name}, {', '.join(told)}"
            raise answers.forbidden(review.kind, review.name, why)

    def _used(self, quota: Any, names: Mapping[str, Any], cluster: Cluster) -> Usage:
        used = count(quota, names, cluster, self.kinds())
        for review, asked in self._promised.values():
            if review.namespace == quota.metadata.namespace and quota_usage.matches(quota, review.kind, review.item):
                for name in used:
                    if name in asked:
                        used[name] = quantity.add(used[name], asked[name])
        return used

    async def settle(self, review: Review, cluster: Cluster, *, stored: bool) -> None:
        """Count again what the write changed, and say so in the quotas' status."""
        self._promised.pop(id(review), None)
        if not stored or not review.kind.namespaced or self.report is None:
            return
        for quota in cluster.all(resourcequota.KIND, review.namespace):
            if review.resource != "/resourcequotas" and not quota_usage.concerns(quota, review.kind):
                continue
            hard = {name: str(value) for name, value in quota.spec.hard.items()}
            used = count(quota, hard, cluster, self.kinds())
            if hard != dict(quota.status.hard) or used != dict(quota.status.used):
                await self.report(review.namespace, quota.metadata.name, hard, used)


def _grown(new: Usage, old: Usage) -> Usage:
    return {name: quantity.subtract(value, old[name]) if name in old else value for name, value in new.items()}


def count(quota: Any, names: Mapping[str, Any], cluster: Cluster, kinds: Iterable[Kind[Any]]) -> Usage:
    """How much of `names` the namespace's objects use, as this quota measures."""
    used = dict.fromkeys(names, "0")
    seen: set[tuple[str, str]] = set()  # a custom resource is served in several versions, and counted once
    for kind in kinds:
        if not kind.namespaced or not quota_usage.concerns_names(names, kind):
            continue
        if (kind.stored_as is not None and not kind.custom) or (kind.group, kind.plural) in seen:
            continue
        seen.add((kind.group, kind.plural))
        for item in cluster.all(kind, quota.metadata.namespace):
            if not quota_usage.matches(quota, kind, item):
                continue
            for name, value in quota_usage.of(kind, item).items():
                if name in used:
                    used[name] = quantity.add(used[name], value)
    return used
