"""Pods that outlived their job keep no tracking finalizer: nobody will count them any more.

Source: k8s.io/kubernetes pkg/controller/job/job_controller.go (syncOrphanPod).
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from edgekube.control import jobs, owners
from edgekube.control.config import Config
from edgekube.kinds.batch import job as job_kind
from edgekube.kinds.batch.job import Job
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.pod import Pod
from edgekube.reconcile.drive import Caches, Controller, Key, Watch
from edgekube.reconcile.plan import Patch, Plan


def reconcile(pod: Pod) -> Plan:
    """Let go of it."""
    patch = {"metadata": {"uid": pod.metadata.uid, "$deleteFromPrimitiveList/finalizers": [jobs.FINALIZER]}}
    free = Patch(
        kind=pod_kind.KIND,
        namespace=pod.metadata.namespace,
        name=pod.metadata.name,
        patch=patch,
        content_type=owners.STRATEGIC,
    )
    return Plan([free])


def observe(caches: Caches, key: Key, _: datetime) -> Pod | None:
    """Only pods with the finalizer whose job is gone or finished, or that belong to no job."""
    pod = caches.of(pod_kind.KIND).get(*key)
    if pod is None or not jobs.has_finalizer(pod):
        return None
    reference = owners.controller_of(pod)
    if reference is None or not owners.is_owned_by(reference, job_kind.KIND):
        labelled = pod.metadata.labels.get("batch.kubernetes.io/job-name") or pod.metadata.labels.get("job-name")
        job = caches.of(job_kind.KIND).get(key.namespace, labelled or "")
        adopting = job is not None and job.metadata.deletion_timestamp is None and not _is_finished(job)
        return None if adopting else pod  # the job it is labelled for may still adopt it
    job = caches.of(job_kind.KIND).get(key.namespace, reference.name)
    if job is not None and job.metadata.uid == reference.uid and not _is_finished(job):
        return None
    return pod


def _is_finished(job: Job) -> bool:
    return any(found.type in ("Complete", "Failed") and found.status == "True" for found in job.status.conditions)


def of_pod(_: Caches, pod: Pod, __: Pod | None = None) -> Iterable[Key]:
    """Pods with the finalizer."""
    if jobs.has_finalizer(pod):
        yield Key(pod.metadata.namespace, pod.metadata.name)


def of_job(caches: Caches, job: Job, _: Job | None = None) -> Iterable[Key]:
    """A job that is gone or finished points at its pods."""
    for pod in caches.of(pod_kind.KIND).by("owner", job.metadata.uid):
        yield from of_pod(caches, pod)


def controller(_: Config) -> Controller[Pod]:
    """The loop."""
    return Controller(
        name="job-pod-finalizer-controller",
        watches=(Watch(pod_kind.KIND, of_pod), Watch(job_kind.KIND, of_job)),
        observe=observe,
        reconcile=reconcile,
    )
