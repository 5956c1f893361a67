"""CronJob: a Job at each time of a schedule.

Source: k8s.io/kubernetes pkg/controller/cronjob/cronjob_controllerv2.go, utils.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import msgspec

from edgekube.api.meta import ObjectMeta, format_time, parse_time
from edgekube.control import owners
from edgekube.control.config import Config
from edgekube.kinds.batch import cronjob as cron_kind
from edgekube.kinds.batch import job as job_kind
from edgekube.kinds.batch import schedule as schedule_text
from edgekube.kinds.batch.cronjob import CronJob
from edgekube.kinds.batch.job import Job
from edgekube.kinds.core.references import ObjectReference
from edgekube.reconcile.drive import Caches, Controller, Key, Watch, own_key
from edgekube.reconcile.plan import Action, Create, Delete, Note, Outcome, Plan, Tell, Update, about

KIND, JOBS = cron_kind.KIND, job_kind.KIND
SCHEDULED = "batch.kubernetes.io/cronjob-scheduled-timestamp"
LOOK_AHEAD_S = 0.1  # a moment after it is due
MOST_MISSED = 100  # more than this and only the latest is counted
FURTHEST_LOOK_S = 3600.0  # wall clocks are set: no timer longer than this is trusted


@dataclass(frozen=True, slots=True)
class Seen:
    """A cron job and the jobs it made."""

    owner: CronJob
    jobs: Sequence[Job]
    now: datetime


def reconcile(seen: Seen) -> Plan:
    """Note what finished, clear old jobs away, start what is due."""
    owner = seen.owner
    actions = [*_cleanup(seen)]
    active, last_success, notes = _active(seen)
    actions += notes
    births: list[Action] = []
    due, look_again_s = None, None
    if owner.metadata.deletion_timestamp is None and not owner.spec.suspend:
        due, look_again_s, told = _due(seen)
        actions += told
        if due is not None:
            births, more, active = _start(seen, due, active)
            actions += more

    def finish(outcome: Outcome) -> Sequence[Action]:
        started = [action for action in births if isinstance(action, Create)]
        failed = {id(action) for action, _ in outcome.errors}
        listed, latest = list(active), owner.status.last_schedule_time
        for action in started:
            if id(action) not in failed and due is not None:
                latest = format_time(due)
                # its uid is known once it is seen; the next look lists it
        status = msgspec.structs.replace(
            owner.status, active=listed, last_schedule_time=latest, last_successful_time=last_success
        )
        if status == owner.status:
            return ()
        return (Update(kind=KIND, item=msgspec.structs.replace(owner, status=status), subresource="status"),)

    return Plan([*actions, *births], finish, look_again_s)


def _finished(job: Job) -> str:
    return next((c.type for c in job.status.conditions if c.type in ("Complete", "Failed") and c.status == "True"), "")


def _reference(job: Job) -> ObjectReference:
    return ObjectReference(
        kind=JOBS.name,
        api_version=JOBS.api_version,
        namespace=job.metadata.namespace,
        name=job.metadata.name,
        uid=job.metadata.uid,
        resource_version=job.metadata.resource_version,
    )


def _active(seen: Seen) -> tuple[list[ObjectReference], str | None, list[Action]]:
    """References to unfinished jobs (known ones as they were), the time of the last success, and events about the finished."""
    known = {reference.uid: reference for reference in seen.owner.status.active}
    active: list[ObjectReference] = []
    notes: list[Action] = []
    last = seen.owner.status.last_successful_time
    for job in sorted(seen.jobs, key=lambda job: (job.metadata.creation_timestamp or "", job.metadata.name)):
        outcome = _finished(job)
        if not outcome:
            active.append(known.get(job.metadata.uid) or _reference(job))
            continue
        if job.metadata.uid in known:
            message = f"Saw completed job: {job.metadata.name}, condition: {outcome}"
            notes.append(Tell(Note(about(KIND, seen.owner), "Normal", "SawCompletedJob", message)))
        if outcome == "Complete" and job.status.completion_time and job.status.completion_time > (last or ""):
            last = job.status.completion_time
    return active, last, notes


def _zone(owner: CronJob) -> tzinfo:
    return ZoneInfo(owner.spec.time_zone) if owner.spec.time_zone else UTC


def _due(seen: Seen) -> tuple[datetime | None, float | None, list[Action]]:
    """The latest moment that is due and not started yet, when to look again, and events."""
    owner, now = seen.owner, seen.now
    reference = about(KIND, owner)
    try:
        schedule, zone = schedule_text.parse(owner.spec.schedule), _zone(owner)
    except (ValueError, KeyError, OSError) as error:
        message = f"unparseable schedule: {owner.spec.schedule} : {error}"
        return None, None, [Tell(Note(reference, "Warning", "UnparseableSchedule", message))]
    earliest = parse_time(owner.metadata.creation_timestamp or format_time(now))
    if owner.status.last_schedule_time is not None:
        earliest = parse_time(owner.status.last_schedule_time)
    deadline = owner.spec.starting_deadline_seconds
    if deadline is not None:
        earliest = max(earliest, now - timedelta(seconds=deadline))
    latest, following, missed = _latest(schedule, zone, earliest, now)
    look_again_s = None
    if following is not None:
        look_again_s = min(FURTHEST_LOOK_S, (following - now).total_seconds() + LOOK_AHEAD_S)
    notes: list[Action] = []
    if missed > MOST_MISSED:
        message = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew"
        notes.append(Tell(Note(reference, "Warning", "TooManyMissedTimes", message)))
    return latest, look_again_s, notes


def _latest(
    schedule: schedule_text.Schedule, zone: tzinfo, earliest: datetime, now: datetime
) -> tuple[datetime | None, datetime | None, int]:
    """The last due moment up to now, the next one, and how many there were (counted a little past the bound only)."""
    latest: datetime | None = None
    following = schedule.next_after(earliest.astimezone(zone))
    missed = 0
    while following is not None and following <= now:
        latest, missed = following, missed + 1
        if (
            missed > MOST_MISSED and schedule.every_s == 0
        ):  # long away: jump close to now, the schedule's pattern repeats
            closer = schedule.next_after(max(latest, now - timedelta(days=32)).astimezone(zone))
            if closer is not None and latest < closer <= now and now - latest > timedelta(days=32):
                following = closer
                continue
        if schedule.every_s:
            steps = max(1, int((now - latest).total_seconds() // schedule.every_s))
            latest = latest + timedelta(seconds=schedule.every_s * (steps - 1)) if steps > 1 else latest
        following = schedule.next_after(latest.astimezone(zone))
    return latest, following, missed


def _start(
    seen: Seen, due: datetime, active: list[ObjectReference]
) -> tuple[list[Action], list[Action], list[ObjectReference]]:
    """The job to create, what else to do, and the references that stay."""
    owner = seen.owner
    reference = about(KIND, owner)
    name = f"{owner.metadata.name}-{int(due.timestamp()) // 60}"
    if any(job.metadata.name == name for job in seen.jobs):
        return [], [], active
    if owner.spec.concurrency_policy == "Forbid" and active:
        message = "Not starting job because prior execution is running and concurrency policy is Forbid"
        return [], [Tell(Note(reference, "Normal", "JobAlreadyActive", message))], active
    more: list[Action] = []
    if owner.spec.concurrency_policy == "Replace":
        more = [_delete(owner, item.namespace, item.name, item.uid) for item in active]
        active = []
    template = owner.spec.job_template
    job = Job(
        metadata=ObjectMeta(
            name=name,
            namespace=owner.metadata.namespace,
            labels=dict(template.metadata.labels),
            annotations={
                **template.metadata.annotations,
                SCHEDULED: due.astimezone(_zone(owner)).isoformat().replace("+00:00", "Z"),
            },
            owner_references=[owners.reference_to(KIND, owner)],
        ),
        spec=template.spec,
    )
    birth = Create(
        kind=JOBS,
        item=job,
        may_exist=True,
        done=Note(reference, "Normal", "SuccessfulCreate", f"Created job {name}"),
        failed=Note(reference, "Warning", "FailedCreate", "Error creating job: {error}"),
    )
    return [birth], more, active


def _delete(owner: CronJob, namespace: str, name: str, uid: str) -> Delete:
    reference = about(KIND, owner)
    return Delete(
        kind=JOBS,
        namespace=namespace,
        name=name,
        uid=uid,
        propagation="Background",
        done=Note(reference, "Normal", "SuccessfulDelete", f"Deleted job {name}"),
        failed=Note(reference, "Warning", "FailedDelete", "Deleted job: {error}"),
    )


def _cleanup(seen: Seen) -> list[Action]:
    actions: list[Action] = []
    limits = (
        ("Complete", seen.owner.spec.successful_jobs_history_limit),
        ("Failed", seen.owner.spec.failed_jobs_history_limit),
    )
    for outcome, limit in limits:
        ended = [job for job in seen.jobs if _finished(job) == outcome and job.metadata.deletion_timestamp is None]
        ended.sort(key=lambda job: (job.status.start_time or "", job.metadata.name))
        for job in ended[: max(0, len(ended) - limit)] if limit is not None else ():
            actions.append(_delete(seen.owner, job.metadata.namespace, job.metadata.name, job.metadata.uid))
    return actions


def observe(caches: Caches, key: Key, now: datetime) -> Seen | None:
    """The cron job and its jobs."""
    owner = caches.of(KIND).get(*key)
    return Seen(owner, caches.of(JOBS).by("owner", owner.metadata.uid), now) if owner is not None else None


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="cronjob-controller",
        watches=(Watch(KIND, own_key), Watch(JOBS, owners.keys_of_owner(KIND))),
        observe=observe,
        reconcile=reconcile,
    )
