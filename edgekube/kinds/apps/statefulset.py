"""apps/v1 StatefulSet: numbered pods that keep their name and their storage."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Column, Kind, Subresource
from edgekube.api.meta import Int32, IntOrString, LabelSelector, Object, Struct, Time, list_atomic, list_map, null, zero
from edgekube.kinds.apps import workload_rules
from edgekube.kinds.core import persistentvolumeclaim, pod_defaults, pod_warnings
from edgekube.kinds.core.persistentvolumeclaim import PersistentVolumeClaim
from edgekube.kinds.core.podtemplate import PodTemplateSpec
from edgekube.kinds.core.printing import AGE, NAME, described, template_columns


class StatefulSetOrdinals(Struct):
    """The number the first pod gets."""

    start: Int32 = zero(int)


class StatefulSetPersistentVolumeClaimRetentionPolicy(Struct):
    """Whether claims go with the set, and with pods that are scaled away."""

    when_deleted: str = ""
    when_scaled: str = ""


class RollingUpdateStatefulSetStrategy(Struct):
    """From which number on pods are replaced, and how many at once."""

    partition: Int32 | None = None
    max_unavailable: IntOrString | None = None


class StatefulSetUpdateStrategy(Struct):
    """Whether changed pods are replaced by themselves (RollingUpdate) or when deleted (OnDelete)."""

    type: str = ""
    rolling_update: RollingUpdateStatefulSetStrategy | None = None


class StatefulSetSpec(Struct):
    """Which pods, how many, in what order, with which claims."""

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
    """One aspect of a StatefulSet's state."""

    type: str = zero(str)
    status: str = zero(str)
    last_transition_time: Time | None = null()
    reason: str = ""
    message: str = ""


class StatefulSetStatus(Struct):
    """How many pods there are of the old and of the new revision."""

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
    """Numbered pods with storage of their own."""

    spec: StatefulSetSpec = zero(StatefulSetSpec)
    status: StatefulSetStatus = zero(StatefulSetStatus)


HISTORY = 10


def default(item: StatefulSet) -> None:
    """One replica, started in order, replaced from the highest number down, its claims kept."""
    spec = item.spec
    pod_defaults.pod_spec(spec.template.spec)
    for claim in spec.volume_claim_templates:
        claim.kind, claim.api_version = "PersistentVolumeClaim", "v1"
        persistentvolumeclaim.default(claim)
    if spec.replicas is None:
        spec.replicas = 1
    spec.pod_management_policy = spec.pod_management_policy or "OrderedReady"
    _update_strategy(spec.update_strategy)
    if spec.revision_history_limit is None:
        spec.revision_history_limit = HISTORY
    if spec.persistent_volume_claim_retention_policy is None:
        spec.persistent_volume_claim_retention_policy = StatefulSetPersistentVolumeClaimRetentionPolicy()
    keep = spec.persistent_volume_claim_retention_policy
    keep.when_deleted = keep.when_deleted or "Retain"
    keep.when_scaled = keep.when_scaled or "Retain"


def _update_strategy(strategy: StatefulSetUpdateStrategy) -> None:
    if not strategy.type:
        strategy.type = "RollingUpdate"
        if strategy.rolling_update is None:
            strategy.rolling_update = RollingUpdateStatefulSetStrategy()
    rolling = strategy.rolling_update if strategy.type == "RollingUpdate" else None
    if rolling is not None and rolling.partition is None:
        rolling.partition = 0


def prepare_create(item: StatefulSet) -> None:
    """Status is counted by the controller."""
    item.status = StatefulSetStatus()


def prepare_update(item: StatefulSet, old: StatefulSet) -> None:
    """As on creation."""
    item.status = old.status


def prepare_status(item: StatefulSet, old: StatefulSet) -> None:
    """A status write leaves the rest alone."""
    item.spec = old.spec


def warnings(new: StatefulSet, _old: StatefulSet | None) -> list[str]:
    """Of the template and of the claims each pod gets."""
    found = pod_warnings.template("spec.template", new.spec.template)
    for position, claim in enumerate(new.spec.volume_claim_templates):
        found += persistentvolumeclaim.fraction_warnings(f"spec.volumeClaimTemplates[{position}].Spec", claim.spec)
    return found


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
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status=prepare_status,
    columns=described(
        "statefulsets",
        NAME,
        Column("Ready", "string", lambda item, _: f"{item.status.ready_replicas}/{item.spec.replicas or 0}"),
        AGE,
        *template_columns(lambda item: item.spec.template.spec),
    ),
    rules=workload_rules.stateful_set,
    update_rules=workload_rules.stateful_set_update,
    status_rules=workload_rules.stateful_set_status,
    warnings=warnings,
)
