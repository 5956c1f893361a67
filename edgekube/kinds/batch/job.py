"""batch/v1 Job: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind
from edgekube.api.meta import Int32, Object, Struct, Time, list_atomic, list_set, zero
from edgekube.kinds.batch.cronjob import JobSpec


class JobCondition(Struct):
    type: str = zero(str)
    status: str = zero(str)
    last_probe_time: Time | None = None
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class UncountedTerminatedPods(Struct):
    succeeded: Annotated[list[str], list_set(strategy="")] = []
    failed: Annotated[list[str], list_set(strategy="")] = []


class JobStatus(Struct):
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
    spec: JobSpec = zero(JobSpec)
    status: JobStatus = zero(JobStatus)


KIND = Kind(
    type=Job,
    group="batch",
    version="v1",
    name="Job",
    plural="jobs",
    singular="job",
    categories=("all",),
    has_status=True,
)
