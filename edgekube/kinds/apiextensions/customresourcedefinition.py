"""apiextensions.k8s.io/v1 CustomResourceDefinition: its types and rules."""

from __future__ import annotations

import re
from copy import copy
from typing import Annotated, Any

import msgspec
from msgspec import field

from edgekube.api import names, rules
from edgekube.api.kind import FieldError, Kind, Scope
from edgekube.api.meta import Int32, Object, Struct, Time, list_atomic, list_map, zero
from edgekube.api.schema_expressions import definition_errors
from edgekube.kinds.apiextensions.structural import schema_errors, selectable_errors


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


CLEANUP = "customresourcecleanup.apiextensions.k8s.io"  # the finalizer that stands for a definition's objects
APPROVAL_ANNOTATION = "api-approved.kubernetes.io"
STRATEGIES, SCOPES = ("None", "Webhook"), ("Cluster", "Namespaced")
COLUMN_TYPES = ("boolean", "date", "integer", "number", "string")
COLUMN_FORMATS = ("byte", "date", "date-time", "double", "float", "int32", "int64", "password")
SIMPLE_PATH = re.compile(r"\.[^\s\[\]]*(\[[^\[\]]*\][^\s\[\]]*)*")


def default(definition: CustomResourceDefinition) -> None:
    """Names follow from the kind; nothing is converted; what is stored is stored in some version."""
    spec = definition.spec
    if not definition.status.stored_versions:
        definition.status.stored_versions = [one.name for one in spec.versions or () if one.storage][:1] or None
    if not spec.names.singular:
        spec.names.singular = spec.names.kind.lower()
    if not spec.names.list_kind and spec.names.kind:
        spec.names.list_kind = f"{spec.names.kind}List"
    if spec.conversion is None:
        spec.conversion = CustomResourceConversion(strategy="None")
    webhook = spec.conversion.webhook
    if webhook is not None and webhook.client_config is not None and webhook.client_config.service is not None:
        service = webhook.client_config.service
        service.port = 443 if service.port is None else service.port


def _remember_storage(definition: CustomResourceDefinition) -> None:
    stored = list(definition.status.stored_versions or ())
    storing = next((version.name for version in definition.spec.versions or () if version.storage), None)
    if storing is not None and storing not in stored:
        stored.append(storing)
    definition.status.stored_versions = stored or None


def prepare_create(definition: CustomResourceDefinition) -> None:
    """The version objects are stored in is remembered from the first moment."""
    _remember_storage(definition)


def prepare_update(new: CustomResourceDefinition, old: CustomResourceDefinition) -> None:
    """Every version objects were ever stored in is remembered."""
    new.status = copy(old.status)
    _remember_storage(new)


def prepare_status(new: CustomResourceDefinition, _: CustomResourceDefinition) -> None:
    """Nobody can make it forget the version that is stored now."""
    _remember_storage(new)


def is_established(definition: CustomResourceDefinition) -> bool:
    """Whether its resource is served."""
    return any(one.type == "Established" and one.status == "True" for one in definition.status.conditions or ())


def _name_rules(spec: CustomResourceDefinitionSpec) -> list[FieldError]:
    known = spec.names
    broken: list[FieldError] = []
    for member, value in (
        ("plural", known.plural),
        ("singular", known.singular),
        ("kind", known.kind),
        ("listKind", known.list_kind),
    ):
        path, mixed = f"spec.names.{member}", member in ("kind", "listKind")
        if not value:
            broken.append(rules.required(path))
        elif problems := names.dns_1035_label(value.lower() if mixed else value):
            words = "may have mixed case, but should otherwise match: " if mixed else ""
            broken.append(rules.invalid(path, value, words + ",".join(problems)))
    for member, values in (("shortNames", known.short_names), ("categories", known.categories)):
        for at, value in enumerate(values):
            broken += rules.each(f"spec.names.{member}[{at}]", value, names.dns_1035_label(value))
    if known.kind and known.kind == known.list_kind:
        broken.append(rules.invalid("spec.names.listKind", known.list_kind, "kind and listKind may not be the same"))
    return broken


