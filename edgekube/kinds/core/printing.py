"""Table cells that several kinds share: name, age, lists of images, selectors as text.

Cells only: which columns a kind has is said beside the kind. Source: upstream's pkg/printers/internalversion.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgekube.api.durations import age
from edgekube.api.kind import Column
from edgekube.api.meta import LabelSelector
from edgekube.api.table import CREATED_TEXT, NAME_TEXT
from edgekube.kinds.core.column_texts import COLUMN_TEXTS

if TYPE_CHECKING:  # volumes print themselves, and pods hold volumes
    from edgekube.kinds.core.container import Container
    from edgekube.kinds.core.podspec import PodSpec

NONE = "<none>"
UNSET = "<unset>"
SELECTOR_ERROR = "<error>"
_OPERATORS = {"In": "in", "NotIn": "notin"}

NAME = Column("Name", "string", lambda item, _: item.metadata.name, format="name", description=NAME_TEXT)
AGE = Column(
    "Age",
    "string",
    lambda item, now: age(item.metadata.creation_timestamp, now),
    description=CREATED_TEXT,
)


def described(resource: str, *columns: Column) -> tuple[Column, ...]:
    """The columns with the texts upstream gives them for this resource (plural)."""
    texts = COLUMN_TEXTS.get(resource, {})
    return tuple(replace(column, description=texts.get(column.name, column.description)) for column in columns)


def labels_text(labels: Mapping[str, str]) -> str:
    """ "a=b,c=d" sorted by key; "<none>" when empty."""
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels)) or NONE


def selector_text(selector: LabelSelector | None) -> str:
    """A label selector in the syntax of `kubectl -l`; "<none>" when it selects nothing or everything."""
    if selector is None:
        return NONE
    parts = [(key, f"{key}={value}") for key, value in selector.match_labels.items()]
    for rule in selector.match_expressions:
        if rule.operator in _OPERATORS:
            values = ",".join(sorted(rule.values))
            parts.append((rule.key, f"{rule.key} {_OPERATORS[rule.operator]} ({values})"))
        elif rule.operator == "Exists":
            parts.append((rule.key, rule.key))
        elif rule.operator == "DoesNotExist":
            parts.append((rule.key, f"!{rule.key}"))
        else:
            return SELECTOR_ERROR
    return ",".join(text for _, text in sorted(parts, key=lambda part: part[0])) or NONE


def container_names(containers: Sequence[Container] | None) -> str:
    """ "a,b"."""
    return ",".join(container.name for container in containers or ())


def container_images(containers: Sequence[Container] | None) -> str:
    """ "nginx,busybox:1"."""
    return ",".join(container.image for container in containers or ())


def template_columns(spec: Callable[[Any], PodSpec | None]) -> tuple[Column, Column]:
    """The wide columns Containers and Images of a kind that holds a pod template, whose spec `spec` finds."""

    def containers(item: Any) -> Sequence[Container] | None:
        found = spec(item)
        return found.containers if found else None

    return (
        Column("Containers", "string", lambda item, _: container_names(containers(item)), priority=1),
        Column("Images", "string", lambda item, _: container_images(containers(item)), priority=1),
    )
