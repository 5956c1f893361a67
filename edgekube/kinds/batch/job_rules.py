"""Rules of jobs and of the schedules that make them.

Source: upstream's pkg/apis/batch/validation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from edgekube.api import names, rules
from edgekube.api.kind import FieldError
from edgekube.kinds.batch.schedule import parse
from edgekube.kinds.core import internal_form, meta_rules, pod_rules
from edgekube.kinds.core.workload_rules import NOT_SELECTED

if TYPE_CHECKING:
    from edgekube.kinds.batch.cronjob import CronJob, JobSpec, PodFailurePolicyRule
    from edgekube.kinds.batch.job import Job
    from edgekube.kinds.core.container import Container

UID_LABELS = ("batch.kubernetes.io/controller-uid", "controller-uid")
NAME_LABELS = ("batch.kubernetes.io/job-name", "job-name")
INDEXED_PARALLELISM_MAX = 100_000
COMPLETIONS_SOFT_MAX, PARALLELISM_SOFT_MAX = 100_000, 10_000
FAILURE_RULES_MAX, EXIT_CODES_MAX, CONDITIONS_MAX, SUCCESS_RULES_MAX = 20, 255, 20, 20
ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
INDEXES_MAX_BYTES = 64 * 1024
MANAGED_BY_MAX = 63
CRON_NAME_MAX = 52  # jobs are named after it and the minute, and pods after jobs
ZONE_LETTERS = re.compile(r"[A-Za-z0-9._+\-/]*", re.ASCII)
_OPERATORS = ("In", "NotIn")
_INTERVALS = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*", re.ASCII)


def job(item: Job) -> list[FieldError]:
    """A job: its generated selector and labels, and its spec."""
    broken = _generated_selector(item)
    broken += _own_spec("spec", item.spec)
    spec = item.spec
    if spec.completion_mode == "Indexed" and (spec.completions or 0) > 0:
        last = f"{item.metadata.name}-{(spec.completions or 1) - 1}"
        if names.dns_label(last):
            words = f"will not able to create pod with invalid DNS label: {last}"
            broken.append(rules.invalid("metadata.name", item.metadata.name, words))
    return broken


def _generated_selector(item: Job) -> list[FieldError]:
    spec = item.spec
    if spec.manual_selector or spec.selector is None:
        return []
    broken: list[FieldError] = []
    if not item.metadata.uid:
        broken.append(rules.required("metadata.uid"))
    labels = spec.template.metadata.labels
    expected = dict.fromkeys(UID_LABELS, item.metadata.uid) | dict.fromkeys(NAME_LABELS, item.metadata.name)
    for key in (*UID_LABELS[::-1], *NAME_LABELS[::-1]):
        at = f"spec.template.metadata.labels[{key}]"
        if key not in labels:
            broken.append(rules.required(at, f"must be '{expected[key]}'"))
        elif labels[key] != expected[key]:
            broken.append(rules.invalid(at, labels, f"must be '{expected[key]}'"))
    if not meta_rules.selects(spec.selector, expected):
        broken.append(rules.invalid("spec.selector", spec.selector, "`selector` not auto-generated"))
    return broken


def _own_spec(path: str, spec: JobSpec) -> list[FieldError]:
    """The spec of a job itself: with a selector."""
    broken = job_spec(path, spec)
    if spec.selector is None:
        return [*broken, rules.required(f"{path}.selector")]
    broken += meta_rules.label_selector(f"{path}.selector", spec.selector)
    labels = spec.template.metadata.labels
    if not meta_rules.selects(spec.selector, labels):
        broken.append(rules.invalid(f"{path}.template.metadata.labels", labels or None, NOT_SELECTED))
    return broken


def job_spec(path: str, spec: JobSpec) -> list[FieldError]:
    """The spec of a job, or of one to be."""
    broken: list[FieldError] = []
    for member, value in (
        ("parallelism", spec.parallelism),
        ("completions", spec.completions),
        ("activeDeadlineSeconds", spec.active_deadline_seconds),
        ("backoffLimit", spec.backoff_limit),
        ("ttlSecondsAfterFinished", spec.ttl_seconds_after_finished),
        ("backoffLimitPerIndex", spec.backoff_limit_per_index),
        ("maxFailedIndexes", spec.max_failed_indexes),
    ):
        if value is not None:
            broken += rules.not_negative(f"{path}.{member}", value)
    broken += _indexes(path, spec)
    broken += _managed_by(f"{path}.managedBy", spec.managed_by)
    if spec.completion_mode is not None:
        if spec.completion_mode not in ("NonIndexed", "Indexed"):
            allowed = ("NonIndexed", "Indexed")
            broken.append(rules.not_supported(f"{path}.completionMode", spec.completion_mode, allowed))
        broken += _indexed(path, spec)
    broken += _failure_policy(path, spec)
    broken += _success_policy(path, spec)
    broken += _replacement_policy(path, spec)
    broken += pod_rules.template(f"{path}.template", spec.template)
    policy = spec.template.spec.restart_policy
    at = f"{path}.template.spec.restartPolicy"
    if policy in ("", "Always"):
        words = 'valid values: "OnFailure", "Never"'
        broken.append(rules.required(at, words))
    elif policy not in ("OnFailure", "Never"):
        broken.append(rules.not_supported(at, policy, ("OnFailure", "Never")))
    elif spec.pod_failure_policy is not None and policy != "Never":
        words = 'only "Never" is supported when podFailurePolicy is specified'
        broken.append(rules.invalid(at, policy, words))
    return broken


def _indexes(path: str, spec: JobSpec) -> list[FieldError]:
    """What only makes sense where pods have an index."""
    broken: list[FieldError] = []
    if spec.backoff_limit_per_index is not None and spec.completion_mode != "Indexed":
        words = "requires indexed completion mode"
        broken.append(rules.invalid(f"{path}.backoffLimitPerIndex", spec.backoff_limit_per_index, words))
    if spec.max_failed_indexes is not None:
        at = f"{path}.maxFailedIndexes"
        if spec.completions is not None and spec.max_failed_indexes > spec.completions:
            broken.append(rules.invalid(at, spec.max_failed_indexes, "must be less than or equal to completions"))
        if spec.max_failed_indexes > INDEXED_PARALLELISM_MAX:
            words = f"must be less than or equal to {INDEXED_PARALLELISM_MAX}"
            broken.append(rules.invalid(at, spec.max_failed_indexes, words))
        if spec.backoff_limit_per_index is None:
            words = "when maxFailedIndexes is specified"
            broken.append(rules.required(f"{path}.backoffLimitPerIndex", words))
        elif (spec.completions or 0) > INDEXED_PARALLELISM_MAX and spec.max_failed_indexes > PARALLELISM_SOFT_MAX:
            words = f"must be less than or equal to {PARALLELISM_SOFT_MAX}"
            broken.append(rules.invalid(at, spec.max_failed_indexes, words))
    return broken


def _indexed(path: str, spec: JobSpec) -> list[FieldError]:
    if spec.completion_mode != "Indexed":
        return []
    broken: list[FieldError] = []
    if spec.completions is None:
        words = "when completion mode is Indexed"
        broken.append(rules.required(f"{path}.completions", words))
    if spec.parallelism is not None and spec.parallelism > INDEXED_PARALLELISM_MAX:
        words = f"must be less than or equal to {INDEXED_PARALLELISM_MAX} when completion mode is Indexed"
        broken.append(rules.invalid(f"{path}.parallelism", spec.parallelism, words))
    return broken


def _managed_by(path: str, name: str | None) -> list[FieldError]:
    if name is None:
        return []
    prefix, slash, rest = name.partition("/")
    if not slash or not rest:
        words = 'must be a domain-prefixed path (such as "acme.io/foo")'
        broken = [rules.invalid(path, name, words)]
    else:
        broken = rules.each(path, prefix, names.dns_subdomain(prefix))
        broken += rules.each(path, rest, names.http_path(rest))
    if len(name) > MANAGED_BY_MAX:
        broken.append(rules.too_long(path, MANAGED_BY_MAX))
    return broken


def _replacement_policy(path: str, spec: JobSpec) -> list[FieldError]:
    policy = spec.pod_replacement_policy
    if policy is None:
        return []
    allowed = ("Failed",) if spec.pod_failure_policy is not None else ("Failed", "TerminatingOrFailed")
    return [] if policy in allowed else [rules.not_supported(f"{path}.podReplacementPolicy", policy, allowed)]


def _failure_policy(path: str, spec: JobSpec) -> list[FieldError]:
    if spec.pod_failure_policy is None:
        return []
    at, given = f"{path}.podFailurePolicy.rules", spec.pod_failure_policy.rules or []
    broken: list[FieldError] = []
    if len(given) > FAILURE_RULES_MAX:
        broken.append(rules.too_many(at, len(given), FAILURE_RULES_MAX))
    container_names = {
        one.name for one in [*(spec.template.spec.containers or ()), *spec.template.spec.init_containers]
    }
    for position, rule in enumerate(given):
        broken += _failure_rule(f"{at}[{position}]", spec, rule, container_names)
    return broken


def _failure_rule(path: str, spec: JobSpec, rule: PodFailurePolicyRule, containers: set[str]) -> list[FieldError]:
    broken: list[FieldError] = []
    if not rule.action:
        broken.append(rules.required(f"{path}.action", "valid values: " + ", ".join(map(rules.quoted, ACTIONS))))
    elif rule.action == "FailIndex" and spec.backoff_limit_per_index is None:
        words = "requires the backoffLimitPerIndex to be set"
        broken.append(rules.invalid(f"{path}.action", rule.action, words))
    elif rule.action not in ACTIONS:
        broken.append(rules.not_supported(f"{path}.action", rule.action, ACTIONS))
    if rule.on_exit_codes is not None:
        broken += _exit_codes(f"{path}.onExitCodes", rule, containers)
    if len(rule.on_pod_conditions) > CONDITIONS_MAX:
        broken.append(rules.too_many(f"{path}.onPodConditions", len(rule.on_pod_conditions), CONDITIONS_MAX))
    for position, pattern in enumerate(rule.on_pod_conditions):
        at = f"{path}.onPodConditions[{position}]"
        broken += rules.each(f"{at}.type", pattern.type, names.qualified_name(pattern.type))
        broken += rules.one_of(f"{at}.status", pattern.status, ("False", "True", "Unknown"))
    if rule.on_exit_codes is not None and rule.on_pod_conditions:
        words = "specifying both OnExitCodes and OnPodConditions is not supported"
        broken.append(rules.invalid(path, "", words))
    if rule.on_exit_codes is None and not rule.on_pod_conditions:
        words = "specifying one of OnExitCodes and OnPodConditions is required"
        broken.append(rules.invalid(path, "", words))
    return broken


def _exit_codes(path: str, rule: PodFailurePolicyRule, containers: set[str]) -> list[FieldError]:
    given = rule.on_exit_codes
    assert given is not None
    broken = rules.one_of(f"{path}.operator", given.operator, _OPERATORS)
    if given.container_name is not None and given.container_name not in containers:
        words = "must be one of the container or initContainer names in the pod template"
        broken.append(rules.invalid(f"{path}.containerName", given.container_name, words))
    values, at = given.values or [], f"{path}.values"
    if not values:
        broken.append(rules.invalid(at, values, "at least one value is required"))
    elif len(values) > EXIT_CODES_MAX:
        broken.append(rules.too_many(at, len(values), EXIT_CODES_MAX))
    for position, value in enumerate(values):
        if given.operator == "In" and value == 0:
            broken.append(rules.invalid(f"{at}[{position}]", value, "must not be 0 for the In operator"))
        if value in values[:position]:
            broken.append(rules.duplicate(f"{at}[{position}]", value))
    if values != sorted(values):
        broken.append(rules.invalid(at, values, "must be ordered"))
    return broken


def _success_policy(path: str, spec: JobSpec) -> list[FieldError]:
    if spec.success_policy is None:
        return []
    if spec.completion_mode != "Indexed":
        words = "requires indexed completion mode"
        return [rules.invalid(f"{path}.successPolicy", spec.success_policy, words)]
    at, given = f"{path}.successPolicy.rules", spec.success_policy.rules or []
    if not given:
        return [rules.required(at, "at least one rules must be specified when successPolicy is specified")]
    broken = [rules.too_many(at, len(given), SUCCESS_RULES_MAX)] if len(given) > SUCCESS_RULES_MAX else []
    for position, rule in enumerate(given):
        where = f"{at}[{position}]"
        if rule.succeeded_count is None and rule.succeeded_indexes is None:
            words = "at least one of succeededCount or succeededIndexes must be specified"
            broken.append(rules.required(where, words))
        if rule.succeeded_indexes is not None:
            broken += _succeeded_indexes(f"{where}.succeededIndexes", rule.succeeded_indexes, spec.completions or 0)
        if rule.succeeded_count is not None:
            broken += rules.not_negative(f"{where}.succeededCount", rule.succeeded_count)
            if rule.succeeded_count > (spec.completions or 0):
                words = f"must be less than or equal to {spec.completions or 0} (the number of specified completions)"
                broken.append(rules.invalid(f"{where}.succeededCount", rule.succeeded_count, words))
    return broken


def _succeeded_indexes(path: str, text: str, completions: int) -> list[FieldError]:
    if len(text.encode()) > INDEXES_MAX_BYTES:
        return [rules.too_long(path, INDEXES_MAX_BYTES)]
    if not text or not _INTERVALS.fullmatch(text):
        return [rules.invalid(path, text, "error parsing succeededIndexes: cannot convert string to integer")]
    last = -1
    for interval in text.split(","):
        low, _, high = interval.partition("-")
        first, end = int(low), int(high or low)
        if first <= last or end < first or end >= completions:
            words = f"error parsing succeededIndexes: indexes must be increasing and below {completions}"
            return [rules.invalid(path, text, words)]
        last = end
    return []


def update(new: Job, old: Job) -> list[FieldError]:
    """Most of a job is fixed; while it is suspended and never ran, where its pods go is not."""
    ours, theirs = new.spec, old.spec
    broken = _own_spec("spec", ours)  # told twice, as upstream does
    if not (ours.completions == ours.parallelism and theirs.completion_mode == "Indexed"):
        broken += rules.same("spec.completions", ours.completions, theirs.completions)
    broken += rules.same("spec.selector", ours.selector, theirs.selector)
    broken += _template_update(new, old)
    for member, now, before in (
        ("completionMode", ours.completion_mode, theirs.completion_mode),
        ("podFailurePolicy", ours.pod_failure_policy, theirs.pod_failure_policy),
        ("backoffLimitPerIndex", ours.backoff_limit_per_index, theirs.backoff_limit_per_index),
        ("managedBy", ours.managed_by, theirs.managed_by),
        ("successPolicy", ours.success_policy, theirs.success_policy),
    ):
        broken += rules.same(f"spec.{member}", now, before)
    return broken


_DIRECTIVES = ("node_selector", "tolerations", "scheduling_gates")


def _template_update(new: Job, old: Job) -> list[FieldError]:
    ours, theirs = new.spec.template, old.spec.template
    if ours == theirs:
        return []
    mutable = bool(old.spec.suspend) and (old.status.start_time is None or _is_suspended(old))
    now, before = ours.spec, theirs.spec
    if mutable:
        changed = [name for name in now.__struct_fields__ if getattr(now, name) != getattr(before, name)]
        allowed = (*_DIRECTIVES, "affinity", "containers", "init_containers")
        same_pods = _same_but_resources(now.containers or [], before.containers or []) and _same_but_resources(
            now.init_containers, before.init_containers
        )
        if same_pods and all(name in allowed for name in changed):
            return []
    broken: list[FieldError] = []
    if ours.metadata != theirs.metadata and not mutable:
        broken.append(rules.immutable("spec.template.metadata", ours.metadata))
    if now != before:
        broken.append(internal_form.immutable("spec.template.spec", now))
    return broken


def _same_but_resources(new: Sequence[Container], old: Sequence[Container]) -> bool:
    theirs = [one.resources for one in old]
    return len(new) == len(theirs) and [
        replace(one, resources=resources) for one, resources in zip(new, theirs, strict=True)
    ] == list(old)


def _is_suspended(item: Job) -> bool:
    return any(one.type == "Suspended" and one.status == "True" for one in item.status.conditions)


def status(new: Job, _old: Job) -> list[FieldError]:
    """Counts of pods, and ends that follow from beginnings."""
    given = new.status
    broken: list[FieldError] = []
    for member, value in (
        ("active", given.active),
        ("succeeded", given.succeeded),
        ("failed", given.failed),
        ("ready", given.ready),
        ("terminating", given.terminating),
    ):
        if value is not None:
            broken += rules.not_negative(f"status.{member}", value)
    if given.ready is not None and given.ready > given.active:
        broken.append(rules.invalid("status.ready", given.ready, "cannot set more ready pods than active"))
    if given.completion_time is not None and given.start_time is not None and given.completion_time < given.start_time:
        words = "completionTime cannot be set before startTime"
        broken.append(rules.invalid("status.completionTime", given.completion_time, words))
    return broken


def warnings(path: str, spec: JobSpec) -> list[str]:
    """Sizes that are hard on a cluster."""
    too_big = (spec.completions or 0) > COMPLETIONS_SOFT_MAX and (spec.parallelism or 0) > PARALLELISM_SOFT_MAX
    if spec.completion_mode == "Indexed" and too_big:
        return [
            "In Indexed Jobs with a number of completions higher than 10^5 and a parallelism higher than 10^4, a "
            "Kubernetes cluster might not be able to track completedIndexes"
        ]
    return []


def cron_job(item: CronJob) -> list[FieldError]:
    """A schedule in a known zone, and the job it makes."""
    spec = item.spec
    broken: list[FieldError] = []
    if len(item.metadata.name) > CRON_NAME_MAX and item.metadata.resource_version in ("", "0"):
        broken.append(rules.invalid("metadata.name", item.metadata.name, "must be no more than 52 characters"))
    if not spec.schedule:
        broken.append(rules.required("spec.schedule"))
    else:
        broken += _schedule("spec.schedule", spec.schedule)
    if spec.starting_deadline_seconds is not None:
        broken += rules.not_negative("spec.startingDeadlineSeconds", spec.starting_deadline_seconds)
    broken += _time_zone("spec.timeZone", spec.time_zone)
    allowed = ("Allow", "Forbid", "Replace")
    broken += rules.one_of("spec.concurrencyPolicy", spec.concurrency_policy, allowed)
    broken += _made_job("spec.jobTemplate.spec", spec.job_template.spec)
    for member, value in (
        ("successfulJobsHistoryLimit", spec.successful_jobs_history_limit),
        ("failedJobsHistoryLimit", spec.failed_jobs_history_limit),
    ):
        if value is not None:
            broken += rules.not_negative(f"spec.{member}", value)
    return broken


def _made_job(path: str, spec: JobSpec) -> list[FieldError]:
    broken = job_spec(path, spec)
    if spec.selector is not None:
        broken.append(rules.invalid(f"{path}.selector", spec.selector, "`selector` will be auto-generated"))
    if spec.manual_selector:
        broken.append(rules.not_supported(f"{path}.manualSelector", True, ("nil", "false")))
    return broken


def _schedule(path: str, text: str) -> list[FieldError]:
    if "TZ" in text:
        words = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead"
        return [rules.invalid(path, text, words)]
    try:
        parse(text)
    except ValueError as problem:
        return [rules.invalid(path, text, str(problem))]
    return []


def _time_zone(path: str, name: str | None) -> list[FieldError]:
    if name is None:
        return []
    if not name:
        return [rules.invalid(path, name, "timeZone must be nil or non-empty string")]
    if name.lower() == "local":
        words = "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones"
        return [rules.invalid(path, name, words)]
    if not ZONE_LETTERS.fullmatch(name) or any(part in ("", ".", "..") for part in name.split("/")):
        return [rules.invalid(path, name, f"unknown time zone {name}")]
    try:
        ZoneInfo(name)
    except (ValueError, KeyError, OSError):
        return [rules.invalid(path, name, f"unknown time zone {name}")]
    return []
