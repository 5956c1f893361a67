"""MutatingAdmissionWebhook: webhooks that change objects on their way in, one after the other.

Each sees what the one before it made. When one changed something, all steps are asked a second time, and of the webhooks those
before it that wish to be (`reinvocationPolicy: IfNeeded`). What a patch leaves is decoded and defaulted like anything a client
sends; its rules are asked afterwards, with everybody else's. Source: k8s.io/apiserver pkg/admission/plugin/webhook/mutating.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import Any

import msgspec
from msgspec.structs import replace

from edgekube import errors
from edgekube.api.kind import ENCODER
from edgekube.api.patching import json_patch
from edgekube.server import shapes
from edgekube.server.admission.interface import CREATE, Cluster, Review, Step
from edgekube.server.admission.webhook_calls import (
    CallFailed,
    Document,
    Verdict,
    ask,
    denied,
    document_of,
    internal_error,
)
from edgekube.server.admission.webhook_matching import Hook, Invocation, exempt
from edgekube.server.admission.webhook_tools import Webhooks
from edgekube.server.stored import in_version

log = logging.getLogger(__name__)
MUTATED, PATCHED = "mutation.webhook.admission.k8s.io", "patch.webhook.admission.k8s.io"


@dataclass(slots=True)
class Rounds:
    """What is remembered of the first round for the second."""

    invoked: set[str] = field(default_factory=set)  # that wish to see what comes after them
    again: set[str] = field(default_factory=set)
    output: Any = None

    def changed(self) -> None:
        """Everybody invoked so far who wishes to is asked again."""
        self.again |= self.invoked
        self.invoked.clear()


class MutatingWebhooks(Step):
    """The step."""

    name = "MutatingAdmissionWebhook"

    def __init__(self, tools: Webhooks) -> None:
        self._tools = tools

    async def mutate(self, review: Review, cluster: Cluster) -> None:
        """Raises what webhooks refuse with, InternalError where one that must be asked cannot be."""
        hooks = await self._tools.mutating.now()
        if hooks and not exempt(review):
            await self._dispatch(hooks, review, cluster)

    async def listens(self) -> bool:
        """Whether there are any."""
        return bool(await self._tools.mutating.now())

    async def connect(self, review: Review, cluster: Cluster) -> None:
        """The same for connections; nothing can be changed about them."""
        await self.mutate(review, cluster)

    async def _dispatch(self, hooks: tuple[Hook, ...], review: Review, cluster: Cluster) -> None:
        rounds: Rounds = review.memory.setdefault(self.name, Rounds())
        if review.again and rounds.output != document_of(review.kind, review.item):
            rounds.changed()
        for position, hook in enumerate(hooks):
            invoked = await self._tools.concerned(hook, review, cluster)
            if invoked is None or (review.again and hook.uid not in rounds.again):
                continue
            try:
                changed = await self._call(invoked, review, cluster, position)
            except CallFailed as problem:
                self._tools.count(hook, review, "ignored" if hook.ignores_failures else "failed")
                if not hook.ignores_failures:
                    raise internal_error(problem) from problem
                log.warning("%s; its failurePolicy lets the write pass", problem)
                changed = False
                key = f"failed-open.{MUTATED}/round_{int(review.again)}_index_{position}"
                review.context.annotations[key] = hook.name
            if changed:
                rounds.changed()
                review.changed = True
            if hook.webhook.reinvocation_policy == "IfNeeded":
                rounds.invoked.add(hook.uid)
        rounds.output = document_of(review.kind, review.item)

    async def _call(self, invoked: Invocation, review: Review, cluster: Cluster, position: int) -> bool:
        """Whether the object is another now. Raises CallFailed, ApiError."""
        tools, hook = self._tools, invoked.hook
        objects = await tools.objects(invoked, review)
        verdict = await ask(tools.reach, cluster, tools.clock, invoked, review, objects)
        tools.count(hook, review, "allowed" if verdict.allowed else "denied")
        if not verdict.allowed:
            raise denied(hook.name, verdict.status)
        changed = bool(verdict.patch) and await self._patched(invoked, review, objects[0], verdict)
        self._annotate(hook, review, position, verdict, changed=changed)
        return changed

    @staticmethod
    def _annotate(hook: Hook, review: Review, position: int, verdict: Verdict, *, changed: bool) -> None:
        at = f"round_{int(review.again)}_index_{position}"
        told = {"configuration": hook.configuration, "webhook": hook.name}
        review.context.annotations[f"{MUTATED}/{at}"] = ENCODER.encode({**told, "mutated": changed}).decode()
        if verdict.patch:
            patch = {**told, "patch": verdict.patch, "patchType": "JSONPatch"}
            review.context.annotations[f"{PATCHED}/{at}"] = ENCODER.encode(patch).decode()

    async def _patched(self, invoked: Invocation, review: Review, before: Document | None, verdict: Verdict) -> bool:
        kind, name = review.kind, invoked.hook.name
        if before is None or review.view is not None:
            words = (
                f'admission webhook "{name}" attempted to modify the object, which is not supported for this operation'
            )
            raise internal_error(ValueError(words))
        try:
            after = json_patch(before, list(verdict.patch))
        except errors.ApiError as problem:
            raise internal_error(problem) from problem
        if after == before:
            return False
        if review.subresource_object or isinstance(review.item, dict):
            review.item = after
            return True
        if invoked.kind is not kind:
            after = await in_version(invoked.kind, kind, after)
        try:
            item = kind.from_dict(after)
        except msgspec.ValidationError as problem:
            raise internal_error(problem) from problem
        put_in_place(review, item)
        return True


def put_in_place(review: Review, item: Any) -> None:
    """`item` is what the object is to be: defaulted, and cut back to what this (sub)resource may change."""
    kind, present = review.kind, review.item.metadata
    kind.default(item)
    if review.operation == CREATE:
        item = shapes.reset_for_create(kind, item)
    else:
        item = shapes.shape_of(kind, review.subresource)(item, review.old)
    kept = replace(
        item.metadata,
        uid=present.uid,
        generation=present.generation,
        creation_timestamp=present.creation_timestamp,
        deletion_timestamp=present.deletion_timestamp,
        deletion_grace_period_seconds=present.deletion_grace_period_seconds,
        resource_version=present.resource_version,
        self_link="",
    )
    review.item = replace(item, metadata=kept)