def _group_rules(definition: CustomResourceDefinition) -> list[FieldError]:
    group = definition.spec.group
    if not group:
        return [rules.required("spec.group")]
    if broken := rules.each("spec.group", group, names.dns_subdomain(group)):
        return broken
    if "." not in group:
        return [rules.invalid("spec.group", group, "should be a domain with at least one dot")]
    guarded = any(group == suffix or group.endswith(f".{suffix}") for suffix in ("k8s.io", "kubernetes.io"))
    if guarded and not definition.metadata.annotations.get(APPROVAL_ANNOTATION):
        words = f'protected groups must have approval annotation "{APPROVAL_ANNOTATION}", see '
        link = "https://github.com/kubernetes/enhancements/pull/1111"
        return [rules.required(f"metadata.annotations[{APPROVAL_ANNOTATION}]", words + link)]
    return []


def _simple_path(path: str, value: str) -> list[FieldError]:
    if not value:
        return [rules.required(path)]
    if SIMPLE_PATH.fullmatch(value):
        return []
    return [rules.invalid(path, value, "must be a simple json path starting with .")]


def _member_rules(path: str, version: CustomResourceDefinitionVersion) -> list[FieldError]:
    """Subresources and columns, of one version or of all alike."""
    broken: list[FieldError] = []
    scale = None if version.subresources is None else version.subresources.scale
    if scale is not None:
        at = f"{path}.subresources.scale"
        for member, value, below in (
            ("specReplicasPath", scale.spec_replicas_path, ".spec"),
            ("statusReplicasPath", scale.status_replicas_path, ".status"),
        ):
            wrong = _simple_path(f"{at}.{member}", value)
            if not wrong and not value.startswith(f"{below}."):
                wrong.append(rules.invalid(f"{at}.{member}", value, f"should be a json path under {below}"))
            broken += wrong
        if selector := scale.label_selector_path:
            wrong = _simple_path(f"{at}.labelSelectorPath", selector)
            if not wrong and not selector.startswith((".spec.", ".status.")):
                words = "should be a json path under either .spec or .status"
                wrong.append(rules.invalid(f"{at}.labelSelectorPath", selector, words))
            broken += wrong
    for position, column in enumerate(version.additional_printer_columns):
        at = f"{path}.additionalPrinterColumns[{position}]"
        if not column.name:
            broken.append(rules.required(f"{at}.name"))
        if not column.type:
            broken.append(rules.required(f"{at}.type", f"must be one of {','.join(COLUMN_TYPES)}"))
        elif column.type not in COLUMN_TYPES:
            broken.append(rules.invalid(f"{at}.type", column.type, f"must be one of {','.join(COLUMN_TYPES)}"))
        if column.format and column.format not in COLUMN_FORMATS:
            broken.append(rules.invalid(f"{at}.format", column.format, f"must be one of {','.join(COLUMN_FORMATS)}"))
        broken += _simple_path(f"{at}.JSONPath", column.json_path)
    return broken


def _schema_of(version: CustomResourceDefinitionVersion) -> dict[str, Any] | None:
    return None if version.schema is None else version.schema.open_apiv3_schema


def _version_rules(versions: list[CustomResourceDefinitionVersion]) -> list[FieldError]:
    """What is the same in all versions is reported once, without a version, as upstream's internal form has it."""
    broken: list[FieldError] = []
    seen: set[str] = set()
    first = versions[0]
    alike = all(
        (one.schema, one.subresources, one.additional_printer_columns, one.selectable_fields)
        == (first.schema, first.subresources, first.additional_printer_columns, first.selectable_fields)
        for one in versions
    )
    for at, version in enumerate(versions):
        path = f"spec.versions[{at}]"
        broken += rules.each(f"{path}.name", version.name, names.dns_1035_label(version.name))
        if version.name in seen:
            broken.append(rules.invalid("spec.versions", shown_versions(versions), "must contain unique version names"))
        seen.add(version.name)
        if version.deprecation_warning is not None and not version.deprecated:
            words = "can only be set for deprecated versions"
            broken.append(rules.invalid(f"{path}.deprecationWarning", version.deprecation_warning, words))
        schema = _schema_of(version)
        if schema is None:
            broken.append(rules.required(f"{path}.schema.openAPIV3Schema"))
        if alike and at:
            continue
        if schema is not None:
            where = "spec.validation.openAPIV3Schema" if alike else f"{path}.schema.openAPIV3Schema"
            wrong = schema_errors(where, schema)
            if schema.get("nullable"):
                wrong.append(rules.forbidden(f"{where}.nullable", "nullable cannot be true at the root"))
            broken += wrong or definition_errors(where, schema)
        at_members = "spec" if alike else path
        selected = [one.json_path for one in version.selectable_fields]
        broken += selectable_errors(f"{at_members}.selectableFields", schema, selected)
        broken += _member_rules(at_members, version)
    return broken


