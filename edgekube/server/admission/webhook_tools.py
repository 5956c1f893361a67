"""What the mutating and the validating step share: configurations at hand, ways out, and which webhooks a write concerns."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from edgekube.api.kind import Kind
from edgekube.clock import Clock
from edgekube.kinds.admissionregistration import mutatingwebhookconfiguration, validatingwebhookconfiguration
from edgekube.kinds.catalog import built_in
from edgekube.server.admission.interface import Cluster, Review
from edgekube.server.admission.kept import Kept
from edgekube.server.admission.webhook_calls import document_of
from edgekube.server.admission.webhook_matching import Hook, Invocation, invocation, prepared
from edgekube.server.context import Authorizer
from edgekube.server.metrics import Family, Sample
from edgekube.server.reach import Reach
from edgekube.server.stored import in_version
from edgekube.store.interface import Store

SERIES_MOST = 1000  # names come from outside


class Webhooks:
    """One per server. `kinds` is replaced by whoever knows custom resources."""

    def __init__(self, store: Store, clock: Clock, authorizer: Authorizer, reach: Reach) -> None:
        self.clock, self.authorizer, self.reach, self.store = clock, authorizer, reach, store
        self.kinds: Callable[[], Iterable[Kind[Any]]] = built_in
        self.mutating = Kept(store, mutatingwebhookconfiguration.KIND, prepared)
        self.validating = Kept(store, validatingwebhookconfiguration.KIND, prepared)
        self._calls: dict[tuple[str, str, str, str], int] = {}

    def count(self, hook: Hook, review: Review, outcome: str) -> None:
        """Count a call: "allowed", "denied", "failed" or "ignored" (failed, and the write passed)."""
        kind = "admit" if hasattr(hook.webhook, "reinvocation_policy") else "validating"
        key = (hook.name, kind, review.operation, outcome)
        if key in self._calls or len(self._calls) < SERIES_MOST:
            self._calls[key] = self._calls.get(key, 0) + 1

    def families(self) -> list[Family]:
        """Figures."""
        names = ("name", "type", "operation", "outcome")

        def samples() -> list[Sample]:
            return [Sample(tuple(zip(names, key, strict=True)), float(count)) for key, count in self._calls.items()]

        help_ = "Calls of admission webhooks, and how they ended."
        return [Family("apiserver_admission_webhook_request_total", "counter", help_, samples)]

    async def concerned(self, hook: Hook, review: Review, cluster: Cluster) -> Invocation | None:
        """How to call a webhook for this write, or None. Raises NotFound, Forbidden."""
        invoked = invocation(hook, review, cluster, self.kinds)
        if invoked is None or not hook.webhook.match_conditions:
            return invoked
        from edgekube.server.admission.webhook_conditions import holds

        bindings = await self._bindings(invoked, review)
        return invoked if holds(hook, review, bindings) else None

    async def objects(self, invoked: Invocation, review: Review) -> tuple[Any, Any]:
        """(object, oldObject) in the version that the webhook asked for."""
        made: list[Any] = []
        for item in (review.item, review.old):
            if review.view is not None and item is not None:
                made.append(review.view(item))
                continue
            document = document_of(review.kind, item)
            if document is not None and invoked.kind is not review.kind and not review.subresource_object:
                document = await in_version(review.kind, invoked.kind, document)
            made.append(document)
        return made[0], made[1]

    async def _bindings(self, invoked: Invocation, review: Review) -> Mapping[str, Any]:
        from edgekube.server.admission.webhook_conditions import bindings

        return bindings(invoked, review, await self.objects(invoked, review), self.authorizer)
