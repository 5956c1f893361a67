"""JSON schemas of API types, derived from their Struct declarations.

A `Schemas` collects named definitions while paths are written: asking for a type's reference adds the type and all it holds.
The two OpenAPI versions differ in where definitions stand and in how a few scalar types are spelled. Knows nothing of paths.
What a declaration cannot say (which of two untyped members is which, required members that Go omits, discriminators, enumerated
values) stands in `api.openapi_facts`.

Source: k8s.io/kube-openapi and the schemas it makes of k8s.io/api.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import msgspec

from edgekube.api import openapi_facts as facts
from edgekube.api import openapi_types as shown
from edgekube.api.kind import Kind
from edgekube.api.meta import Int32, IntOrString, MergeBy, MicroTime, ObjectMeta, Quantity, Time, nothing

Schema = dict[str, Any]

META = "io.k8s.apimachinery.pkg.apis.meta.v1"
APIEXTENSIONS = "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions.v1"
PACKAGES = {
    "apiextensions": "io.k8s.apiextensions-apiserver.pkg.apis.apiextensions",
    "apiregistration": "io.k8s.kube-aggregator.pkg.apis.apiregistration",
}
QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
RAW_EXTENSION = "io.k8s.apimachinery.pkg.runtime.RawExtension"

V2_PREFIX = "#/definitions/"
V3_PREFIX = "#/components/schemas/"

ANYTHING: Schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_V3_ONLY = frozenset({"oneOf", "anyOf", "allOf", "not", "nullable", "x-kubernetes-validations"})

_INT32_RANGE = next(meta for meta in get_args(Int32) if isinstance(meta, msgspec.Meta))
_PRIMITIVES: dict[Any, Schema] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer", "format": "int64"},
    float: {"type": "number", "format": "double"},
    bytes: {"type": "string", "format": "byte"},
}
_SCALARS = {
    Quantity: QUANTITY,
    Time: f"{META}.Time",
    MicroTime: f"{META}.MicroTime",
    shown.Json: f"{APIEXTENSIONS}.JSON",
    shown.RawExtension: RAW_EXTENSION,
}
_V3_SCALARS: dict[str, Schema] = {
    QUANTITY: {"oneOf": [{"type": "string"}, {"type": "number"}]},
    INT_OR_STRING: {"format": "int-or-string", "oneOf": [{"type": "integer"}, {"type": "string"}]},
    f"{META}.Time": {"type": "string", "format": "date-time"},
    f"{META}.MicroTime": {"type": "string", "format": "date-time"},
    f"{META}.FieldsV1": {"type": "object"},
    f"{META}.Patch": {"type": "object"},
    RAW_EXTENSION: {"type": "object"},
    f"{APIEXTENSIONS}.JSON": {},
}
_V2_SCALARS: dict[str, Schema] = {
    **_V3_SCALARS,
    QUANTITY: {"type": "string"},
    INT_OR_STRING: {"type": "string", "format": "int-or-string"},
}


def schema_name(type_: type, versions: Mapping[str, str]) -> str:
    """The name upstream's documents use for a Struct. `versions` maps a module to its API version where that is not v1."""
    module, name = type_.__module__, type_.__name__
    if module == shown.__name__:
        if name == "Info":
            return "io.k8s.apimachinery.pkg.version.Info"
        extension = name.startswith("JSONSchemaProps") or name in ("ExternalDocumentation", "ValidationRule")
        return f"{APIEXTENSIONS if extension else META}.{name}"
    if (elsewhere := facts.NAMES.get(f"{module}.{name}")) is not None:
        return elsewhere
    parts = module.split(".")
    if parts[:2] != ["edgekube", "kinds"]:
        return f"{META}.{name}"
    package = PACKAGES.get(parts[2], f"io.k8s.api.{parts[2]}")
    return f"{package}.{versions.get(module, 'v1')}.{name}"


def _unwrap(type_: Any) -> tuple[Any, MergeBy, bool]:
    """A field's bare type without Annotated and None, its list semantics, and whether it is Go's int32."""
    merge, small = MergeBy(), False
    while True:
        if get_origin(type_) is Annotated:
            type_, *metas = get_args(type_)
            for meta in metas:
                merge = (meta.extra or {}).get("merge", merge)
                small = small or meta == _INT32_RANGE
        elif get_origin(type_) in (Union, UnionType) and NoneType in get_args(type_):
            members = tuple(member for member in get_args(type_) if member is not NoneType)
            type_ = members[0] if len(members) == 1 else Union[members]  # noqa: UP007 (built from a tuple)
        else:
            return type_, merge, small


