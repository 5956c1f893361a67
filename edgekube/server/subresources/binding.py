"""Binding a pod to a node: the one write by which a scheduler decides. Source: kubernetes pkg/registry/core/pod/storage."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec.structs import replace

from edgekube import errors
from edgekube.api import decoding, rules
from edgekube.api.kind import FieldError
from edgekube.kinds.core import binding as binding_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.podstatus import PodCondition
from edgekube.net.exchange import Request
from edgekube.server import answers, bodies, negotiation
from edgekube.server.context import Context
from edgekube.server.paths import Asked
from edgekube.server.registry import Registry
from edgekube.server.resources import Answer
from edgekube.server.stored import Stored, to_wire
from edgekube.server.writing import WRITE_ATTEMPTS, Target
from edgekube.store.interface import Mismatch

CREATED = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}


class Binding:
    """Handles POST of pods/binding and of the older bindings."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def __call__(self, asked: Asked, target: Target, request: Request, body: bytes, context: Context) -> Answer:
        form = negotiation.negotiate(request.header("accept"), None, shapes=False)
        kind = binding_kind.KIND
        document = bodies.read_object(kind, body, request.header("content-type"), context)
        wanted = decoding.decode(kind, document)
        name = target.name or wanted.metadata.name
        if target.name and wanted.metadata.name and wanted.metadata.name != target.name:
            raise errors.BadRequest("name in URL does not match name in Binding object")
        if wanted.metadata.namespace and wanted.metadata.namespace != target.namespace:
            raise errors.BadRequest(answers.WRONG_NAMESPACE)
        if broken := _broken(wanted):
            raise answers.invalid(kind, wanted.metadata.name, broken)
        await self._bind(target.namespace, name, wanted, context)
        return Answer(201, negotiation.encode(form.media, None, msgspec.json.encode(CREATED)), form.media)

    async def _bind(self, namespace: str, name: str, wanted: Any, context: Context) -> None:
        kind = pod_kind.KIND
        for _ in range(WRITE_ATTEMPTS):
            row = self._registry.lister.row(kind, namespace, name)
            if row is None:
                raise answers.not_found(kind, name)
            live: Stored[Any] = Stored(kind, to_wire(kind, row.value))
            bound = self._bound(live.item, wanted)
            if context.dry_run:
                return
            try:
                await self._registry.writer.put(kind, bound, row)
            except Mismatch:
                continue
            return
        raise answers.conflict(kind, name)

    def _bound(self, pod: Any, wanted: Any) -> Any:
        """The pod on its node. Raises Conflict."""
        meta = pod.metadata
        if wanted.metadata.uid and wanted.metadata.uid != meta.uid:
            raise _conflict(
                meta.name,
                f"Precondition failed: UID in precondition: {wanted.metadata.uid}, UID in object meta: {meta.uid}",
            )
        if meta.deletion_timestamp is not None:
            raise _conflict(meta.name, f"pod {meta.name} is being deleted, cannot be assigned to a host")
        if pod.spec.node_name:
            raise _conflict(meta.name, f'pod {meta.name} is already assigned to node "{pod.spec.node_name}"')
        if pod.spec.scheduling_gates:
            raise _conflict(meta.name, f"pod {meta.name} has non-empty .spec.schedulingGates")
        now = self._registry.writer.now()
        scheduled = PodCondition(type="PodScheduled", status="True", last_transition_time=now)
        conditions = [one for one in pod.status.conditions if one.type != "PodScheduled"]
        return replace(
            pod,
            metadata=replace(
                meta,
                annotations=meta.annotations | wanted.metadata.annotations,
                labels=meta.labels | wanted.metadata.labels,
            ),
            spec=replace(pod.spec, node_name=wanted.target.name),
            status=replace(pod.status, conditions=[*conditions, scheduled]),
        )


def _broken(wanted: Any) -> list[FieldError]:
    broken: list[FieldError] = []
    if wanted.target.kind not in ("", "Node"):
        broken.append(rules.not_supported("target.kind", wanted.target.kind, ("Node", "<empty>")))
    if not wanted.target.name:
        broken.append(rules.required("target.name"))
    return broken


def _conflict(name: str, why: str) -> errors.Conflict:
    return errors.Conflict(
        f'Operation cannot be fulfilled on pods/binding "{name}": {why}', name=name, kind="pods/binding"
    )
