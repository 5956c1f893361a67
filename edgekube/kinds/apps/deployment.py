"""apps/v1 Deployment: a number of equal pods, and an orderly way from one template to the next."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Column, Kind, Subresource
from edgekube.api.meta import Int32, IntOrString, LabelSelector, Object, Struct, Time, list_map, null, retain_keys, zero
from edgekube.kinds.apps import workload_rules
from edgekube.kinds.core import pod_defaults, pod_warnings
from edgekube.kinds.core.podtemplate import PodTemplateSpec
from edgekube.kinds.core.printing import AGE, NAME, described, selector_text, template_columns


class RollingUpdateDeployment(Struct):
    """How many pods may be missing, or too many, while they are replaced."""

    max_unavailable: IntOrString | None = None
    max_surge: IntOrString | None = None


class DeploymentStrategy(Struct):
    """Whether old pods go step by step (RollingUpdate) or all at once first (Recreate)."""

    type: str = ""
    rolling_update: RollingUpdateDeployment | None = None


class DeploymentSpec(Struct):
    """Which pods, how many, and how they are replaced."""

    replicas: Int32 | None = None
    selector: LabelSelector | None = None
    template: PodTemplateSpec = zero(PodTemplateSpec)
    strategy: Annotated[DeploymentStrategy, retain_keys()] = zero(DeploymentStrategy)
    min_ready_seconds: Int32 = 0
    revision_history_limit: Int32 | None = None
    paused: bool = False
    progress_deadline_seconds: Int32 | None = None


class DeploymentCondition(Struct):
    """One aspect of a Deployment's state: Available, Progressing, ReplicaFailure."""

    type: str = zero(str)
    status: str = zero(str)
    last_update_time: Time | None = null()
    last_transition_time: Time | None = null()
    reason: str = ""
    message: str = ""


class DeploymentStatus(Struct):
    """How many pods there are, over all ReplicaSets."""

    observed_generation: int = 0
    replicas: Int32 = 0
    updated_replicas: Int32 = 0
    ready_replicas: Int32 = 0
    available_replicas: Int32 = 0
    unavailable_replicas: Int32 = 0
    terminating_replicas: Int32 | None = None
    conditions: Annotated[list[DeploymentCondition], list_map("type")] = []
    collision_count: Int32 | None = None


class Deployment(Object):
    """Equal pods, with a way from one template to the next."""

    spec: DeploymentSpec = zero(DeploymentSpec)
    status: DeploymentStatus = zero(DeploymentStatus)


HISTORY = 10
PROGRESS_DEADLINE_S = 600
QUARTER = "25%"


def default(item: Deployment) -> None:
    """One replica, replaced a quarter at a time."""
    spec = item.spec
    pod_defaults.pod_spec(spec.template.spec)
    if spec.replicas is None:
        spec.replicas = 1
    strategy = spec.strategy
    strategy.type = strategy.type or "RollingUpdate"
    if strategy.type == "RollingUpdate":
        if strategy.rolling_update is None:
            strategy.rolling_update = RollingUpdateDeployment()
        if strategy.rolling_update.max_unavailable is None:
            strategy.rolling_update.max_unavailable = QUARTER
        if strategy.rolling_update.max_surge is None:
            strategy.rolling_update.max_surge = QUARTER
    if spec.revision_history_limit is None:
        spec.revision_history_limit = HISTORY
    if spec.progress_deadline_seconds is None:
        spec.progress_deadline_seconds = PROGRESS_DEADLINE_S


def prepare_create(item: Deployment) -> None:
    """Status is counted by the controller."""
    item.status = DeploymentStatus()


def prepare_update(item: Deployment, old: Deployment) -> None:
    """As on creation."""
    item.status = old.status


def prepare_status(item: Deployment, old: Deployment) -> None:
    """A status write leaves the rest alone."""
    item.spec = old.spec
    item.metadata.labels = old.metadata.labels


KIND = Kind(
    type=Deployment,
    group="apps",
    version="v1",
    name="Deployment",
    plural="deployments",
    singular="deployment",
    short=("deploy",),
    categories=("all",),
    has_status=True,
    subresources=(Subresource("scale", "Scale", ("get", "patch", "update"), "autoscaling", "v1"),),
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status=prepare_status,
    columns=described(
        "deployments",
        NAME,
        Column("Ready", "string", lambda item, _: f"{item.status.ready_replicas}/{item.spec.replicas or 0}"),
        Column("Up-to-date", "string", lambda item, _: item.status.updated_replicas),
        Column("Available", "string", lambda item, _: item.status.available_replicas),
        AGE,
        *template_columns(lambda item: item.spec.template.spec),
        Column("Selector", "string", lambda item, _: selector_text(item.spec.selector), priority=1),
    ),
    rules=workload_rules.deployment,
    update_rules=workload_rules.same_selector,
    status_rules=workload_rules.deployment_status,
    warnings=lambda new, _old: pod_warnings.template("spec.template", new.spec.template),
)
