"""The rules of metadata, the same for every kind: what a new object's may hold and what an update may change.

Pure. Source: k8s.io/apimachinery pkg/api/validation/objectmeta.go and the finalizer check of core validation.
"""

from __future__ import annotations

from typing import Any

from edgekube.api import names, rules
from edgekube.api.kind import FieldError, Kind
from edgekube.api.meta import ObjectMeta, OwnerReference

ANNOTATIONS_MAX_BYTES = 256 * 1024
GENERATED_SUFFIX_LETTERS = 5
GENERATED_BASE_LETTERS = 63 - GENERATED_SUFFIX_LETTERS
STANDARD_FINALIZERS = frozenset({"kubernetes", "orphan", "foregroundDeletion"})
AT = "metadata"


def generated_name(base: str, suffix: str) -> str:
    """The name made from `generateName`: cut so that the suffix fits a label."""
    return base[:GENERATED_BASE_LETTERS] + suffix


def new_object_errors(kind: Kind[Any], meta: ObjectMeta) -> list[FieldError]:
    """What is wrong with metadata of an object to be created, or with any whole object."""
    check = kind.name_rule or names.dns_subdomain
    broken: list[FieldError] = []
    if meta.generate_name:
        masked = names.mask_trailing_dash(meta.generate_name)
        broken += rules.each(f"{AT}.generateName", meta.generate_name, check(masked))
    if not meta.name:
        broken.append(rules.required(f"{AT}.name", "name or generateName is required"))
    else:
        broken += rules.each(f"{AT}.name", meta.name, check(meta.name))
    if kind.namespaced:
        if not meta.namespace:
            broken.append(rules.required(f"{AT}.namespace"))
        else:
            broken += rules.each(f"{AT}.namespace", meta.namespace, names.dns_label(meta.namespace))
    elif meta.namespace:
        broken.append(rules.forbidden(f"{AT}.namespace", "not allowed on this type"))
    return broken + _common_errors(meta)


def _common_errors(meta: ObjectMeta) -> list[FieldError]:
    broken = rules.not_negative(f"{AT}.generation", meta.generation)
    return broken + _content_errors(meta) + _finalizer_errors(meta.finalizers)


def label_errors(path: str, labels: dict[str, str]) -> list[FieldError]:
    """Label keys and values."""
    broken: list[FieldError] = []
    for key, value in labels.items():
        broken += rules.each(path, key, names.qualified_name(key))
        broken += rules.each(path, value, names.label_value(value))
    return broken


def annotation_errors(path: str, annotations: dict[str, str]) -> list[FieldError]:
    """Annotation keys, and the size of all together."""
    broken: list[FieldError] = []
    for key in annotations:
        broken += rules.each(path, key, names.qualified_name(key.lower()))
    size = sum(len(key.encode()) + len(value.encode()) for key, value in annotations.items())
    if size > ANNOTATIONS_MAX_BYTES:
        broken.append(rules.too_long(path, ANNOTATIONS_MAX_BYTES))
    return broken


def _owner_errors(owners: list[OwnerReference]) -> list[FieldError]:
    broken: list[FieldError] = []
    controllers: list[str] = []
    path = f"{AT}.ownerReferences"  # upstream names the list, not the element
    for owner in owners:
        if not owner.api_version.rpartition("/")[2]:
            broken.append(rules.invalid(f"{path}.apiVersion", owner.api_version, "version must not be empty"))
        for member, value in (("kind", owner.kind), ("name", owner.name), ("uid", owner.uid)):
            if not value:
                broken.append(rules.invalid(f"{path}.{member}", value, "must not be empty"))
        if (owner.kind, owner.api_version) == ("Event", "v1"):
            shown = "/v1, Kind=Event"
            broken.append(rules.invalid(path, owner, f"{shown} is disallowed from being an owner"))
        if owner.controller:
            controllers.append(f"{owner.kind}/{owner.name}")
            if len(controllers) > 1:
                words = (
                    'Only one reference can have Controller set to true. Found "true" in references for'
                    f" {controllers[0]} and {controllers[-1]}"
                )
                broken.append(rules.invalid(path, owners, words))
    return broken


def _finalizer_errors(finalizers: list[str]) -> list[FieldError]:
    broken: list[FieldError] = []
    if "orphan" in finalizers and "foregroundDeletion" in finalizers:
        words = 'finalizers "orphan" and "foregroundDeletion" cannot be both set'
        broken.append(rules.invalid(f"{AT}.finalizers", finalizers, words))
    return broken + finalizer_errors(f"{AT}.finalizers", finalizers, whole=True)


def finalizer_errors(path: str, finalizers: list[str], *, whole: bool = False) -> list[FieldError]:
    """Names of finalizers. `whole`: a malformed one is told of the list, not of the element, as upstream does for metadata."""
    broken: list[FieldError] = []
    for position, name in enumerate(finalizers):
        at = rules.index(path, position)
        broken += rules.each(path if whole else at, name, names.qualified_name(name))
        if "/" not in name and name not in STANDARD_FINALIZERS:
            words = "name is neither a standard finalizer name nor is it fully qualified"
            broken.append(rules.invalid(at, name, words))
    return broken


def update_errors(kind: Kind[Any], new: ObjectMeta, old: ObjectMeta) -> list[FieldError]:
    """What is wrong with metadata of an update: what is malformed, and what changes although it may not.

    Upstream asks once for all kinds and once in each kind's own rules, and says everything as often.
    """
    content = _content_errors(new)
    whole = rules.not_negative(f"{AT}.generation", new.generation) + content + _finalizer_errors(new.finalizers)
    changes = _change_errors(new, old) + content
    return whole + changes * 2 + (whole if kind.rules_on_update else [])


def _content_errors(meta: ObjectMeta) -> list[FieldError]:
    broken = label_errors(f"{AT}.labels", meta.labels) + annotation_errors(f"{AT}.annotations", meta.annotations)
    return broken + _owner_errors(meta.owner_references)


def _change_errors(new: ObjectMeta, old: ObjectMeta) -> list[FieldError]:
    broken: list[FieldError] = []
    if old.deletion_timestamp is not None:
        added = [name for name in new.finalizers if name not in old.finalizers]
        if added:
            shown = ", ".join(rules.quoted(name) for name in added)
            words = f"no new finalizers can be added if the object is being deleted, found new finalizers []string{{{shown}}}"
            broken.append(rules.forbidden(f"{AT}.finalizers", words))
    if new.generation < old.generation:
        broken.append(rules.invalid(f"{AT}.generation", new.generation, "must not be decremented"))
    for member, was, now in (
        ("name", old.name, new.name),
        ("namespace", old.namespace, new.namespace),
        ("uid", old.uid, new.uid),
        ("deletionTimestamp", old.deletion_timestamp, new.deletion_timestamp),
        ("deletionGracePeriodSeconds", old.deletion_grace_period_seconds, new.deletion_grace_period_seconds),
    ):
        if was != now:
            broken.append(rules.immutable(f"{AT}.{member}", now))
    return broken
