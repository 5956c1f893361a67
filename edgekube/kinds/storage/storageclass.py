"""storage.k8s.io/v1 StorageClass: its types and rules."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, ClassVar

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
from edgekube.api.meta import Object, Struct, list_atomic, null, zero
from edgekube.kinds.columns import AGE, NAME, UNSET, described


class TopologySelectorLabelRequirement(Struct):
    key: str = zero(str)
    values: Annotated[list[str] | None, list_atomic()] = null()


class TopologySelectorTerm(Struct):
    ATOMIC: ClassVar[bool] = True
    match_label_expressions: Annotated[list[TopologySelectorLabelRequirement], list_atomic()] = []


class StorageClass(Object):
    provisioner: str = zero(str)
    parameters: dict[str, str] = {}
    reclaim_policy: str | None = None
    mount_options: Annotated[list[str], list_atomic()] = []
    allow_volume_expansion: bool | None = None
    volume_binding_mode: str | None = None
    allowed_topologies: Annotated[list[TopologySelectorTerm], list_atomic()] = []


DEFAULT_ANNOTATIONS = (
    "storageclass.kubernetes.io/is-default-class",
    "storageclass.beta.kubernetes.io/is-default-class",
)


def default(storage_class: StorageClass) -> None:
    """Volumes are bound at once and deleted with their claim."""
    if storage_class.reclaim_policy is None:
        storage_class.reclaim_policy = "Delete"
    if storage_class.volume_binding_mode is None:
        storage_class.volume_binding_mode = "Immediate"


def is_default(storage_class: StorageClass) -> bool:
    """Whether claims that name no class get this one."""
    return any(storage_class.metadata.annotations.get(key) == "true" for key in DEFAULT_ANNOTATIONS)


def _name(storage_class: StorageClass, _now: str) -> str:
    return storage_class.metadata.name + (" (default)" if is_default(storage_class) else "")


RECLAIM_POLICIES = ("Delete", "Retain")
BINDING_MODES = ("Immediate", "WaitForFirstConsumer")
PARAMETERS_MAX, PARAMETERS_MAX_BYTES = 512, 256 * 1024


def parameter_rules(parameters: dict[str, str]) -> list[FieldError]:
    """Named, not too many and not too large."""
    if len(parameters) > PARAMETERS_MAX:
        return [rules.too_long("parameters", PARAMETERS_MAX)]
    broken = [rules.invalid("parameters", "", "field can not be empty.")] if "" in parameters else []
    if sum(len(key.encode()) + len(value.encode()) for key, value in parameters.items()) > PARAMETERS_MAX_BYTES:
        broken.append(rules.too_long("parameters", PARAMETERS_MAX_BYTES))
    return broken


def class_rules(storage_class: StorageClass) -> list[FieldError]:
    """Who makes the volumes, and how they are bound and let go."""
    provisioner = storage_class.provisioner
    if not provisioner:
        broken = [rules.required("provisioner")]
    else:
        broken = rules.each("provisioner", provisioner, names.qualified_name(provisioner.lower()))
    broken += parameter_rules(storage_class.parameters)
    if storage_class.reclaim_policy:
        broken += rules.one_of("reclaimPolicy", storage_class.reclaim_policy, RECLAIM_POLICIES)
    broken += rules.one_of("volumeBindingMode", storage_class.volume_binding_mode or "", BINDING_MODES)
    return broken + _topology_rules(storage_class.allowed_topologies)


def _topology_rules(terms: list[TopologySelectorTerm]) -> list[FieldError]:
    """Each term restricts something, no key twice within it, and none says what another says."""
    broken: list[FieldError] = []
    seen: list[dict[str, frozenset[str]]] = []
    for at, term in enumerate(terms):
        path = f"allowedTopologies[{at}]"
        if not term.match_label_expressions:
            broken.append(rules.required(path, "must specify at least one matchLabelExpressions"))
        wanted: dict[str, frozenset[str]] = {}
        for position, one in enumerate(term.match_label_expressions):
            here = f"{path}.matchLabelExpressions[{position}]"
            if one.key in wanted:
                broken.append(rules.duplicate(f"{here}.key", one.key))
            if not one.values:
                broken.append(rules.required(f"{here}.values"))
            given = one.values or []
            broken += [
                rules.duplicate(f"{here}.values[{index}]", value)
                for index, value in enumerate(given)
                if value in given[:index]
            ]
            broken += rules.each(f"{here}.key", one.key, names.label_key(one.key))
            wanted[one.key] = frozenset(given)
        if wanted in seen:
            broken.append(rules.duplicate(f"{path}.matchLabelExpressions", ""))
        seen.append(wanted)
    return broken


def class_update_rules(new: StorageClass, old: StorageClass) -> list[FieldError]:
    """Volumes already made would not match."""
    broken = rules.same("parameters", new.parameters, old.parameters)
    broken += rules.same("provisioner", new.provisioner, old.provisioner)
    broken += rules.same("reclaimPolicy", new.reclaim_policy, old.reclaim_policy)
    return broken + rules.same("volumeBindingMode", new.volume_binding_mode, old.volume_binding_mode)


KIND = Kind(
    type=StorageClass,
    group="storage.k8s.io",
    version="v1",
    name="StorageClass",
    plural="storageclasses",
    singular="storageclass",
    short=("sc",),
    scope=Scope.CLUSTER,
    default=default,
    generation=False,
    columns=described(
        "storageclasses",
        replace(NAME, value=_name),
        Column("Provisioner", "string", lambda item, _: item.provisioner),
        Column("ReclaimPolicy", "string", lambda item, _: item.reclaim_policy or "Delete"),
        Column("VolumeBindingMode", "string", lambda item, _: item.volume_binding_mode or UNSET),
        Column("AllowVolumeExpansion", "string", lambda item, _: bool(item.allow_volume_expansion)),
        AGE,
    ),
    rules=class_rules,
    update_rules=class_update_rules,
)
