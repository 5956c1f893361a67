"""Whether the schema of a custom resource is structural: every value has a type, and the lists say how they are merged.

Works on the schema as a plain document. Refuses to know objects and their pruning (that is the schema engine's), and of CEL all but
the frame its rules stand in.

Source: k8s.io/apiextensions-apiserver pkg/apiserver/schema/validation.go and pkg/apis/apiextensions/validation.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from edgekube.api import formats, rules, schema_rules
from edgekube.api.kind import FieldError
from edgekube.api.schema import fill_defaults
from edgekube.api.schema_expressions import EXPRESSIONS, NOWHERE, field_path
from edgekube.kinds.apiextensions.junctors import junctor_errors

Schema = dict[str, Any]

LIST_TYPE, LIST_KEYS = "x-kubernetes-list-type", "x-kubernetes-list-map-keys"
MAP_TYPE, PRESERVES = "x-kubernetes-map-type", "x-kubernetes-preserve-unknown-fields"
INT_OR_STRING, EMBEDS = "x-kubernetes-int-or-string", "x-kubernetes-embedded-resource"
LIST_TYPES, MAP_TYPES = ("atomic", "set", "map"), ("atomic", "granular")
TYPES = ("array", "boolean", "integer", "number", "object", "string")
SCALARS = ("boolean", "integer", "number", "string")
_PYTHON = {"string": str, "boolean": bool, "integer": int, "number": int | float, "array": list, "object": dict}
REASONS = ("FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired")
SELECTABLE_MOST = 8
_NEEDS_DEFAULT = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property"


def _type_errors(path: str, schema: Schema, where: str) -> list[FieldError]:
    """`where` says what has no type: "at the root", "for specified object fields", ..."""
    kind = schema.get("type")
    if not kind:
        if schema.get(PRESERVES) or schema.get(INT_OR_STRING):
            return [] if where != "at the root" else [rules.required(f"{path}.type", f"must not be empty {where}")]
        return [rules.required(f"{path}.type", f"must not be empty {where}")]
    if kind not in TYPES:
        return [rules.not_supported(f"{path}.type", kind, TYPES)]
    if where == "at the root" and kind != "object":
        return [rules.invalid(f"{path}.type", kind, "must be object at the root")]
    return []


def _key_errors(path: str, schema: Schema) -> list[FieldError]:
    """Of the keys of a list that is a map."""
    keys, items = schema.get(LIST_KEYS) or [], schema.get("items") or {}
    if not keys:
        return [rules.required(f"{path}.{LIST_KEYS}", f"must not be empty if {LIST_TYPE} is map")]
    properties = items.get("properties") or {}
    if not set(keys) <= set(properties):
        return [rules.invalid(f"{path}.{LIST_KEYS}", keys, "entries must all be names of item properties")]
    broken: list[FieldError] = []
    for key in keys:
        at, property_ = f"{path}.items.properties[{key}]", properties[key]
        if property_.get("type") not in SCALARS:
            words = f"must be a scalar type if parent array's {LIST_TYPE} is map"
            broken.append(rules.invalid(f"{at}.type", property_.get("type", ""), words))
        if "default" not in property_ and key not in (items.get("required") or ()):
            broken.append(rules.required(f"{at}.default", _NEEDS_DEFAULT))
        if property_.get("nullable"):
            words = "this property is in x-kubernetes-list-map-keys, so it cannot be nullable"
            broken.append(rules.forbidden(f"{at}.nullable", words))
    return broken


def _extension_errors(path: str, schema: Schema) -> list[FieldError]:
    """Of the members that start with x-kubernetes-."""
    broken: list[FieldError] = []
    kind, listed, mapped = schema.get("type", ""), schema.get(LIST_TYPE), schema.get(MAP_TYPE)
    if schema.get(PRESERVES) is False:
        broken.append(rules.invalid(f"{path}.{PRESERVES}", False, "must be true or undefined"))
    if listed is not None:
        if listed not in LIST_TYPES:
            broken.append(rules.not_supported(f"{path}.{LIST_TYPE}", listed, LIST_TYPES))
        elif kind != "array":
            broken.append(rules.invalid(f"{path}.type", kind, f"must be array if {LIST_TYPE} is specified"))
        elif listed == "map":
            broken += _key_errors(path, schema)
        elif listed == "set":
            items = schema.get("items") or {}
            if items.get("type") == "object" and items.get(MAP_TYPE) != "atomic":
                words = f"must be atomic as item of a list with {LIST_TYPE}=set"
                broken.append(rules.invalid(f"{path}.items.{MAP_TYPE}", items.get(MAP_TYPE), words))
    if schema.get(LIST_KEYS) and listed != "map":
        words = f"must be map if {LIST_KEYS} is non-empty"
        broken.append(rules.invalid(f"{path}.{LIST_TYPE}", listed, words))
    if mapped is not None:
        if mapped not in MAP_TYPES:
            broken.append(rules.not_supported(f"{path}.{MAP_TYPE}", mapped, MAP_TYPES))
        elif kind != "object":
            broken.append(rules.invalid(f"{path}.type", kind, f"must be object if {MAP_TYPE} is specified"))
    if schema.get(EMBEDS) and kind != "object":
        broken.append(rules.invalid(f"{path}.type", kind, f"must be object if {EMBEDS} is true"))
    return broken


def _default_errors(path: str, schema: Schema) -> list[FieldError]:
    """A default is of the type it stands for, and keeps the rules of its schema."""
    value, kind = schema.get("default"), schema.get("type")
    if value is None or kind not in _PYTHON:
        return []
    fits = isinstance(value, _PYTHON[kind]) and not (isinstance(value, bool) and kind in ("integer", "number"))
    if not fits:
        found = next(name for name, python in _PYTHON.items() if isinstance(value, python))
        found = "boolean" if isinstance(value, bool) else found
        return [rules.type_invalid(f"{path}.default", found, f" in body must be of type {kind}: {rules.quoted(found)}")]
    at = f"{path}.default"
    made = fill_defaults({"d": value}, {"properties": {"d": schema}})["d"]
    return [
        replace(one, field=at if one.field == NOWHERE else f"{at}.{one.field}".replace(".[", "["))
        for one in schema_rules.values_errors(made, schema)
    ]


_UNSUPPORTED = ("id", "additionalItems", "patternProperties", "definitions", "dependencies", "$ref")
_GO_ODDITY = re.compile(r"\(\?[=!<]|\\[1-9]|\(\?P?[=>]")  # what Python reads and Go does not


def _standard_errors(path: str, schema: Schema) -> list[FieldError]:
    """Members of JSON Schema that nobody may use here, and patterns that are none."""
    broken = [
        rules.forbidden(f"{path}.{name}", f"{name} is not supported") for name in _UNSUPPORTED if schema.get(name)
    ]
    if schema.get("uniqueItems"):
        words = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic"
        broken.append(rules.forbidden(f"{path}.uniqueItems", words))
    pattern = schema.get("pattern") or ""
    if pattern and (_GO_ODDITY.search(pattern) or formats.pattern(pattern) is None):
        from edgekube.api.cel.errors import CelError
        from edgekube.api.cel.regex import compiled

        try:
            compiled(pattern)
        except CelError as problem:
            words = f"must be a valid regular expression, but isn't: {problem}"
            broken.append(rules.invalid(f"{path}.pattern", pattern, words))
    return broken


def _resource_errors(path: str, schema: Schema, where: str) -> list[FieldError]:
    """What the schema of a resource may say of its type and metadata, and where values of any name may stand."""
    broken: list[FieldError] = []
    root, embeds, properties = where == "at the root", bool(schema.get(EMBEDS)), schema.get("properties") or {}
    if schema.get("additionalProperties") is not None:
        if root:
            broken.append(rules.forbidden(f"{path}.additionalProperties", "must not be used at the root"))
        if embeds:
            words = f"must not be used if {EMBEDS} is set"
            broken.append(rules.forbidden(f"{path}.additionalProperties", words))
    if root or embeds:
        for name, wanted in (("kind", "string"), ("apiVersion", "string"), ("metadata", "object")):
            given = (properties.get(name) or {}).get("type", "") if name in properties else wanted
            if given != wanted:
                broken.append(rules.invalid(f"{path}.properties[{name}].type", given, f"must be {wanted}"))
    metadata = properties.get("metadata")
    if root and metadata and not _only_names(metadata):
        words = "must not specify anything other than name and generateName, but metadata is implicitly specified"
        broken.append(rules.forbidden(f"{path}.properties[metadata]", words))
    if embeds and not schema.get(PRESERVES) and not properties:
        words = f"must not be empty if {EMBEDS} is true without {PRESERVES}"
        broken.append(rules.required(f"{path}.properties", words))
    if schema.get(INT_OR_STRING):
        for name in (PRESERVES, EMBEDS):
            if schema.get(name):
                broken.append(rules.invalid(f"{path}.{name}", True, f"must be false if {INT_OR_STRING} is true"))
    return broken


def _only_names(metadata: Schema) -> bool:
    """Whether a schema of metadata restricts names and nothing else."""
    said = {name for name, value in metadata.items() if value not in (None, "", [], {}, False)}
    return said <= {"type", "properties", "default"} and set(metadata.get("properties") or ()) <= {
        "name",
        "generateName",
    }


def member(schema: Schema, path: str) -> Schema | None:
    """The schema of the place a simple path like ".spec.size" leads to, or None."""
    place: Schema | None = schema
    for name in path.removeprefix(".").split("."):
        place = ((place or {}).get("properties") or {}).get(name)
    return place


def _breaks(text: str) -> bool:
    return "\n" in text or "\r" in text


def _expression_errors(path: str, schema: Schema) -> list[FieldError]:
    """The frame of the rules in CEL; what they mean is `schema_expressions`' to say."""
    broken: list[FieldError] = []
    for position, rule in enumerate(schema.get(EXPRESSIONS) or ()):
        at = f"{path}.{EXPRESSIONS}[{position}]"
        text, message = str(rule.get("rule") or "").strip(), str(rule.get("message") or "")
        if not text:
            broken.append(rules.required(f"{at}.rule", "rule is not specified"))
        elif message and not message.strip():
            broken.append(rules.invalid(f"{at}.message", message, "must be non-empty if specified"))
        elif _breaks(message.strip()):
            broken.append(rules.invalid(f"{at}.message", message, "must not contain line breaks"))
        elif _breaks(text) and not message.strip():
            broken.append(rules.required(f"{at}.message", "message must be specified if rule contains line breaks"))
        told = rule.get("messageExpression") or ""
        if told and not told.strip():
            words = "messageExpression must be non-empty if specified"
            broken.append(rules.required(f"{at}.messageExpression", words))
        if (reason := rule.get("reason")) is not None and reason not in REASONS:
            broken.append(rules.not_supported(f"{at}.reason", reason, REASONS))
        broken += _field_path_errors(f"{at}.fieldPath", schema, rule.get("fieldPath") or "")
    return broken


