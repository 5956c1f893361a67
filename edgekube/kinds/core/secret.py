"""v1 Secret: small confidential values that pods read by name."""

from __future__ import annotations

from edgekube.api.kind import Column, Kind
from edgekube.api.meta import Object
from edgekube.kinds.core.printing import AGE, NAME, described


class Secret(Object):
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
)
