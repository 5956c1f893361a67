"""batch/v1 Job: pods that are run until enough of them succeeded."""

from __future__ import annotations

from typing import Annotated

from edgekube.api import names
from edgekube.api.durations import human
from edgekube.api.kind import Column, Kind
from edgekube.api.meta import Int32, LabelSelector, Object, Struct, Time, list_atomic, list_set, null, parse_time, zero
from edgekube.kinds.batch import job_rules
from edgekube.kinds.batch.cronjob import JobSpec, template_default
from edgekube.kinds.core import pod_warnings
from edgekube.kinds.core.printing import AGE, NAME, described, selector_text, template_columns
from edgekube.kinds.core.workload_rules import name_warnings


class JobCondition(Struct):
    """One aspect of a job's state: Complete, Failed, Suspended and the steps towards them."""

    type: str = zero(str)
    status: str = zero(str)
    last_probe_time: Time | None = null()
    last_transition_time: Time | None = null()
    reason: str = ""
    message: str = ""


class UncountedTerminatedPods(Struct):
    """Pods that ended and are about to be counted, so that none is counted twice."""

    succeeded: Annotated[list[str], list_set(strategy="")] = []
    failed: Annotated[list[str], list_set(strategy="")] = []


class JobStatus(Struct):
    """How many pods run, succeeded and failed."""

    conditions: Annotated[list[JobCondition], list_atomic(patch_key="type", strategy="merge")] = []
    start_time: Time | None = None
    completion_time: Time | None = None
    active: Int32 = 0
    succeeded: Int32 = 0
    failed: Int32 = 0
    terminating: Int32 | None = None
    completed_indexes: str = ""
    failed_indexes: str | None = None
    uncounted_terminated_pods: UncountedTerminatedPods | None = None
    ready: Int32 | None = None


class Job(Object):
    """Pods that run to an end."""

    spec: JobSpec = zero(JobSpec)
    status: JobStatus = zero(JobStatus)


CONTROLLER_UID = "batch.kubernetes.io/controller-uid"
JOB_NAME = "batch.kubernetes.io/job-name"
OLD_CONTROLLER_UID = "controller-uid"
OLD_JOB_NAME = "job-name"
BACKOFF_LIMIT = 6
NO_LIMIT = 2**31 - 1
_STATES = ("Complete", "Failed", "", "Suspended", "FailureTarget", "SuccessCriteriaMet")  # "" is being deleted


def default(job: Job) -> None:
    """One pod that is tried six times more."""
    spec = job.spec
    template_default(spec)
    if spec.completions is None and spec.parallelism is None:
        spec.completions = spec.parallelism = 1
    if spec.parallelism is None:
        spec.parallelism = 1
    if spec.backoff_limit is None:
        spec.backoff_limit = BACKOFF_LIMIT if spec.backoff_limit_per_index is None else NO_LIMIT
    spec.completion_mode = spec.completion_mode or "NonIndexed"
    spec.suspend = bool(spec.suspend)
    if spec.pod_replacement_policy is None:
        spec.pod_replacement_policy = "Failed" if spec.pod_failure_policy else "TerminatingOrFailed"
    spec.manual_selector = bool(spec.manual_selector)
    if not job.metadata.labels:
        job.metadata.labels = dict(spec.template.metadata.labels)


def prepare_create(job: Job) -> None:
    """Unless the user takes care of it, a job selects its pods by its own uid (which must be known by now)."""
    job.status = JobStatus()
    if job.spec.manual_selector:
        return
    labels = job.spec.template.metadata.labels
    inherited = job.metadata.labels == labels
    own = {
        OLD_JOB_NAME: job.metadata.name,
        JOB_NAME: job.metadata.name,
        OLD_CONTROLLER_UID: job.metadata.uid,
        CONTROLLER_UID: job.metadata.uid,
    }
    job.spec.template.metadata.labels = own | labels
    if inherited and not names.label_value(job.metadata.name):  # else the template alone is to blame
        job.metadata.labels = dict(job.spec.template.metadata.labels)
    if job.spec.selector is None:
        job.spec.selector = LabelSelector()
    selected = {CONTROLLER_UID: job.metadata.uid} | job.spec.selector.match_labels
    job.spec.selector.match_labels = dict(sorted(selected.items()))


def prepare_update(job: Job, old: Job) -> None:
    """Status is counted by the controller."""
    job.status = old.status


def prepare_status(job: Job, old: Job) -> None:
    """A status write leaves the rest alone."""
    job.spec = old.spec


def _state(job: Job, _now: str) -> str:
    true = {condition.type for condition in job.status.conditions if condition.status == "True"}
    if job.metadata.deletion_timestamp is not None:
        true.add("")
    return next((state or "Terminating" for state in _STATES if state in true), "Running")


def _completions(job: Job, _now: str) -> str:
    spec, succeeded = job.spec, job.status.succeeded
    if spec.completions is not None:
        return f"{succeeded}/{spec.completions}"
    return f"{succeeded}/1 of {spec.parallelism}" if (spec.parallelism or 0) > 1 else f"{succeeded}/1"


def _duration(job: Job, now: str) -> str:
    if job.status.start_time is None:
        return ""
    end = job.status.completion_time or now
    return human((parse_time(end) - parse_time(job.status.start_time)).total_seconds())


def warnings(new: Job, old: Job | None) -> list[str]:
    """Of the name, which pods take over, of the size, and of the template."""
    found = name_warnings(new.metadata.name) if old is None else []
    found += job_rules.warnings("spec", new.spec)
    return found + pod_warnings.template("spec.template", new.spec.template)


KIND = Kind(
    type=Job,
    group="batch",
    version="v1",
    name="Job",
    plural="jobs",
    singular="job",
    categories=("all",),
    has_status=True,
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status=prepare_status,
    selectable={"status.successful": lambda job: str(job.status.succeeded)},
    columns=described(
        "jobs",
        NAME,
        Column("Status", "string", _state),
        Column("Completions", "string", _completions),
        Column("Duration", "string", _duration),
        AGE,
        *template_columns(lambda item: item.spec.template.spec),
        Column("Selector", "string", lambda item, _: selector_text(item.spec.selector), priority=1),
    ),
    rules=job_rules.job,
    update_rules=job_rules.update,
    status_rules=job_rules.status,
    warnings=warnings,
)
