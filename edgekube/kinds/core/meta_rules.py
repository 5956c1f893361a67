"""Rules of labels, annotations and selectors wherever they stand inside a spec (an object's own metadata is the registry's).

Source: k8s.io/apimachinery pkg/apis/meta/v1/validation and pkg/api/validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgekube.api import names, rules
from edgekube.api.kind import FieldError
from edgekube.api.meta import LabelSelector

ANNOTATIONS_MAX_BYTES = 256 * 1024


def labels(path: str, given: Mapping[str, str]) -> list[FieldError]:
    """Keys and values of labels, or of anything shaped like labels."""
    broken: list[FieldError] = []
    for key, value in given.items():
        broken += rules.each(path, key, names.label_key(key))
        broken += rules.each(path, value, names.label_value(value))
    return broken


def annotation_keys(path: str, given: Mapping[str, str]) -> list[FieldError]:
    """Keys of annotations, and their total size."""
    broken: list[FieldError] = []
    for key in given:
        broken += rules.each(path, key, names.qualified_name(key.lower()))
    if sum(len(key.encode()) + len(value.encode()) for key, value in given.items()) > ANNOTATIONS_MAX_BYTES:
        broken.append(rules.too_long(path, ANNOTATIONS_MAX_BYTES))
    return broken


def label_selector(path: str, selector: LabelSelector | None) -> list[FieldError]:
    """Keys, operators and values of a selector; None is fine."""
    if selector is None:
        return []
    broken = labels(f"{path}.matchLabels", selector.match_labels)
    for position, rule in enumerate(selector.match_expressions):
        at = f"{path}.matchExpressions[{position}]"
        if rule.operator in ("In", "NotIn"):
            if not rule.values:
                words = "must be specified when `operator` is 'In' or 'NotIn'"
                broken.append(rules.required(f"{at}.values", words))
        elif rule.operator in ("Exists", "DoesNotExist"):
            if rule.values:
                words = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
                broken.append(rules.forbidden(f"{at}.values", words))
        else:
            broken.append(rules.invalid(f"{at}.operator", rule.operator, "not a valid selector operator"))
        broken += rules.each(f"{at}.key", rule.key, names.label_key(rule.key))
        for index, value in enumerate(rule.values):
            broken += rules.each(f"{at}.values[{index}]", value, names.label_value(value))
    return broken


def selector_is_empty(selector: LabelSelector | None) -> bool:
    """Whether a selector restricts nothing."""
    return selector is None or not (selector.match_labels or selector.match_expressions)


def selects(selector: LabelSelector | None, given: Mapping[str, str]) -> bool:
    """Whether a selector (None selects nothing) takes these labels; an unknown operator takes none."""
    if selector is None:
        return False
    if any(given.get(key) != value for key, value in selector.match_labels.items()):
        return False
    for rule in selector.match_expressions:
        here = rule.key in given
        held = {
            "In": here and given.get(rule.key) in rule.values,
            "NotIn": not here or given.get(rule.key) not in rule.values,
            "Exists": here,
            "DoesNotExist": not here,
        }
        if not held.get(rule.operator, False):
            return False
    return True


def required_members(path: str, item: Any, members: Sequence[str]) -> list[FieldError]:
    """`required` for each empty member (named as attributes; the wire name is shown)."""
    wire = dict(zip(type(item).__struct_fields__, type(item).__struct_encode_fields__, strict=True))
    return [rules.required(f"{path}.{wire[member]}") for member in members if not getattr(item, member)]
