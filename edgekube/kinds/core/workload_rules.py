"""Rules that everything with a pod template and a count shares: what is selected, how long it runs, how counts relate.

Source: upstream's core and apps validation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekube.api import names, rules
from edgekube.api.kind import FieldError
from edgekube.kinds.core import meta_rules, pod_rules

if TYPE_CHECKING:
    from edgekube.api.meta import LabelSelector
    from edgekube.kinds.core.podspec import PodSpec
    from edgekube.kinds.core.podtemplate import PodTemplateSpec

NOT_SELECTED = "`selector` does not match template `labels`"
OVER_100 = "must not be greater than 100%"


def runs_for_ever(path: str, spec: PodSpec, kind: str) -> list[FieldError]:
    """Pods that are replaced when they end: always restarted, without a deadline. `path` is the spec's."""
    broken: list[FieldError] = []
    if spec.restart_policy != "Always":
        broken.append(rules.not_supported(f"{path}.restartPolicy", spec.restart_policy, ("Always",)))
    if spec.active_deadline_seconds is not None:
        words = f"activeDeadlineSeconds in {kind} is not Supported"
        broken.append(rules.forbidden(f"{path}.activeDeadlineSeconds", words))
    return broken


def selector(path: str, given: LabelSelector | None, kind: str) -> list[FieldError]:
    """A selector that selects something."""
    if given is None:
        return [rules.required(path)]
    broken = meta_rules.label_selector(path, given)
    if meta_rules.selector_is_empty(given):
        broken.append(rules.invalid(path, given, f"empty selector is invalid for {kind}"))
    return broken


def selected_template(path: str, template: PodTemplateSpec, given: LabelSelector | None) -> list[FieldError]:
    """A template that the selector selects, sound in itself. Wrong selectors have been told already."""
    labels = template.metadata.labels
    broken: list[FieldError] = []
    if not meta_rules.selector_is_empty(given) and not meta_rules.selects(given, labels):
        broken.append(rules.invalid(f"{path}.metadata.labels", labels or None, NOT_SELECTED))
    return broken + pod_rules.template(path, template)


def replica_counts(status: Any) -> list[FieldError]:
    """Counts in a status: not negative, and no part greater than the whole."""
    broken: list[FieldError] = []
    for wire, value in (
        ("replicas", status.replicas),
        ("fullyLabeledReplicas", status.fully_labeled_replicas),
        ("readyReplicas", status.ready_replicas),
        ("availableReplicas", status.available_replicas),
        ("observedGeneration", status.observed_generation),
    ):
        broken += rules.not_negative(f"status.{wire}", value)
    words = "cannot be greater than status.replicas"
    for wire, value in (
        ("fullyLabeledReplicas", status.fully_labeled_replicas),
        ("readyReplicas", status.ready_replicas),
        ("availableReplicas", status.available_replicas),
    ):
        if value > status.replicas:
            broken.append(rules.invalid(f"status.{wire}", value, words))
    if status.available_replicas > status.ready_replicas:
        words = "cannot be greater than readyReplicas"
        broken.append(rules.invalid("status.availableReplicas", status.available_replicas, words))
    return broken


def count_or_percent(path: str, value: int | str | None) -> list[FieldError]:
    """A number of zero or more, or a percentage."""
    if isinstance(value, str):
        return rules.each(path, value, names.percent(value))
    return rules.not_negative(path, value or 0)


def at_most_all(path: str, value: int | str | None) -> list[FieldError]:
    """Not more than 100%."""
    if isinstance(value, str) and not names.percent(value) and int(value[:-1]) > 100:
        return [rules.invalid(path, value, OVER_100)]
    return []


def is_zero(value: int | str | None) -> bool:
    """Whether a number or percentage is none at all."""
    if isinstance(value, str):
        return not names.percent(value) and int(value[:-1]) == 0
    return not value


def name_warnings(name: str) -> list[str]:
    """Names that pods and their hosts cannot take over as they are."""
    problems = names.dns_label(name)
    if not problems:
        return []
    return [
        "metadata.name: this is used in Pod names and hostnames, which can result in surprising behavior; "
        f"a DNS label is recommended: [{' '.join(problems)}]"
    ]
