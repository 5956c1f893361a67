"""Types that appear in OpenAPI documents but that no object is ever decoded into: discovery's answers, Status, WatchEvent, and the
schema language of custom resources.

They are declared like all others, so that one derivation covers both. Nothing but `api.openapi_schemas` may use them.
"""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from edgekube.api.meta import Int32, Struct, list_atomic, list_map, zero


class Json:
    """Any JSON value."""


class RawExtension:
    """Any object."""


class Untyped:
    """A value whose schema says nothing (a union that OpenAPI v3.0 cannot spell)."""


class ShardInfo(Struct):
    selector: str = zero(str)


class ListMeta(Struct):
    self_link: str = ""
    resource_version: str = ""
    continue_: str = field(name="continue", default="")
    remaining_item_count: int | None = None
    shard_info: ShardInfo | None = None


class GroupVersionForDiscovery(Struct):
    group_version: str = zero(str)
    version: str = zero(str)


class ServerAddressByClientCIDR(Struct):
    client_cidr: str = field(name="clientCIDR", default_factory=str)
    server_address: str = zero(str)


class APIGroup(Struct):
    kind: str = ""
    api_version: str = ""
    name: str = zero(str)
    versions: Annotated[list[GroupVersionForDiscovery] | None, list_atomic()] = None
    preferred_version: GroupVersionForDiscovery = zero(GroupVersionForDiscovery)
    server_address_by_client_cidrs: Annotated[list[ServerAddressByClientCIDR], list_atomic()] = field(
        name="serverAddressByClientCIDRs", default=[]
    )


class APIGroupList(Struct):
    kind: str = ""
    api_version: str = ""
    groups: Annotated[list[APIGroup] | None, list_atomic()] = None


class APIResource(Struct):
    name: str = zero(str)
    singular_name: str = zero(str)
    namespaced: bool = zero(bool)
    group: str = ""
    version: str = ""
    kind: str = zero(str)
    verbs: list[str] | None = None
    short_names: Annotated[list[str], list_atomic()] = []
    categories: Annotated[list[str], list_atomic()] = []
    storage_version_hash: str = ""


class APIResourceList(Struct):
    kind: str = ""
    api_version: str = ""
    group_version: str = zero(str)
    resources: Annotated[list[APIResource] | None, list_atomic()] = None


class APIVersions(Struct):
    kind: str = ""
    api_version: str = ""
    versions: Annotated[list[str] | None, list_atomic()] = None
    server_address_by_client_cidrs: Annotated[list[ServerAddressByClientCIDR] | None, list_atomic()] = field(
        name="serverAddressByClientCIDRs", default=None
    )


class StatusCause(Struct):
    reason: str = ""
    message: str = ""
    field: str = ""


class StatusDetails(Struct):
    name: str = ""
    group: str = ""
    kind: str = ""
    uid: str = ""
    causes: Annotated[list[StatusCause], list_atomic()] = []
    retry_after_seconds: Int32 = 0


class Status(Struct):
    kind: str = ""
    api_version: str = ""
    metadata: ListMeta = zero(ListMeta)
    status: str = ""
    message: str = ""
    reason: str = ""
    details: StatusDetails | None = None
    code: Int32 = 0


class WatchEvent(Struct):
    type: str = zero(str)
    object: RawExtension | None = None


class Info(Struct):
    major: str = zero(str)
    minor: str = zero(str)
    emulation_major: str = ""
    emulation_minor: str = ""
    min_compatibility_major: str = ""
    min_compatibility_minor: str = ""
    git_version: str = zero(str)
    git_commit: str = zero(str)
    git_tree_state: str = zero(str)
    build_date: str = zero(str)
    go_version: str = zero(str)
    compiler: str = zero(str)
    platform: str = zero(str)


class ExternalDocumentation(Struct):
    description: str = ""
    url: str = ""


class ValidationRule(Struct):
    rule: str = zero(str)
    message: str = ""
    message_expression: str = ""
    reason: str | None = None
    field_path: str = ""
    optional_old_self: bool | None = None


class JSONSchemaPropsOrBool(Untyped):
    """A schema, or whether anything is allowed."""


class JSONSchemaPropsOrArray(Untyped):
    """A schema, or one schema per position."""


class JSONSchemaPropsOrStringArray(Untyped):
    """A schema, or the names of other properties."""


class JSONSchemaProps(Struct):
    id: str = ""
    schema: str = field(name="$schema", default="")
    ref: str | None = field(name="$ref", default=None)
    description: str = ""
    type: str = ""
    format: str = ""
    title: str = ""
    default: Json | None = None
    maximum: float | None = None
    exclusive_maximum: bool = False
    minimum: float | None = None
    exclusive_minimum: bool = False
    max_length: int | None = None
    min_length: int | None = None
    pattern: str = ""
    max_items: int | None = None
    min_items: int | None = None
    unique_items: bool = False
    multiple_of: float | None = None
    enum: Annotated[list[Json], list_atomic()] = []
    max_properties: int | None = None
    min_properties: int | None = None
    required: Annotated[list[str], list_atomic()] = []
    items: JSONSchemaPropsOrArray | None = None
    all_of: Annotated[list[JSONSchemaProps], list_atomic()] = []
    one_of: Annotated[list[JSONSchemaProps], list_atomic()] = []
    any_of: Annotated[list[JSONSchemaProps], list_atomic()] = []
    not_: JSONSchemaProps | None = field(name="not", default=None)
    properties: dict[str, JSONSchemaProps] = {}
    additional_properties: JSONSchemaPropsOrBool | None = None
    pattern_properties: dict[str, JSONSchemaProps] = {}
    dependencies: dict[str, JSONSchemaPropsOrStringArray] = {}
    additional_items: JSONSchemaPropsOrBool | None = None
    definitions: dict[str, JSONSchemaProps] = {}
    external_docs: ExternalDocumentation | None = None
    example: Json | None = None
    nullable: bool = False
    preserves: bool | None = field(name="x-kubernetes-preserve-unknown-fields", default=None)
    embeds: bool = field(name="x-kubernetes-embedded-resource", default=False)
    int_or_string: bool = field(name="x-kubernetes-int-or-string", default=False)
    list_map_keys: Annotated[list[str], list_atomic()] = field(name="x-kubernetes-list-map-keys", default=[])
    list_type: str | None = field(name="x-kubernetes-list-type", default=None)
    map_type: str | None = field(name="x-kubernetes-map-type", default=None)
    validations: Annotated[list[ValidationRule], list_map("rule")] = field(name="x-kubernetes-validations", default=[])
