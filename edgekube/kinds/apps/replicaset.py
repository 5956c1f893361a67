"""apps/v1 ReplicaSet: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind, Subresource
from edgekube.api.meta import Int32, LabelSelector, Object, Struct, Time, list_map, zero
from edgekube.kinds.core.podtemplate import PodTemplateSpec


class ReplicaSetSpec(Struct):
    replicas: Int32 | None = None
    min_ready_seconds: Int32 = 0
    selector: LabelSelector | None = None
    template: PodTemplateSpec = zero(PodTemplateSpec)


class ReplicaSetCondition(Struct):
    type: str = zero(str)
    status: str = zero(str)
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class ReplicaSetStatus(Struct):
    replicas: Int32 = zero(int)
    fully_labeled_replicas: Int32 = 0
    ready_replicas: Int32 = 0
    available_replicas: Int32 = 0
    terminating_replicas: Int32 | None = None
    observed_generation: int = 0
    conditions: Annotated[list[ReplicaSetCondition], list_map("type")] = []


class ReplicaSet(Object):
    spec: ReplicaSetSpec = zero(ReplicaSetSpec)
    status: ReplicaSetStatus = zero(ReplicaSetStatus)


KIND = Kind(
    type=ReplicaSet,
    group="apps",
    version="v1",
    name="ReplicaSet",
    plural="replicasets",
    singular="replicaset",
    short=("rs",),
    categories=("all",),
    has_status=True,
    subresources=(Subresource("scale", "Scale", ("get", "patch", "update"), "autoscaling", "v1"),),
)
