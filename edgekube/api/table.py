"""Tables and bare metadata: the two other shapes in which objects are answered (`as=Table`, `as=PartialObjectMetadata`).

Pure: objects in, plain documents out. Which columns a kind has stands in the kind; which shape was asked for, and from where the
objects came, is the caller's affair.

Source: the meta.k8s.io/v1 Table and PartialObjectMetadata types; kinds without printer columns get Name and Created At.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from edgekube.api.kind import Column, Kind
from edgekube.api.meta import encode_scalar

NAME_TEXT = (
    "Name must be unique within a namespace. Is required when creating resources, although some resources may allow a client to"
    " request the generation of an appropriate name automatically. Name is primarily intended for creation idempotence and"
    " configuration definition. Cannot be updated. More info:"
    " https://kubernetes.io/docs/concepts/overview/working-with-objects/names#names"
)
CREATED_TEXT = (
    "CreationTimestamp is a timestamp representing the server time when this object was created. It is not guaranteed to be set in"
    " happens-before order across separate operations. Clients may not set this value. It is represented in RFC3339 form and is in"
    " UTC.\n\nPopulated by the system. Read-only. Null for lists. More info:"
    " https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md#metadata"
)


def _metadata(item: Any) -> dict[str, Any]:
    """The wire metadata of an object: a Struct of a built-in kind, or the document of a custom one."""
    if isinstance(item, dict):
        found: dict[str, Any] = item.get("metadata") or {}
        return found
    made: dict[str, Any] = msgspec.to_builtins(item.metadata, enc_hook=encode_scalar)
    return made


def _name(item: Any, _now: str) -> str:
    return str(_metadata(item).get("name", "") if isinstance(item, dict) else item.metadata.name)


def _created(item: Any, _now: str) -> str | None:
    created = _metadata(item).get("creationTimestamp") if isinstance(item, dict) else item.metadata.creation_timestamp
    return None if created is None else str(created)


NAME = Column("Name", "string", _name, "name", NAME_TEXT)
CREATED_AT = Column("Created At", "date", _created, "", CREATED_TEXT)
DEFAULT_COLUMNS = (NAME, CREATED_AT)


def partial(item: Any, version: str = "v1") -> dict[str, Any]:
    """The object as PartialObjectMetadata of meta.k8s.io/`version`."""
    return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{version}", "metadata": _metadata(item)}


def partial_list(items: Iterable[Any], metadata: Mapping[str, Any], version: str = "v1") -> dict[str, Any]:
    """A list of bare metadata; `metadata` is the list's own (resourceVersion, continue, remainingItemCount)."""
    return {
        "kind": "PartialObjectMetadataList",
        "apiVersion": f"meta.k8s.io/{version}",
        "metadata": dict(metadata),
        "items": [partial(item, version) for item in items],
    }


def definitions(columns: Iterable[Column]) -> list[dict[str, Any]]:
    """The column heads of a table; every member is always written."""
    return [
        {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }
        for column in columns
    ]


def _cell(value: Any) -> Any:
    """A plain value: amounts and times are text of their own types inside objects."""
    return str(value) if isinstance(value, str) else value


def render(
    kind: Kind[Any],
    objects: Iterable[Any],
    now_text: str,
    include: str = "Metadata",
    *,
    metadata: Mapping[str, Any] | None = None,
    version: str = "v1",
    heads: bool = True,
) -> dict[str, Any]:
    """A Table of `objects` (decoded by `kind`).

    `include` says what each row carries of its object: "Metadata", "Object" or "None" (anything else is the caller's 400).
    `metadata` is the list's metadata; left out for a single object, whose resourceVersion it then takes. `heads=False` leaves
    out the column heads, as every event of a watch but the first does.
    """
    columns = kind.columns or DEFAULT_COLUMNS
    rows = []
    only: dict[str, Any] = {}
    for item in objects:
        row: dict[str, Any] = {"cells": [_cell(column.value(item, now_text)) for column in columns]}
        if found := kind.row_conditions(item):
            row["conditions"] = found
        if include == "Object":
            row["object"] = item if isinstance(item, dict) else kind.to_dict(item)
            only = row["object"]["metadata"]
        elif include == "None":
            row["object"] = None
            only = _metadata(item) if metadata is None else only
        else:
            row["object"] = partial(item, version)
            only = row["object"]["metadata"]
        rows.append(row)
    if metadata is None:
        metadata = {"resourceVersion": only["resourceVersion"]} if only.get("resourceVersion") else {}
    table: dict[str, Any] = {"kind": "Table", "apiVersion": f"meta.k8s.io/{version}", "metadata": dict(metadata)}
    if heads:
        table["columnDefinitions"] = definitions(columns)
    table["rows"] = rows
    return table
