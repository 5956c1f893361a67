"""Rules of webhooks, and of the operations that webhooks and policies name. Expressions of policies are compiled elsewhere; here only
their frame is checked.

Source: pkg/apis/admissionregistration/validation and k8s.io/apiserver pkg/util/webhook/validation.go.
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from edgekube.api import names, rules
from edgekube.api.kind import FieldError
from edgekube.kinds.admissionregistration.expression_rules import condition_rules
from edgekube.kinds.admissionregistration.matching import (
    NamedRuleWithOperations,
    RuleWithOperations,
    ServiceReference,
    Webhook,
    WebhookClientConfig,
)
from edgekube.kinds.core.meta_rules import label_selector

FAILURE_POLICIES = ("Fail", "Ignore")
MATCH_POLICIES = ("Equivalent", "Exact")
REINVOCATION_POLICIES = ("IfNeeded", "Never")
SIDE_EFFECTS = ("None", "NoneOnDryRun")
REVIEW_VERSIONS = ("v1", "v1beta1")
OPERATIONS = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
SCOPES = ("*", "Cluster", "Namespaced")
TIMEOUT_MOST_S = 30
URL_FORM = "desired format: https://host[/path]"


def _group_rules(path: str, groups: list[str], versions: list[str]) -> list[FieldError]:
    broken: list[FieldError] = []
    for member, values in (("apiGroups", groups), ("apiVersions", versions)):
        at = f"{path}.{member}"
        if not values:
            broken.append(rules.required(at))
        if "*" in values and len(values) > 1:
            what = "API groups" if member == "apiGroups" else "API versions"
            broken.append(rules.invalid(at, values, f"if '*' is present, must not specify other {what}"))
    for at_index, version in enumerate(versions):
        if not version:
            broken.append(rules.required(f"{path}.apiVersions[{at_index}]"))
    return broken


def _resource_rules(path: str, resources: list[str], *, subresources: bool) -> list[FieldError]:
    if not resources:
        return [rules.required(path)]
    broken: list[FieldError] = []
    for at, resource in enumerate(resources):
        if not resource:
            broken.append(rules.required(f"{path}[{at}]"))
        elif "/" in resource and not subresources:
            broken.append(rules.invalid(f"{path}[{at}]", resource, "must not specify subresources"))
        elif subresources and resource == "*/*" and len(resources) > 1:
            broken.append(
                rules.invalid(f"{path}[{at}]", resources, "if '*/*' is present, must not specify other resources")
            )
        elif subresources and resource != "*" and resource.startswith("*/") and "*/*" not in resources:
            later = [one for one in resources if one.endswith(resource[1:]) and one != resource]
            if later:
                words = f"if '{resource}' is present, must not specify {later[0]}"
                broken.append(rules.invalid(f"{path}[{at}]", later[0], words))
    if "*" in resources and any("/" not in one and one != "*" for one in resources):
        words = "if '*' is present, must not specify other resources without subresources"
        broken.append(rules.invalid(path, resources, words))
    return broken


def operation_rules(path: str, rule: RuleWithOperations | NamedRuleWithOperations) -> list[FieldError]:
    """Which operations on which resources."""
    broken: list[FieldError] = []
    if not rule.operations:
        broken.append(rules.required(f"{path}.operations"))
    if "*" in rule.operations and len(rule.operations) > 1:
        words = "if '*' is present, must not specify other operations"
        broken.append(rules.invalid(f"{path}.operations", rule.operations, words))
    for at, operation in enumerate(rule.operations):
        broken += rules.one_of(f"{path}.operations[{at}]", operation, OPERATIONS, empty="unsupported")
    broken += _group_rules(path, rule.api_groups, rule.api_versions)
    broken += _resource_rules(f"{path}.resources", rule.resources, subresources=True)
    if rule.scope is not None:
        broken += rules.one_of(f"{path}.scope", rule.scope, SCOPES, empty="unsupported")
    return broken


def _url_rules(path: str, url: str) -> list[FieldError]:
    found = urlsplit(url)
    broken: list[FieldError] = []
    if found.scheme != "https":
        words = f"'https' is the only allowed URL scheme; {URL_FORM}"
        broken.append(rules.invalid(path, found.scheme, words))
    if not found.netloc:
        broken.append(rules.invalid(path, "", f"host must be specified; {URL_FORM}"))
    if "@" in found.netloc:
        user = found.netloc.rpartition("@")[0]
        broken.append(rules.invalid(path, user, "user information is not permitted in the URL"))
    if found.fragment:
        broken.append(rules.invalid(path, found.fragment, "fragments are not permitted in the URL"))
    if found.query:
        broken.append(rules.invalid(path, found.query, "query parameters are not permitted in the URL"))
    return broken


def _service_rules(path: str, service: ServiceReference) -> list[FieldError]:
    broken: list[FieldError] = []
    if not service.name:
        broken.append(rules.required(f"{path}.name", "service name is required"))
    if not service.namespace:
        broken.append(rules.required(f"{path}.namespace", "service namespace is required"))
    if service.port is not None and names.port_number(service.port):
        words = "port is not valid: must be between 1 and 65535, inclusive"
        broken.append(rules.invalid(f"{path}.port", service.port, words))
    if service.path is not None and not service.path.startswith("/"):
        broken.append(rules.invalid(f"{path}.path", service.path, "must start with a '/'"))
    return broken


def client_rules(path: str, config: WebhookClientConfig) -> list[FieldError]:
    """A URL or a service, not both."""
    if (config.url is None) is (config.service is None):
        return [rules.required(path, "exactly one of url or service is required")]
    if config.url is not None:
        return _url_rules(f"{path}.url", config.url)
    return [] if config.service is None else _service_rules(f"{path}.service", config.service)


def _version_rules(path: str, versions: list[str]) -> list[FieldError]:
    if not versions:
        return [rules.required(path, f"must specify one of {', '.join(REVIEW_VERSIONS)}")]
    broken: list[FieldError] = []
    for at, version in enumerate(versions):
        if version in versions[:at]:
            broken.append(rules.invalid(f"{path}[{at}]", version, "duplicate version"))
        broken += rules.each(f"{path}[{at}]", version, names.dns_1035_label(version))
    if not broken and not set(versions) & set(REVIEW_VERSIONS):
        words = f"must include at least one of {', '.join(REVIEW_VERSIONS)}"
        broken.append(rules.invalid(path, versions, words))
    return broken


def qualified_domain(path: str, name: str) -> list[FieldError]:
    """A DNS name of at least three parts."""
    if not name:
        return [rules.required(path)]
    if broken := rules.each(path, name, names.dns_subdomain(name)):
        return broken
    if name.count(".") < 2:
        return [rules.invalid(path, name, "should be a domain with at least three segments separated by dots")]
    return []


def webhook_rules(path: str, webhook: Webhook) -> list[FieldError]:
    """One webhook of either kind."""
    broken = qualified_domain(f"{path}.name", webhook.name)
    for at, rule in enumerate(webhook.rules):
        broken += operation_rules(f"{path}.rules[{at}]", rule)
    for member, value, allowed in (
        ("failurePolicy", webhook.failure_policy, FAILURE_POLICIES),
        ("matchPolicy", webhook.match_policy, MATCH_POLICIES),
    ):
        if value is not None:
            broken += rules.one_of(f"{path}.{member}", value, allowed, empty="unsupported")
    if webhook.side_effects is None:
        words = f"must specify one of {', '.join(SIDE_EFFECTS)}"
        broken.append(rules.required(f"{path}.sideEffects", words))
    else:
        broken += rules.one_of(f"{path}.sideEffects", webhook.side_effects, SIDE_EFFECTS, empty="unsupported")
    seconds = webhook.timeout_seconds
    if seconds is not None and not 1 <= seconds <= TIMEOUT_MOST_S:
        words = f"the timeout value must be between 1 and {TIMEOUT_MOST_S} seconds"
        broken.append(rules.invalid(f"{path}.timeoutSeconds", seconds, words))
    broken += label_selector(f"{path}.namespaceSelector", webhook.namespace_selector)
    broken += label_selector(f"{path}.objectSelector", webhook.object_selector)
    broken += _version_rules(f"{path}.admissionReviewVersions", webhook.admission_review_versions or [])
    broken += client_rules(f"{path}.clientConfig", webhook.client_config)
    return broken + condition_rules(f"{path}.matchConditions", webhook.match_conditions)


def webhooks_rules(webhooks: Sequence[Webhook]) -> list[FieldError]:
    """All webhooks of a configuration; their names differ."""
    broken: list[FieldError] = []
    seen: set[str] = set()
    for at, webhook in enumerate(webhooks):
        broken += webhook_rules(f"webhooks[{at}]", webhook)
        if webhook.name in seen:
            broken.append(rules.duplicate(f"webhooks[{at}].name", webhook.name))
        seen.add(webhook.name)
    return broken
