"""The audit policy: how much is to be told of a request. A file of rules, the first that matches counts. Pure but for reading it.

Source: k8s.io/apiserver pkg/audit/policy (reader.go, checker.go) and pkg/apis/audit/validation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from edgekube.errors import UsageError
from edgekube.server.context import Attributes

NONE, METADATA, REQUEST, REQUEST_RESPONSE = "None", "Metadata", "Request", "RequestResponse"
LEVELS = (NONE, METADATA, REQUEST, REQUEST_RESPONSE)
RECEIVED, STARTED, COMPLETE, PANIC = "RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"
STAGES = (RECEIVED, STARTED, COMPLETE, PANIC)
API_VERSION, KIND = "audit.k8s.io/v1", "Policy"


class GroupResources(msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """Resources of a group; none named means all of them."""

    group: str = ""
    resources: list[str] = []
    resource_names: list[str] = []


class PolicyRule(msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """Everything that is given must match."""

    level: str
    users: list[str] = []
    user_groups: list[str] = []
    verbs: list[str] = []
    resources: list[GroupResources] = []
    namespaces: list[str] = []
    non_resource_urls: list[str] = msgspec.field(name="nonResourceURLs", default=[])
    omit_stages: list[str] = []
    omit_managed_fields: bool | None = None


class Policy(msgspec.Struct, rename="camel", forbid_unknown_fields=True, frozen=True):
    """The whole file."""

    api_version: str
    kind: str
    rules: list[PolicyRule]
    metadata: dict[str, Any] = {}
    omit_stages: list[str] = []
    omit_managed_fields: bool = False


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be told of one request."""

    level: str = NONE
    omitted: frozenset[str] = frozenset()
    managed_fields: bool = True

    @property
    def bodies(self) -> bool:
        """Whether what the client sent is told."""
        return self.level in (REQUEST, REQUEST_RESPONSE)

    @property
    def answers(self) -> bool:
        """Whether what it got is told."""
        return self.level == REQUEST_RESPONSE


NOTHING = Wanted()


def load(path: Path) -> Policy:
    """The policy in a file. Raises UsageError naming the file and what is wrong."""
    import yaml

    try:
        document = yaml.safe_load(path.read_text())
        policy = msgspec.convert(document, Policy)
    except OSError as problem:
        raise UsageError(f"--audit-policy-file {path}: {problem.strerror}") from None
    except (yaml.YAMLError, msgspec.ValidationError) as problem:
        raise UsageError(f"--audit-policy-file {path}: {' '.join(str(problem).split())}") from None
    if wrong := _wrong(policy):
        raise UsageError(f"--audit-policy-file {path}: {wrong}")
    return policy


def _wrong(policy: Policy) -> str:
    if (policy.api_version, policy.kind) != (API_VERSION, KIND):
        return f"expected {API_VERSION} {KIND}, not {policy.api_version} {policy.kind}"
    if not policy.rules:
        return "it has no rules"
    for at, rule in enumerate(policy.rules):
        where = f"rules[{at}]"
        if rule.level not in LEVELS:
            return f"{where}.level: {rule.level!r} is none of {', '.join(LEVELS)}"
        for stage in (*rule.omit_stages, *policy.omit_stages):
            if stage not in STAGES:
                return f"{where}.omitStages: {stage!r} is none of {', '.join(STAGES)}"
        if rule.non_resource_urls and (rule.resources or rule.namespaces):
            return f"{where}: rules cannot apply to both regular resources and non-resource URLs"
        for url in rule.non_resource_urls:
            if url != "*" and (not url.startswith("/") or "*" in url[:-1]):
                return f"{where}.nonResourceURLs: {url!r} is no path, or has * before its end"
    return ""


def decide(policy: Policy, attributes: Attributes) -> Wanted:
    """What the first rule that matches says; nothing where none does."""
    for rule in policy.rules:
        if _matches(rule, attributes):
            if rule.level == NONE:
                return NOTHING
            omit = policy.omit_managed_fields if rule.omit_managed_fields is None else rule.omit_managed_fields
            return Wanted(rule.level, frozenset((*policy.omit_stages, *rule.omit_stages)), not omit)
    return NOTHING


def _matches(rule: PolicyRule, asked: Attributes) -> bool:
    if rule.users and asked.user.name not in rule.users:
        return False
    if rule.user_groups and not set(rule.user_groups) & set(asked.user.groups):
        return False
    if rule.verbs and asked.verb not in rule.verbs:
        return False
    if rule.namespaces or rule.resources:
        return bool(asked.resource) and _matches_resource(rule, asked)
    if rule.non_resource_urls:
        return not asked.resource and any(_matches_path(url, asked.path) for url in rule.non_resource_urls)
    return True


def _matches_path(pattern: str, path: str) -> bool:
    return pattern in ("*", path) or (pattern.endswith("*") and path.startswith(pattern.rstrip("*")))


def _matches_resource(rule: PolicyRule, asked: Attributes) -> bool:
    if rule.namespaces and asked.namespace not in rule.namespaces:
        return False
    return not rule.resources or any(_among(one, asked) for one in rule.resources)


def _among(group: GroupResources, asked: Attributes) -> bool:
    if group.group != asked.group:
        return False
    if not group.resources:
        return True
    if group.resource_names and asked.name not in group.resource_names:
        return False
    return any(_is_resource(text, asked) for text in group.resources)


def _is_resource(text: str, asked: Attributes) -> bool:
    whole = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    if text in ("*", whole):
        return True
    plural, slash, subresource = text.partition("/")
    if not slash:
        return False
    if subresource == "*":
        return plural == asked.resource
    return plural == "*" and bool(asked.subresource) and subresource == asked.subresource


def omits(wanted: Wanted, stage: str) -> bool:
    """Whether a stage is not to be told."""
    return wanted.level == NONE or stage in wanted.omitted


def without_managed_fields(document: Any) -> Any:
    """A copy without `managedFields`, of an object or of all in a list."""
    if not isinstance(document, dict):
        return document
    made = dict(document)
    metadata = made.get("metadata")
    if isinstance(metadata, dict) and "managedFields" in metadata:
        made["metadata"] = {name: value for name, value in metadata.items() if name != "managedFields"}
    items = made.get("items")
    if isinstance(items, Sequence) and not isinstance(items, str):
        made["items"] = [without_managed_fields(item) for item in items]
    return made
