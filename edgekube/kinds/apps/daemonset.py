"""apps/v1 DaemonSet: one pod on every node that fits."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Column, Kind
from edgekube.api.meta import Int32, IntOrString, LabelSelector, Object, Struct, Time, list_map, null, zero
from edgekube.kinds.apps import workload_rules
from edgekube.kinds.core import pod_defaults, pod_warnings
from edgekube.kinds.core.podtemplate import PodTemplateSpec
from edgekube.kinds.core.printing import AGE, NAME, described, labels_text, selector_text, template_columns


class RollingUpdateDaemonSet(Struct):
    """How many nodes may be without their pod, or have two, while pods are replaced."""

    max_unavailable: IntOrString | None = None
    max_surge: IntOrString | None = None


class DaemonSetUpdateStrategy(Struct):
    """Whether changed pods are replaced by themselves (RollingUpdate) or when deleted (OnDelete)."""

    type: str = ""
    rolling_update: RollingUpdateDaemonSet | None = None


class DaemonSetSpec(Struct):
    """Which pods, and how they are replaced."""

    selector: LabelSelector | None = None
    template: PodTemplateSpec = zero(PodTemplateSpec)
    update_strategy: DaemonSetUpdateStrategy = zero(DaemonSetUpdateStrategy)
    min_ready_seconds: Int32 = 0
    revision_history_limit: Int32 | None = None


class DaemonSetCondition(Struct):
    """One aspect of a DaemonSet's state."""

    type: str = zero(str)
    status: str = zero(str)
    last_transition_time: Time | None = null()
    reason: str = ""
    message: str = ""


class DaemonSetStatus(Struct):
    """On how many nodes pods are wanted, running, ready and up to date."""

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
    """A pod on every node that fits."""

    spec: DaemonSetSpec = zero(DaemonSetSpec)
    status: DaemonSetStatus = zero(DaemonSetStatus)


HISTORY = 10
TEMPLATE_GENERATION = "deprecated.daemonset.template.generation"  # a field once, an annotation since apps/v1


def default(item: DaemonSet) -> None:
    """Pods are replaced one node at a time."""
    spec = item.spec
    pod_defaults.pod_spec(spec.template.spec)
    strategy = spec.update_strategy
    strategy.type = strategy.type or "RollingUpdate"
    if strategy.type == "RollingUpdate":
        if strategy.rolling_update is None:
            strategy.rolling_update = RollingUpdateDaemonSet()
        if strategy.rolling_update.max_unavailable is None:
            strategy.rolling_update.max_unavailable = 1
        if strategy.rolling_update.max_surge is None:
            strategy.rolling_update.max_surge = 0
    if spec.revision_history_limit is None:
        spec.revision_history_limit = HISTORY
    # upstream's own type has the number, so that whoever writes the object owns the annotation it becomes
    item.metadata.annotations = {TEMPLATE_GENERATION: "0"} | item.metadata.annotations


def prepare_create(item: DaemonSet) -> None:
    """Status is counted by the controller; templates are counted from one."""
    item.status = DaemonSetStatus()
    _count_template(item, 1)


def prepare_update(item: DaemonSet, old: DaemonSet) -> None:
    """A changed template is counted on."""
    item.status = old.status
    before = old.metadata.annotations.get(TEMPLATE_GENERATION, "")
    count = int(before) if before.isdecimal() else 0
    if item.spec.template != old.spec.template:
        count += 1
    _count_template(item, count)


def _count_template(item: DaemonSet, count: int) -> None:
    item.metadata.annotations = item.metadata.annotations | {TEMPLATE_GENERATION: str(count)}


def prepare_status(item: DaemonSet, old: DaemonSet) -> None:
    """A status write leaves the rest alone."""
    item.spec = old.spec


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
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status=prepare_status,
    columns=described(
        "daemonsets",
        NAME,
        Column("Desired", "integer", lambda item, _: item.status.desired_number_scheduled),
        Column("Current", "integer", lambda item, _: item.status.current_number_scheduled),
        Column("Ready", "integer", lambda item, _: item.status.number_ready),
        Column("Up-to-date", "integer", lambda item, _: item.status.updated_number_scheduled),
        Column("Available", "integer", lambda item, _: item.status.number_available),
        Column("Node Selector", "string", lambda item, _: labels_text(item.spec.template.spec.node_selector)),
        AGE,
        *template_columns(lambda item: item.spec.template.spec),
        Column("Selector", "string", lambda item, _: selector_text(item.spec.selector), priority=1),
    ),
    rules=workload_rules.daemon_set,
    update_rules=workload_rules.same_selector,
    status_rules=workload_rules.daemon_set_status,
    warnings=lambda new, _old: pod_warnings.template("spec.template", new.spec.template),
)
