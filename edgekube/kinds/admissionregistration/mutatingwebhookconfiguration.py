"""admissionregistration.k8s.io/v1 MutatingWebhookConfiguration: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api import rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
from edgekube.api.meta import Int32, LabelSelector, Object, Struct, list_atomic, list_map, zero
from edgekube.kinds.admissionregistration.matching import (
    MatchCondition,
    RuleWithOperations,
    WebhookClientConfig,
    default_webhook,
)
from edgekube.kinds.admissionregistration.webhook_rules import REINVOCATION_POLICIES, webhooks_rules
from edgekube.kinds.columns import AGE, NAME, described


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


def default(configuration: MutatingWebhookConfiguration) -> None:
    """See `default_webhook`; nobody is asked twice."""
    for webhook in configuration.webhooks:
        default_webhook(webhook)
        if webhook.reinvocation_policy is None:
            webhook.reinvocation_policy = "Never"


WEBHOOK_COLUMNS = (NAME, Column("Webhooks", "integer", lambda item, _: len(item.webhooks)), AGE)


def configuration_rules(configuration: MutatingWebhookConfiguration) -> list[FieldError]:
    """See `webhooks_rules`; and how often each is called."""
    broken = webhooks_rules(configuration.webhooks)
    for at, webhook in enumerate(configuration.webhooks):
        if webhook.reinvocation_policy is not None:
            path = f"webhooks[{at}].reinvocationPolicy"
            broken += rules.one_of(path, webhook.reinvocation_policy, REINVOCATION_POLICIES, empty="unsupported")
    return broken


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
    rules=configuration_rules,
)
