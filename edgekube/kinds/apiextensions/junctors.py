"""What may stand inside of anyOf, allOf, oneOf and not: only what says something about values, never what gives them a type.

Source: k8s.io/apiextensions-apiserver pkg/apiserver/schema/{validation,complete}.go.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from edgekube.api import rules
from edgekube.api.kind import FieldError

Schema = dict[str, Any]

INT_OR_STRING_PATTERN = [{"type": "integer"}, {"type": "string"}]
_FORBIDDEN = (
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("x-kubernetes-preserve-unknown-fields", "must be false to be structural"),
    ("x-kubernetes-embedded-resource", "must be false to be structural"),
    ("x-kubernetes-int-or-string", "must be false to be structural"),
    ("x-kubernetes-list-map-keys", "must be empty to be structural"),
    ("x-kubernetes-list-type", "must be undefined to be structural"),
    ("x-kubernetes-map-type", "must be undefined to be structural"),
    ("x-kubernetes-validations", "must be empty to be structural"),
)


def nested(path: str, schema: Schema) -> Iterator[tuple[str, Schema]]:
    """The schemas right inside of a schema's junctors, but for those that only say "an integer or a string"."""
    for name in ("anyOf", "allOf", "oneOf"):
        if name == "anyOf" and schema.get(name) == INT_OR_STRING_PATTERN:
            continue
        for at, part in enumerate(schema.get(name) or ()):
            if not (name == "allOf" and at == 0 and part == {"anyOf": INT_OR_STRING_PATTERN}):
                yield f"{path}.{name}[{at}]", part
    if isinstance(schema.get("not"), dict):
        yield f"{path}.not", schema["not"]


def junctor_errors(path: str, schema: Schema) -> list[FieldError]:
    """Of all junctors of one schema."""
    broken: list[FieldError] = []
    for at, part in nested(path, schema):
        broken += _inner_errors(at, part) + _incomplete(at, part, path, schema)
    return broken


def _inner_errors(path: str, schema: Schema) -> list[FieldError]:
    broken = [
        rules.forbidden(f"{path}.{name}", words)
        for name, words in _FORBIDDEN
        if schema.get(name) not in (None, "", False, [])
    ]
    for at, part in nested(path, schema):
        broken += _inner_errors(at, part)
    if isinstance(schema.get("items"), dict):
        broken += _inner_errors(f"{path}.items", schema["items"])
    properties = schema.get("properties") or {}
    for name in sorted(properties):
        broken += _inner_errors(f"{path}.properties[{name}]", properties[name] or {})
    if "metadata" in properties:
        broken.append(rules.forbidden(f"{path}.properties[metadata]", "must not be specified in a nested context"))
    return broken


def _incomplete(path: str, schema: Schema, outer_path: str, outer: Schema) -> list[FieldError]:
    """Fields that are spoken of inside but have no schema outside."""
    broken: list[FieldError] = []
    for at, part in nested(path, schema):
        broken += _incomplete(at, part, outer_path, outer)
    if isinstance(schema.get("items"), dict):
        items = outer.get("items")
        if isinstance(items, dict):
            broken += _incomplete(f"{path}.items", schema["items"], f"{outer_path}.items", items)
        else:
            broken.append(rules.required(f"{outer_path}.items", f"because it is defined in {path}.items"))
    known, values = outer.get("properties") or {}, outer.get("additionalProperties")
    for name, part in sorted((schema.get("properties") or {}).items()):
        here, there = f"{path}.properties[{name}]", f"{outer_path}.properties[{name}]"
        if name in known:
            broken += _incomplete(here, part or {}, there, known[name] or {})
        elif not isinstance(values, dict):
            broken.append(rules.required(there, f"because it is defined in {here}"))
    return broken
