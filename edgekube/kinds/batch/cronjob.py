"""batch/v1 CronJob: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind
from edgekube.api.meta import Int32, LabelSelector, Object, ObjectMeta, Struct, Time, list_atomic, list_set, zero
from edgekube.kinds.core.podtemplate import PodTemplateSpec
from edgekube.kinds.core.references import ObjectReference


class PodFailurePolicyOnExitCodesRequirement(Struct):
    container_name: str | None = None
    operator: str = zero(str)
    values: Annotated[list[Int32] | None, list_set(strategy="")] = None


class PodFailurePolicyOnPodConditionsPattern(Struct):
    type: str = zero(str)
    status: str = zero(str)


class PodFailurePolicyRule(Struct):
    action: str = zero(str)
    on_exit_codes: PodFailurePolicyOnExitCodesRequirement | None = None
    on_pod_conditions: Annotated[list[PodFailurePolicyOnPodConditionsPattern], list_atomic()] = []


class PodFailurePolicy(Struct):
    rules: Annotated[list[PodFailurePolicyRule] | None, list_atomic()] = None


class SuccessPolicyRule(Struct):
    succeeded_indexes: str | None = None
    succeeded_count: Int32 | None = None


class SuccessPolicy(Struct):
    rules: Annotated[list[SuccessPolicyRule] | None, list_atomic()] = None


class JobSpec(Struct):
    parallelism: Int32 | None = None
    completions: Int32 | None = None
    active_deadline_seconds: int | None = None
    pod_failure_policy: PodFailurePolicy | None = None
    success_policy: SuccessPolicy | None = None
    backoff_limit: Int32 | None = None
    backoff_limit_per_index: Int32 | None = None
    max_failed_indexes: Int32 | None = None
    selector: LabelSelector | None = None
    manual_selector: bool | None = None
    template: PodTemplateSpec = zero(PodTemplateSpec)
    ttl_seconds_after_finished: Int32 | None = None
    completion_mode: str | None = None
    suspend: bool | None = None
    pod_replacement_policy: str | None = None
    managed_by: str | None = None


class JobTemplateSpec(Struct):
    metadata: ObjectMeta = zero(ObjectMeta)
    spec: JobSpec = zero(JobSpec)


class CronJobSpec(Struct):
    schedule: str = zero(str)
    time_zone: str | None = None
    starting_deadline_seconds: int | None = None
    concurrency_policy: str = ""
    suspend: bool | None = None
    job_template: JobTemplateSpec = zero(JobTemplateSpec)
    successful_jobs_history_limit: Int32 | None = None
    failed_jobs_history_limit: Int32 | None = None


class CronJobStatus(Struct):
    active: Annotated[list[ObjectReference], list_atomic()] = []
    last_schedule_time: Time | None = None
    last_successful_time: Time | None = None


class CronJob(Object):
    spec: CronJobSpec = zero(CronJobSpec)
    status: CronJobStatus = zero(CronJobStatus)


KIND = Kind(
    type=CronJob,
    group="batch",
    version="v1",
    name="CronJob",
    plural="cronjobs",
    singular="cronjob",
    short=("cj",),
    categories=("all",),
    has_status=True,
)
