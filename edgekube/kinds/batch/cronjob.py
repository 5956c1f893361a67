"""batch/v1 CronJob: a Job started by the calendar. The spec of Jobs stands here, since both kinds hold it."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.durations import age
from edgekube.api.kind import Column, Kind
from edgekube.api.meta import Int32, LabelSelector, Object, ObjectMeta, Struct, Time, list_atomic, list_set, null, zero
from edgekube.kinds.batch import job_rules
from edgekube.kinds.core import pod_defaults, pod_warnings
from edgekube.kinds.core.podtemplate import PodTemplateSpec
from edgekube.kinds.core.printing import AGE, NAME, NONE, UNSET, described, selector_text, template_columns
from edgekube.kinds.core.references import ObjectReference
from edgekube.kinds.core.workload_rules import name_warnings


class PodFailurePolicyOnExitCodesRequirement(Struct):
    """Exit codes of one container, or of any."""

    container_name: str | None = None
    operator: str = zero(str)
    values: Annotated[list[Int32] | None, list_set(strategy="")] = null()


class PodFailurePolicyOnPodConditionsPattern(Struct):
    """A condition a failed pod has."""

    type: str = zero(str)
    status: str = zero(str)


class PodFailurePolicyRule(Struct):
    """What to do about a failed pod that matches."""

    action: str = zero(str)
    on_exit_codes: PodFailurePolicyOnExitCodesRequirement | None = None
    on_pod_conditions: Annotated[list[PodFailurePolicyOnPodConditionsPattern], list_atomic()] = []


class PodFailurePolicy(Struct):
    """Rules about failed pods; the first that matches counts."""

    rules: Annotated[list[PodFailurePolicyRule] | None, list_atomic()] = null()


class SuccessPolicyRule(Struct):
    """Which indexes, or how many of them, make a job a success."""

    succeeded_indexes: str | None = None
    succeeded_count: Int32 | None = None


class SuccessPolicy(Struct):
    """When a job succeeds before all of its pods have."""

    rules: Annotated[list[SuccessPolicyRule] | None, list_atomic()] = null()


class JobSpec(Struct):
    """Which pods, how many of them must succeed, and what failures mean."""

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
    """A job to be."""

    metadata: ObjectMeta = zero(ObjectMeta)
    spec: JobSpec = zero(JobSpec)


class CronJobSpec(Struct):
    """When jobs start, and which."""

    schedule: str = zero(str)
    time_zone: str | None = None
    starting_deadline_seconds: int | None = None
    concurrency_policy: str = ""
    suspend: bool | None = None
    job_template: JobTemplateSpec = zero(JobTemplateSpec)
    successful_jobs_history_limit: Int32 | None = None
    failed_jobs_history_limit: Int32 | None = None


class CronJobStatus(Struct):
    """Jobs that are running, and when the last one started."""

    active: Annotated[list[ObjectReference], list_atomic()] = []
    last_schedule_time: Time | None = None
    last_successful_time: Time | None = None


class CronJob(Object):
    """Jobs by the calendar."""

    spec: CronJobSpec = zero(CronJobSpec)
    status: CronJobStatus = zero(CronJobStatus)


def default(item: CronJob) -> None:
    """Runs may overlap; three successes and one failure are kept."""
    spec = item.spec
    spec.concurrency_policy = spec.concurrency_policy or "Allow"
    if spec.suspend is None:
        spec.suspend = False
    if spec.successful_jobs_history_limit is None:
        spec.successful_jobs_history_limit = 3
    if spec.failed_jobs_history_limit is None:
        spec.failed_jobs_history_limit = 1
    template_default(spec.job_template.spec)


def template_default(spec: JobSpec) -> None:
    """What is filled in wherever a Job's spec stands; the rest only in Jobs themselves."""
    pod_defaults.pod_spec(spec.template.spec)
    for rule in spec.pod_failure_policy.rules or () if spec.pod_failure_policy else ():
        for pattern in rule.on_pod_conditions:
            pattern.status = pattern.status or "True"


def prepare_create(item: CronJob) -> None:
    """Status is counted by the controller."""
    item.status = CronJobStatus()


def prepare_update(item: CronJob, old: CronJob) -> None:
    """As on creation."""
    item.status = old.status


def prepare_status(item: CronJob, old: CronJob) -> None:
    """A status write leaves the rest alone."""
    item.spec = old.spec


def _suspended(item: CronJob, _now: str) -> str:
    return UNSET if item.spec.suspend is None else str(item.spec.suspend)


def _last_schedule(item: CronJob, now: str) -> str:
    return age(item.status.last_schedule_time, now) if item.status.last_schedule_time else NONE


def warnings(new: CronJob, old: CronJob | None) -> list[str]:
    """Of the name, which jobs and pods take over, and of the template."""
    found = name_warnings(new.metadata.name) if old is None else []
    if new.spec.schedule.startswith(("TZ=", "CRON_TZ=")):
        found.append(
            "spec.schedule: CRON_TZ or TZ used in schedule is not officially supported, see "
            "https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details"
        )
    return found + pod_warnings.template("spec.jobTemplate.spec.template", new.spec.job_template.spec.template)


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
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status=prepare_status,
    columns=described(
        "cronjobs",
        NAME,
        Column(
            "Schedule", "string", lambda item, _: item.spec.schedule, description="When jobs start, in cron syntax."
        ),
        Column(
            "Timezone",
            "string",
            lambda item, _: item.spec.time_zone or NONE,
            description="The time zone the schedule is read in; the server's when unset.",
        ),
        Column("Suspend", "boolean", _suspended, description="Whether no further jobs are started."),
        Column("Active", "integer", lambda item, _: len(item.status.active), description="How many jobs are running."),
        Column("Last Schedule", "string", _last_schedule, description="How long ago a job was last started."),
        AGE,
        *template_columns(lambda item: item.spec.job_template.spec.template.spec),
        Column("Selector", "string", lambda item, _: selector_text(item.spec.job_template.spec.selector), priority=1),
    ),
    rules=job_rules.cron_job,
    warnings=warnings,
)
