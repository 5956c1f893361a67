"""Rules of everything that steers scheduling: selectors of nodes, affinity, tolerations, taints, spread.

Source: validateAffinity, ValidateTolerations, validateTopologySpreadConstraints in upstream's core validation.
"""

from __future__ import annotations

from typing import Any

import msgspec

from edgekube.api import names, rules
from edgekube.api.kind import FieldError
from edgekube.api.meta import LabelSelector
from edgekube.kinds.core import meta_rules
from edgekube.kinds.core.podspec import (
    Affinity,
    NodeAffinity,
    PodAffinity,
    PodAffinityTerm,
    PodAntiAffinity,
    Toleration,
    TopologySpreadConstraint,
)
from edgekube.kinds.core.references import NodeSelector, NodeSelectorRequirement, NodeSelectorTerm

REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
TAINT_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")
WEIGHT_WORDS = "must be in the range 1-100"
IN_BOTH = "exists in both matchLabelKeys and labelSelector"
NEEDS_SELECTOR = "must not be specified when labelSelector is not set"


def _requirement(path: str, rule: NodeSelectorRequirement, *, check_values: bool) -> list[FieldError]:
    broken: list[FieldError] = []
    at = f"{path}.values"
    if rule.operator in ("In", "NotIn"):
        if not rule.values:
            broken.append(rules.required(at, "must be specified when `operator` is 'In' or 'NotIn'"))
    elif rule.operator in ("Exists", "DoesNotExist"):
        if rule.values:
            broken.append(rules.forbidden(at, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
    elif rule.operator in ("Gt", "Lt"):
        if len(rule.values) != 1:
            broken.append(rules.required(at, "must be specified single value when `operator` is 'Lt' or 'Gt'"))
    else:
        broken.append(rules.invalid(f"{path}.operator", rule.operator, "not a valid selector operator"))
    broken += rules.each(f"{path}.key", rule.key, names.label_key(rule.key))
    if check_values:
        for position, value in enumerate(rule.values):
            broken += rules.each(f"{at}[{position}]", value, names.label_value(value))
    return broken


def _field_requirement(path: str, rule: NodeSelectorRequirement) -> list[FieldError]:
    broken: list[FieldError] = []
    if rule.operator not in ("In", "NotIn"):
        broken.append(rules.invalid(f"{path}.operator", rule.operator, "not a valid selector operator"))
    elif len(rule.values) != 1:
        words = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"
        broken.append(rules.required(f"{path}.values", words))
    if rule.key != "metadata.name":
        broken.append(rules.invalid(f"{path}.key", rule.key, "not a valid field selector key"))
        return broken
    for position, value in enumerate(rule.values):
        broken += rules.each(f"{path}.values[{position}]", value, names.dns_subdomain(value))
    return broken


def _node_term(path: str, term: NodeSelectorTerm, *, check_values: bool) -> list[FieldError]:
    broken: list[FieldError] = []
    for position, rule in enumerate(term.match_expressions):
        broken += _requirement(f"{path}.matchExpressions[{position}]", rule, check_values=check_values)
    for position, rule in enumerate(term.match_fields):
        broken += _field_requirement(f"{path}.matchFields[{position}]", rule)
    return broken


def node_selector(path: str, selector: NodeSelector) -> list[FieldError]:
    """Alternatives, at least one."""
    at = f"{path}.nodeSelectorTerms"
    if not selector.node_selector_terms:
        return [rules.required(at, "must have at least one node selector term")]
    broken: list[FieldError] = []
    for position, term in enumerate(selector.node_selector_terms):
        broken += _node_term(f"{at}[{position}]", term, check_values=True)
    return broken


def _weight(path: str, weight: int) -> list[FieldError]:
    return [] if 1 <= weight <= 100 else [rules.invalid(f"{path}.weight", weight, WEIGHT_WORDS)]


def _node_affinity(path: str, given: NodeAffinity) -> list[FieldError]:
    broken: list[FieldError] = []
    if given.required_during_scheduling_ignored_during_execution is not None:
        broken += node_selector(f"{path}.{REQUIRED}", given.required_during_scheduling_ignored_during_execution)
    for position, term in enumerate(given.preferred_during_scheduling_ignored_during_execution):
        at = f"{path}.{PREFERRED}[{position}]"
        broken += _weight(at, term.weight)
        broken += _node_term(f"{at}.preference", term.preference, check_values=False)
    return broken


def _pod_terms(path: str, given: PodAffinity | PodAntiAffinity) -> list[FieldError]:
    broken: list[FieldError] = []
    for position, term in enumerate(given.required_during_scheduling_ignored_during_execution):
        broken += _pod_term(f"{path}.{REQUIRED}[{position}]", term)
    for position, weighted in enumerate(given.preferred_during_scheduling_ignored_during_execution):
        at = f"{path}.{PREFERRED}[{position}]"
        broken += _weight(at, weighted.weight)
        broken += _pod_term(f"{at}.podAffinityTerm", weighted.pod_affinity_term)
    return broken


def _pod_term(path: str, term: PodAffinityTerm) -> list[FieldError]:
    broken = meta_rules.label_selector(f"{path}.labelSelector", term.label_selector)
    broken += meta_rules.label_selector(f"{path}.namespaceSelector", term.namespace_selector)
    for name in term.namespaces:
        broken += rules.each(f"{path}.namespace", name, names.dns_label(name))
    broken += _match_keys(path, term)
    if not term.topology_key:
        broken.append(rules.required(f"{path}.topologyKey", "can not be empty"))
    return broken + rules.each(f"{path}.topologyKey", term.topology_key, names.label_key(term.topology_key))


def _match_keys(path: str, term: PodAffinityTerm) -> list[FieldError]:
    broken: list[FieldError] = []
    for member, keys in (("matchLabelKeys", term.match_label_keys), ("mismatchLabelKeys", term.mismatch_label_keys)):
        at = f"{path}.{member}"
        if keys and term.label_selector is None:
            broken.append(rules.forbidden(at, NEEDS_SELECTOR))
            continue
        for position, key in enumerate(keys):
            broken += rules.each(f"{at}[{position}]", key, names.label_key(key))
    if term.label_selector is not None:
        seen = set(term.label_selector.match_labels)
        for rule in term.label_selector.match_expressions:
            if rule.key in term.match_label_keys and rule.key in seen:
                broken.append(rules.invalid(f"{path}[{term.match_label_keys.index(rule.key)}]", rule.key, IN_BOTH))
            seen.add(rule.key)
    for position, key in enumerate(term.match_label_keys):
        if key in term.mismatch_label_keys:
            words = "exists in both matchLabelKeys and mismatchLabelKeys"
            broken.append(rules.invalid(f"{path}.matchLabelKeys[{position}]", key, words))
    return broken


def affinity(path: str, given: Affinity | None) -> list[FieldError]:
    """Towards nodes, towards pods, away from pods."""
    if given is None:
        return []
    broken: list[FieldError] = []
    if given.node_affinity is not None:
        broken += _node_affinity(f"{path}.nodeAffinity", given.node_affinity)
    if given.pod_affinity is not None:
        broken += _pod_terms(f"{path}.podAffinity", given.pod_affinity)
    if given.pod_anti_affinity is not None:
        broken += _pod_terms(f"{path}.podAntiAffinity", given.pod_anti_affinity)
    return broken


def taint_effect(path: str, effect: str, *, required: bool) -> list[FieldError]:
    """NoSchedule, PreferNoSchedule or NoExecute."""
    if required and not effect:
        return [rules.required(path)]
    return [] if effect in TAINT_EFFECTS else [rules.not_supported(path, effect, TAINT_EFFECTS)]


def tolerations(path: str, given: list[Toleration]) -> list[FieldError]:
    """Keys, operators, effects."""
    broken: list[FieldError] = []
    for position, one in enumerate(given):
        at = f"{path}[{position}]"
        if one.key:
            broken += rules.each(f"{at}.key", one.key, names.label_key(one.key))
        elif one.operator != "Exists":
            words = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
            broken.append(rules.invalid(f"{at}.operator", one.operator, words))
        if one.toleration_seconds is not None and one.effect != "NoExecute":
            words = "effect must be 'NoExecute' when `tolerationSeconds` is set"
            broken.append(rules.invalid(f"{at}.effect", one.effect, words))
        broken += _toleration_value(f"{at}.operator", one)
        if one.effect:
            broken += taint_effect(f"{at}.effect", one.effect, required=False)
    return broken


def _toleration_value(path: str, one: Toleration) -> list[FieldError]:
    if one.operator in ("", "Equal"):
        problems = names.label_value(one.value)
        return [rules.invalid(path, one.value, ";".join(problems))] if problems else []
    if one.operator == "Exists":
        if one.value:
            return [rules.invalid(path, one.value, "value must be empty when `operator` is 'Exists'")]
        return []
    return [rules.not_supported(path, one.operator, ("Equal", "Exists"))]


def taints(path: str, given: list[Any]) -> list[FieldError]:
    """Of a node: each key and effect once."""
    broken: list[FieldError] = []
    seen: set[tuple[str, str]] = set()
    for position, taint in enumerate(given):
        at = f"{path}[{position}]"
        broken += rules.each(f"{at}.key", taint.key, names.label_key(taint.key))
        if problems := names.label_value(taint.value):
            broken.append(rules.invalid(f"{at}.value", taint.value, ";".join(problems)))
        broken += taint_effect(f"{at}.effect", taint.effect, required=True)
        if (taint.key, taint.effect) in seen:
            internal = {"Key": taint.key, "Value": taint.value, "Effect": taint.effect, "TimeAdded": taint.time_added}
            shown = msgspec.json.encode(internal, enc_hook=str).decode()  # upstream shows its internal type
            words = f"Duplicate value: {shown}: taints must be unique by key and effect pair"
            broken.append(FieldError(rules.DUPLICATE, at, words))
        seen.add((taint.key, taint.effect))
    return broken


def spread(path: str, given: list[TopologySpreadConstraint]) -> list[FieldError]:
    """Topology spread constraints."""
    broken: list[FieldError] = []
    pairs = [(one.topology_key, one.when_unsatisfiable) for one in given]
    for position, one in enumerate(given):
        at = f"{path}[{position}]"
        if one.max_skew <= 0:
            broken.append(rules.invalid(f"{at}.maxSkew", one.max_skew, "must be greater than zero"))
        if not one.topology_key:
            broken.append(rules.required(f"{at}.topologyKey", "can not be empty"))
        if one.when_unsatisfiable not in ("DoNotSchedule", "ScheduleAnyway"):
            allowed = ("DoNotSchedule", "ScheduleAnyway")
            broken.append(rules.not_supported(f"{at}.whenUnsatisfiable", one.when_unsatisfiable, allowed))
        if pairs[position] in pairs[position + 1 :]:
            shown = f"{{{one.topology_key}, {one.when_unsatisfiable}}}"
            broken.append(rules.duplicate(f"{at}.{{topologyKey, whenUnsatisfiable}}", shown))
        broken += _domains(f"{at}.minDomains", one)
        for member, policy in (
            ("nodeAffinityPolicy", one.node_affinity_policy),
            ("nodeTaintsPolicy", one.node_taints_policy),
        ):
            if policy is not None and policy not in ("Honor", "Ignore"):
                broken.append(rules.not_supported(f"{at}.{member}", policy, ("Honor", "Ignore")))
        broken += _spread_keys(f"{at}.matchLabelKeys", one.match_label_keys, one.label_selector)
        broken += meta_rules.label_selector(f"{at}.labelSelector", one.label_selector)
    return broken


def _domains(path: str, one: TopologySpreadConstraint) -> list[FieldError]:
    least = one.min_domains
    if least is None:
        return []
    broken = [rules.invalid(path, least, "must be greater than zero")] if least <= 0 else []
    if one.when_unsatisfiable != "DoNotSchedule":
        words = f"can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {one.when_unsatisfiable}"
        broken.append(rules.invalid(path, least, words))
    return broken


def _spread_keys(path: str, keys: list[str], selector: LabelSelector | None) -> list[FieldError]:
    if not keys:
        return []
    if selector is None:
        return [rules.forbidden(path, NEEDS_SELECTOR)]
    broken: list[FieldError] = []
    # On creation each key was added to the selector once; a second requirement is the user's own.
    for position, key in enumerate(keys):
        at = f"{path}[{position}]"
        broken += rules.each(at, key, names.label_key(key))
        own = sum(rule.key == key for rule in selector.match_expressions)
        if key in selector.match_labels or own > 1:
            broken.append(rules.invalid(at, key, IN_BOTH))
    return broken


def gates(path: str, given: list[Any]) -> list[FieldError]:
    """Scheduling gates: qualified names, each once."""
    broken: list[FieldError] = []
    seen: set[str] = set()
    for position, gate in enumerate(given):
        at = f"{path}[{position}]"
        broken += rules.each(at, gate.name, names.qualified_name(gate.name))
        if gate.name in seen:
            broken.append(rules.duplicate(at, gate.name))
        seen.add(gate.name)
    return broken
