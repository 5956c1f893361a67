"""The schema by which fields of a kind are owned: from its Struct, or from its definition for a custom resource."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any, cast

from edgekube.api import applying
from edgekube.api.kind import Kind


def schema_for(kind: Kind[Any]) -> applying.Schema:
    """Made once per type."""
    custom: applying.Schema | None = getattr(kind.type, "OWNERSHIP", None)
    if custom is not None:
        return custom
    return applying.schema_of(cast(Hashable, kind.type))
