"""v1 ReplicationController: keeps a number of equal pods running; the forerunner of ReplicaSet."""

from __future__ import annotations

from typing import Annotated

from edgekube.api import rules
from edgekube.api.kind import Column, FieldError, Kind, Subresource
from edgekube.api.meta import Int32, Object, Struct, Time, list_map, null, struct_atomic, zero
from edgekube.kinds.core import pod_defaults, pod_rules, pod_warnings, workload_rules
from edgekube.kinds.core.podtemplate import PodTemplateSpec
from edgekube.kinds.core.printing import AGE, NAME, described, labels_text, template_columns


class ReplicationControllerSpec(Struct):
    """Which pods, and how many."""

    replicas: Int32 | None = None
    min_ready_seconds: Int32 = 0
    selector: Annotated[dict[str, str], struct_atomic()] = {}
    template: PodTemplateSpec | None = None


class ReplicationControllerCondition(Struct):
    """One aspect of a controller's state."""

    type: str = zero(str)
    status: str = zero(str)
    last_transition_time: Time | None = null()
    reason: str = ""
    message: str = ""


class ReplicationControllerStatus(Struct):
    """How many pods there are."""

    replicas: Int32 = zero(int)
    fully_labeled_replicas: Int32 = 0
    ready_replicas: Int32 = 0
    available_replicas: Int32 = 0
    observed_generation: int = 0
    conditions: Annotated[list[ReplicationControllerCondition], list_map("type")] = []


class ReplicationController(Object):
    """A number of equal pods."""

    spec: ReplicationControllerSpec = zero(ReplicationControllerSpec)
    status: ReplicationControllerStatus = zero(ReplicationControllerStatus)


def default(item: ReplicationController) -> None:
    """One replica, selected and labelled as its template is."""
    spec = item.spec
    if spec.replicas is None:
        spec.replicas = 1
    if spec.template is None:
        return
    labels = spec.template.metadata.labels
    spec.selector = spec.selector or dict(labels)
    item.metadata.labels = item.metadata.labels or dict(labels)
    pod_defaults.pod_spec(spec.template.spec)


def prepare_create(item: ReplicationController) -> None:
    """Status is counted by the controller."""
    item.status = ReplicationControllerStatus()


def prepare_update(item: ReplicationController, old: ReplicationController) -> None:
    """As on creation."""
    item.status = old.status


def prepare_status(item: ReplicationController, old: ReplicationController) -> None:
    """A status write leaves the rest alone."""
    item.spec = old.spec


def broken_rules(item: ReplicationController) -> list[FieldError]:
    """Counts, a selector, and a template it selects."""
    spec = item.spec
    broken = rules.not_negative("spec.minReadySeconds", spec.min_ready_seconds)
    if not spec.selector:
        broken.append(rules.required("spec.selector"))
    broken += rules.not_negative("spec.replicas", spec.replicas or 0)
    if spec.template is None:
        return [*broken, rules.required("spec.template")]
    labels = spec.template.metadata.labels
    if any(labels.get(key) != value for key, value in spec.selector.items()):
        broken.append(rules.invalid("spec.template.metadata.labels", labels or None, workload_rules.NOT_SELECTED))
    broken += pod_rules.template("spec.template", spec.template)
    return broken + workload_rules.runs_for_ever("spec.template.spec", spec.template.spec, "ReplicationController")


def status_rules(new: ReplicationController, _old: ReplicationController) -> list[FieldError]:
    """Counts that make sense together."""
    return workload_rules.replica_counts(new.status)


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
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status=prepare_status,
    selectable={"status.replicas": lambda item: str(item.status.replicas)},
    columns=described(
        "replicationcontrollers",
        NAME,
        Column("Desired", "integer", lambda item, _: item.spec.replicas),
        Column("Current", "integer", lambda item, _: item.status.replicas),
        Column("Ready", "integer", lambda item, _: item.status.ready_replicas),
        AGE,
        *template_columns(lambda item: item.spec.template.spec if item.spec.template else None),
        Column("Selector", "string", lambda item, _: labels_text(item.spec.selector), priority=1),
    ),
    rules=broken_rules,
    status_rules=status_rules,
    warnings=lambda new, _old: pod_warnings.template("spec.template", new.spec.template),
)
