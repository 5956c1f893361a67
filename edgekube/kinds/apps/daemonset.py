"""apps/v1 DaemonSet: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind
from edgekube.api.meta import Int32, IntOrString, LabelSelector, Object, Struct, Time, list_map, zero
from edgekube.kinds.core.podtemplate import PodTemplateSpec


class RollingUpdateDaemonSet(Struct):
    max_unavailable: IntOrString | None = None
    max_surge: IntOrString | None = None


class DaemonSetUpdateStrategy(Struct):
    type: str = ""
    rolling_update: RollingUpdateDaemonSet | None = None


class DaemonSetSpec(Struct):
    selector: LabelSelector | None = None
    template: PodTemplateSpec = zero(PodTemplateSpec)
    update_strategy: DaemonSetUpdateStrategy = zero(DaemonSetUpdateStrategy)
    min_ready_seconds: Int32 = 0
    revision_history_limit: Int32 | None = None


class DaemonSetCondition(Struct):
    type: str = zero(str)
    status: str = zero(str)
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class DaemonSetStatus(Struct):
    current_number_scheduled: Int32 = zero(int)
    number_misscheduled: Int32 = zero(int)
    desired_number_scheduled: Int32 = zero(int)
    number_ready: Int32 = zero(int)
    observed_generation: int = 0
    updated_number_scheduled: Int32 = 0
    number_available: Int32 = 0
    number_unavailable: Int32 = 0
    collision_count: Int32 | None = None
    conditions: Annotated[list[DaemonSetCondition], list_map("type")] = []


class DaemonSet(Object):
    spec: DaemonSetSpec = zero(DaemonSetSpec)
    status: DaemonSetStatus = zero(DaemonSetStatus)


KIND = Kind(
    type=DaemonSet,
    group="apps",
    version="v1",
    name="DaemonSet",
    plural="daemonsets",
    singular="daemonset",
    short=("ds",),
    categories=("all",),
    has_status=True,
)