def _extensions(merge: MergeBy) -> Schema:
    """List and map semantics in the words of the documents."""
    made: Schema = {}
    if merge.type:
        made["x-kubernetes-list-type"] = merge.type
    if merge.keys:
        made["x-kubernetes-list-map-keys"] = list(merge.keys)
    if merge.patch_key:
        made["x-kubernetes-patch-merge-key"] = merge.patch_key
    if merge.strategy:
        made["x-kubernetes-patch-strategy"] = merge.strategy
    if merge.map_type:
        made["x-kubernetes-map-type"] = merge.map_type
    return made


def is_custom(kind: Kind[Any]) -> bool:
    """Whether a kind comes from a definition at run time; its schema is then given, not derived."""
    return not kind.type.__module__.startswith("edgekube.kinds.")


def for_v2(schema: Schema) -> Schema:
    """A structural schema in the words swagger 2.0 has: no alternatives, no nulls, nothing said of what is not pruned."""
    if schema.get("nullable") or schema.get("x-kubernetes-int-or-string"):
        return {name: schema[name] for name in schema if name == "description" or name.startswith("x-")}
    made = {name: value for name, value in schema.items() if name not in _V3_ONLY}
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return {name: value for name, value in made.items() if name not in ("properties", "items", "type")}
    if "properties" in made:
        made["properties"] = {name: for_v2(of or {}) for name, of in made["properties"].items()}
    for name in ("items", "additionalProperties"):
        if isinstance(made.get(name), dict):
            made[name] = for_v2(made[name])
    return made


