"""apps/v1 StatefulSet: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind, Subresource
from edgekube.api.meta import Int32, IntOrString, LabelSelector, Object, Struct, Time, list_atomic, list_map, zero
from edgekube.kinds.core.persistentvolumeclaim import PersistentVolumeClaim
from edgekube.kinds.core.podtemplate import PodTemplateSpec


class StatefulSetOrdinals(Struct):
    start: Int32 = zero(int)


class StatefulSetPersistentVolumeClaimRetentionPolicy(Struct):
    when_deleted: str = ""
    when_scaled: str = ""


class RollingUpdateStatefulSetStrategy(Struct):
    partition: Int32 | None = None
    max_unavailable: IntOrString | None = None


class StatefulSetUpdateStrategy(Struct):
    type: str = ""
    rolling_update: RollingUpdateStatefulSetStrategy | None = None


class StatefulSetSpec(Struct):
    replicas: Int32 | None = None
    selector: LabelSelector | None = None
    template: PodTemplateSpec = zero(PodTemplateSpec)
    volume_claim_templates: Annotated[list[PersistentVolumeClaim], list_atomic()] = []
    service_name: str = zero(str)
    pod_management_policy: str = ""
    update_strategy: StatefulSetUpdateStrategy = zero(StatefulSetUpdateStrategy)
    revision_history_limit: Int32 | None = None
    min_ready_seconds: Int32 = 0
    persistent_volume_claim_retention_policy: StatefulSetPersistentVolumeClaimRetentionPolicy | None = None
    ordinals: StatefulSetOrdinals | None = None


class StatefulSetCondition(Struct):
    type: str = zero(str)
    status: str = zero(str)
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class StatefulSetStatus(Struct):
    observed_generation: int = 0
    replicas: Int32 = zero(int)
    ready_replicas: Int32 = 0
    current_replicas: Int32 = 0
    updated_replicas: Int32 = 0
    current_revision: str = ""
    update_revision: str = ""
    collision_count: Int32 | None = None
    conditions: Annotated[list[StatefulSetCondition], list_map("type")] = []
    available_replicas: Int32 = zero(int)


class StatefulSet(Object):
    spec: StatefulSetSpec = zero(StatefulSetSpec)
    status: StatefulSetStatus = zero(StatefulSetStatus)


KIND = Kind(
    type=StatefulSet,
    group="apps",
    version="v1",
    name="StatefulSet",
    plural="statefulsets",
    singular="statefulset",
    short=("sts",),
    categories=("all",),
    has_status=True,
    subresources=(Subresource("scale", "Scale", ("get", "patch", "update"), "autoscaling", "v1"),),
)
