"""Structural schemas of custom resources: what of a document is kept, what is filled in, how apply sees it.

Schemas are plain dicts as they stand in a CustomResourceDefinition (`openAPIV3Schema`), documents plain dicts too. All functions
are pure: they return new documents, sharing what did not change. Whether values keep the schema's rules is for
`api.schema_rules`.

Source: k8s.io/apiextensions-apiserver pkg/apiserver/schema (pruning, defaulting, objectmeta) and
k8s.io/kube-openapi pkg/schemaconv.
"""

from __future__ import annotations

from typing import Any

import msgspec

from edgekube.api import decoding, rules
from edgekube.api.applying import Schema
from edgekube.api.kind import FieldError
from edgekube.api.meta import MergeBy, ObjectMeta, decode_scalar, encode_scalar
from edgekube.api.typed import ANY, LIST, MAP, SCALAR, STRUCT, Node, node_of

Document = dict[str, Any]
JSONSchema = dict[str, Any]

PRESERVE = "x-kubernetes-preserve-unknown-fields"
EMBEDDED = "x-kubernetes-embedded-resource"
INT_OR_STRING = "x-kubernetes-int-or-string"
LIST_TYPE, LIST_KEYS, MAP_TYPE = "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type"
_TYPE_META = ("apiVersion", "kind", "metadata")
_MISSING: Any = object()


def as_root(schema: JSONSchema | None) -> JSONSchema:
    """The schema of a whole resource: its type and metadata are known whatever the schema says of them."""
    schema = schema or {}
    return schema if schema.get(EMBEDDED) else {**schema, EMBEDDED: True}


def properties_of(schema: JSONSchema) -> JSONSchema:
    """The schemas of the members that have one."""
    found: JSONSchema = schema.get("properties") or {}
    return found


def additional_of(schema: JSONSchema) -> JSONSchema | bool | None:
    """The schema of members that have no property; True if anything goes, None if there are none."""
    found = schema.get("additionalProperties")
    return found if isinstance(found, dict | bool) and found is not False else None


def items_of(schema: JSONSchema) -> JSONSchema | None:
    """The schema of a list's elements."""
    found = schema.get("items")
    return found if isinstance(found, dict) else None


# ------------------------------------------------------------------------------------------------- pruning


def prune(document: Document, schema: JSONSchema | None) -> tuple[Document, list[str]]:
    """The document without what the schema does not know, and the sorted paths of what was dropped ("spec.a[0].b")."""
    unknown: list[str] = []
    kept: Document = _pruned(document, as_root(schema), "", unknown)
    return kept, sorted(unknown)


def _pruned(value: Any, schema: JSONSchema | None, path: str, unknown: list[str]) -> Any:
    if isinstance(value, dict):
        return _pruned_map(value, schema, path, unknown)
    if isinstance(value, list):
        items = items_of(schema) if schema is not None else None
        if schema is not None and schema.get(PRESERVE):
            if items is None:
                return value
            items = {**items, PRESERVE: True}
        return [_pruned(item, items, f"{path}[{position}]", unknown) for position, item in enumerate(value)]
    if value.__class__ is float and value.is_integer() and abs(value) < 2**53:
        return int(value)  # as it is written back
    return value


def _pruned_map(value: Document, schema: JSONSchema | None, path: str, unknown: list[str]) -> Document:
    preserve = schema is not None and schema.get(PRESERVE)
    embedded = schema is not None and schema.get(EMBEDDED)
    properties = properties_of(schema) if schema is not None else {}
    additional = additional_of(schema) if schema is not None else None
    kept: Document = {}
    for name, item in value.items():
        below = rules.child(path, name)
        if embedded and name in _TYPE_META:
            kept[name] = item
        elif name in properties:
            kept[name] = _pruned(item, properties[name], below, unknown)
        elif isinstance(additional, dict):
            kept[name] = _pruned(item, additional, below, unknown)
        elif preserve:
            kept[name] = item
        elif additional is True:
            kept[name] = _pruned(item, None, below, unknown)
        else:
            unknown.append(below)
    return kept


# ------------------------------------------------------------------------------------------------- defaults and nulls


def fill_defaults(document: Document, schema: JSONSchema | None) -> Document:
    """The document with defaults where members are absent, or null and not nullable; other nulls that may not be are dropped."""
    filled: Document = _filled(document, schema or {})
    return filled


def _filled(value: Any, schema: JSONSchema) -> Any:
    if isinstance(value, dict):
        properties, additional = properties_of(schema), additional_of(schema)
        out = dict(value)
        for name, item in properties_of(schema).items():
            if "default" in item and item["default"] is not None and _unset(out.get(name, _MISSING), item):
                out[name] = item["default"]
        for name, item in list(out.items()):
            below = properties.get(name, additional if isinstance(additional, dict) else None)
            if below is None:
                continue
            if item is None and not below.get("nullable"):
                if name in properties:
                    del out[name]
                    continue
                item = below.get("default")
            out[name] = _filled(item, below)
        return out
    if isinstance(value, list) and (items := items_of(schema)) is not None:
        nullable = items.get("nullable")
        return [_filled(items.get("default") if item is None and not nullable else item, items) for item in value]
    return value


def _unset(value: Any, schema: JSONSchema) -> bool:
    return value is _MISSING or (value is None and not schema.get("nullable"))


