"""What a request asks for besides the object: ListOptions, and the options of writes and deletions, read and checked.

Text in, frozen records out; nothing here touches the store. Source: k8s.io/apimachinery pkg/apis/meta/v1 types.go and
meta/v1/validation, internalversion/validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from edgekube import errors
from edgekube.api import rules, selectors
from edgekube.api.kind import FieldError, Kind
from edgekube.api.meta import DeleteOptions
from edgekube.api.selectors import FieldQuery, LabelQuery
from edgekube.server.answers import bad_number, invalid_named

Query = Sequence[tuple[str, str]]
MANAGER_MAX_LETTERS = 128
EXACT, NOT_OLDER_THAN = "Exact", "NotOlderThan"
FIELD_VALIDATIONS = ("", "Ignore", "Strict", "Warn")


def last(query: Query, name: str) -> str:
    """A parameter's first value, or "" (Go's url.Values.Get)."""
    return next((value for key, value in query if key == name), "")


def every(query: Query, name: str) -> list[str]:
    """All values of a parameter."""
    return [value for key, value in query if key == name]


def truth(text: str) -> bool:
    """A boolean parameter as upstream reads it: everything but "", "0" and "false" is true."""
    return text.lower() not in ("", "0", "false")


def _flag(query: Query, name: str) -> bool:
    found = every(query, name)
    return bool(found) and found[0].lower() not in ("0", "false")


def number(text: str) -> int:
    """A decimal parameter. Raises BadRequest with Go's words."""
    try:
        return int(text)
    except ValueError:
        raise errors.BadRequest(bad_number(text)) from None


def revision(text: str) -> int:
    """An unsigned revision. Raises ValueError with Go's words."""
    if not text.isascii() or not text.isdigit():
        raise ValueError(f"resourceVersion: Invalid value: {rules.quoted(text)}: {bad_number(text, 'ParseUint')}")
    return int(text)


LIMIT_MOST = 2**31 - 1  # more rows than any store of ours holds; upstream takes an int64


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOptions:
    """What a list or watch asks for. `revision` is None when not given; `match` is "", "Exact" or "NotOlderThan"."""

    labels: LabelQuery = selectors.EVERYTHING
    fields: FieldQuery = field(default_factory=FieldQuery)
    limit: int = 0
    continue_: str = ""
    revision: str = ""
    match: str = ""
    watch: bool = False
    bookmarks: bool = False
    initial_events: bool | None = None
    timeout_s: float | None = None
    bookmark_every_s: float = 60.0  # our own agents, whose line shows in other ways that it lives, ask for fewer

    @property
    def everything(self) -> bool:
        """Whether no selector narrows the objects."""
        return self.labels.everything and self.fields.everything


def list_options(kind: Kind[Any], query: Query, *, watch: bool = False) -> ListOptions:
    """ListOptions from query parameters, checked for this kind. Raises BadRequest and Invalid."""
    initial = every(query, "sendInitialEvents")
    timeout = last(query, "timeoutSeconds")
    limit = last(query, "limit")
    made = ListOptions(
        labels=labels(last(query, "labelSelector")),
        fields=fields(kind, last(query, "fieldSelector")),
        limit=min(max(0, number(limit)), LIMIT_MOST) if limit else 0,
        continue_=last(query, "continue"),
        revision=last(query, "resourceVersion"),
        match=last(query, "resourceVersionMatch"),
        watch=watch,
        bookmarks=_flag(query, "allowWatchBookmarks"),
        initial_events=truth(initial[0]) if initial else None,
        timeout_s=float(number(timeout)) if timeout else None,
    )
    if broken := _broken_list_options(made):
        raise invalid_named("ListOptions.meta.k8s.io", "ListOptions", "meta.k8s.io", "", broken)
    return made


