"""The declaration of a kind: everything the server, the client and the command line need to know about one type of object.

A kind is declared once, in one file under `edgekube/kinds/`. The registry works on this interface only and never asks which
kind it has before it; a custom resource is a `Kind` too (built at run time from its definition).

The life of a write, in the order the registry calls what is declared here:
    create:  from_dict -> default -> prepare_create -> (admission) -> rules -> store
    update:  from_dict -> default -> prepare_update(new, old) -> (admission) -> rules + update_rules(new, old) -> store
The registry itself does names, uid, timestamps, generation (bumped when anything outside metadata and status differs),
resetting `status` on a main-resource write and everything but `status` on a status write, managedFields and deletion.
"""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Generic, TypeVar

import msgspec

from edgekube.api.meta import Object, decode_scalar, encode_scalar
from edgekube.errors import Cause

T = TypeVar("T", bound=Object)


class Scope(enum.Enum):
    """Whether objects of a kind live in namespaces."""

    NAMESPACED = "Namespaced"
    CLUSTER = "Cluster"


class Keeping(enum.Enum):
    """How durably objects of a kind are kept (mapped to the store's durability classes by the registry)."""

    DURABLE = "durable"
    COALESCED = "coalesced"
    MEMORY = "memory"


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the kind's table. `value` gives the cell (str, int, or None) from (object, now as RFC 3339 text)."""

    name: str
    type: str  # "string", "integer", "date", "boolean"
    value: Callable[[Any, str], Any]
    format: str = ""
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class FieldError:
    """One broken rule. `reason` is upstream's cause type (FieldValueRequired, FieldValueInvalid, ...); `field` its path."""

    reason: str
    field: str
    message: str  # without the path, e.g. `Required value: must have at least one container`

    def to_cause(self) -> Cause:
        """As it appears in Status.details.causes."""
        return Cause(self.reason, self.message, self.field)

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


@dataclass(frozen=True, slots=True)
class Subresource:
    """A subresource as discovery lists it, e.g. Subresource("scale", "Scale", ("get", "patch", "update"), "autoscaling", "v1")."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    version: str = ""


ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
STATUS_VERBS = ("get", "patch", "update")


def nothing(*_: Any) -> None:
    """A step that a kind does not need."""


@dataclass(frozen=True, kw_only=True)
class Kind(Generic[T]):
    """One type of object in one version. See the module's opening for when each callable runs."""

    type: type[T]
    group: str  # "" is the core group
    version: str
    name: str  # the kind, e.g. "ConfigMap"
    plural: str
    singular: str = ""
    short: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    scope: Scope = Scope.NAMESPACED
    verbs: tuple[str, ...] = ALL_VERBS
    keeping: Keeping = Keeping.DURABLE
    has_status: bool = False  # a `status` subresource, and status ignored on main writes
    # upstream's newer kinds reset status on create; all with has_status do
    keeps_status_on_create: bool = False  # nodes: a kubelet registers itself with its status
    subresources: tuple[Subresource, ...] = ()  # without "status", which has_status says
    default: Callable[[T], None] = nothing  # fill defaults in place (fresh object, never a cached one)
    prepare_create: Callable[[T], None] = nothing  # in place; e.g. drop what users may not set
    prepare_update: Callable[[T, T], None] = nothing  # (new, old): in place on new
    prepare_status: Callable[[T, T], None] = (
        nothing  # (new, old) of a status write, after everything but status was reset
    )
    rules: Callable[[T], list[FieldError]] = field(default=lambda _: [])
    update_rules: Callable[[T, T], list[FieldError]] = field(default=lambda _new, _old: [])
    status_rules: Callable[[T, T], list[FieldError]] = field(default=lambda _new, _old: [])
    # (new, old) of a write to another subresource, besides `rules`; by its name
    subresource_rules: Mapping[str, Callable[[T, T], list[FieldError]]] = field(default_factory=dict)
    warnings: Callable[[T, T | None], list[str]] = field(default=lambda _new, _old: [])
    columns: tuple[Column, ...] = ()  # the Name column included; empty: the default Name and Created At
    row_conditions: Callable[[T], list[dict[str, str]]] = field(default=lambda _: [])  # `conditions` of a table row
    deprecation: str = ""  # a warning sent with every request for this kind
    selectable: Mapping[str, Callable[[T], str]] = field(default_factory=dict)  # besides metadata.name / .namespace
    generation: bool = True  # whether metadata.generation is kept
    name_rule: Callable[[str], list[str]] | None = None  # None: DNS-1123 subdomain
    allow_create_on_update: bool = False
    allow_unconditional_update: bool = True
    grace_s: Callable[[T], int] | None = None  # pods: how long a graceful deletion takes
    stored_as: tuple[str, str] | None = None  # (group, version) of the sibling version that is stored, if not this one
    to_stored: Callable[[dict[str, Any]], dict[str, Any]] | None = None  # wire dict of this version -> stored version's
    from_stored: Callable[[dict[str, Any]], dict[str, Any]] | None = None
    stored_kind: Kind[Any] | None = None  # the sibling itself, where it is no built-in kind
    # (documents, wanted apiVersion): to be awaited before these are converted, where somebody outside converts them
    ahead: Callable[[Sequence[dict[str, Any]], str], Awaitable[None]] | None = None
    # (document, body): remember of a JSON body what its document does not show; almost no kind needs it
    read_text: Callable[[dict[str, Any], bytes], None] | None = None
    custom: bool = False  # from a definition at run time
    rules_on_update: bool = True  # False: update_rules and status_rules know the old state and say all there is to say

    @property
    def api_version(self) -> str:
        """ "v1" or "apps/v1"."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def resource(self) -> str:
        """The store's resource string: "/pods", "apps/deployments"."""
        return f"{self.stored_as[0] if self.stored_as else self.group}/{self.plural}"

    @property
    def namespaced(self) -> bool:
        """Whether objects live in a namespace."""
        return self.scope is Scope.NAMESPACED

    @cached_property
    def _decoder(self) -> msgspec.json.Decoder[T]:
        return msgspec.json.Decoder(self.type, dec_hook=decode_scalar)

    def from_json(self, data: bytes) -> T:
        """Decode stored bytes. Raises msgspec.ValidationError (never for what we stored ourselves)."""
        return self._decoder.decode(data)

    def from_dict(self, document: dict[str, Any]) -> T:
        """Type-check a decoded document. Raises msgspec.ValidationError naming the path. Unknown members are dropped."""
        return msgspec.convert(document, self.type, dec_hook=decode_scalar)

    def to_json(self, item: T) -> bytes:
        """Wire bytes."""
        return ENCODER.encode(item)

    def to_dict(self, item: T) -> dict[str, Any]:
        """Wire members as plain dicts and lists."""
        made: dict[str, Any] = msgspec.to_builtins(item, enc_hook=encode_scalar)
        return made


ENCODER = msgspec.json.Encoder(enc_hook=encode_scalar)
