"""The ownership record of an object: `metadata.managedFields` as entries, their order, their number, and a Scale's view of them.

Which entry gets which field is decided in `api.applying`; here entries are read, written, folded and translated.

Source: k8s.io/apimachinery pkg/util/managedfields (internal/managedfields.go, capmanagers.go, scalehandler.go).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgekube.api.fieldsets import FieldSet, difference, has, of_paths, union, well_formed

APPLY, UPDATE = "Apply", "Update"
ANCIENT_CHANGES = "ancient-changes"
SCALE_VERSION = "autoscaling/v1"
MOST_UPDATE_MANAGERS = 10  # older ones are folded into one, per version

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One manager's part. Two entries are the same manager's when `identity` is equal."""

    manager: str
    operation: str
    api_version: str
    subresource: str
    fields: FieldSet
    time: str | None = None

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """An applier keeps its entry over version changes; an updater has one per version."""
        return (self.manager, self.operation, "" if self.operation == APPLY else self.api_version, self.subresource)

    def to_dict(self) -> Document:
        """The wire form."""
        document: Document = {"manager": self.manager, "operation": self.operation, "apiVersion": self.api_version}
        if self.time:
            document["time"] = self.time
        document["fieldsType"] = "FieldsV1"
        document["fieldsV1"] = self.fields
        if self.subresource:
            document["subresource"] = self.subresource
        return document


Entries = dict[tuple[str, str, str, str], Entry]


def read_entries(documents: Sequence[Document] | None, trusted: bool = False) -> Entries | None:
    """The entries of `metadata.managedFields`; None if they are not readable. `trusted`: they are our own."""
    entries: Entries = {}
    for document in documents or ():
        fields = document.get("fieldsV1") or {}
        operation = document.get("operation")
        if (
            operation not in (APPLY, UPDATE)
            or not document.get("apiVersion")
            or document.get("fieldsType") != "FieldsV1"
        ):
            return None
        if not trusted and not well_formed(fields):
            return None
        entry = Entry(
            document.get("manager") or "",
            operation,
            document["apiVersion"],
            document.get("subresource") or "",
            fields,
            document.get("time"),
        )
        entries[entry.identity] = entry
    return entries


def write_entries(entries: Entries) -> list[Document]:
    """In upstream's order: appliers first, then by time, manager, version, subresource."""
    return in_order(entries.values())


def in_order(entries: Iterable[Entry]) -> list[Document]:
    """`write_entries` of entries that may be of the same manager."""
    ordered = sorted(entries, key=lambda e: (e.operation, e.time or "", e.manager, e.api_version, e.subresource))
    return [entry.to_dict() for entry in ordered]


def managed_fields(document: Document | None) -> list[Document] | None:
    """The record as it stands in a document."""
    metadata = document.get("metadata") if document else None
    return metadata.get("managedFields") if isinstance(metadata, dict) else None


def without_managed_fields(document: Document) -> Document:
    """The document without its ownership record."""
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return document
    return {**document, "metadata": {name: value for name, value in metadata.items() if name != "managedFields"}}


def with_managed_fields(document: Document, entries: list[Document]) -> Document:
    """The document with this ownership record (an empty one is left out)."""
    bare = without_managed_fields(document)
    return {**bare, "metadata": {**(bare.get("metadata") or {}), "managedFields": entries}} if entries else bare


def settle_times(before: Document, after: Document) -> Document:
    """`after`, with the old ownership record if nothing but its times has changed: such a write is no write at all."""
    old, new = managed_fields(before) or [], managed_fields(after) or []
    if old == new or len(old) != len(new):
        return after

    def timeless(entries: list[Document]) -> list[Document]:
        bare = [{name: value for name, value in entry.items() if name != "time"} for entry in entries]
        return sorted(bare, key=lambda e: (e["operation"], e["manager"], e["apiVersion"], e.get("subresource", "")))

    if timeless(old) != timeless(new) or without_managed_fields(before) != without_managed_fields(after):
        return after
    return with_managed_fields(after, old)


def capped(entries: Entries) -> Entries:
    """At most `MOST_UPDATE_MANAGERS` updaters: the oldest of each version are folded into one."""
    updaters = sorted(
        (entry for entry in entries.values() if entry.operation == UPDATE), key=lambda e: (e.time or "", e.identity)
    )
    surplus = len(updaters) - MOST_UPDATE_MANAGERS
    if surplus <= 0:
        return entries
    kept = dict(entries)
    first: dict[str, Entry] = {}
    for entry in updaters:
        if surplus <= 0:
            break
        oldest = first.setdefault(entry.api_version, entry)
        if oldest is entry:
            continue
        bucket = Entry(ANCIENT_CHANGES, UPDATE, entry.api_version, "", {}, entry.time)
        there = kept.get(bucket.identity)
        if there is None:
            there = kept.pop(oldest.identity)
        kept.pop(entry.identity, None)
        kept[bucket.identity] = replace(bucket, fields=union(entry.fields, there.fields))
        surplus -= 1
    return kept


# ------------------------------------------------------------------------------------------------- scale


_SCALE_REPLICAS = of_paths(("spec", "replicas"))


def to_scale(entries: Sequence[Document] | None, replicas: tuple[str, ...] = ("spec", "replicas")) -> list[Document]:
    """The managedFields a Scale shows: those of its parent that own `replicas`, put into Scale's terms."""
    found: Entries = {}
    for identity, entry in (read_entries(entries) or {}).items():
        if has(entry.fields, replicas):
            found[identity] = replace(entry, api_version=SCALE_VERSION, fields=_SCALE_REPLICAS)
    return write_entries(found)


def from_scale(
    parent: Sequence[Document] | None,
    scale: Sequence[Document] | None,
    api_version: str,
    replicas: tuple[str, ...] = ("spec", "replicas"),
) -> list[Document]:
    """The parent's managedFields after a write to its Scale whose own managedFields came out as `scale`.

    A Scale has its own version, so that an updater of the parent never is the same manager as in its Scale: after the first
    write through the Scale it has two entries, of which the next one keeps the last. Such a write has no time. Upstream's
    record says the same.
    """
    scaled = read_entries(scale) or {}
    path = of_paths(replicas)
    kept: list[Entry] = []
    for identity, entry in (read_entries(parent) or {}).items():
        if has(entry.fields, replicas) and scaled.pop(identity, None) is None:
            entry = replace(entry, fields=difference(entry.fields, path))
        if entry.fields:
            kept.append(entry)
    for entry in scaled.values():
        if has(entry.fields, ("spec", "replicas")):
            kept.append(replace(entry, api_version=api_version, fields=path, time=None))
    return in_order(kept)
