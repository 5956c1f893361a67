"""Rules of Deployments, ReplicaSets, StatefulSets, DaemonSets and their revisions.

Source: upstream's pkg/apis/apps/validation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec.structs import replace

from edgekube.api import names, rules
from edgekube.api.kind import FieldError
from edgekube.kinds.core import claim_rules
from edgekube.kinds.core.volume import PersistentVolumeClaimVolumeSource, Volume
from edgekube.kinds.core.workload_rules import (
    at_most_all,
    count_or_percent,
    is_zero,
    replica_counts,
    runs_for_ever,
    selected_template,
    selector,
)

if TYPE_CHECKING:
    from edgekube.kinds.apps.controllerrevision import ControllerRevision
    from edgekube.kinds.apps.daemonset import DaemonSet, RollingUpdateDaemonSet
    from edgekube.kinds.apps.deployment import Deployment, DeploymentStrategy
    from edgekube.kinds.apps.replicaset import ReplicaSet
    from edgekube.kinds.apps.statefulset import StatefulSet, StatefulSetSpec

STATEFUL_CHANGEABLE = (
    "'replicas', 'ordinals', 'template', 'updateStrategy', 'revisionHistoryLimit', "
    "'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds'"
)


def _internal(value: dict[str, Any]) -> str:
    """A value as upstream shows one of its internal types: fields in Go's names and order."""
    return msgspec.json.encode(value, enc_hook=str).decode()


def deployment(item: Deployment) -> list[FieldError]:
    """Counts, selector, template, strategy."""
    spec = item.spec
    broken = rules.not_negative("spec.replicas", spec.replicas or 0)
    broken += selector("spec.selector", spec.selector, "deployment")
    broken += selected_template("spec.template", spec.template, spec.selector)
    broken += runs_for_ever("spec.template.spec", spec.template.spec, "ReplicaSet")
    broken += _deployment_strategy("spec.strategy", spec.strategy)
    broken += rules.not_negative("spec.minReadySeconds", spec.min_ready_seconds)
    if spec.revision_history_limit is not None:
        broken += rules.not_negative("spec.revisionHistoryLimit", spec.revision_history_limit)
    deadline = spec.progress_deadline_seconds
    if deadline is not None:
        broken += rules.not_negative("spec.progressDeadlineSeconds", deadline)
        if deadline <= spec.min_ready_seconds:
            words = "must be greater than minReadySeconds"
            broken.append(rules.invalid("spec.progressDeadlineSeconds", deadline, words))
    return broken


def _deployment_strategy(path: str, strategy: DeploymentStrategy) -> list[FieldError]:
    at, rolling = f"{path}.rollingUpdate", strategy.rolling_update
    if strategy.type == "Recreate":
        if rolling is None:
            return []
        return [rules.forbidden(at, "may not be specified when strategy `type` is 'Recreate'")]
    if strategy.type != "RollingUpdate":
        return [rules.not_supported(path, strategy.type, ("Recreate", "RollingUpdate"))]
    if rolling is None:
        return [rules.required(at, "this should be defaulted and never be nil")]
    broken = count_or_percent(f"{at}.maxUnavailable", rolling.max_unavailable)
    broken += count_or_percent(f"{at}.maxSurge", rolling.max_surge)
    if is_zero(rolling.max_unavailable) and is_zero(rolling.max_surge):
        words = "may not be 0 when `maxSurge` is 0"
        broken.append(rules.invalid(f"{at}.maxUnavailable", rolling.max_unavailable, words))
    return broken + at_most_all(f"{at}.maxUnavailable", rolling.max_unavailable)


def same_selector(new: Any, old: Any) -> list[FieldError]:
    """The selector of a workload never changes."""
    return rules.same("spec.selector", new.spec.selector, old.spec.selector)


def deployment_status(new: Deployment, old: Deployment) -> list[FieldError]:
    """Counts that make sense together."""
    given = new.status
    broken: list[FieldError] = []
    for wire, value in (
        ("observedGeneration", given.observed_generation),
        ("replicas", given.replicas),
        ("updatedReplicas", given.updated_replicas),
        ("readyReplicas", given.ready_replicas),
        ("availableReplicas", given.available_replicas),
        ("unavailableReplicas", given.unavailable_replicas),
        ("terminatingReplicas", given.terminating_replicas),
        ("collisionCount", given.collision_count),
    ):
        if value is not None:
            broken += rules.not_negative(f"status.{wire}", value)
    words = "cannot be greater than status.replicas"
    for wire, value in (
        ("updatedReplicas", given.updated_replicas),
        ("readyReplicas", given.ready_replicas),
        ("availableReplicas", given.available_replicas),
    ):
        if value > given.replicas:
            broken.append(rules.invalid(f"status.{wire}", value, words))
    if given.available_replicas > given.ready_replicas:
        words = "cannot be greater than readyReplicas"
        broken.append(rules.invalid("status.availableReplicas", given.available_replicas, words))
    return broken + _collisions(given.collision_count, old.status.collision_count)