def _broken_list_options(options: ListOptions) -> list[FieldError]:
    """Source: apimachinery internalversion/validation ValidateListOptions."""
    broken: list[FieldError] = []
    at = "resourceVersionMatch"
    if options.watch:
        if options.initial_events is not None and options.match != NOT_OLDER_THAN:
            broken.append(
                rules.forbidden(at, "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan")
            )
        if options.match and options.initial_events is None:
            broken.append(
                rules.forbidden(at, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
            )
        if options.match and options.initial_events is not None and options.match != NOT_OLDER_THAN:
            broken.append(rules.not_supported(at, options.match, (NOT_OLDER_THAN,)))
        return broken
    if options.match:
        if not options.revision:
            broken.append(rules.forbidden(at, "resourceVersionMatch is forbidden unless resourceVersion is provided"))
        if options.continue_:
            broken.append(rules.forbidden(at, "resourceVersionMatch is forbidden when continue is provided"))
        if options.match not in (EXACT, NOT_OLDER_THAN):
            broken.append(rules.not_supported(at, options.match, (EXACT, NOT_OLDER_THAN)))
        if options.match == EXACT and options.revision == "0":
            broken.append(rules.forbidden(at, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"'))
    if options.initial_events is not None:
        broken.append(rules.forbidden("sendInitialEvents", "sendInitialEvents is forbidden for list"))
    return broken


def labels(text: str) -> LabelQuery:
    """A label selector. Raises BadRequest."""
    try:
        return selectors.parse_labels(text)
    except ValueError as problem:
        raise errors.BadRequest(str(problem)) from None


def fields(kind: Kind[Any], text: str) -> FieldQuery:
    """A field selector of paths that this kind can be selected by. Raises BadRequest."""
    try:
        query = selectors.parse_fields(text)
    except ValueError as problem:
        raise errors.BadRequest(str(problem)) from None
    for path, _, _ in query.requirements:
        if path == "metadata.name" or path == "metadata.namespace" or path in kind.selectable:
            continue
        if kind.selectable:
            raise errors.BadRequest(f"field label not supported: {path}")
        raise errors.BadRequest(
            f'{rules.quoted(path)} is not a known field selector: only "metadata.name", "metadata.namespace"'
        )
    return query


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteOptions:
    """CreateOptions, UpdateOptions and PatchOptions."""

    dry_run: bool = False
    field_manager: str = ""
    field_validation: str = ""
    force: bool | None = None


def write_options(name: str, query: Query, *, apply: bool = False) -> WriteOptions:
    """Options of a write; `name` is "CreateOptions", "UpdateOptions" or "PatchOptions". Raises Invalid."""
    dry_run, manager = every(query, "dryRun"), last(query, "fieldManager")
    validation, force = last(query, "fieldValidation"), every(query, "force")
    broken: list[FieldError] = []
    if name == "PatchOptions":
        if apply and not manager:
            broken.append(rules.required("fieldManager", "is required for apply patch"))
        if not apply and force:
            broken.append(rules.forbidden("force", "may not be specified for non-apply patch"))
    broken += manager_errors(manager)
    broken += dry_run_errors(dry_run)
    if validation not in FIELD_VALIDATIONS:
        broken.append(rules.not_supported("fieldValidation", validation, FIELD_VALIDATIONS))
    if broken:
        raise invalid_named(f"{name}.meta.k8s.io", name, "meta.k8s.io", "", broken)
    return WriteOptions(
        dry_run=bool(dry_run),
        field_manager=manager,
        field_validation=validation,
        force=truth(force[0]) if force else None,
    )


def manager_errors(manager: str) -> list[FieldError]:
    """Source: meta/v1/validation ValidateFieldManager."""
    if len(manager) > MANAGER_MAX_LETTERS:
        return [rules.too_long("fieldManager", MANAGER_MAX_LETTERS)]
    broken: list[FieldError] = []
    for position, letter in enumerate(manager):
        if not letter.isprintable():
            at = len(manager[:position].encode())  # Go counts bytes
            words = f"invalid character U+{ord(letter):04X} (at position {at})"
            broken.append(rules.invalid("fieldManager", manager, words))
    return broken


def dry_run_errors(values: Sequence[str]) -> list[FieldError]:
    """Source: meta/v1/validation ValidateDryRun: the only value is "All"."""
    if all(value == "All" for value in values):
        return []
    return [rules.not_supported("dryRun", list(values), ("All",))]


def delete_options(query: Query) -> DeleteOptions:
    """DeleteOptions from query parameters."""
    grace, orphan = last(query, "gracePeriodSeconds"), every(query, "orphanDependents")
    return DeleteOptions(
        grace_period_seconds=number(grace) if grace else None,
        orphan_dependents=truth(orphan[0]) if orphan else None,
        propagation_policy=last(query, "propagationPolicy") or None,
        dry_run=every(query, "dryRun"),
    )


def check_delete_options(options: DeleteOptions) -> None:
    """Raises Invalid. Source: meta/v1/validation ValidateDeleteOptions."""
    broken: list[FieldError] = []
    policy = options.propagation_policy
    if policy is not None and options.orphan_dependents is not None:
        broken.append(
            rules.invalid("propagationPolicy", policy, "orphanDependents and deletionPropagation cannot be both set")
        )
    if policy is not None and policy not in ("Foreground", "Background", "Orphan"):
        broken.append(rules.not_supported("propagationPolicy", policy, ("Foreground", "Background", "Orphan", "nil")))
    broken += dry_run_errors(options.dry_run)
    if broken:
        raise invalid_named("DeleteOptions.meta.k8s.io", "DeleteOptions", "meta.k8s.io", "", broken)
