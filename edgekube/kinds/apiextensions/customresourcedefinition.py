"""apiextensions.k8s.io/v1 CustomResourceDefinition: its types and rules."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import field

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Int32, Object, Struct, Time, list_atomic, list_map, zero


class ServiceReference(Struct):
    namespace: str = zero(str)
    name: str = zero(str)
    path: str | None = None
    port: Int32 | None = None


class WebhookClientConfig(Struct):
    url: str | None = None
    service: ServiceReference | None = None
    ca_bundle: bytes = b""


class WebhookConversion(Struct):
    client_config: WebhookClientConfig | None = None
    conversion_review_versions: Annotated[list[str] | None, list_atomic()] = None


class CustomResourceConversion(Struct):
    strategy: str = zero(str)
    webhook: WebhookConversion | None = None


class CustomResourceDefinitionNames(Struct):
    plural: str = zero(str)
    singular: str = ""
    short_names: Annotated[list[str], list_atomic()] = []
    kind: str = zero(str)
    list_kind: str = ""
    categories: Annotated[list[str], list_atomic()] = []


class CustomResourceColumnDefinition(Struct):
    name: str = zero(str)
    type: str = zero(str)
    format: str = ""
    description: str = ""
    priority: Int32 = 0
    json_path: str = zero(str)


class CustomResourceSubresourceScale(Struct):
    spec_replicas_path: str = zero(str)
    status_replicas_path: str = zero(str)
    label_selector_path: str | None = None


class CustomResourceSubresourceStatus(Struct):
    pass


class CustomResourceSubresources(Struct):
    status: CustomResourceSubresourceStatus | None = None
    scale: CustomResourceSubresourceScale | None = None


class CustomResourceValidation(Struct):
    open_apiv3_schema: dict[str, Any] | None = field(name="openAPIV3Schema", default=None)


class SelectableField(Struct):
    json_path: str = zero(str)


class CustomResourceDefinitionVersion(Struct):
    name: str = zero(str)
    served: bool = zero(bool)
    storage: bool = zero(bool)
    deprecated: bool = False
    deprecation_warning: str | None = None
    schema: CustomResourceValidation | None = None
    subresources: CustomResourceSubresources | None = None
    additional_printer_columns: Annotated[list[CustomResourceColumnDefinition], list_atomic()] = []
    selectable_fields: Annotated[list[SelectableField], list_atomic()] = []


class CustomResourceDefinitionSpec(Struct):
    group: str = zero(str)
    names: CustomResourceDefinitionNames = zero(CustomResourceDefinitionNames)
    scope: str = zero(str)
    versions: Annotated[list[CustomResourceDefinitionVersion] | None, list_atomic()] = None
    conversion: CustomResourceConversion | None = None
    preserve_unknown_fields: bool = False


class CustomResourceDefinitionCondition(Struct):
    type: str = zero(str)
    status: str = zero(str)
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""
    observed_generation: int = 0


class CustomResourceDefinitionStatus(Struct):
    conditions: Annotated[list[CustomResourceDefinitionCondition] | None, list_map("type", strategy="")] = None
    accepted_names: CustomResourceDefinitionNames = zero(CustomResourceDefinitionNames)
    stored_versions: Annotated[list[str] | None, list_atomic()] = None
    observed_generation: int = 0


class CustomResourceDefinition(Object):
    spec: CustomResourceDefinitionSpec = zero(CustomResourceDefinitionSpec)
    status: CustomResourceDefinitionStatus = zero(CustomResourceDefinitionStatus)


KIND = Kind(
    type=CustomResourceDefinition,
    group="apiextensions.k8s.io",
    version="v1",
    name="CustomResourceDefinition",
    plural="customresourcedefinitions",
    singular="customresourcedefinition",
    short=("crd", "crds"),
    categories=("api-extensions",),
    scope=Scope.CLUSTER,
    has_status=True,
)
