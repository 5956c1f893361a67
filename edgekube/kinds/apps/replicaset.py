"""apps/v1 ReplicaSet: a number of equal pods."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Column, Kind, Subresource
from edgekube.api.meta import Int32, LabelSelector, Object, Struct, Time, list_map, null, zero
from edgekube.kinds.apps import workload_rules
from edgekube.kinds.core import pod_defaults, pod_warnings
from edgekube.kinds.core.podtemplate import PodTemplateSpec
from edgekube.kinds.core.printing import AGE, NAME, described, selector_text, template_columns


class ReplicaSetSpec(Struct):
    """Which pods, and how many."""

    replicas: Int32 | None = None
    min_ready_seconds: Int32 = 0
    selector: LabelSelector | None = None
    template: PodTemplateSpec = zero(PodTemplateSpec)


class ReplicaSetCondition(Struct):
    """One aspect of a ReplicaSet's state."""

    type: str = zero(str)
    status: str = zero(str)
    last_transition_time: Time | None = null()
    reason: str = ""
    message: str = ""


class ReplicaSetStatus(Struct):
    """How many pods there are."""

    replicas: Int32 = zero(int)
    fully_labeled_replicas: Int32 = 0
    ready_replicas: Int32 = 0
    available_replicas: Int32 = 0
    terminating_replicas: Int32 | None = None
    observed_generation: int = 0
    conditions: Annotated[list[ReplicaSetCondition], list_map("type")] = []


class ReplicaSet(Object):
    """A number of equal pods."""

    spec: ReplicaSetSpec = zero(ReplicaSetSpec)
    status: ReplicaSetStatus = zero(ReplicaSetStatus)


def default(item: ReplicaSet) -> None:
    """One replica."""
    pod_defaults.pod_spec(item.spec.template.spec)
    if item.spec.replicas is None:
        item.spec.replicas = 1


def prepare_create(item: ReplicaSet) -> None:
    """Status is counted by the controller."""
    item.status = ReplicaSetStatus()


def prepare_update(item: ReplicaSet, old: ReplicaSet) -> None:
    """As on creation."""
    item.status = old.status


def prepare_status(item: ReplicaSet, old: ReplicaSet) -> None:
    """A status write leaves the rest alone."""
    item.spec = old.spec


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
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status=prepare_status,
    columns=described(
        "replicasets",
        NAME,
        Column("Desired", "integer", lambda item, _: item.spec.replicas, description="How many pods are wanted."),
        Column("Current", "integer", lambda item, _: item.status.replicas, description="How many pods there are."),
        Column("Ready", "integer", lambda item, _: item.status.ready_replicas, description="How many pods are ready."),
        AGE,
        *template_columns(lambda item: item.spec.template.spec),
        Column("Selector", "string", lambda item, _: selector_text(item.spec.selector), priority=1),
    ),
    rules=workload_rules.replica_set,
    update_rules=workload_rules.same_selector,
    status_rules=workload_rules.replica_set_status,
    warnings=lambda new, _old: pod_warnings.template("spec.template", new.spec.template),
)
