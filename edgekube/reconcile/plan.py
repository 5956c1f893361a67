"""What a decision is made of: frozen actions in a frozen plan.

A controller's `reconcile(seen) -> Plan` is a pure function; `drive.carry_out` is the only place that acts on what it returns.
An action may carry the `Note` to write as an Event when it worked, and another for when it did not ("{name}" and "{error}" in a
note's message are filled in when the outcome is known, because a generated name is not known before).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekube.api.kind import Kind
from edgekube.api.meta import Object
from edgekube.errors import ApiError
from edgekube.kinds.core.references import ObjectReference


@dataclass(frozen=True, slots=True)
class Note:
    """An Event to write about an object: type Normal or Warning, CamelCase reason, a sentence."""

    about: ObjectReference
    type: str
    reason: str
    message: str


def about(kind: Kind[Any], item: Object, field_path: str = "") -> ObjectReference:
    """The reference an Event carries to `item`."""
    metadata = item.metadata
    return ObjectReference(
        kind=kind.name,
        namespace=metadata.namespace,
        name=metadata.name,
        uid=metadata.uid,
        api_version=kind.api_version,
        resource_version=metadata.resource_version,
        field_path=field_path,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Create:
    """POST. With `may_exist` an AlreadyExists answer counts as done."""

    kind: Kind[Any]
    item: Object
    may_exist: bool = False
    done: Note | None = None
    failed: Note | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """PUT of a whole object, only if its resource_version is still the one seen."""

    kind: Kind[Any]
    item: Object
    subresource: str = ""
    done: Note | None = None
    failed: Note | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """PATCH; NotFound counts as done when `may_miss`."""

    kind: Kind[Any]
    namespace: str
    name: str
    patch: Mapping[str, Any] | Sequence[Mapping[str, Any]]
    content_type: str = "application/merge-patch+json"
    subresource: str = ""
    may_miss: bool = True
    done: Note | None = None
    failed: Note | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delete:
    """DELETE of exactly this uid; that it is gone already, or reborn under another uid, counts as done."""

    kind: Kind[Any]
    namespace: str
    name: str
    uid: str = ""
    revision: str = ""
    grace_s: int | None = None
    propagation: str = ""
    done: Note | None = None
    failed: Note | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """Any other request (binding, eviction, finalize)."""

    method: str
    path: str
    body: Mapping[str, Any] | None = None
    done: Note | None = None
    failed: Note | None = None


@dataclass(frozen=True, slots=True)
class Tell:
    """Write an Event."""

    note: Note


Action = Create | Update | Patch | Delete | Call | Tell


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a plan's actions went: errors in order, and the actions that were not tried because an earlier one failed."""

    errors: Sequence[tuple[Action, ApiError]] = ()
    untried: Sequence[Action] = ()

    @property
    def error(self) -> ApiError | None:
        """The first error."""
        return self.errors[0][1] if self.errors else None


@dataclass(frozen=True, slots=True)
class Plan:
    """Actions in order. `finish` decides what else to write once it is known how they went (status, usually)."""

    actions: Sequence[Action] = ()
    finish: Callable[[Outcome], Sequence[Action]] | None = None
    look_again_s: float | None = None


NOTHING = Plan()
