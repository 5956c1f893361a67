"""Rules of a claim's spec, in claims and wherever a claim's template stands.

Source: ValidatePersistentVolumeClaimSpec in upstream's core validation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekube.api import names, rules
from edgekube.api.kind import FieldError
from edgekube.kinds.core import meta_rules, resource_rules

if TYPE_CHECKING:
    from edgekube.kinds.core.claimspec import PersistentVolumeClaimSpec

ACCESS_MODES = ("ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce", "ReadWriteOncePod")
VOLUME_MODES = ("Block", "Filesystem")


def access_modes(path: str, modes: list[str]) -> list[FieldError]:
    """Known modes; ReadWriteOncePod only alone."""
    broken = [rules.not_supported(path, mode, ACCESS_MODES) for mode in modes if mode not in ACCESS_MODES]
    if "ReadWriteOncePod" in modes and any(mode in ACCESS_MODES[:3] for mode in modes):
        broken.append(rules.forbidden(path, "may not use ReadWriteOncePod with other access modes"))
    return broken


def claim_spec(path: str, spec: PersistentVolumeClaimSpec) -> list[FieldError]:
    """Everything a claim's spec must be."""
    broken: list[FieldError] = []
    if not spec.access_modes:
        broken.append(rules.required(f"{path}.accessModes", "at least 1 access mode is required"))
    broken += meta_rules.label_selector(f"{path}.selector", spec.selector)
    broken += access_modes(f"{path}.accessModes", spec.access_modes)
    broken += _storage(f"{path}.resources[storage]", spec.resources.requests.get("storage"))
    if spec.storage_class_name:
        broken += rules.each(
            f"{path}.storageClassName", spec.storage_class_name, names.dns_subdomain(spec.storage_class_name)
        )
    if spec.volume_mode is not None and spec.volume_mode not in VOLUME_MODES:
        broken.append(rules.not_supported(f"{path}.volumeMode", spec.volume_mode, VOLUME_MODES))
    for member, source in (("dataSource", spec.data_source), ("dataSourceRef", spec.data_source_ref)):
        if source is not None:
            broken += _source(f"{path}.{member}", source)
    broken += _sources_agree(path, spec)
    if spec.volume_attributes_class_name:
        name = spec.volume_attributes_class_name
        broken += rules.each(f"{path}.volumeAttributesClassName", name, names.dns_subdomain(name))
    return broken


def _storage(path: str, wanted: str | None) -> list[FieldError]:
    if wanted is None:
        return [rules.required(path)]
    return resource_rules.positive(path, wanted) or resource_rules.resource_amount(path, "storage", wanted)


def _source(path: str, source: Any) -> list[FieldError]:
    broken = meta_rules.required_members(path, source, ("name", "kind"))
    group = source.api_group or ""
    if not group and source.kind != "PersistentVolumeClaim":
        words = "must be 'PersistentVolumeClaim' when referencing the default apiGroup"
        broken.append(rules.invalid(path, source.kind, words))
    if group:
        broken += rules.each(f"{path}.apiGroup", group, names.dns_subdomain(group))
    namespace = getattr(source, "namespace", None)
    if namespace:
        broken += rules.each(f"{path}.namespace", namespace, names.dns_label(namespace))
    return broken


def _sources_agree(path: str, spec: PersistentVolumeClaimSpec) -> list[FieldError]:
    old, new = spec.data_source, spec.data_source_ref
    if old is None or new is None:
        return []
    if new.namespace:
        words = "may not be specified when dataSourceRef.namespace is specified"
        return [rules.invalid(path, f"{path}.dataSource", words)]
    if (old.api_group, old.kind, old.name) != (new.api_group, new.kind, new.name):
        return [rules.invalid(path, f"{path}.dataSource", "must match dataSourceRef")]
    return []