def prune_defaults(schema: JSONSchema) -> JSONSchema:
    """The schema with its own defaults pruned: what a default holds that its schema does not know would be dropped anyway.

    A schema without such defaults is returned as it is, since large ones are many.
    """
    if not _has_default(schema):
        return schema
    out = dict(schema)
    if isinstance(out.get("default"), dict | list):
        out["default"] = _pruned(out["default"], schema, "", [])
    if "properties" in out:
        out["properties"] = {name: prune_defaults(item) for name, item in properties_of(schema).items()}
    for name in ("items", "additionalProperties"):
        if isinstance(out.get(name), dict):
            out[name] = prune_defaults(out[name])
    return out


def _has_default(schema: JSONSchema) -> bool:
    if isinstance(schema.get("default"), dict | list):
        return True
    below = [*properties_of(schema).values(), schema.get("items"), schema.get("additionalProperties")]
    return any(_has_default(part) for part in below if isinstance(part, dict))


# ------------------------------------------------------------------------------------------------- embedded metadata


def coerce_metadata(document: Document, schema: JSONSchema | None) -> tuple[Document, list[str], list[FieldError]]:
    """The metadata of embedded resources read and written as ObjectMeta: the document, unknown paths, errors.

    The document's own metadata is the registry's business and is left alone.
    """
    unknown: list[str] = []
    errors: list[FieldError] = []
    coerced: Document = _coerced(document, {**(schema or {}), EMBEDDED: False}, "", unknown, errors)
    return coerced, sorted(unknown), errors


def _coerced(value: Any, schema: JSONSchema, path: str, unknown: list[str], errors: list[FieldError]) -> Any:
    if isinstance(value, dict):
        out = dict(value)
        if schema.get(EMBEDDED):
            _coerce_resource(out, path, unknown, errors)
        properties, additional = properties_of(schema), additional_of(schema)
        for name, item in out.items():
            if (
                (below := properties.get(name, additional))
                and isinstance(below, dict)
                and isinstance(item, dict | list)
            ):
                inner = rules.child(path, name) if name in properties else rules.key(path, name)
                out[name] = _coerced(item, below, inner, unknown, errors)
        return out
    if isinstance(value, list) and (items := items_of(schema)) is not None:
        return [_coerced(item, items, rules.index(path, n), unknown, errors) for n, item in enumerate(value)]
    return value


def _coerce_resource(out: Document, path: str, unknown: list[str], errors: list[FieldError]) -> None:
    for name in ("apiVersion", "kind"):
        if name in out and not isinstance(out[name], str):
            errors.append(rules.invalid(rules.child(path, name), out[name], "must be a string"))
    metadata = out.get("metadata")
    if metadata is None:
        return
    where = rules.child(path, "metadata")
    words = decoding.type_error(metadata, ObjectMeta) if isinstance(metadata, dict) else "must be an object"
    if words:
        errors.append(rules.invalid(where, metadata, words))
        return
    for problem in decoding.unknown_and_duplicate_fields(metadata, ObjectMeta):
        unknown.append(f"{where}.{msgspec.json.decode(problem.partition('field ')[2])}")
    meta = msgspec.convert(decoding.without_nulls(metadata, ObjectMeta), ObjectMeta, dec_hook=decode_scalar)
    out["metadata"] = msgspec.to_builtins(meta, enc_hook=encode_scalar)


# ------------------------------------------------------------------------------------------------- for apply


def apply_schema(schema: JSONSchema | None, kind: str = "") -> Schema:
    """What server-side apply knows of a custom resource."""
    if not schema:
        return Schema.untyped(kind)
    return Schema(node_of_schema(as_root(schema)), {"metadata": {}}, kind)


def node_of_schema(schema: JSONSchema) -> Node:
    """The typed tree of a structural schema."""
    merge = MergeBy(
        tuple(schema.get(LIST_KEYS) or ()), schema.get(LIST_TYPE) or "", map_type=schema.get(MAP_TYPE) or ""
    )
    if schema.get(INT_OR_STRING):
        return _with_default(Node(SCALAR, "intstr.IntOrString", merge), schema)
    kind = schema.get("type")
    if kind == "array":
        node = Node(LIST, "[]interface {}", merge)
        node.element = node_of_schema(items_of(schema) or {})
        return _with_default(node, schema)
    scalar = {"string": "string", "boolean": "bool", "integer": "int64", "number": "float64"}.get(kind or "")
    if scalar is not None:
        return _with_default(Node(SCALAR, scalar, merge), schema)
    return _with_default(_object_node(schema, merge), schema)


def _object_node(schema: JSONSchema, merge: MergeBy) -> Node:
    properties, additional = properties_of(schema), additional_of(schema)
    anything = Node(ANY, "interface {}")
    if not properties and not schema.get(EMBEDDED):
        if isinstance(additional, dict):
            node = Node(MAP, "map[string]interface {}", merge)
            node.element = node_of_schema(additional)
            return node
        if schema.get("type") != "object":
            return anything
        node = Node(MAP, "map[string]interface {}", merge)
        node.element = anything
        return node
    node = Node(STRUCT, "unstructured", merge)
    members = {name: node_of_schema(item) for name, item in properties.items()}
    if schema.get(EMBEDDED):
        members |= {
            "apiVersion": Node(SCALAR, "string"),
            "kind": Node(SCALAR, "string"),
            "metadata": node_of(ObjectMeta),
        }
    node.members = members
    if schema.get(PRESERVE) or additional is True:
        node.element = anything
    elif isinstance(additional, dict):
        node.element = node_of_schema(additional)
    return node


def _with_default(node: Node, schema: JSONSchema) -> Node:
    node.default = schema.get("default")
    return node
