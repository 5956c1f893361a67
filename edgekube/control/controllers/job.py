"""Job: pods that run to completion, counted exactly once each.

A finished pod is first written down in `status.uncountedTerminatedPods`, then loses its finalizer, then is counted: whatever crash
comes between, none is counted twice or never. One look does as many of these steps as it safely can; the writes bring the next look.
Source: k8s.io/kubernetes pkg/controller/job/job_controller.go.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import msgspec

from edgekube.api.meta import format_time, parse_time
from edgekube.api.selectors import LabelQuery, from_label_selector
from edgekube.control import jobs, owners, pods
from edgekube.control.config import Config
from edgekube.kinds.batch import job as job_kind
from edgekube.kinds.batch.job import Job, JobCondition, JobStatus, UncountedTerminatedPods
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.container import Container, EnvVar
from edgekube.kinds.core.pod import Pod
from edgekube.reconcile.drive import Caches, Controller, Key, Watch, own_key
from edgekube.reconcile.plan import NOTHING, Action, Create, Delete, Note, Outcome, Patch, Plan, Tell, Update, about

KIND = job_kind.KIND
MOST_AT_ONCE = 500
MOST_UNCOUNTED = 500
CUSTOM_CONTROLLER = "kubernetes.io/job-controller"


@dataclass(frozen=True)
class Seen:
    """A job and the pods that are or might be its own."""

    job: Job
    pods: Sequence[Pod]
    now: datetime


@dataclass
class _Count:
    """What was found, worked out once. `ending` is the interim condition (FailureTarget or SuccessCriteriaMet), if any."""

    job: Job
    mine: Sequence[Pod]
    now: datetime
    ending: JobCondition | None = None
    succeeded_before: list[str] = field(default_factory=list)  # uncounted uids that still have their pod's finalizer
    failed_before: list[str] = field(default_factory=list)
    counted_succeeded: int = 0
    counted_failed: int = 0
    indexes: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        status = self.job.status
        uncounted = status.uncounted_terminated_pods or UncountedTerminatedPods()
        held = {pod.metadata.uid for pod in self.mine if jobs.has_finalizer(pod)}
        self.succeeded_before = [uid for uid in uncounted.succeeded if uid in held]
        self.failed_before = [uid for uid in uncounted.failed if uid in held]
        self.counted_succeeded = status.succeeded + len(uncounted.succeeded) - len(self.succeeded_before)
        self.counted_failed = status.failed + len(uncounted.failed) - len(self.failed_before)
        self.indexes = jobs.parse_indexes(status.completed_indexes)

    @cached_property
    def active(self) -> list[Pod]:
        return [pod for pod in self.mine if pods.is_active(pod)]

    @cached_property
    def terminating(self) -> int:
        return sum(1 for pod in self.mine if pods.is_terminating(pod))

    def _new(self, pod: Pod, known: Sequence[str]) -> bool:
        valid = not jobs.is_indexed(self.job) or (
            (index := jobs.index_of(pod)) is not None and index < (self.job.spec.completions or 0)
        )
        return jobs.has_finalizer(pod) and pod.metadata.uid not in known and valid

    @cached_property
    def new_succeeded(self) -> list[Pod]:
        known = [*self.succeeded_before, *self.failed_before]
        return [pod for pod in self.mine if pod.status.phase == "Succeeded" and self._new(pod, known)]

    @cached_property
    def new_failed(self) -> list[Pod]:
        known = [*self.succeeded_before, *self.failed_before]
        return [pod for pod in self.mine if jobs.is_failed(pod, self.job) and self._new(pod, known)]

    @cached_property
    def succeeded(self) -> int:
        if jobs.is_indexed(self.job):
            new = {index for pod in self.new_succeeded if (index := jobs.index_of(pod)) is not None}
            return len(self.indexes | new)
        return self.counted_succeeded + len(self.succeeded_before) + len(self.new_succeeded)

    @cached_property
    def failed(self) -> int:
        new = sum(1 for pod in self.new_failed if jobs.counts_as_failure(self.job, pod))
        return self.counted_failed + len(self.failed_before) + new

    @cached_property
    def failed_indexes(self) -> set[int] | None:
        """Indexes that used up their own limit; None without such limits."""
        limit = self.job.spec.backoff_limit_per_index
        if limit is None:
            return None
        found = jobs.parse_indexes(self.job.status.failed_indexes or "")
        policy = self.job.spec.pod_failure_policy
        for pod in self.mine:
            index = jobs.index_of(pod)
            if index is None or not jobs.is_failed(pod, self.job):
                continue
            match = jobs.match_policy(policy, pod) if policy is not None else None
            if (match and match.action == "FailIndex") or failures_of(pod) >= limit:
                found.add(index)
        return found - self.indexes


def failures_of(pod: Pod) -> int:
    """How many pods of its index failed before this one."""
    text = pod.metadata.annotations.get(jobs.INDEX_FAILURES, "0")
    return int(text) if text.isdigit() else 0


def condition(status: JobStatus, type_: str) -> JobCondition | None:
    """A condition that is True."""
    return next((found for found in status.conditions if found.type == type_ and found.status == "True"), None)


def is_finished(job: Job) -> bool:
    """Whether it has reached its end."""
    return condition(job.status, "Complete") is not None or condition(job.status, "Failed") is not None


def _made(type_: str, reason: str, message: str, now: datetime, status: str = "True") -> JobCondition:
    stamp = format_time(now)
    return JobCondition(
        type=type_,
        status=status,
        last_probe_time=stamp,
        last_transition_time=stamp,
        reason=reason,
        message=message,
    )


def reconcile(seen: Seen) -> Plan:
    """Count, create or delete, and end."""
    job = seen.job
    if is_finished(job) or job.spec.managed_by not in (None, CUSTOM_CONTROLLER):
        return NOTHING
    query = from_label_selector(job.spec.selector)
    mine, claims = owners.claim(pod_kind.KIND, seen.pods, KIND, job, query)
    count = _Count(job, mine, seen.now)
    count.ending = _ending(count)
    changes: list[Action] = []
    look_again_s: float | None = None
    if job.metadata.deletion_timestamp is None:
        if count.ending is not None:
            changes = [_death(job, pod) for pod in count.active]
        else:
            changes, look_again_s = _manage(count)
    deadline = _deadline_left_s(job, seen.now)
    if deadline is not None and count.ending is None:
        look_again_s = min(look_again_s, deadline) if look_again_s is not None else deadline

    def finish(outcome: Outcome) -> Sequence[Action]:
        return _account(count, changes, outcome)

    return Plan([*claims, *changes], finish, look_again_s)


def _deadline_left_s(job: Job, now: datetime) -> float | None:
    seconds = job.spec.active_deadline_seconds
    if seconds is None or jobs.is_suspended(job):
        return None
    start = parse_time(job.status.start_time) if job.status.start_time is not None else now
    return (start + timedelta(seconds=seconds) - now).total_seconds()


def _ending(count: _Count) -> JobCondition | None:
    """Why the job is over, if it is."""
    job, now = count.job, count.now
    for type_ in ("FailureTarget", "SuccessCriteriaMet"):
        if (found := condition(job.status, type_)) is not None:
            return found
    policy = job.spec.pod_failure_policy
    for pod in count.mine:
        match = jobs.match_policy(policy, pod) if policy is not None and pod.status.phase == "Failed" else None
        if match is not None and match.action == "FailJob":
            return _made("FailureTarget", "PodFailurePolicy", match.message, now)
    limit = job.spec.backoff_limit if job.spec.backoff_limit is not None else 6
    on_failure = job.spec.template.spec.restart_policy == "OnFailure"
    if count.failed > limit or (on_failure and jobs.restarts_past(limit, count.active)):
        return _made("FailureTarget", "BackoffLimitExceeded", "Job has reached the specified backoff limit", now)
    left = _deadline_left_s(job, now)
    if left is not None and left <= 0:
        return _made("FailureTarget", "DeadlineExceeded", "Job was active longer than specified deadline", now)
    if (failed := count.failed_indexes) is not None:
        most = job.spec.max_failed_indexes
        if most is not None and len(failed) > most:
            message = "Job has exceeded the specified maximal number of failed indexes"
            return _made("FailureTarget", "MaxFailedIndexesExceeded", message, now)
        if failed and len(failed) + count.succeeded >= (job.spec.completions or 0):
            return _made("FailureTarget", "FailedIndexes", "Job has failed indexes", now)
    return _success(count)


def _success(count: _Count) -> JobCondition | None:
    job, now = count.job, count.now
    done = count.indexes | {index for pod in count.new_succeeded if (index := jobs.index_of(pod)) is not None}
    for position, rule in enumerate((job.spec.success_policy and job.spec.success_policy.rules) or ()):
        chosen = done if rule.succeeded_indexes is None else done & jobs.parse_indexes(rule.succeeded_indexes)
        enough = rule.succeeded_count
        if enough is None:
            enough = len(jobs.parse_indexes(rule.succeeded_indexes or ""))
        if len(chosen) >= enough:
            return _made("SuccessCriteriaMet", "SuccessPolicy", f"Matched rules at index {position}", now)
    completions = job.spec.completions
    enough_done = count.succeeded > 0 if completions is None else count.succeeded >= completions
    if enough_done and not count.active:
        message = "Reached expected number of succeeded pods"
        return _made("SuccessCriteriaMet", "CompletionsReached", message, now)
    return None


def _manage(count: _Count) -> tuple[list[Action], float | None]:
    job, active = count.job, count.active
    if jobs.is_suspended(job):
        return _dismiss(job, active), None
    parallelism = job.spec.parallelism if job.spec.parallelism is not None else 1
    if job.spec.completions is None:
        wanted = len(active) if count.succeeded > 0 else parallelism
    else:
        failed = len(count.failed_indexes or ())
        wanted = max(0, min(parallelism, job.spec.completions - count.succeeded - failed))
    surplus = len(active) - wanted
    doomed = _duplicates(count) if jobs.is_indexed(job) else []
    rest = [pod for pod in jobs.least_useful_first(active, count.now) if pod not in doomed]
    doomed += rest[: max(0, surplus - len(doomed))]
    if doomed:
        return _dismiss(job, doomed[:MOST_AT_ONCE]), None
    terminating = count.terminating if job.spec.pod_replacement_policy == "Failed" else 0
    missing = wanted - len(active) - terminating
    if missing <= 0:
        return [], None
    return _births(count, min(missing, MOST_AT_ONCE))


def _dismiss(job: Job, surplus: Sequence[Pod]) -> list[Action]:
    """Delete pods that are not wanted any more: without the finalizer they are counted neither way."""
    freed: list[Action] = [_free(pod) for pod in surplus if jobs.has_finalizer(pod)]
    return [*freed, *(_death(job, pod) for pod in surplus)]


def _duplicates(count: _Count) -> list[Pod]:
    kept: set[int] = set()
    found = []
    for pod in reversed(jobs.least_useful_first(count.active, count.now)):
        index = jobs.index_of(pod)
        if index is None or index in kept or index >= (count.job.spec.completions or 0):
            found.append(pod)
        else:
            kept.add(index)
    return found


def _births(count: _Count, missing: int) -> tuple[list[Action], float | None]:
    job = count.job
    failed = [pod for pod in count.mine if jobs.is_failed(pod, job)]
    if count.failed_indexes is None:
        done = [pod for pod in count.mine if pod.status.phase == "Succeeded"]
        pause = jobs.pause_left_s(failed, done, count.now)
        if pause > 0:
            return [], pause
    if not jobs.is_indexed(job):
        return [_birth(job, None, 0)] * missing, None
    busy = {jobs.index_of(pod) for pod in count.active} | count.indexes
    busy |= {jobs.index_of(pod) for pod in count.new_succeeded} | (count.failed_indexes or set())
    if job.spec.pod_replacement_policy == "Failed":
        busy |= {jobs.index_of(pod) for pod in count.mine if pods.is_terminating(pod)}
    made: list[Action] = []
    waits: list[float] = []
    for index in range(job.spec.completions or 0):
        if len(made) == missing or index in busy:
            continue
        before = [pod for pod in failed if jobs.index_of(pod) == index]
        if count.failed_indexes is not None and (pause := jobs.pause_left_s(before, (), count.now)) > 0:
            waits.append(pause)
            continue
        made.append(_birth(job, index, max((failures_of(pod) + 1 for pod in before), default=0)))
    return made, min(waits, default=None)


def _birth(job: Job, index: int | None, failures: int) -> Create:
    pod = owners.pod_from(job.spec.template, KIND, job)
    metadata = pod.metadata
    if jobs.FINALIZER not in metadata.finalizers:
        metadata.finalizers = [*metadata.finalizers, jobs.FINALIZER]
    if index is not None:
        metadata.generate_name = f"{job.metadata.name}-{index}-"
        metadata.annotations = {**metadata.annotations, jobs.INDEX: str(index)}
        metadata.labels = {**metadata.labels, jobs.INDEX: str(index)}
        if job.spec.backoff_limit_per_index is not None:
            metadata.annotations[jobs.INDEX_FAILURES] = str(failures)
        spec = pod.spec
        pod.spec = msgspec.structs.replace(
            spec,
            hostname=f"{job.metadata.name}-{index}",
            containers=[_with_index(container) for container in spec.containers or []],
            init_containers=[_with_index(container) for container in spec.init_containers],
        )
    reference = about(KIND, job)
    return Create(
        kind=pod_kind.KIND,
        item=pod,
        done=Note(reference, "Normal", "SuccessfulCreate", "Created pod: {name}"),
        failed=Note(reference, "Warning", "FailedCreate", "Error creating: {error}"),
    )


def _with_index(container: Container) -> Container:
    if any(variable.name == "JOB_COMPLETION_INDEX" for variable in container.env):
        return container
    document: dict[str, Any] = {"name": "JOB_COMPLETION_INDEX"}
    document["valueFrom"] = {"fieldRef": {"fieldPath": f"metadata.annotations['{jobs.INDEX}']"}}
    variable = msgspec.convert(document, EnvVar)
    return msgspec.structs.replace(container, env=[*container.env, variable])


def _death(job: Job, pod: Pod) -> Delete:
    reference = about(KIND, job)
    return Delete(
        kind=pod_kind.KIND,
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        uid=pod.metadata.uid,
        done=Note(reference, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.metadata.name}"),
        failed=Note(reference, "Warning", "FailedDelete", "Error deleting: {error}"),
    )


def _account(count: _Count, changes: Sequence[Action], outcome: Outcome) -> list[Action]:
    """The status, then the finalizers of pods that the status now names."""
    job, ending = count.job, count.ending
    tried = [*(action for action, _ in outcome.errors), *outcome.untried]
    born = sum(1 for action in changes if isinstance(action, Create))
    born -= sum(1 for action in tried if isinstance(action, Create))
    dead = {action.uid for action in changes if isinstance(action, Delete)}
    dead -= {action.uid for action in tried if isinstance(action, Delete)}
    over = ending is not None and ending.type == "FailureTarget"
    succeeded = [pod.metadata.uid for pod in count.new_succeeded]
    failed = [pod for pod in count.new_failed if jobs.counts_as_failure(job, pod)]
    freed = [*count.new_failed]
    if over:  # nothing runs on: what has not ended by itself failed
        left = [pod for pod in count.active if jobs.has_finalizer(pod)]
        failed += left
        freed += left
    status = _status(count, len(count.active) + born - len(dead), dead)
    if jobs.is_indexed(job):
        done = count.indexes | {index for pod in count.new_succeeded if (index := jobs.index_of(pod)) is not None}
        status.completed_indexes, status.succeeded = jobs.format_indexes(done), len(done)
        succeeded = []
    if count.failed_indexes is not None:
        status.failed_indexes = jobs.format_indexes(count.failed_indexes)
    status.uncounted_terminated_pods = UncountedTerminatedPods(
        succeeded=[*count.succeeded_before, *succeeded][:MOST_UNCOUNTED],
        failed=[*count.failed_before, *(pod.metadata.uid for pod in failed)][:MOST_UNCOUNTED],
    )
    notes = _conclude(count, status)
    writes: list[Action] = []
    if status != job.status:
        writes.append(Update(kind=KIND, item=msgspec.structs.replace(job, status=status), subresource="status"))
    named = {*status.uncounted_terminated_pods.succeeded, *status.uncounted_terminated_pods.failed}
    ignored = {pod.metadata.uid for pod in freed} - {pod.metadata.uid for pod in failed}
    indexed = {pod.metadata.uid for pod in count.new_succeeded} if jobs.is_indexed(job) else set()
    going = ending is not None and ending.type == "SuccessCriteriaMet"
    unneeded = {pod.metadata.uid for pod in count.mine if going or job.metadata.deletion_timestamp}
    loose = named | ignored | indexed | unneeded
    writes += [_free(pod) for pod in count.mine if jobs.has_finalizer(pod) and pod.metadata.uid in loose]
    return [*writes, *notes]


def _free(pod: Pod) -> Patch:
    patch = {
        "metadata": {
            "uid": pod.metadata.uid,
            "$deleteFromPrimitiveList/finalizers": [jobs.FINALIZER],
        }
    }
    return Patch(
        kind=pod_kind.KIND,
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        patch=patch,
        content_type=owners.STRATEGIC,
    )


def _status(count: _Count, active: int, dead: set[str]) -> JobStatus:
    job = count.job
    start = job.status.start_time
    suspended = jobs.is_suspended(job)
    conditions = list(job.status.conditions)
    was = condition(job.status, "Suspended") is not None
    if start is None and not suspended:
        start = format_time(count.now)
    if count.ending is None and suspended != was:
        conditions = [found for found in conditions if found.type != "Suspended"]
        if suspended:
            conditions.append(_made("Suspended", "JobSuspended", "Job suspended", count.now))
            start = None
        else:
            conditions.append(_made("Suspended", "JobResumed", "Job resumed", count.now, "False"))
            start = format_time(count.now)
    return msgspec.structs.replace(
        job.status,
        conditions=conditions,
        start_time=start,
        active=max(0, active),
        ready=sum(1 for pod in count.active if pods.is_ready(pod) and pod.metadata.uid not in dead),
        terminating=count.terminating + len(dead),
        succeeded=count.counted_succeeded,
        failed=count.counted_failed,
    )


def _conclude(count: _Count, status: JobStatus) -> list[Action]:
    """Set the interim condition, and the final one when every pod is accounted for and gone. Returns events to write."""
    job, ending = count.job, count.ending
    reference = about(KIND, job)
    notes: list[Action] = []
    before, after = condition(job.status, "Suspended"), condition(status, "Suspended")
    if (before is None) != (after is None):
        word = "Suspended" if after is not None else "Resumed"
        notes.append(Tell(Note(reference, "Normal", word, f"Job {word.lower()}")))
    if ending is None:
        return notes
    if condition(job.status, ending.type) is None:
        status.conditions = [*status.conditions, ending]
    uncounted = status.uncounted_terminated_pods
    if uncounted is not None and (uncounted.succeeded or uncounted.failed):
        return notes
    if status.terminating or status.active or any(jobs.has_finalizer(pod) for pod in count.active):
        return notes
    final = "Failed" if ending.type == "FailureTarget" else "Complete"
    status.conditions = [*status.conditions, _made(final, ending.reason, ending.message, count.now)]
    if final == "Complete":
        started = parse_time(status.start_time) if status.start_time is not None else count.now
        status.completion_time = format_time(max(started, count.now))  # the clock may have been set back meanwhile
        notes.append(Tell(Note(reference, "Normal", "Completed", "Job completed")))
    else:
        notes.append(Tell(Note(reference, "Warning", ending.reason, ending.message)))
    return notes


def query_of(job: Job) -> LabelQuery:
    """Which pods may be its own."""
    return from_label_selector(job.spec.selector)


def observe(caches: Caches, key: Key, now: datetime) -> Seen | None:
    """The job and its pods."""
    job = caches.of(KIND).get(*key)
    return Seen(job, owners.candidates(caches.of(pod_kind.KIND), job), now) if job is not None else None


def of_pod(caches: Caches, pod: Pod, previous: Pod | None = None) -> Iterable[Key]:
    """A pod points at its job, or at those that might adopt it."""
    yield from owners.keys_of_owner(KIND, orphans=owners.those_selecting(KIND, query_of))(caches, pod, previous)


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="job-controller",
        watches=(Watch(KIND, own_key), Watch(pod_kind.KIND, of_pod)),
        observe=observe,
        reconcile=reconcile,
        workers=3,
    )
