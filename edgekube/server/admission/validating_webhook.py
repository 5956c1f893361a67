"""ValidatingAdmissionWebhook: webhooks that may only say no, asked all at once.

Source: k8s.io/apiserver pkg/admission/plugin/webhook/validating.
"""

from __future__ import annotations

import logging

import trio

from edgekube import errors
from edgekube.server.admission.interface import Cluster, Review, Step
from edgekube.server.admission.webhook_calls import CallFailed, ask, denied, internal_error
from edgekube.server.admission.webhook_matching import Invocation, exempt
from edgekube.server.admission.webhook_tools import Webhooks

log = logging.getLogger(__name__)
FAILED_OPEN = "failed-open.validating.webhook.admission.k8s.io"


class ValidatingWebhooks(Step):
    """The step."""

    name = "ValidatingAdmissionWebhook"

    def __init__(self, tools: Webhooks) -> None:
        self._tools = tools

    async def validate(self, review: Review, cluster: Cluster) -> None:
        """Raises what the first webhook, in their order, refuses with; InternalError where one cannot be asked."""
        hooks = await self._tools.validating.now()
        if not hooks or exempt(review):
            return
        concerned = [
            (position, invoked)
            for position, hook in enumerate(hooks)
            if (invoked := await self._tools.concerned(hook, review, cluster)) is not None
        ]
        refusals: dict[int, errors.ApiError] = {}

        async def one(position: int, invoked: Invocation) -> None:
            try:
                await self._call(invoked, review, cluster, position)
            except errors.ApiError as problem:
                refusals[position] = problem

        if len(concerned) == 1:
            await one(*concerned[0])
        elif concerned:
            async with trio.open_nursery() as nursery:
                for position, invoked in concerned:
                    nursery.start_soon(one, position, invoked)
        if refusals:
            raise refusals[min(refusals)]

    async def listens(self) -> bool:
        """Whether there are any."""
        return bool(await self._tools.validating.now())

    async def connect(self, review: Review, cluster: Cluster) -> None:
        """The same for connections."""
        await self.validate(review, cluster)

    async def _call(self, invoked: Invocation, review: Review, cluster: Cluster, position: int) -> None:
        tools, hook = self._tools, invoked.hook
        try:
            objects = await tools.objects(invoked, review)
            verdict = await ask(tools.reach, cluster, tools.clock, invoked, review, objects)
        except CallFailed as problem:
            tools.count(hook, review, "ignored" if hook.ignores_failures else "failed")
            if not hook.ignores_failures:
                raise internal_error(problem) from problem
            log.warning("%s; its failurePolicy lets the write pass", problem)
            review.context.annotations[f"{FAILED_OPEN}/round_0_index_{position}"] = hook.name
            return
        tools.count(hook, review, "allowed" if verdict.allowed else "denied")
        if not verdict.allowed:
            raise denied(hook.name, verdict.status)
