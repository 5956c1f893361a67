"""Evicting a pod: a deletion that disruption budgets may refuse for now. Source: kubernetes pkg/registry/core/pod/storage/eviction.go."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from edgekube import errors
from edgekube.api import decoding, selectors
from edgekube.api.kind import Kind
from edgekube.api.meta import DeleteOptions
from edgekube.errors import Cause
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.policy import eviction as types
from edgekube.kinds.policy import poddisruptionbudget as budget_kind
from edgekube.net.exchange import Request
from edgekube.server import answers, bodies, negotiation, options
from edgekube.server.admission.interface import CREATE, Review
from edgekube.server.context import Context
from edgekube.server.paths import Asked
from edgekube.server.registry import Registry
from edgekube.server.resources import Answer
from edgekube.server.stored import to_wire
from edgekube.server.subresources.binding import CREATED
from edgekube.server.writing import Target
from edgekube.store.interface import Mismatch

KIND: Kind[types.Eviction] = types.KIND
MOST_DISRUPTED_PODS = 2000  # upstream's bound on one budget's open evictions


class Eviction:
    """Handles POST of pods/eviction."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def __call__(self, asked: Asked, target: Target, request: Request, body: bytes, context: Context) -> Answer:
        form = negotiation.negotiate(request.header("accept"), None, shapes=False)
        document = bodies.read_object(KIND, body, request.header("content-type"), context)
        wanted = decoding.decode(KIND, document)
        if wanted.metadata.name and wanted.metadata.name != target.name:
            raise errors.BadRequest("name in URL does not match name in Eviction object")
        if wanted.metadata.namespace and wanted.metadata.namespace != target.namespace:
            raise errors.BadRequest(answers.WRONG_NAMESPACE)
        how = wanted.delete_options or DeleteOptions()
        options.check_delete_options(how)
        context.dry_run = context.dry_run or bool(how.dry_run)
        pod = self._registry.cluster.find(pod_kind.KIND, target.namespace, target.name)
        if pod is None:
            raise answers.not_found(pod_kind.KIND, target.name)
        review = Review(
            kind=pod_kind.KIND,
            operation=CREATE,
            namespace=target.namespace,
            name=target.name,
            context=context,
            item=KIND.to_dict(wanted) | {"kind": KIND.name, "apiVersion": KIND.api_version},
            subresource="eviction",
            subresource_object=True,
        )
        await self._registry.admission.validate(review)
        if not _goes_anyway(pod):
            await self._spend(pod, context)
        await self._registry.delete(pod_kind.KIND, target.namespace, target.name, how, context)
        return Answer(201, negotiation.encode(form.media, None, msgspec.json.encode(CREATED)), form.media)

    async def _spend(self, pod: Any, context: Context) -> None:
        """Take one disruption from the budget that guards the pod. Raises TooManyRequests, InternalError."""
        kind = budget_kind.KIND
        budgets = [
            budget
            for budget in self._registry.cluster.all(kind, pod.metadata.namespace)
            if selectors.from_label_selector(budget.spec.selector).matches(pod.metadata.labels)
        ]
        if not budgets:
            return
        if len(budgets) > 1:
            raise errors.InternalError(
                "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.",
                details=False,
            )
        name, ready = budgets[0].metadata.name, _is_ready(pod)
        while True:
            row = self._registry.lister.row(kind, pod.metadata.namespace, name)
            if row is None:
                return
            budget = kind.from_json(to_wire(kind, row.value))
            if not ready and _unready_may_go(budget):
                return
            spent = self._decremented(budget, pod.metadata.name)
            if context.dry_run:
                return
            try:
                await self._registry.writer.put(kind, spent, row)
            except Mismatch:
                continue
            return

    def _decremented(self, budget: Any, pod_name: str) -> Any:
        status, name = budget.status, budget.metadata.name
        if status.observed_generation < budget.metadata.generation:
            raise refused(f"The disruption budget {name} is still being processed by the server.", wait_s=10)
        if status.disruptions_allowed < 0:
            raise answers.forbidden(budget_kind.KIND, name, "pdb disruptions allowed is negative")
        if len(status.disrupted_pods) > MOST_DISRUPTED_PODS:
            raise answers.forbidden(
                budget_kind.KIND, name, "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
            )
        if status.disruptions_allowed == 0:
            raise refused(
                f"The disruption budget {name} needs {status.desired_healthy} healthy pods and has"
                f" {status.current_healthy} currently"
            )
        disrupted = status.disrupted_pods | {pod_name: self._registry.writer.now()}
        return replace(
            budget,
            status=replace(status, disruptions_allowed=status.disruptions_allowed - 1, disrupted_pods=disrupted),
        )


def refused(why: str, *, wait_s: int = 0) -> errors.TooManyRequests:
    """The budget says no, for now."""
    return errors.TooManyRequests(
        "Cannot evict pod as it would violate the pod's disruption budget.",
        causes=[Cause("DisruptionBudget", why)],
        retry_after_s=wait_s,
    )


def _goes_anyway(pod: Any) -> bool:
    """Pods that are finished, waiting or being deleted need no budget."""
    return pod.status.phase in ("Succeeded", "Failed", "Pending") or pod.metadata.deletion_timestamp is not None


def _is_ready(pod: Any) -> bool:
    return any(one.type == "Ready" and one.status == "True" for one in pod.status.conditions)


def _unready_may_go(budget: Any) -> bool:
    if budget.spec.unhealthy_pod_eviction_policy == "AlwaysAllow":
        return True
    status = budget.status
    return bool(status.current_healthy >= status.desired_healthy and status.desired_healthy > 0)
