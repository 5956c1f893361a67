"""v1 ReplicationController: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind, Subresource
from edgekube.api.meta import Int32, Object, Struct, Time, list_map, struct_atomic, zero
from edgekube.kinds.core.podtemplate import PodTemplateSpec


class ReplicationControllerSpec(Struct):
    replicas: Int32 | None = None
    min_ready_seconds: Int32 = 0
    selector: Annotated[dict[str, str], struct_atomic()] = {}
    template: PodTemplateSpec | None = None


class ReplicationControllerCondition(Struct):
    type: str = zero(str)
    status: str = zero(str)
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class ReplicationControllerStatus(Struct):
    replicas: Int32 = zero(int)
    fully_labeled_replicas: Int32 = 0
    ready_replicas: Int32 = 0
    available_replicas: Int32 = 0
    observed_generation: int = 0
    conditions: Annotated[list[ReplicationControllerCondition], list_map("type")] = []


class ReplicationController(Object):
    spec: ReplicationControllerSpec = zero(ReplicationControllerSpec)
    status: ReplicationControllerStatus = zero(ReplicationControllerStatus)


KIND = Kind(
    type=ReplicationController,
    group="",
    version="v1",
    name="ReplicationController",
    plural="replicationcontrollers",
    singular="replicationcontroller",
    short=("rc",),
    categories=("all",),
    has_status=True,
    subresources=(Subresource("scale", "Scale", ("get", "patch", "update"), "autoscaling", "v1"),),
)
