"""Server-side apply and field ownership: who set which field of an object, by which operation.

`apply` merges what a manager wants into the live object, drops what the manager no longer wants and nobody else owns, and
refuses to take fields from others unless forced. `track_update` keeps the ownership record true for every other write. Both
are pure: documents and the current time's text in, new documents out. Nothing given is changed.

The registry calls these after defaulting and before admission and the kind's own preparation, as upstream does: what those
set is owned by nobody.

Source: k8s.io/apimachinery pkg/util/managedfields and sigs.k8s.io/structured-merge-diff merge/update.go.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import msgspec

from edgekube.api import rules
from edgekube.api.fieldsets import (
    FieldSet,
    difference,
    intersection,
    of_paths,
    only,
    paths,
    union,
    without_below,
)
from edgekube.api.merging import ABSENT, compare, fields_of, merge, merged_fields, problems, remove, with_named
from edgekube.api.meta import ObjectMeta, encode_scalar
from edgekube.api.ownership import (
    APPLY,
    UPDATE,
    Document,
    Entries,
    Entry,
    capped,
    from_scale,
    managed_fields,
    read_entries,
    settle_times,
    to_scale,
    with_managed_fields,
    without_managed_fields,
    write_entries,
)
from edgekube.api.typed import ANY, SCALAR, STRUCT, Node, node_of
from edgekube.errors import ApiError, BadRequest, Cause, Conflict

__all__ = [
    "Schema",
    "apply",
    "excluding",
    "from_scale",
    "including",
    "schema_of",
    "settle_times",
    "to_scale",
    "track_update",
    "with_managed_fields",
    "without_managed_fields",
]

BEFORE_FIRST_APPLY = "before-first-apply"
KUBECTL = "kubectl"
LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"

_UNTRACKED = frozenset(("CertificateSigningRequest",))  # upstream fails to type these and leaves their record out
Filter = Callable[[FieldSet], FieldSet]

_STRIPPED = union(
    of_paths(("apiVersion",), ("kind",)),
    {
        "f:metadata": {
            ".": {},
            **{
                f"f:{name}": {}
                for name in (
                    "name",
                    "namespace",
                    "creationTimestamp",
                    "selfLink",
                    "uid",
                    "clusterName",
                    "generation",
                    "managedFields",
                    "resourceVersion",
                )
            },
        }
    },
)


@dataclass(frozen=True, slots=True)
class Schema:
    """What apply knows of a kind: its types, what an empty object looks like, which fields which endpoint never writes."""

    node: Node
    empty: Document
    kind: str = ""  # checked against the applied document if it is given

    @classmethod
    def untyped(cls, kind: str = "") -> Schema:
        """For custom resources without a schema: only metadata is known."""
        return cls(untyped_object(), {"metadata": {}}, kind)


def untyped_object() -> Node:
    """An object of which only the metadata is known."""
    node = Node(STRUCT, "unstructured")
    node.members = {
        "apiVersion": Node(SCALAR, "string"),
        "kind": Node(SCALAR, "string"),
        "metadata": node_of(ObjectMeta),
    }
    node.element = Node(ANY, "interface {}")
    return node


@cache
def schema_of(struct_type: type[msgspec.Struct]) -> Schema:
    """The schema of a built-in kind, from its Struct."""
    empty = msgspec.to_builtins(struct_type(), enc_hook=encode_scalar)
    return Schema(node_of(struct_type), empty, struct_type.__name__)


# ------------------------------------------------------------------------------------------------- what an endpoint writes


@cache
def default_filter(subresource: str, kind: str = "") -> Filter:
    """Which fields a write through an endpoint can own: not status on the main one, not spec on status.

    Kinds whose endpoints drop more, or take little, stand in the table; custom resources pass their own filter.
    """
    if not subresource:
        return excluding(("status",))
    if (special := _ENDPOINTS.get((kind, subresource))) is not None:
        return special()
    return excluding(("spec",)) if subresource == "status" else _everything


def _everything(fields: FieldSet) -> FieldSet:
    return fields


def excluding(*names: tuple[str, ...]) -> Filter:
    """A filter that drops these paths and all below them."""
    dropped = of_paths(*names)
    return lambda fields: without_below(fields, dropped)


def including(*names: tuple[str, ...]) -> Filter:
    """A filter that keeps these paths only; a name "*" stands for any list element (pods' resize, ephemeralcontainers)."""
    kept: FieldSet = {}
    for path in names:
        single: FieldSet = {}
        for name in reversed(path):
            single = {name if name == "*" else f"f:{name}": single}
        kept = union(kept, single)
    return lambda fields: only(fields, kept)


_CONTAINERS = ("containers", "initContainers")
_ENDPOINTS: dict[tuple[str, str], Callable[[], Filter]] = {
    ("Deployment", "status"): lambda: excluding(("spec",), ("metadata", "labels")),
    ("Pod", "status"): lambda: excluding(("spec",), ("metadata", "deletionTimestamp"), ("metadata", "ownerReferences")),
    ("Pod", "ephemeralcontainers"): lambda: including(("spec", "ephemeralContainers")),
    ("Pod", "resize"): lambda: including(
        *(("spec", name, "*", below) for name in _CONTAINERS for below in ("resources", "resizePolicy"))
    ),
}


# ------------------------------------------------------------------------------------------------- update


def track_update(
    before: Document | None,
    after: Document,
    *,
    manager: str,
    api_version: str,
    subresource: str = "",
    now_text: str,
    schema: Schema,
    owned: Filter | None = None,
    forget: bool = False,
) -> list[Document]:
    """The managedFields of `after`, which an update (create when `before` is None, patch, put) made of `before`.

    `after` is the whole new object, defaulted; an ownership record in it (main endpoint only) takes the place of the live one.
    `forget`: the request carried an explicit empty list, which clears the record. `owned` overrides `default_filter`.
    """
    if schema.kind in _UNTRACKED:
        return []
    live = before if before is not None else schema.empty
    owned = owned or default_filter(subresource, schema.kind)
    changes = _changes(live, after, schema, owned)
    recorded = managed_fields(before) or []
    if not any(changes) and not forget and (subresource or (managed_fields(after) or recorded) == recorded):
        return recorded
    entries = _entries_for_update(before, after, subresource, forget)
    if not entries and before is not None:
        return []  # an object that nobody tracks yet stays so until somebody applies
    entries = _update(changes, entries, manager, api_version, subresource, now_text, owned)
    return write_entries(capped(entries))


def _entries_for_update(before: Document | None, after: Document, subresource: str, forget: bool) -> Entries:
    recorded = managed_fields(before)
    live = read_entries(recorded, trusted=True) or {}
    if subresource:
        return live
    sent = managed_fields(after)
    if not forget and (not sent or sent == recorded):
        return live
    if forget or (sent and len(sent) == 1 and not any(sent[0].values())):
        return {}
    return read_entries(sent) or live


def _update(
    changes: tuple[FieldSet, FieldSet, FieldSet],
    entries: Entries,
    manager: str,
    api_version: str,
    subresource: str,
    now_text: str,
    owned: Filter,
) -> Entries:
    removed, modified, added = changes
    if not (removed or modified or added):
        return entries
    changed = union(modified, added)
    touched = union(changed, removed)
    kept: Entries = {}
    for identity, entry in entries.items():
        fields = difference(entry.fields, touched)
        if fields:
            kept[identity] = entry if fields is entry.fields else replace(entry, fields=fields)
    mine = difference(owned(changed), _STRIPPED)
    if mine:
        entry = Entry(manager or "unknown", UPDATE, api_version, subresource, mine, now_text)
        if (previous := kept.get(entry.identity)) is not None:
            entry = replace(entry, fields=union(mine, previous.fields))
        kept[entry.identity] = entry
    return kept


def _changes(before: Document, after: Document, schema: Schema, owned: Filter) -> tuple[FieldSet, FieldSet, FieldSet]:
    removed, modified, added = compare(without_managed_fields(before), without_managed_fields(after), schema.node)
    return owned(removed), owned(modified), owned(added)


# ------------------------------------------------------------------------------------------------- apply


def apply(
    live: Document | None,
    applied: Document,
    *,
    manager: str,
    force: bool = False,
    api_version: str,
    subresource: str = "",
    now_text: str,
    schema: Schema,
    owned: Filter | None = None,
) -> Document:
    """The object that comes of applying `applied` to `live` (None: it is created), with its managedFields.

    The result is not defaulted yet. Raises BadRequest for a document of another type, ApiError (500) for one that does not
    fit the schema, Conflict with a cause for each field that another manager owns and `force` does not take.
    """
    _check(applied, api_version, schema)
    owned = owned or default_filter(subresource, schema.kind)
    base = live if live is not None else schema.empty
    entries = read_entries(managed_fields(live), trusted=True)
    if entries is None:
        raise ApiError("failed to decode managed fields", code=500, reason="", details=False)
    bare = without_managed_fields(base)
    if not entries and live is not None:
        changes = _changes(schema.empty, bare, schema, owned)
        entries = _update(changes, {}, BEFORE_FIRST_APPLY, api_version, subresource, now_text, owned)
    attempt = _Attempt(bare, applied, entries, manager, api_version, subresource, schema, owned)
    merged, kept, conflicts = attempt.outcome()
    if conflicts and not force:
        conflicts = _not_excused(conflicts, manager, live, api_version, schema)
        if conflicts:
            raise _conflict(conflicts)
    mine = kept.get(attempt.identity)
    if mine is not None:
        fields = difference(mine.fields, _STRIPPED)
        if fields:
            time = now_text if merged != bare else mine.time
            kept[attempt.identity] = replace(mine, fields=fields, time=time)
        else:
            del kept[attempt.identity]
    result = with_managed_fields(merged, write_entries(kept))
    return _with_last_applied(result, applied, manager)


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One apply: the live document without its record, the record, and what is wanted."""

    live: Document
    applied: Document
    entries: Entries
    manager: str
    api_version: str
    subresource: str
    schema: Schema
    owned: Filter

    @property
    def identity(self) -> tuple[str, str, str, str]:
        return (self.manager, APPLY, "", self.subresource)

    def outcome(self) -> tuple[Document, Entries, dict[tuple[str, str, str, str], FieldSet]]:
        """The merged document, the record if all conflicts are taken, and the conflicts."""
        node = self.schema.node
        last = self.entries.get(self.identity)
        entries = dict(self.entries)
        entries[self.identity] = Entry(
            self.manager,
            APPLY,
            self.api_version,
            self.subresource,
            self.owned(fields_of(self.applied, node)),
            last.time if last is not None else None,
        )
        merged = merge(self.live, self.applied, node)
        if last is not None and last.fields:
            merged = _pruned(merged, entries, last.fields, node)
        removed, modified, added = _changes(self.live, merged, self.schema, self.owned)
        changed = union(modified, added)
        touched = union(changed, removed)
        conflicts = {}
        for identity, entry in list(entries.items()):
            if identity == self.identity:
                continue
            if contested := intersection(entry.fields, changed):
                conflicts[identity] = contested
            fields = difference(entry.fields, touched)
            if not fields:
                del entries[identity]
            elif fields is not entry.fields:
                entries[identity] = replace(entry, fields=fields)
        if not entries[self.identity].fields:
            del entries[self.identity]
        return merged, entries, conflicts


def _pruned(merged: Document, entries: Entries, last: FieldSet, node: Node) -> Document:
    """`merged` without what the manager applied last time, does not apply now, and nobody else owns."""
    last = with_named(last, node)
    managed = with_named(merged_fields(*(entry.fields for entry in entries.values())), node)
    if not difference(last, managed):
        return merged  # all of it is still wanted by somebody
    everything = with_named(fields_of(merged, node), node)
    without = remove(merged, last, node)
    kept = union(with_named(fields_of(_object(without), node), node), managed)
    without = remove(merged, difference(everything, kept), node)  # adds back what somebody owns
    rest = with_named(fields_of(_object(without), node), node)
    dangling = intersection(difference(everything, rest), last)  # adds back what was never applied
    return _object(remove(merged, dangling, node))


def _object(value: Any) -> Document:
    document: Document = {} if value is ABSENT else value
    return document


def _check(applied: Document, api_version: str, schema: Schema) -> None:
    given_version, given_kind = applied.get("apiVersion") or "", applied.get("kind") or ""
    group, _, version = str(given_version).rpartition("/")
    shown = f"{group}/{version}, Kind={given_kind}"
    if given_version != api_version or (schema.kind and given_kind != schema.kind) or not given_kind:
        raise BadRequest(f"invalid object type: {shown}")
    metadata = applied.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    if metadata.get("managedFields"):
        raise BadRequest("metadata.managedFields must be nil")
    if found := problems(applied, schema.node):
        words = found[0] if len(found) == 1 else "\n".join(["errors:", *(f"  {each}" for each in found)])
        name = f"{metadata.get('namespace') or ''}/{metadata.get('name') or ''}"
        raise ApiError(
            f"failed to create typed patch object ({name}; {shown}): {words}", code=500, reason="", details=False
        )


def _manager_text(identity: tuple[str, str, str, str]) -> str:
    manager, operation, api_version, subresource = identity
    text = rules.quoted(manager)
    if subresource:
        text += f" with subresource {rules.quoted(subresource)}"
    return f"{text} using {api_version}" if operation == UPDATE else text


def _conflict(conflicts: dict[tuple[str, str, str, str], FieldSet]) -> Conflict:
    listed = [(_manager_text(identity), path) for identity in sorted(conflicts) for path in paths(conflicts[identity])]
    causes = [Cause("FieldManagerConflict", f"conflict with {manager}", path) for manager, path in listed]
    if len(listed) == 1:
        message = f"Apply failed with 1 conflict: conflict with {listed[0][0]}: {listed[0][1]}"
    else:
        grouped: dict[str, list[str]] = {}
        for manager, path in listed:
            grouped.setdefault(manager, []).append(f"- {path}")
        text = "\n".join("\n".join([f"conflicts with {manager}:", *found]) for manager, found in grouped.items())
        message = f"Apply failed with {len(listed)} conflicts: {text}"
    return Conflict(message, causes=causes)


# ------------------------------------------------------------------------------------- from client-side apply


def _not_excused(
    conflicts: dict[tuple[str, str, str, str], FieldSet],
    manager: str,
    live: Document | None,
    api_version: str,
    schema: Schema,
) -> dict[tuple[str, str, str, str], FieldSet]:
    """The conflicts that remain when kubectl takes over what it had itself applied on the client's side before."""
    text = (((live or {}).get("metadata") or {}).get("annotations") or {}).get(LAST_APPLIED)
    if manager != KUBECTL or not text or live is None:
        return conflicts
    try:
        last = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return conflicts
    if not isinstance(last, dict) or last.get("apiVersion") != api_version or problems(last, schema.node):
        return conflicts
    allowed = fields_of(last, schema.node)
    for changed in compare(last, without_managed_fields(live), schema.node):
        allowed = difference(allowed, changed)
    rest = {identity: difference(fields, allowed) for identity, fields in conflicts.items()}
    return {identity: fields for identity, fields in rest.items() if fields}


def _with_last_applied(result: Document, applied: Document, manager: str) -> Document:
    """kubectl's annotation is kept true, so that client-side apply can be gone back to."""
    annotations = (result.get("metadata") or {}).get("annotations") or {}
    if manager != KUBECTL or not annotations.get(LAST_APPLIED):
        return result
    metadata = applied.get("metadata") or {}
    kept = {name: value for name, value in (metadata.get("annotations") or {}).items() if name != LAST_APPLIED}
    bare = {name: value for name, value in metadata.items() if name != "annotations"} | (
        {"annotations": kept} if kept else {}
    )
    text = rules.go_json({**applied, "metadata": bare}) + "\n"
    return {**result, "metadata": {**result["metadata"], "annotations": {**annotations, LAST_APPLIED: text}}}
