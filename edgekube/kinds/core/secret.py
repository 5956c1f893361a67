"""v1 Secret: small confidential values that pods read by name."""

from __future__ import annotations

import msgspec

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind
from edgekube.api.meta import Object
from edgekube.kinds.core.printing import AGE, NAME, described


class Secret(Object):
    """Confidential files by name."""

    immutable: bool | None = None
    data: dict[str, bytes] = {}
    string_data: dict[str, str] = {}
    type: str = ""


def default(secret: Secret) -> None:
    """Opaque unless said otherwise; `stringData` is only a way to write `data`."""
    secret.type = secret.type or "Opaque"
    if secret.string_data:
        secret.data = secret.data | {key: text.encode() for key, text in secret.string_data.items()}
        secret.string_data = {}


TOTAL_MAX_BYTES = 1024 * 1024
FROZEN = "field is immutable when `immutable` is set"
ACCOUNT_ANNOTATION = "kubernetes.io/service-account.name"
_JSON_KEYS = {"kubernetes.io/dockercfg": ".dockercfg", "kubernetes.io/dockerconfigjson": ".dockerconfigjson"}


def broken_rules(secret: Secret) -> list[FieldError]:
    """Keys are file names, values fit a megabyte, and typed secrets hold what their type promises."""
    broken: list[FieldError] = []
    for key in secret.data:
        broken += rules.each(f"data[{key}]", key, names.config_key(key))
    if sum(map(len, secret.data.values())) > TOTAL_MAX_BYTES:
        broken.append(rules.too_long("data", TOTAL_MAX_BYTES))
    return broken + _typed(secret)


def _typed(secret: Secret) -> list[FieldError]:
    data = secret.data
    if secret.type == "kubernetes.io/service-account-token":
        if not secret.metadata.annotations.get(ACCOUNT_ANNOTATION):
            return [rules.required(f"metadata.annotations[{ACCOUNT_ANNOTATION}]")]
    elif secret.type in _JSON_KEYS:
        return _json(_JSON_KEYS[secret.type], data)
    elif secret.type == "kubernetes.io/basic-auth":
        if "username" not in data and "password" not in data:
            return [rules.required("data[username]"), rules.required("data[password]")]
    elif secret.type == "kubernetes.io/ssh-auth":
        if not data.get("ssh-privatekey"):
            return [rules.required("data[ssh-privatekey]")]
    elif secret.type == "kubernetes.io/tls":
        return [rules.required(f"data[{key}]") for key in ("tls.crt", "tls.key") if key not in data]
    return []


def _json(key: str, data: dict[str, bytes]) -> list[FieldError]:
    if key not in data:
        return [rules.required(f"data[{key}]")]
    try:
        msgspec.json.decode(data[key], type=dict[str, msgspec.Raw])
    except msgspec.DecodeError as problem:
        return [rules.invalid(f"data[{key}]", "<secret contents redacted>", str(problem))]
    return []


def update_rules(new: Secret, old: Secret) -> list[FieldError]:
    """The type stays; once immutable, always immutable."""
    broken = rules.same("type", new.type, old.type)
    if old.immutable:
        if not new.immutable:
            broken.append(rules.forbidden("immutable", FROZEN))
        if new.data != old.data:
            broken.append(rules.forbidden("data", FROZEN))
    return broken


KIND = Kind(
    type=Secret,
    group="",
    version="v1",
    name="Secret",
    plural="secrets",
    singular="secret",
    generation=False,
    default=default,
    selectable={"type": lambda secret: secret.type},
    columns=described(
        "secrets",
        NAME,
        Column("Type", "string", lambda item, _: item.type),
        Column("Data", "string", lambda item, _: len(item.data)),
        AGE,
    ),
    rules=broken_rules,
    update_rules=update_rules,
)
