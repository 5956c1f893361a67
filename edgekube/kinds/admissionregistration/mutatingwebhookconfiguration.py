"""admissionregistration.k8s.io/v1 MutatingWebhookConfiguration: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Int32, LabelSelector, Object, Struct, list_atomic, list_map, zero
from edgekube.kinds.admissionregistration.mutatingadmissionpolicy import MatchCondition


class RuleWithOperations(Struct):
    operations: Annotated[list[str], list_atomic()] = []
    api_groups: Annotated[list[str], list_atomic()] = []
    api_versions: Annotated[list[str], list_atomic()] = []
    resources: Annotated[list[str], list_atomic()] = []
    scope: str | None = None


class ServiceReference(Struct):
    namespace: str = zero(str)
    name: str = zero(str)
    path: str | None = None
    port: Int32 | None = None


class WebhookClientConfig(Struct):
    url: str | None = None
    service: ServiceReference | None = None
    ca_bundle: bytes = b""


class MutatingWebhook(Struct):
    name: str = zero(str)
    client_config: WebhookClientConfig = zero(WebhookClientConfig)
    rules: Annotated[list[RuleWithOperations], list_atomic()] = []
    failure_policy: str | None = None
    match_policy: str | None = None
    namespace_selector: LabelSelector | None = None
    object_selector: LabelSelector | None = None
    side_effects: str | None = None
    timeout_seconds: Int32 | None = None
    admission_review_versions: Annotated[list[str] | None, list_atomic()] = None
    reinvocation_policy: str | None = None
    match_conditions: Annotated[list[MatchCondition], list_map("name")] = []


class MutatingWebhookConfiguration(Object):
    webhooks: Annotated[list[MutatingWebhook], list_map("name")] = []


KIND = Kind(
    type=MutatingWebhookConfiguration,
    group="admissionregistration.k8s.io",
    version="v1",
    name="MutatingWebhookConfiguration",
    plural="mutatingwebhookconfigurations",
    singular="mutatingwebhookconfiguration",
    categories=("api-extensions",),
    scope=Scope.CLUSTER,
)
