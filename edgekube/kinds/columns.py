"""Column heads of the smaller API groups: the shared cells of `core.printing` with the texts recorded for these resources."""

from __future__ import annotations

from dataclasses import replace

from edgekube.api.kind import Column
from edgekube.kinds.column_texts import COLUMN_TEXTS
from edgekube.kinds.core.printing import AGE, NAME, NONE, UNSET

LISTED_MAX = 3  # what a cell lists before it says "+ 2 more..."


def described(resource: str, *columns: Column) -> tuple[Column, ...]:
    """The columns with the texts upstream gives them for this resource (plural)."""
    texts = COLUMN_TEXTS.get(resource, {})
    return tuple(replace(column, description=texts.get(column.name, column.description)) for column in columns)


def listed(names: list[str], most: int = LISTED_MAX) -> str:
    """ "a,b,c + 2 more..."."""
    more = len(names) - most
    return ",".join(names[:most]) + (f" + {more} more..." if more > 0 else "")


__all__ = ["AGE", "LISTED_MAX", "NAME", "NONE", "UNSET", "described", "listed"]