def _collisions(now: int | None, before: int | None) -> list[FieldError]:
    if before is None or (now is not None and now >= before):
        return []
    return [rules.invalid("status.collisionCount", now or 0, "cannot be decremented")]


def replica_set(item: ReplicaSet) -> list[FieldError]:
    """Counts, selector, template."""
    spec = item.spec
    broken = rules.not_negative("spec.replicas", spec.replicas or 0)
    broken += rules.not_negative("spec.minReadySeconds", spec.min_ready_seconds)
    broken += selector("spec.selector", spec.selector, "deployment")
    broken += selected_template("spec.template", spec.template, spec.selector)
    return broken + runs_for_ever("spec.template.spec", spec.template.spec, "ReplicaSet")


def replica_set_status(new: ReplicaSet, _old: ReplicaSet) -> list[FieldError]:
    """Counts that make sense together."""
    return replica_counts(new.status)


def daemon_set(item: DaemonSet) -> list[FieldError]:
    """Selector, template, strategy."""
    spec = item.spec
    broken = selected_template("spec.template", spec.template, spec.selector)
    broken = selector("spec.selector", spec.selector, "daemonset") + broken
    broken += runs_for_ever("spec.template.spec", spec.template.spec, "DaemonSet")
    broken += rules.not_negative("spec.minReadySeconds", spec.min_ready_seconds)
    strategy, at = spec.update_strategy, "spec.updateStrategy"
    if strategy.type == "RollingUpdate":
        if strategy.rolling_update is None:
            broken.append(rules.required(f"{at}.rollingUpdate"))
        else:
            broken += _daemon_rolling(f"{at}.rollingUpdate", strategy.rolling_update)
    elif strategy.type != "OnDelete":
        shown = _internal({"Type": strategy.type, "RollingUpdate": None})
        allowed = 'supported values: "RollingUpdate", "OnDelete"'
        broken.append(FieldError(rules.NOT_SUPPORTED, at, f"Unsupported value: {shown}: {allowed}"))
    if spec.revision_history_limit is not None:
        broken += rules.not_negative("spec.revisionHistoryLimit", spec.revision_history_limit)
    return broken


def _daemon_rolling(path: str, rolling: RollingUpdateDaemonSet) -> list[FieldError]:
    broken = count_or_percent(f"{path}.maxUnavailable", rolling.max_unavailable)
    broken += at_most_all(f"{path}.maxUnavailable", rolling.max_unavailable)
    broken += count_or_percent(f"{path}.maxSurge", rolling.max_surge)
    broken += at_most_all(f"{path}.maxSurge", rolling.max_surge)
    if is_zero(rolling.max_surge) and is_zero(rolling.max_unavailable):
        broken.append(rules.required(f"{path}.maxUnavailable", "cannot be 0 when maxSurge is 0"))
    elif not is_zero(rolling.max_surge) and not is_zero(rolling.max_unavailable):
        words = "may not be set when maxUnavailable is non-zero"
        broken.append(rules.invalid(f"{path}.maxSurge", rolling.max_surge, words))
    return broken


def daemon_set_status(new: DaemonSet, old: DaemonSet) -> list[FieldError]:
    """Counts of nodes."""
    given = new.status
    broken: list[FieldError] = []
    for wire, value in (
        ("currentNumberScheduled", given.current_number_scheduled),
        ("numberMisscheduled", given.number_misscheduled),
        ("desiredNumberScheduled", given.desired_number_scheduled),
        ("numberReady", given.number_ready),
        ("observedGeneration", given.observed_generation),
        ("updatedNumberScheduled", given.updated_number_scheduled),
        ("numberAvailable", given.number_available),
        ("numberUnavailable", given.number_unavailable),
        ("collisionCount", given.collision_count),
    ):
        if value is not None:
            broken += rules.not_negative(f"status.{wire}", value)
    return broken + _collisions(given.collision_count, old.status.collision_count)


def stateful_set(item: StatefulSet) -> list[FieldError]:
    """Order, strategy, counts, selector, template and the claims each pod gets."""
    spec = item.spec
    broken: list[FieldError] = []
    if not spec.pod_management_policy:
        broken.append(rules.required("spec.podManagementPolicy"))
    elif spec.pod_management_policy not in ("OrderedReady", "Parallel"):
        words = "must be 'OrderedReady' or 'Parallel'"
        broken.append(rules.invalid("spec.podManagementPolicy", spec.pod_management_policy, words))
    broken += _stateful_strategy(spec)
    keep, at = spec.persistent_volume_claim_retention_policy, "spec.persistentVolumeClaimRetentionPolicy"
    if keep is not None:
        for wire, value in (("whenDeleted", keep.when_deleted), ("whenScaled", keep.when_scaled)):
            if value not in ("Delete", "Retain"):
                broken.append(rules.not_supported(f"{at}.{wire}", value, ("Retain", "Delete")))
    broken += rules.not_negative("spec.replicas", spec.replicas or 0)
    broken += rules.not_negative("spec.minReadySeconds", spec.min_ready_seconds)
    if spec.ordinals is not None:
        broken += rules.not_negative("spec.ordinals.start", spec.ordinals.start)
    if spec.service_name and item.metadata.resource_version in ("", "0"):
        broken += rules.each("spec.serviceName", spec.service_name, names.dns_label(spec.service_name))
    broken += selector("spec.selector", spec.selector, "statefulset")
    broken += _stateful_template(spec)
    broken += runs_for_ever("spec.template.spec", spec.template.spec, "StatefulSet")
    for position, claim in enumerate(spec.volume_claim_templates):
        broken += claim_rules.claim_spec(f"spec.volumeClaimTemplates[{position}].spec", claim.spec)
    if spec.revision_history_limit is not None:
        broken += rules.not_negative("spec.revisionHistoryLimit", spec.revision_history_limit)
    return broken


