"""Types and defaults that webhooks and policies share: what they match, what they are given, whom they call."""

from __future__ import annotations

from typing import Annotated, ClassVar, Protocol

from edgekube.api.meta import Int32, LabelSelector, Struct, list_atomic, zero
from edgekube.kinds.columns import UNSET

HTTPS_PORT = 443
DEFAULT_TIMEOUT_S = 10


class MatchCondition(Struct):
    name: str = zero(str)
    expression: str = zero(str)


class NamedRuleWithOperations(Struct):
    ATOMIC: ClassVar[bool] = True
    resource_names: Annotated[list[str], list_atomic()] = []
    operations: Annotated[list[str], list_atomic()] = []
    api_groups: Annotated[list[str], list_atomic()] = []
    api_versions: Annotated[list[str], list_atomic()] = []
    resources: Annotated[list[str], list_atomic()] = []
    scope: str | None = None


class MatchResources(Struct):
    ATOMIC: ClassVar[bool] = True
    namespace_selector: LabelSelector | None = None
    object_selector: LabelSelector | None = None
    resource_rules: Annotated[list[NamedRuleWithOperations], list_atomic()] = []
    exclude_resource_rules: Annotated[list[NamedRuleWithOperations], list_atomic()] = []
    match_policy: str | None = None


class ParamKind(Struct):
    ATOMIC: ClassVar[bool] = True
    api_version: str = ""
    kind: str = ""


class Variable(Struct):
    ATOMIC: ClassVar[bool] = True
    name: str = zero(str)
    expression: str = zero(str)


class ParamRef(Struct):
    ATOMIC: ClassVar[bool] = True
    name: str = ""
    namespace: str = ""
    selector: LabelSelector | None = None
    parameter_not_found_action: str | None = None


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


class Webhook(Protocol):
    """What webhooks of both kinds have in common."""

    name: str
    client_config: WebhookClientConfig
    rules: list[RuleWithOperations]
    side_effects: str | None
    admission_review_versions: list[str] | None
    match_conditions: list[MatchCondition]
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


def default_match(match: MatchResources | None) -> None:
    """Match every equivalent version of everything, in every scope."""
    if match is None:
        return
    if match.match_policy is None:
        match.match_policy = "Equivalent"
    if match.namespace_selector is None:
        match.namespace_selector = LabelSelector()
    if match.object_selector is None:
        match.object_selector = LabelSelector()
    for rule in (*match.resource_rules, *match.exclude_resource_rules):
        if rule.scope is None:
            rule.scope = "*"


def param_kind_text(kind: ParamKind | None) -> str:
    """ "v1/ConfigMap"."""
    return UNSET if kind is None else f"{kind.api_version}/{kind.kind}"
