"""What a CustomResourceDefinition makes: kinds whose objects are plain documents with typed metadata.

From a definition to the `Kind`s of its served versions, pure. Pruning, defaults and rules are `api.schema`'s and
`api.schema_rules`'; when kinds come and go is `customresources`' business. Versions convert into each other by their name only.

Source: k8s.io/apiextensions-apiserver pkg/registry/customresource and pkg/apiserver/customresource_handler.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from types import new_class
from typing import Any, ClassVar, Protocol

import msgspec
from msgspec import field

from edgekube.api import durations, jsonpath, schema_rules, table
from edgekube.api.applying import Schema
from edgekube.api.kind import ENCODER, Column, FieldError, Kind, Scope, Subresource
from edgekube.api.meta import Object, ObjectMeta, decode_scalar, encode_scalar
from edgekube.api.schema import (
    EMBEDDED,
    Document,
    JSONSchema,
    apply_schema,
    coerce_metadata,
    fill_defaults,
    prune,
    prune_defaults,
)
from edgekube.api.schema_expressions import Rules, has_expressions
from edgekube.kinds.apiextensions.customresourcedefinition import (
    CustomResourceColumnDefinition,
    CustomResourceDefinition,
    CustomResourceDefinitionVersion,
    CustomResourceSubresourceScale,
)

HEAD = ("apiVersion", "kind", "metadata")
VERBS = ("delete", "deletecollection", "get", "list", "patch", "create", "update", "watch")  # as discovery has them
TERMINATING_VERBS = tuple(verb for verb in VERBS if verb != "create")
SCALE_VERBS = ("get", "patch", "update")
_METADATA = frozenset(one.encode_name for one in msgspec.structs.fields(ObjectMeta))
_AGE = CustomResourceColumnDefinition(
    name="Age", type="date", description=table.CREATED_TEXT, json_path=".metadata.creationTimestamp"
)
_document = msgspec.json.Decoder(Document).decode


class CustomObject(Object):
    """An object of any custom kind: everything but status and what all objects have is `content`, as it is on the wire.

    Each version has a type of its own, which knows its schema.
    """

    API_VERSION: ClassVar[str] = ""
    SCHEMA: ClassVar[JSONSchema] = {}
    OWNERSHIP: ClassVar[Any] = None  # what server-side apply knows of it; made when first asked for
    EMBEDS: ClassVar[bool] = False  # whether other objects stand in it
    SCALE: ClassVar[CustomResourceSubresourceScale | None] = None
    EXPRESSIONS: ClassVar[Rules | None] = None  # its rules in CEL
    content: dict[str, Any] = field(name=" content", default_factory=dict)  # a name that no schema has
    status: Any = None
    warned: list[str] = field(
        name=" warned", default_factory=list
    )  # what is as wrong as it was; goes nowhere but to the client

    @classmethod
    def unknown_paths(cls, document: Document) -> list[str]:
        """The paths of what the schema does not know: all but type and metadata, if the document is of another version."""
        metadata = document.get("metadata")
        odd = [f"metadata.{name}" for name in metadata if name not in _METADATA] if isinstance(metadata, dict) else []
        foreign = document.get("apiVersion") not in (None, "", cls.API_VERSION)
        kept, unknown = prune(document, None if foreign else cls.SCHEMA)
        return sorted(odd + unknown + (coerce_metadata(kept, cls.SCHEMA)[1] if cls.EMBEDS else []))


@dataclass(frozen=True, kw_only=True)
class CustomKind(Kind[CustomObject]):
    """One version of a custom resource."""

    type: type[CustomObject]

    def from_json(self, data: bytes) -> CustomObject:
        """What was stored is taken as it is."""
        return self._made(_document(data))

    def from_dict(self, document: Document) -> CustomObject:
        """Pruned and with defaults."""
        schema = self.type.SCHEMA
        kept, _ = prune(document, schema)
        if self.type.EMBEDS:
            kept, _, _ = coerce_metadata(kept, schema)
        return self._made(fill_defaults(kept, schema))

    def _made(self, document: Document) -> CustomObject:
        head = msgspec.convert(
            {name: document[name] for name in HEAD if name in document}, Object, dec_hook=decode_scalar
        )
        content = {name: document[name] for name in sorted(document) if name not in HEAD and name != "status"}
        return self.type(
            kind=head.kind,
            api_version=head.api_version,
            metadata=head.metadata,
            content=content,
            status=document.get("status"),
        )

    def _members(self, item: CustomObject, metadata: Any) -> Document:
        made = {"apiVersion": item.api_version, "kind": item.kind, "metadata": metadata, **item.content}
        if item.status is not None:
            made["status"] = item.status
        return made

    def to_json(self, item: CustomObject) -> bytes:
        """Metadata comes first, as the store's place for the revision needs it."""
        return ENCODER.encode(self._members(item, item.metadata))

    def to_dict(self, item: CustomObject) -> Document:
        """Wire members."""
        return self._members(item, msgspec.to_builtins(item.metadata, enc_hook=encode_scalar))


def document_of(item: CustomObject) -> Document:
    """An object's members for paths to lead into."""
    metadata = msgspec.to_builtins(item.metadata, enc_hook=encode_scalar)
    made: Document = {"apiVersion": item.api_version, "kind": item.kind, "metadata": metadata, **item.content}
    return made if item.status is None else made | {"status": item.status}


def _rules(item: CustomObject) -> list[FieldError]:
    return schema_rules.validate(document_of(item), item.SCHEMA, None, item.EXPRESSIONS)


def _update_rules(new: CustomObject, old: CustomObject) -> list[FieldError]:
    return schema_rules.validate(document_of(new), new.SCHEMA, document_of(old), new.EXPRESSIONS, new.warned)