class ShownVersion(msgspec.Struct, rename="pascal"):
    """A version as upstream's messages show it: its internal form, without what was moved out of it."""

    name: str
    served: bool
    storage: bool
    deprecated: bool
    deprecation_warning: str | None
    schema: None = None
    subresources: None = None
    additional_printer_columns: None = None
    selectable_fields: None = None


def shown_versions(versions: list[CustomResourceDefinitionVersion]) -> list[ShownVersion]:
    """All versions for a message."""
    return [
        ShownVersion(one.name, one.served, one.storage, one.deprecated, one.deprecation_warning) for one in versions
    ]


def _storage_rules(definition: CustomResourceDefinition) -> list[FieldError]:
    versions, stored = definition.spec.versions or [], definition.status.stored_versions or []
    storing = [version.name for version in versions if version.storage]
    broken: list[FieldError] = []
    if len(storing) != 1:
        words = "must have exactly one version marked as storage version"
        broken.append(rules.invalid("spec.versions", shown_versions(versions), words))
    known = {version.name for version in versions}
    for at, name in enumerate(stored):
        if name not in known:
            words = (
                f"missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions"
                " until a storage migration ensures no data remains persisted in "
                f"{name} and removes {name} from status.storedVersions"
            )
            broken.append(rules.invalid(f"status.storedVersions[{at}]", name, words))
    if storing and storing[-1] not in stored:
        broken.append(rules.invalid("status.storedVersions", stored, f"must have the storage version {storing[-1]}"))
    return broken


def _conversion_rules(conversion: CustomResourceConversion) -> list[FieldError]:
    path = "spec.conversion"
    broken = rules.one_of(f"{path}.strategy", conversion.strategy, STRATEGIES)
    webhook = conversion.webhook
    if conversion.strategy != "Webhook":
        return broken
    if webhook is None or webhook.client_config is None:
        words = "required when strategy is set to Webhook"
        broken.append(rules.required(f"{path}.webhookClientConfig", words))
    elif (webhook.client_config.url is None) is (webhook.client_config.service is None):
        words = "exactly one of url or service is required"
        broken.append(rules.required(f"{path}.webhookClientConfig", words))
    if webhook is None or not webhook.conversion_review_versions:
        broken.append(rules.required(f"{path}.conversionReviewVersions"))
    return broken


def definition_rules(definition: CustomResourceDefinition) -> list[FieldError]:
    """Names, scope, versions and their schemas."""
    spec = definition.spec
    broken: list[FieldError] = []
    born = bool(definition.metadata.resource_version)
    if not born and definition.metadata.name != f"{spec.names.plural}.{spec.group}":
        words = 'must be spec.names.plural+"."+spec.group'
        broken.append(rules.invalid("metadata.name", definition.metadata.name, words))
    broken += _group_rules(definition) + rules.one_of("spec.scope", spec.scope, SCOPES)
    if spec.versions:
        broken += _version_rules(spec.versions)
    broken += _storage_rules(definition) + _name_rules(spec)
    return broken if spec.conversion is None else broken + _conversion_rules(spec.conversion)


def definition_update_rules(new: CustomResourceDefinition, old: CustomResourceDefinition) -> list[FieldError]:
    """What clients and stored objects rely on."""
    broken = rules.same("spec.group", new.spec.group, old.spec.group)
    broken += rules.same("spec.names.plural", new.spec.names.plural, old.spec.names.plural)
    if is_established(old):
        broken += rules.same("spec.scope", new.spec.scope, old.spec.scope)
        broken += rules.same("spec.names.kind", new.spec.names.kind, old.spec.names.kind)
    return broken


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
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status=prepare_status,
    rules=definition_rules,
    update_rules=definition_update_rules,
    allow_unconditional_update=False,
)