class Schemas:
    """The definitions of one document, collected on demand."""

    def __init__(self, prefix: str, kinds: Iterable[Kind[Any]], custom: Mapping[str, Schema]) -> None:
        self.made: dict[str, Schema] = {}
        self._prefix = prefix
        self._kinds = {kind.type: kind for kind in kinds}
        self._versions = {kind.type.__module__: kind.version for kind in kinds}
        self._custom = custom
        self._scalars = _V2_SCALARS if prefix == V2_PREFIX else _V3_SCALARS

    def scalar(self, name: str) -> Schema:
        """A reference to one of the named scalar types."""
        self.made.setdefault(name, self._scalars[name])
        return {"$ref": self._prefix + name}

    def of(self, type_: type) -> Schema:
        """A reference to a Struct's definition."""
        if issubclass(type_, shown.Untyped):
            name = schema_name(type_, self._versions)
            self.made.setdefault(name, {})
            return {"$ref": self._prefix + name}
        name = schema_name(type_, self._versions)
        if name not in self.made:
            self.made[name] = {}  # types may hold themselves
            self.made[name] = self._struct(type_, name)
            if (kind := self._kinds.get(type_)) is not None:
                self._say_kind({"$ref": self._prefix + name}, kind.group, kind.version, kind.name)
        return {"$ref": self._prefix + name}

    def of_kind(self, kind: Kind[Any]) -> Schema:
        """A reference to a kind's definition, which also says its group, version and kind."""
        if not is_custom(kind):
            return self.of(kind.type)
        name = ".".join([*reversed(kind.group.split(".")), kind.version, kind.name])
        if name not in self.made:
            given = self._custom.get(f"{kind.group}/{kind.version}/{kind.name}") or ANYTHING
            self.made[name] = self._published(given)
        reference = {"$ref": self._prefix + name}
        self._say_kind(reference, kind.group, kind.version, kind.name)
        return reference

    def list_of(self, kind: Kind[Any]) -> Schema:
        """A reference to the definition of a kind's list."""
        item = self.of_kind(kind)
        name = item["$ref"].removeprefix(self._prefix) + "List"
        self.made[name] = {
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string"},
                "items": {"type": "array", "items": item},
                "kind": {"type": "string"},
                "metadata": self._referring(self.of(shown.ListMeta), {"default": {}}),
            },
        }
        reference = {"$ref": self._prefix + name}
        self._say_kind(reference, kind.group, kind.version, f"{kind.name}List")
        return reference

    def shared(self, type_: type, group: str, version: str) -> Schema:
        """A meta type that every group registers as its own: DeleteOptions, WatchEvent, Status."""
        reference = self.of(type_)
        self._say_kind(reference, "", "v1", type_.__name__)
        if group and type_ is not shown.Status:
            self._say_kind(reference, group, version, type_.__name__)
        return reference

    def _say_kind(self, reference: Schema, group: str, version: str, kind: str) -> None:
        definition = self.made[reference["$ref"].removeprefix(self._prefix)]
        said = definition.setdefault("x-kubernetes-group-version-kind", [])
        if (entry := {"group": group, "kind": kind, "version": version}) not in said:
            said.append(entry)

    def _published(self, schema: Schema) -> Schema:
        """A custom resource's schema with the members every object has."""
        made = dict(schema if self._prefix == V3_PREFIX else for_v2(schema))
        metadata = self._referring(self.of(ObjectMeta), {"default": {}})
        text = {"type": "string"}
        shared = {"apiVersion": text, "kind": text, "metadata": metadata}
        return {**made, "type": "object", "properties": dict(sorted({**made.get("properties", {}), **shared}.items()))}

    def _referring(self, reference: Schema, beside: Schema) -> Schema:
        """A reference with members beside it, which OpenAPI v3.0 allows only around `allOf`."""
        if self._prefix == V2_PREFIX or not beside:
            return {**reference, **beside}
        return {"allOf": [reference], **beside}

    def _struct(self, type_: Any, name: str) -> Schema:
        properties, required = {}, []
        for field in msgspec.structs.fields(type_):
            properties[field.encode_name] = self._property(field, f"{name}.{field.encode_name}")
            if self._is_required(field, name):
                required.append(field.encode_name)
        made: Schema = {"type": "object"}
        if required:
            made["required"] = sorted(required)
        if properties:
            made["properties"] = dict(sorted(properties.items()))
        if getattr(type_, "ATOMIC", False):
            made["x-kubernetes-map-type"] = "atomic"
        if union := facts.UNIONS.get(name):
            made["x-kubernetes-unions"] = [union]
        return made

    def _is_required(self, field: msgspec.structs.FieldInfo, name: str) -> bool:
        """Members Go always writes are required, but for objects' own parts; the exceptions are facts."""
        if (said := facts.REQUIRED.get(f"{name}.{field.encode_name}")) is not None:
            return said
        bare, _, _ = _unwrap(field.type)
        if get_origin(bare) in (list, dict):
            return (
                field.default is None or field.default_factory is nothing
            )  # a Go slice without omitempty: written as null
        return field.default_factory is bare and bare in _PRIMITIVES

    def _property(self, field: msgspec.structs.FieldInfo, path: str) -> Schema:
        bare, merge, small = _unwrap(field.type)
        made = self._scalar_fact(path) or self._schema(bare, small, path)
        beside = _extensions(merge)
        if field.default_factory is not msgspec.NODEFAULT and get_origin(bare) is None:
            if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
                beside["default"] = {}
            elif bare in (str, int, bool):
                beside["default"] = bare()
        return self._referring(made, beside) if "$ref" in made else {**made, **beside}

    def _scalar_fact(self, path: str) -> Schema | None:
        if (named := facts.UNTYPED.get(path)) is None:
            return None
        if named == "JSONSchemaProps":
            return self.of(shown.JSONSchemaProps)
        return self.scalar(named)

    def _schema(self, bare: Any, small: bool, path: str) -> Schema:
        origin = get_origin(bare)
        if origin is list:
            item, _, item_small = _unwrap(get_args(bare)[0])
            return {"type": "array", "items": self._schema(item, item_small, f"{path}[]")}
        if origin is dict:
            value, _, value_small = _unwrap(get_args(bare)[1])
            return {"type": "object", "additionalProperties": self._schema(value, value_small, f"{path}{{}}")}
        if (named := facts.UNTYPED.get(path)) is not None:
            return self.scalar(named)
        if bare == IntOrString:
            return self.scalar(INT_OR_STRING)
        if bare in _SCALARS:
            return self.scalar(_SCALARS[bare])
        if bare in _PRIMITIVES:
            made = dict(_PRIMITIVES[bare])
            if small:
                made["format"] = "int32"
            if values := facts.ENUMERATED.get(path):
                made["enum"] = list(values)
            return made
        if isinstance(bare, type) and issubclass(bare, msgspec.Struct | shown.Untyped):
            return self.of(bare)
        raise AssertionError(f"{path}: no schema for {bare!r}; say in openapi_facts what it is")
