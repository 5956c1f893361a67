"""Finished Jobs with `ttlSecondsAfterFinished` go when their time is over. Source: pkg/controller/ttlafterfinished."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from edgekube.api.meta import parse_time
from edgekube.control.config import Config
from edgekube.kinds.batch import job as job_kind
from edgekube.kinds.batch.job import Job
from edgekube.reconcile.drive import Caches, Controller, Key, Watch, own_key
from edgekube.reconcile.plan import Delete, Plan


@dataclass(frozen=True, slots=True)
class Seen:
    """A finished job with a time to live."""

    job: Job
    finished: datetime
    now: datetime


def reconcile(seen: Seen) -> Plan:
    """Wait, or delete."""
    metadata = seen.job.metadata
    left = seen.finished + timedelta(seconds=seen.job.spec.ttl_seconds_after_finished or 0) - seen.now
    if left.total_seconds() > 0:
        return Plan(look_again_s=left.total_seconds())
    return Plan(
        [
            Delete(
                kind=job_kind.KIND,
                namespace=metadata.namespace,
                name=metadata.name,
                uid=metadata.uid,
                revision=metadata.resource_version,  # its time to live may have just been changed
                propagation="Foreground",
            )
        ]
    )


def observe(caches: Caches, key: Key, now: datetime) -> Seen | None:
    """Only jobs that finished and say how long they stay."""
    job = caches.of(job_kind.KIND).get(*key)
    if job is None or job.spec.ttl_seconds_after_finished is None or job.metadata.deletion_timestamp is not None:
        return None
    for found in job.status.conditions:
        if found.type in ("Complete", "Failed") and found.status == "True" and found.last_transition_time:
            return Seen(job, parse_time(found.last_transition_time), now)
    return None


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="ttl-after-finished-controller",
        watches=(Watch(job_kind.KIND, own_key),),
        observe=observe,
        reconcile=reconcile,
    )
