"""v1 ConfigMap: small text and binary files that pods read by name."""

from __future__ import annotations

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind
from edgekube.api.meta import Object
from edgekube.kinds.core.printing import AGE, NAME, described


class ConfigMap(Object):
    """Text and binary files by name."""

    immutable: bool | None = None
    data: dict[str, str] = {}
    binary_data: dict[str, bytes] = {}


TOTAL_MAX_BYTES = 1024 * 1024
FROZEN = "field is immutable when `immutable` is set"


def broken_rules(item: ConfigMap) -> list[FieldError]:
    """Keys are file names, in one of the two maps only; all values together fit a megabyte."""
    broken: list[FieldError] = []
    for key in item.data:
        broken += rules.each(f"data[{key}]", key, names.config_key(key))
        if key in item.binary_data:
            broken.append(rules.invalid(f"data[{key}]", key, "duplicate of key present in binaryData"))
    for key in item.binary_data:
        broken += rules.each(f"binaryData[{key}]", key, names.config_key(key))
    size = sum(len(text.encode()) for text in item.data.values()) + sum(map(len, item.binary_data.values()))
    if size > TOTAL_MAX_BYTES:
        broken.append(rules.too_long("[]", TOTAL_MAX_BYTES))  # the whole object
    return broken


def update_rules(new: ConfigMap, old: ConfigMap) -> list[FieldError]:
    """Once immutable, always immutable."""
    if not old.immutable:
        return []
    changed = (
        ("immutable", not new.immutable),
        ("data", new.data != old.data),
        ("binaryData", new.binary_data != old.binary_data),
    )
    return [rules.forbidden(member, FROZEN) for member, differs in changed if differs]


KIND = Kind(
    type=ConfigMap,
    group="",
    version="v1",
    name="ConfigMap",
    plural="configmaps",
    singular="configmap",
    short=("cm",),
    generation=False,
    columns=described(
        "configmaps",
        NAME,
        Column("Data", "string", lambda item, _: len(item.data) + len(item.binary_data)),
        AGE,
    ),
    rules=broken_rules,
    update_rules=update_rules,
)
