"""admissionregistration.k8s.io/v1 ValidatingWebhookConfiguration: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import FieldError, Kind, Scope
from edgekube.api.meta import Int32, LabelSelector, Object, Struct, list_atomic, list_map, zero
from edgekube.kinds.admissionregistration.matching import (
    MatchCondition,
    RuleWithOperations,
    WebhookClientConfig,
    default_webhook,
)
from edgekube.kinds.admissionregistration.mutatingwebhookconfiguration import WEBHOOK_COLUMNS
from edgekube.kinds.admissionregistration.webhook_rules import webhooks_rules
from edgekube.kinds.columns import described


class ValidatingWebhook(Struct):
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
    match_conditions: Annotated[list[MatchCondition], list_map("name")] = []


class ValidatingWebhookConfiguration(Object):
    webhooks: Annotated[list[ValidatingWebhook], list_map("name")] = []


def default(configuration: ValidatingWebhookConfiguration) -> None:
    """See `default_webhook`."""
    for webhook in configuration.webhooks:
        default_webhook(webhook)


def configuration_rules(configuration: ValidatingWebhookConfiguration) -> list[FieldError]:
    """See `webhooks_rules`."""
    return webhooks_rules(configuration.webhooks)


KIND = Kind(
    type=ValidatingWebhookConfiguration,
    group="admissionregistration.k8s.io",
    version="v1",
    name="ValidatingWebhookConfiguration",
    plural="validatingwebhookconfigurations",
    singular="validatingwebhookconfiguration",
    categories=("api-extensions",),
    scope=Scope.CLUSTER,
    default=default,
    allow_unconditional_update=False,
    columns=described("validatingwebhookconfigurations", *WEBHOOK_COLUMNS),
    rules=configuration_rules,
)
