"""admissionregistration.k8s.io/v1 MutatingWebhookConfiguration: its types and rules."""

from __future__ import annotations

from typing import Annotated, Protocol

from edgekube.api.kind import Column, Kind, Scope
from edgekube.api.meta import Int32, LabelSelector, Object, Struct, list_atomic, list_map, zero
from edgekube.kinds.admissionregistration.mutatingadmissionpolicy import MatchCondition
from edgekube.kinds.columns import AGE, NAME, described


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


HTTPS_PORT = 443
DEFAULT_TIMEOUT_S = 10


class Webhook(Protocol):
    """What webhooks of both kinds have in common."""

    client_config: WebhookClientConfig
    rules: list[RuleWithOperations]
    failure_policy: str | None
    match_policy: str | None
    namespace_selector: LabelSelector | None
    object_selector: LabelSelector | None
    timeout_seconds: int | None


def default_webhook(webhook: Webhook) -> None:
    """Fail closed, match every equivalent version of everything, wait ten seconds."""
    if webhook.failure_policy is None:
        webhook.failure_policy = "Fail"
    if webhook.match_policy is None:
        webhook.match_policy = "Equivalent"
    if webhook.namespace_selector is None:
        webhook.namespace_selector = LabelSelector()
    if webhook.object_selector is None:
        webhook.object_selector = LabelSelector()
    if webhook.timeout_seconds is None:
        webhook.timeout_seconds = DEFAULT_TIMEOUT_S
    if (service := webhook.client_config.service) is not None and service.port is None:
        service.port = HTTPS_PORT
    for rule in webhook.rules:
        if rule.scope is None:
            rule.scope = "*"


def default(configuration: MutatingWebhookConfiguration) -> None:
    """See `default_webhook`; nobody is asked twice."""
    for webhook in configuration.webhooks:
        default_webhook(webhook)
        if webhook.reinvocation_policy is None:
            webhook.reinvocation_policy = "Never"


WEBHOOK_COLUMNS = (NAME, Column("Webhooks", "integer", lambda item, _: len(item.webhooks)), AGE)


KIND = Kind(
    type=MutatingWebhookConfiguration,
    group="admissionregistration.k8s.io",
    version="v1",
    name="MutatingWebhookConfiguration",
    plural="mutatingwebhookconfigurations",
    singular="mutatingwebhookconfiguration",
    categories=("api-extensions",),
    scope=Scope.CLUSTER,
    default=default,
    allow_unconditional_update=False,
    columns=described("mutatingwebhookconfigurations", *WEBHOOK_COLUMNS),
)