def _field_path_errors(at: str, schema: Schema, where: str) -> list[FieldError]:
    if not where:
        return []
    broken = []
    if not where.strip():
        broken.append(rules.invalid(at, where, "must be non-empty if specified"))
    if _breaks(where):
        broken.append(rules.invalid(at, where, "must not contain line breaks"))
    if field_path(where, schema) is None:
        broken.append(rules.invalid(at, where, "must be a valid path"))
    return broken


def selectable_errors(path: str, schema: Schema | None, selected: list[str]) -> list[FieldError]:
    """Of the fields that selectors may name: each a place of a plain type, each once."""
    broken: list[FieldError] = []
    if len(set(selected)) > SELECTABLE_MOST:
        broken.append(rules.too_many(path, len(set(selected)), SELECTABLE_MOST))
    for position, wanted in enumerate(selected):
        at = f"{path}[{position}].jsonPath"
        if wanted in selected[:position]:
            broken.append(rules.duplicate(at, wanted))
            continue
        if wanted == ".metadata" or wanted.startswith(".metadata."):
            broken.append(rules.invalid(at, wanted, "must not point to fields in metadata"))
            continue
        found = member(schema or {}, wanted)
        if found is None:
            broken.append(rules.invalid(at, wanted, "is an invalid path: does not refer to a valid field"))
        elif found.get("type") not in ("string", "boolean", "integer"):
            words = "must point to a field of type string, boolean or integer. Enum string fields and strings with formats are allowed."
            broken.append(rules.invalid(at, wanted, words))
    return broken


def schema_errors(path: str, schema: Schema, where: str = "at the root") -> list[FieldError]:
    """Everything wrong with a schema and the schemas in it."""
    broken = _type_errors(path, schema, where) + _extension_errors(path, schema) + _default_errors(path, schema)
    broken += _expression_errors(path, schema) + _standard_errors(path, schema)
    broken += _resource_errors(path, schema, where) + junctor_errors(path, schema)
    properties = schema.get("properties") or {}
    for name in sorted(properties):
        broken += schema_errors(f"{path}.properties[{name}]", properties[name] or {}, "for specified object fields")
    if isinstance(items := schema.get("items"), dict):
        broken += schema_errors(f"{path}.items", items, "for specified array items")
    if isinstance(values := schema.get("additionalProperties"), dict):
        words = "for specified object fields"
        if properties:
            broken.append(
                rules.forbidden(
                    f"{path}.additionalProperties", "additionalProperties and properties are mutual exclusive"
                )
            )
        broken += schema_errors(f"{path}.additionalProperties", values, words)
    if schema.get("type") == "array" and schema.get("items") is None:
        broken.append(rules.required(f"{path}.items", "must be specified"))
    return broken
