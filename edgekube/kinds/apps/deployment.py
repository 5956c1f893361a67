"""apps/v1 Deployment: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind, Subresource
from edgekube.api.meta import Int32, IntOrString, LabelSelector, Object, Struct, Time, list_map, retain_keys, zero
from edgekube.kinds.core.podtemplate import PodTemplateSpec


class RollingUpdateDeployment(Struct):
    max_unavailable: IntOrString | None = None
    max_surge: IntOrString | None = None


class DeploymentStrategy(Struct):
    type: str = ""
    rolling_update: RollingUpdateDeployment | None = None


class DeploymentSpec(Struct):
    replicas: Int32 | None = None
    selector: LabelSelector | None = None
    template: PodTemplateSpec = zero(PodTemplateSpec)
    strategy: Annotated[DeploymentStrategy, retain_keys()] = zero(DeploymentStrategy)
    min_ready_seconds: Int32 = 0
    revision_history_limit: Int32 | None = None
    paused: bool = False
    progress_deadline_seconds: Int32 | None = None


class DeploymentCondition(Struct):
    type: str = zero(str)
    status: str = zero(str)
    last_update_time: Time | None = None
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class DeploymentStatus(Struct):
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
    spec: DeploymentSpec = zero(DeploymentSpec)
    status: DeploymentStatus = zero(DeploymentStatus)


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
)
