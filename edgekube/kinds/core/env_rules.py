"""Rules of environment variables and of the references by which pods look at themselves.

Source: ValidateEnv and validateObjectFieldSelector in upstream's core validation.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgekube.api import names, rules
from edgekube.api.kind import FieldError
from edgekube.api.quantity import amount
from edgekube.kinds.core import meta_rules, path_rules
from edgekube.kinds.core.container import EnvFromSource, EnvVar, FileKeySelector
from edgekube.kinds.core.volume import ObjectFieldSelector, ResourceFieldSelector

ENV_FIELD_PATHS = (
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
)
_CONVERTIBLE = frozenset((*ENV_FIELD_PATHS, "metadata.labels", "metadata.annotations", "spec.restartPolicy"))
RESOURCE_PATHS = (
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
)
_HUGE_PAGES = ("limits.hugepages-", "requests.hugepages-")
_SUBSCRIPT = re.compile(r"(?P<path>[^\[\]]+)\['(?P<key>.*)'\]", re.DOTALL)
_BYTE_DIVISORS = ("1", *(f"1{unit}{i}" for i in ("", "i") for unit in ("k" if not i else "K", *"MGTPE")))
SOURCES_WORDS = "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"


def environment(path: str, given: list[EnvVar]) -> list[FieldError]:
    """Names and sources of variables."""
    broken: list[FieldError] = []
    for position, variable in enumerate(given):
        at = f"{path}[{position}]"
        if not variable.name:
            broken.append(rules.required(f"{at}.name"))
        else:
            broken += rules.each(f"{at}.name", variable.name, names.env_name(variable.name))
        broken += _value_from(f"{at}.valueFrom", variable)
    return broken


def _value_from(path: str, variable: EnvVar) -> list[FieldError]:
    source = variable.value_from
    if source is None:
        return []
    broken: list[FieldError] = []
    found = 0
    if source.field_ref is not None:
        found += 1
        broken += field_reference(f"{path}.fieldRef", source.field_ref, ENV_FIELD_PATHS)
    if source.resource_field_ref is not None:
        found += 1
        broken += resource_reference(f"{path}.resourceFieldRef", source.resource_field_ref, in_volume=False)
    for member, reference in (("configMapKeyRef", source.config_map_key_ref), ("secretKeyRef", source.secret_key_ref)):
        if reference is not None:
            found += 1
            broken += rules.each(f"{path}.{member}.name", reference.name, names.dns_subdomain(reference.name))
            broken += _config_key(f"{path}.{member}.key", reference.key)
    if source.file_key_ref is not None:
        found += 1
        broken += _file_key(f"{path}.fileKeyRef", source.file_key_ref)
    if not found:
        broken.append(rules.invalid(path, "", SOURCES_WORDS))
    elif variable.value:
        broken.append(rules.invalid(path, "", "may not be specified when `value` is not empty"))
    elif found > 1:
        broken.append(rules.invalid(path, "", "may not have more than one field specified at a time"))
    return broken


def _config_key(path: str, key: str) -> list[FieldError]:
    return rules.each(path, key, names.config_key(key)) if key else [rules.required(path)]


def _file_key(path: str, reference: FileKeySelector) -> list[FieldError]:
    broken = meta_rules.required_members(path, reference, ("volume_name", "path", "key"))
    if reference.key:
        broken += rules.each(f"{path}.key", reference.key, names.env_name(reference.key))
    return broken + path_rules.not_reserved(f"{path}.path", reference.path)


def field_reference(path: str, reference: ObjectFieldSelector, allowed: Sequence[str]) -> list[FieldError]:
    """A field of the pod itself, perhaps one label or annotation."""
    if not reference.api_version:
        return [rules.required(f"{path}.apiVersion")]
    if not reference.field_path:
        return [rules.required(f"{path}.fieldPath")]
    text = reference.field_path
    subscripted = _SUBSCRIPT.fullmatch(text)
    if reference.api_version != "v1":
        words = f"error converting fieldPath: unsupported pod version: {reference.api_version}"
        return [rules.invalid(f"{path}.fieldPath", text, words)]
    if subscripted is not None:
        name, key = subscripted["path"], subscripted["key"]
        if name == "metadata.annotations":
            return rules.each(path, key.lower(), names.qualified_name(key.lower()))
        if name == "metadata.labels":
            return rules.each(path, key, names.qualified_name(key))
    if text not in _CONVERTIBLE:
        name = subscripted["path"] if subscripted else text
        words = f"error converting fieldPath: field label not supported: {name}"
        if subscripted and name in _CONVERTIBLE:
            words = f"error converting fieldPath: field label does not support subscript: {text}"
        return [rules.invalid(f"{path}.fieldPath", text, words)]
    if text not in allowed:
        return [rules.not_supported(f"{path}.fieldPath", text, allowed)]
    return []


def resource_reference(path: str, reference: ResourceFieldSelector, *, in_volume: bool) -> list[FieldError]:
    """A request or limit of a container."""
    name = reference.resource
    broken: list[FieldError] = []
    if in_volume and not reference.container_name:
        broken.append(rules.required(f"{path}.containerName"))
    elif not name:
        broken.append(rules.required(f"{path}.resource"))
    elif name not in RESOURCE_PATHS and not name.startswith(_HUGE_PAGES):
        broken.append(rules.not_supported(f"{path}.resource", name, RESOURCE_PATHS))
    return broken + _divisor(f"{path}.divisor", name, reference.divisor)


def _divisor(path: str, name: str, divisor: str | None) -> list[FieldError]:
    if divisor is None or amount(divisor) == 0:
        return []
    if name in ("limits.cpu", "requests.cpu"):
        if divisor in ("1m", "1"):
            return []
        return [rules.invalid(path, name, "only divisor's values 1m and 1 are supported with the cpu resource")]
    of = {"memory": "memory", "ephemeral-storage": "local ephemeral storage"}.get(name.partition(".")[2], "hugepages")
    if divisor in _BYTE_DIVISORS or (of == "hugepages" and not name.startswith(_HUGE_PAGES)):
        return []
    listed = ", ".join(_BYTE_DIVISORS)
    return [rules.invalid(path, name, f"only divisor's values {listed} are supported with the {of} resource")]


def environment_from(path: str, given: list[EnvFromSource]) -> list[FieldError]:
    """Whole ConfigMaps and Secrets as variables."""
    broken: list[FieldError] = []
    for position, source in enumerate(given):
        at = f"{path}[{position}]"
        if source.prefix:
            broken += rules.each(f"{at}.prefix", source.prefix, names.env_name(source.prefix))
        found = 0
        for member, reference in (("configMapRef", source.config_map_ref), ("secretRef", source.secret_ref)):
            if reference is None:
                continue
            found += 1
            where = f"{at}.{member}.name"
            if not reference.name:
                broken.append(rules.required(where))
            else:
                masked = names.mask_trailing_dash(reference.name)
                broken += rules.each(where, reference.name, names.dns_subdomain(masked))
        if not found:
            broken.append(rules.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"))
        elif found > 1:
            broken.append(rules.invalid(path, "", "may not have more than one field specified at a time"))
    return broken
