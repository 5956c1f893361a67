"""Counting a Job's pods: indexes, failure policies, pauses between attempts.

Pure. Source: k8s.io/kubernetes pkg/controller/job (indexed_job_utils.go, pod_failure_policy.go, backoff_utils.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from edgekube.api.meta import parse_time
from edgekube.control import pods
from edgekube.kinds.batch.cronjob import PodFailurePolicy, PodFailurePolicyRule
from edgekube.kinds.batch.job import Job
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podstatus import ContainerStatus

FINALIZER = "batch.kubernetes.io/job-tracking"
INDEX = "batch.kubernetes.io/job-completion-index"
INDEX_FAILURES = "batch.kubernetes.io/job-index-failure-count"
FIRST_PAUSE_S = 10.0
LONGEST_PAUSE_S = 600.0


def is_indexed(job: Job) -> bool:
    """Whether each completion has a number."""
    return job.spec.completion_mode == "Indexed"


def is_suspended(job: Job) -> bool:
    """Whether it is to have no pods for now."""
    return bool(job.spec.suspend)


def has_finalizer(pod: Pod) -> bool:
    """Whether the pod has not been accounted for."""
    return FINALIZER in pod.metadata.finalizers


def index_of(pod: Pod) -> int | None:
    """The completion index of a pod."""
    text = pod.metadata.annotations.get(INDEX, "")
    return int(text) if text.isdigit() else None


def is_failed(pod: Pod, job: Job) -> bool:
    """Whether a pod counts as failed: it did, or it is being deleted (unless only failed ones are replaced)."""
    if pod.status.phase == "Failed":
        return True
    if job.spec.pod_replacement_policy == "Failed":
        return False
    return pod.metadata.deletion_timestamp is not None and pod.status.phase != "Succeeded"


def parse_indexes(text: str) -> set[int]:
    """ "0,2-4" as a set; broken parts are left out."""
    found: set[int] = set()
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        if first.isdigit() and (last.isdigit() or not last):
            found.update(range(int(first), int(last or first) + 1))
    return found


def format_indexes(indexes: Iterable[int]) -> str:
    """A set as "0,2-4"."""
    parts: list[str] = []
    ordered = sorted(indexes)
    start = 0
    while start < len(ordered):
        end = start
        while end + 1 < len(ordered) and ordered[end + 1] == ordered[end] + 1:
            end += 1
        if end == start:
            parts.append(str(ordered[start]))
        elif end == start + 1:
            parts.append(f"{ordered[start]},{ordered[end]}")
        else:
            parts.append(f"{ordered[start]}-{ordered[end]}")
        start = end + 1
    return ",".join(parts)


@dataclass(frozen=True, slots=True)
class PolicyMatch:
    """The rule of a failure policy that a pod met; `message` for FailJob."""

    action: str
    message: str


def match_policy(policy: PodFailurePolicy, pod: Pod) -> PolicyMatch | None:
    """The first rule a failed pod meets."""
    for position, rule in enumerate(policy.rules or ()):
        where = f"matching {rule.action} rule at index {position}"
        container = _matching_container(rule, pod)
        name = f"{pod.metadata.namespace}/{pod.metadata.name}"
        if container is not None and container.state.terminated is not None:
            code = container.state.terminated.exit_code
            return PolicyMatch(
                rule.action, f"Container {container.name} for pod {name} failed with exit code {code} {where}"
            )
        condition = _matching_condition(rule, pod)
        if condition is not None:
            return PolicyMatch(rule.action, f"Pod {name} has condition {condition} {where}")
    return None


def _matching_container(rule: PodFailurePolicyRule, pod: Pod) -> ContainerStatus | None:
    wanted = rule.on_exit_codes
    if wanted is None:
        return None
    for status in [*pod.status.init_container_statuses, *pod.status.container_statuses]:
        ended = status.state.terminated
        if ended is None or ended.exit_code == 0 or wanted.container_name not in (None, status.name):
            continue
        if (ended.exit_code in (wanted.values or ())) == (wanted.operator == "In"):
            return status
    return None


def _matching_condition(rule: PodFailurePolicyRule, pod: Pod) -> str | None:
    for pattern in rule.on_pod_conditions:
        found = pods.condition(pod, pattern.type)
        if found is not None and found.status == pattern.status:
            return pattern.type
    return None


def counts_as_failure(job: Job, pod: Pod) -> bool:
    """Whether a failed pod counts against the limits (a policy may say to ignore it)."""
    policy = job.spec.pod_failure_policy
    match = match_policy(policy, pod) if policy is not None and pod.status.phase == "Failed" else None
    return match is None or match.action != "Ignore"


def finished_at(pod: Pod) -> datetime | None:
    """When the last of its containers ended, or its deletion began."""
    ends = [
        parse_time(status.state.terminated.finished_at)
        for status in pod.status.container_statuses
        if status.state.terminated is not None and status.state.terminated.finished_at
    ]
    if ends:
        return max(ends)
    for condition in pod.status.conditions:
        if condition.type == "Ready" and condition.last_transition_time:
            return parse_time(condition.last_transition_time)
    stamp = pod.metadata.deletion_timestamp or pod.metadata.creation_timestamp
    return parse_time(stamp) if stamp else None


def pause_left_s(failed: Sequence[Pod], succeeded: Sequence[Pod], now: datetime) -> float:
    """How long to wait before the next attempt: 10 s after a failure, doubled for each further one since the last success."""
    last_success = max((moment for pod in succeeded if (moment := finished_at(pod)) is not None), default=None)
    failures = sorted(moment for pod in failed if (moment := finished_at(pod)) is not None)
    if last_success is not None:
        failures = [moment for moment in failures if moment > last_success]
    if not failures:
        return 0.0
    pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(len(failures) - 1, 30))
    latest = now + timedelta(seconds=pause)  # what is later was stamped before the clock was set back
    believable = [moment for moment in failures if moment <= latest]
    return max(0.0, (believable[-1] + timedelta(seconds=pause) - now).total_seconds()) if believable else 0.0


def restarts_past(limit: int, active: Sequence[Pod]) -> bool:
    """Whether containers restarted in place have used up the limit (restartPolicy OnFailure)."""
    total = 0
    for pod in active:
        if pod.status.phase in ("Running", "Pending"):
            total += sum(status.restart_count for status in pod.status.init_container_statuses)
            total += sum(status.restart_count for status in pod.status.container_statuses)
    return total > 0 if limit == 0 else total >= limit


def least_useful_first(active: Sequence[Pod], now: datetime) -> list[Pod]:
    """The order in which surplus pods go; of an index all but one."""
    return pods.least_useful_first(active, active, now)
