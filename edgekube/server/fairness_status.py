"""Whether FlowSchemas lead to a priority level: their condition Dangling, kept by one loop.

Source: k8s.io/apiserver pkg/util/flowcontrol/apf_controller.go (syncFlowSchemaStatus).
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec
import trio

from edgekube import errors
from edgekube.api.meta import Time, encode_scalar
from edgekube.kinds.flowcontrol import flowschema, prioritylevelconfiguration
from edgekube.kinds.flowcontrol.flowschema import FlowSchemaCondition
from edgekube.server.context import LOOPBACK, Context
from edgekube.server.registry import Registry
from edgekube.server.stored import Stored
from edgekube.server.writing import Target
from edgekube.store.interface import Compacted, Store

DANGLING = "Dangling"
MANAGER = "api-priority-and-fairness-config-consumer-v1"

log = logging.getLogger(__name__)


def condition(level: str, *, exists: bool, now: Time) -> FlowSchemaCondition:
    """What a schema should say of the level it names."""
    of = f'This FlowSchema references the PriorityLevelConfiguration object named "{level}"'
    return FlowSchemaCondition(
        type=DANGLING,
        status="False" if exists else "True",
        last_transition_time=now,
        reason="Found" if exists else "NotFound",
        message=f"{of} and it exists" if exists else f"{of} but there is no such object",
    )


async def keep_statuses(registry: Registry, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
    """Look at all of them whenever a schema or a level changes. Never ends."""
    changed = [trio.Event()]

    async def notice(store: Store, resource: str) -> None:
        while True:
            try:
                async with store.watch(resource, after=store.revision) as changes:
                    async for _ in changes:
                        changed[0].set()
            except Compacted:
                changed[0].set()

    async with trio.open_nursery() as nursery:
        for kind in (flowschema.KIND, prioritylevelconfiguration.KIND):
            nursery.start_soon(notice, registry.store, kind.resource)
        task_status.started()
        while True:
            changed[0] = trio.Event()
            for schema in registry.cluster.all(flowschema.KIND):
                await _settle(registry, schema)
            await changed[0].wait()


async def _settle(registry: Registry, schema: Any) -> None:
    level = schema.spec.priority_level_configuration.name
    exists = registry.cluster.find(prioritylevelconfiguration.KIND, "", level) is not None
    wanted = condition(level, exists=exists, now=registry.writer.now())
    present = next((one for one in schema.status.conditions if one.type == DANGLING), None)
    if present is not None and (present.status, present.message) == (wanted.status, wanted.message):
        return
    shown = msgspec.to_builtins(wanted, enc_hook=encode_scalar)

    async def transform(live: Stored[Any] | None) -> dict[str, Any]:
        assert live is not None
        return {**flowschema.KIND.to_dict(live.item), "status": {"conditions": [shown]}}

    target = Target(kind=flowschema.KIND, namespace="", name=schema.metadata.name, subresource="status")
    context = Context(user=LOOPBACK, field_manager=MANAGER, field_validation="Ignore")
    try:
        await registry.writer.update(target, transform, context, may_create=False)
    except (errors.NotFound, errors.Conflict):
        return  # it went, or its next change comes here
    except errors.EdgekubeError as problem:
        log.warning("flow schema %s: its status cannot be written: %s", schema.metadata.name, problem)