def _warnings(new: CustomObject, _: CustomObject | None) -> list[str]:
    return new.warned


# ------------------------------------------------------------------------------------------------- columns and selectors


def _cell(path: str, type_: str, item: CustomObject, now: str) -> Any:
    found = jsonpath.find(document_of(item), path)
    if not found:
        return None
    value = found[0]
    if type_ == "string":
        return jsonpath.text(value)
    if type_ == "date":
        try:
            return durations.age(value, now) if isinstance(value, str) else None
        except ValueError:
            return durations.INVALID
    if type_ == "boolean":
        return value if isinstance(value, bool) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return int(value) if type_ == "integer" else value


def _columns(version: CustomResourceDefinitionVersion) -> tuple[Column, ...]:
    declared = version.additional_printer_columns or [_AGE]
    return (
        table.NAME,
        *(
            Column(
                one.name,
                one.type,
                partial(_cell, one.json_path, one.type),
                one.format,
                one.description or f"Custom resource definition column (in JSONPath format): {one.json_path}",
                one.priority,
            )
            for one in declared
        ),
    )


def _selected(path: str, item: CustomObject) -> str:
    found = jsonpath.find(document_of(item), path)
    return jsonpath.text(found[0]) if found else ""


# ------------------------------------------------------------------------------------------------- kinds


class _Ownership:
    """An attribute of a type that is made when it is first read: trees of large schemas are larger than these."""

    def __init__(self, schema: JSONSchema, name: str) -> None:
        self._schema, self._name = schema, name
        self._made: Schema | None = None

    def __get__(self, _: Any, __: type | None = None) -> Schema:
        if self._made is None:
            self._made = apply_schema(self._schema, self._name)
        return self._made


def _type_of(group: str, name: str, version: CustomResourceDefinitionVersion) -> type[CustomObject]:
    schema = (version.schema.open_apiv3_schema if version.schema is not None else None) or {}
    schema = prune_defaults(schema)
    scale = version.subresources.scale if version.subresources is not None else None
    members: dict[str, Any] = {
        "__module__": __name__,
        "API_VERSION": f"{group}/{version.name}",
        "SCHEMA": schema,
        "OWNERSHIP": _Ownership(schema, name),
        "EMBEDS": f'"{EMBEDDED}":true'.encode() in ENCODER.encode(schema),
        "SCALE": scale,
        "EXPRESSIONS": Rules(schema) if has_expressions(schema) else None,
    }
    made: type[CustomObject] = new_class(name, (CustomObject,), {}, lambda namespace: namespace.update(members))
    return made


def _deprecation(definition: CustomResourceDefinition, version: CustomResourceDefinitionVersion) -> str:
    if not version.deprecated:
        return ""
    spec = definition.spec
    return version.deprecation_warning or f"{spec.group}/{version.name} {spec.names.kind} is deprecated"


def _as_is(document: Document) -> Document:
    return document


class Converter(Protocol):
    """Who converts the objects of a definition whose versions differ in more than their name (`server.conversion`)."""

    def convert(self, document: Document, api_version: str) -> Document: ...

    async def ahead(self, documents: Sequence[Document], api_version: str) -> None: ...


def _kind_of(
    definition: CustomResourceDefinition,
    version: CustomResourceDefinitionVersion,
    storage: CustomKind | None,
    converter: Converter | None = None,
) -> CustomKind:
    """`storage`: the kind of the stored version, or None for that itself."""
    spec, known = definition.spec, definition.status.accepted_names
    below = version.subresources
    scaled = below is not None and below.scale is not None
    going = definition.metadata.deletion_timestamp is not None
    changed = storage is not None or definition.metadata.generation > 1  # what is stored may be of another schema
    to_stored, from_stored = _as_is, _as_is
    if converter is not None:
        to_stored = partial(converter.convert, api_version=storage.api_version if storage is not None else "")
        from_stored = partial(converter.convert, api_version=f"{spec.group}/{version.name}")
    return CustomKind(
        type=_type_of(spec.group, spec.names.kind, version),
        group=spec.group,
        version=version.name,
        name=spec.names.kind,
        plural=spec.names.plural,
        singular=known.singular or spec.names.singular,
        short=tuple(known.short_names),
        categories=tuple(known.categories),
        scope=Scope.NAMESPACED if spec.scope == "Namespaced" else Scope.CLUSTER,
        verbs=TERMINATING_VERBS if going else VERBS,
        has_status=below is not None and below.status is not None,
        subresources=(Subresource("scale", "Scale", SCALE_VERBS, "autoscaling", "v1"),) if scaled else (),
        rules=_rules,
        update_rules=_update_rules,
        status_rules=_update_rules,
        custom=True,
        rules_on_update=False,
        warnings=_warnings,
        columns=_columns(version),
        deprecation=_deprecation(definition, version),
        selectable={
            one.json_path.removeprefix("."): partial(_selected, one.json_path) for one in version.selectable_fields
        },
        allow_unconditional_update=False,
        stored_as=(spec.group, storage.version) if storage is not None else None,
        stored_kind=storage,
        to_stored=to_stored if storage is not None else None,
        from_stored=from_stored if changed else None,
        ahead=converter.ahead if converter is not None and changed else None,
    )


def stored_kind(definition: CustomResourceDefinition, converter: Converter | None = None) -> CustomKind:
    """The kind of the version that is stored, served or not."""
    version = next(one for one in definition.spec.versions or () if one.storage)
    return _kind_of(definition, version, None, converter)


def kinds_of(definition: CustomResourceDefinition, converter: Converter | None = None) -> list[CustomKind]:
    """The kinds of all versions that are served."""
    storage = stored_kind(definition, converter)
    served = [one for one in definition.spec.versions or () if one.served]
    return [storage if one.storage else _kind_of(definition, one, storage, converter) for one in served]