def _stateful_strategy(spec: StatefulSetSpec) -> list[FieldError]:
    strategy, at = spec.update_strategy, "spec.updateStrategy"
    rolling = strategy.rolling_update
    if not strategy.type:
        return [rules.required(at)]
    if strategy.type == "OnDelete":
        words = "only allowed for updateStrategy 'RollingUpdate'"
        return [] if rolling is None else [rules.invalid(f"{at}.rollingUpdate", rolling, words)]
    if strategy.type != "RollingUpdate":
        return [rules.invalid(at, strategy, "must be 'RollingUpdate' or 'OnDelete'")]
    if rolling is None:
        return []
    broken = rules.not_negative(f"{at}.rollingUpdate.partition", rolling.partition or 0)
    if rolling.max_unavailable is not None:
        where = f"{at}.rollingUpdate.maxUnavailable"
        broken += count_or_percent(where, rolling.max_unavailable)
        if is_zero(rolling.max_unavailable):
            broken.append(rules.invalid(where, rolling.max_unavailable, "cannot be 0"))
        broken += at_most_all(where, rolling.max_unavailable)
    return broken


def _stateful_template(spec: StatefulSetSpec) -> list[FieldError]:
    """The template as its pods will be: with a volume for each claim, in place of one of the same name."""
    made = [claim.metadata.name for claim in spec.volume_claim_templates]
    own = [volume for volume in spec.template.spec.volumes if volume.name not in made]
    added = [
        Volume(name=name, persistent_volume_claim=PersistentVolumeClaimVolumeSource(claim_name=name))
        for name in dict.fromkeys(made)
        if name
    ]
    whole = replace(spec.template, spec=replace(spec.template.spec, volumes=[*own, *added]))
    return selected_template("spec.template", whole, spec.selector)


def stateful_set_update(new: StatefulSet, old: StatefulSet) -> list[FieldError]:
    """All but a few fields are fixed."""
    ours, theirs = new.spec, old.spec
    cut = replace(
        ours,
        replicas=theirs.replicas,
        template=theirs.template,
        update_strategy=theirs.update_strategy,
        min_ready_seconds=theirs.min_ready_seconds,
        ordinals=theirs.ordinals,
        revision_history_limit=theirs.revision_history_limit,
        persistent_volume_claim_retention_policy=theirs.persistent_volume_claim_retention_policy,
    )
    if cut == theirs:
        return []
    words = f"updates to statefulset spec for fields other than {STATEFUL_CHANGEABLE} are forbidden"
    return [rules.forbidden("spec", words)]


def stateful_set_status(new: StatefulSet, old: StatefulSet) -> list[FieldError]:
    """Counts that make sense together."""
    given = new.status
    broken: list[FieldError] = []
    for wire, value in (
        ("replicas", given.replicas),
        ("readyReplicas", given.ready_replicas),
        ("currentReplicas", given.current_replicas),
        ("updatedReplicas", given.updated_replicas),
        ("availableReplicas", given.available_replicas),
        ("observedGeneration", given.observed_generation),
        ("collisionCount", given.collision_count),
    ):
        if value is not None:
            broken += rules.not_negative(f"status.{wire}", value)
    words = "cannot be greater than status.replicas"
    for wire, value in (
        ("readyReplicas", given.ready_replicas),
        ("currentReplicas", given.current_replicas),
        ("updatedReplicas", given.updated_replicas),
        ("availableReplicas", given.available_replicas),
    ):
        if value > given.replicas:
            broken.append(rules.invalid(f"status.{wire}", value, words))
    if given.available_replicas > given.ready_replicas:
        words = "cannot be greater than status.readyReplicas"
        broken.append(rules.invalid("status.availableReplicas", given.available_replicas, words))
    return broken + _collisions(given.collision_count, old.status.collision_count)


def revision(item: ControllerRevision) -> list[FieldError]:
    """Some data, and a number."""
    broken = [] if item.data is not None else [rules.required("data", "data is mandatory")]
    return broken + rules.not_negative("revision", item.revision)
