"""meta/v1: the parts every object shares, and the scalar types that need more than JSON knows.

Only data rules here; no clock, no I/O. Field names are Python's snake_case, the wire's camelCase is made by `rename`
(a `name=` on the field where camelCase would be wrong). A field's default is always Go's zero value, never a
Kubernetes default: msgspec leaves such members out when encoding (`omit_defaults`), exactly where Go's `omitempty` does.
`zero(int)` marks the opposite: a member that Go always writes, even when zero.

Source: k8s.io/apimachinery pkg/apis/meta/v1 and pkg/api/resource.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, TypeVar

import msgspec
from msgspec import field

from edgekube.api.quantity import canonical

T = TypeVar("T")

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
Int64 = int
IntOrString = int | str


class MergeBy(msgspec.Struct, frozen=True):
    """List semantics of a field for strategic merge patch (`patch_key`, `strategy`) and server-side apply (`type`, `keys`).

    `type`: "map" (keyed by `keys`), "set", "atomic" or "" (unset, treated as atomic). `strategy`: "merge", "replace",
    "retainKeys", comma-joined as upstream writes it. `map_type`: "atomic", "granular" or "".
    """

    keys: tuple[str, ...] = ()
    type: str = ""
    patch_key: str = ""
    strategy: str = ""
    map_type: str = ""


def list_map(*keys: str, patch_key: str = "", strategy: str = "merge") -> msgspec.Meta:
    """A list whose elements are told apart by `keys`."""
    return msgspec.Meta(extra={"merge": MergeBy(keys, "map", patch_key or (keys[0] if strategy else ""), strategy)})


def list_set(*, strategy: str = "merge") -> msgspec.Meta:
    """A list of scalars without order or duplicates."""
    return msgspec.Meta(extra={"merge": MergeBy((), "set", "", strategy)})


def list_atomic(*, patch_key: str = "", strategy: str = "") -> msgspec.Meta:
    """A list owned and replaced as a whole by server-side apply (strategic merge may still merge by `patch_key`)."""
    return msgspec.Meta(extra={"merge": MergeBy((), "atomic", patch_key, strategy)})


def struct_atomic(*, strategy: str = "") -> msgspec.Meta:
    """A map or struct owned as a whole; `strategy` "retainKeys" for unions in strategic merge."""
    return msgspec.Meta(extra={"merge": MergeBy((), "", "", strategy, "atomic")})


def patched_by(strategy: str) -> msgspec.Meta:
    """A field that strategic merge treats by `strategy` and nothing else says anything about."""
    return msgspec.Meta(extra={"merge": MergeBy((), "", "", strategy)})


def granular() -> msgspec.Meta:
    """A map or struct owned member by member although its type is atomic elsewhere."""
    return msgspec.Meta(extra={"merge": MergeBy((), "", "", "", "granular")})


def retain_keys() -> msgspec.Meta:
    """A struct whose strategic merge may carry `$retainKeys`."""
    return msgspec.Meta(extra={"merge": MergeBy((), "", "", "retainKeys", "")})


def zero(make: Callable[[], T]) -> T:
    """A member that is always written: its zero value comes from a factory, which `omit_defaults` never leaves out."""
    return field(default_factory=make)


def null() -> Any:
    """A member that Go always writes and that is `null` when it is not set: what Go has no `omitempty` for, or no use."""
    return field(default_factory=nothing)


def nothing() -> None:
    """The factory of `null`, by which such members are known."""
    return


class Quantity(str):
    """A resource amount in canonical text ("100m", "1Gi"). Decoding canonicalises; see `api.quantity` for arithmetic."""

    __slots__ = ()


class Time(str):
    """RFC 3339, UTC, whole seconds: "2026-01-02T03:04:05Z"."""

    __slots__ = ()


class MicroTime(str):
    """RFC 3339, UTC, six fractional digits."""

    __slots__ = ()


_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(\.\d+)?([Zz]|[+-]\d\d:\d\d)",
)


def parse_time(text: str) -> datetime:
    """An aware UTC datetime from RFC 3339 text. Raises ValueError."""
    if not (found := _RFC3339.fullmatch(text)):
        raise ValueError(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": cannot parse')
    day, clock, fraction, zone = found.groups()
    moment = datetime.fromisoformat(f"{day}T{clock}{(fraction or '')[:7]:.7}{'+00:00' if zone in 'Zz' else zone}")
    return moment.astimezone(UTC)


def format_time(moment: datetime) -> Time:
    """The wire text of a moment, cut to whole seconds."""
    return Time(moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"))


def format_micro_time(moment: datetime) -> MicroTime:
    """The wire text of a moment with microseconds."""
    return MicroTime(moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"))


def decode_scalar(kind: type, value: Any) -> Any:
    """msgspec `dec_hook`: our scalar types from wire values. Raises ValueError with the reason in words."""
    if kind is Quantity:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError("Expected a quantity")
        return Quantity(canonical(str(value) if not isinstance(value, float) else repr(value)))
    if not isinstance(value, str):
        raise ValueError("Expected `str`")
    if kind is Time:
        return format_time(parse_time(value))
    if kind is MicroTime:
        return format_micro_time(parse_time(value))
    raise NotImplementedError(kind)


def encode_scalar(value: Any) -> Any:
    """msgspec `enc_hook`: our scalar types are all text."""
    return str(value)


class Struct(msgspec.Struct, kw_only=True, omit_defaults=True, rename="camel"):
    """Base of every API type."""


class OwnerReference(Struct):
    """Who this object belongs to; at most one owner is its controller."""

    ATOMIC: ClassVar[bool] = True
    api_version: str = zero(str)
    kind: str = zero(str)
    name: str = zero(str)
    uid: str = zero(str)
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ManagedFieldsEntry(Struct):
    """Which fields one manager owns, through which operation and subresource."""

    manager: str = ""
    operation: str = ""
    api_version: str = ""
    time: Time | None = None
    fields_type: str = ""
    fields_v1: dict[str, Any] | None = field(name="fieldsV1", default=None)
    subresource: str = ""


class ObjectMeta(Struct):
    """What every stored object has."""

    name: str = ""
    generate_name: str = ""
    namespace: str = ""
    self_link: str = ""
    uid: str = ""
    resource_version: str = ""
    generation: int = 0
    creation_timestamp: Time | None = None
    deletion_timestamp: Time | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: Annotated[list[OwnerReference], list_map("uid")] = []
    finalizers: Annotated[list[str], list_set()] = []
    managed_fields: Annotated[list[ManagedFieldsEntry], list_atomic()] = []


class ListMeta(Struct):
    """What every list carries."""

    self_link: str = ""
    resource_version: str = ""
    continue_: str = field(name="continue", default="")
    remaining_item_count: int | None = None


class Object(Struct):
    """Base of every kind: what the registry needs to know of any object."""

    kind: str = ""
    api_version: str = ""
    metadata: ObjectMeta = zero(ObjectMeta)


class LabelSelectorRequirement(Struct):
    """One `matchExpressions` entry: In, NotIn, Exists or DoesNotExist."""

    key: str = zero(str)
    operator: str = zero(str)
    values: Annotated[list[str], list_atomic()] = []


class LabelSelector(Struct):
    """All of `match_labels` and `match_expressions` must hold; empty selects everything."""

    ATOMIC: ClassVar[bool] = True
    match_labels: dict[str, str] = {}
    match_expressions: Annotated[list[LabelSelectorRequirement], list_atomic()] = []


class Condition(Struct):
    """One aspect of an object's state with the moment it last changed."""

    type: str = zero(str)
    status: str = zero(str)
    observed_generation: int = 0
    last_transition_time: Time | None = None
    reason: str = zero(str)
    message: str = zero(str)


class FieldSelectorRequirement(Struct):
    """A field selector in structured form, as authorisation checks carry it."""

    key: str = zero(str)
    operator: str = zero(str)
    values: Annotated[list[str], list_atomic()] = []


class Preconditions(Struct):
    """What must hold of an object for it to be deleted."""

    uid: str | None = None
    resource_version: str | None = None


class DeleteOptions(Struct):
    """The body of a DELETE."""

    kind: str = ""
    api_version: str = ""
    grace_period_seconds: int | None = None
    preconditions: Preconditions | None = None
    orphan_dependents: bool | None = None
    propagation_policy: str | None = None
    dry_run: Annotated[list[str], list_atomic()] = []
    ignore_store_read_error_with_cluster_breaking_potential: bool | None = None
