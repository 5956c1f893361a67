"""Which webhooks a write concerns: rules, selectors, equivalent versions. Pure; conditions in CEL are evaluated elsewhere.

Source: k8s.io/apiserver pkg/admission/plugin/webhook/{generic/webhook.go,predicates}.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgekube import errors
from edgekube.api import selectors
from edgekube.api.discovery import subresources
from edgekube.api.kind import Kind
from edgekube.api.selectors import LabelQuery
from edgekube.kinds.core import namespace as namespace_kind
from edgekube.server import answers
from edgekube.server.admission.interface import CONNECT, CREATE, UPDATE, Cluster, Review
from edgekube.server.reach import Destination, destination

GROUP = "admissionregistration.k8s.io"
EXEMPT = frozenset(  # what decides about admission is never subject to it, or nobody could put it right
    f"{GROUP}/{plural}"
    for plural in (
        "validatingwebhookconfigurations",
        "mutatingwebhookconfigurations",
        "validatingadmissionpolicies",
        "validatingadmissionpolicybindings",
        "mutatingadmissionpolicies",
        "mutatingadmissionpolicybindings",
    )
)


@dataclass(frozen=True, slots=True)
class Names:
    """A group, version and resource (plural) or kind."""

    group: str
    version: str
    name: str

    def to_resource(self) -> dict[str, str]:
        """As reviews have it."""
        return {"group": self.group, "version": self.version, "resource": self.name}

    def to_kind(self) -> dict[str, str]:
        """As reviews have it."""
        return {"group": self.group, "version": self.version, "kind": self.name}


@dataclass(slots=True)
class Hook:
    """One webhook of one configuration, prepared."""

    webhook: Any
    configuration: str
    uid: str  # unique among all
    namespaces: LabelQuery
    objects: LabelQuery
    to: Destination

    @property
    def name(self) -> str:
        """As it is called in messages."""
        return str(self.webhook.name)

    @property
    def ignores_failures(self) -> bool:
        """Whether a webhook that cannot be asked lets writes pass."""
        return bool(self.webhook.failure_policy == "Ignore")


@dataclass(frozen=True, slots=True)
class Invocation:
    """A call that is to be made: as which version the webhook sees the object."""

    hook: Hook
    kind: Kind[Any]


def prepared(configurations: Sequence[Any]) -> tuple[Hook, ...]:
    """All webhooks in the order they are asked: configurations by name, then as they stand there."""
    made: list[Hook] = []
    for configuration in sorted(configurations, key=lambda one: one.metadata.name):
        counts: dict[str, int] = {}
        for webhook in configuration.webhooks:
            number = counts[webhook.name] = counts.get(webhook.name, -1) + 1
            uid = f"{configuration.metadata.name}/{webhook.name}/{number}"
            try:
                namespaces = selectors.from_label_selector(webhook.namespace_selector)
                objects = selectors.from_label_selector(webhook.object_selector)
            except ValueError:  # refused when it was written
                namespaces = objects = selectors.NOTHING
            made.append(
                Hook(webhook, configuration.metadata.name, uid, namespaces, objects, destination(webhook.client_config))
            )
    return tuple(made)


def exempt(review: Review) -> bool:
    """Whether a write is nobody's business."""
    return review.resource in EXEMPT


def resource_of(kind: Kind[Any]) -> Names:
    """The resource of a version."""
    return Names(kind.group, kind.version, kind.plural)


def kind_of(kind: Kind[Any], review: Review) -> Names:
    """The kind of the object under review, which for a subresource may be another than the resource's."""
    if review.operation == CONNECT:
        return Names("", "v1", review.item["kind"])
    if review.asked_subresource:
        found = next((one for one in subresources(kind) if one.name == review.asked_subresource), None)
        if found is not None and (found.group or found.version or found.kind != kind.name):
            return Names(found.group or kind.group, found.version or kind.version, found.kind)
    return Names(kind.group, kind.version, kind.name)


def matches_rules(rules: Iterable[Any], resource: Names, review: Review) -> bool:
    """Whether any rule means this operation on this resource."""
    return any(_matches(rule, resource, review) for rule in rules)


def _matches(rule: Any, resource: Names, review: Review) -> bool:
    def has(allowed: Sequence[str], value: str) -> bool:
        return "*" in allowed or value in allowed

    if not has(rule.operations, review.operation):
        return False
    if not has(rule.api_groups, resource.group) or not has(rule.api_versions, resource.version):
        return False
    cluster_wide = not review.namespace or resource.name == "namespaces"
    if rule.scope not in (None, "*") and (rule.scope == "Cluster") is not cluster_wide:
        return False
    for text in rule.resources:
        plural, _, subresource = text.partition("/")
        if plural in ("*", resource.name) and subresource in ("*", review.asked_subresource):
            return True
    return False


def labels_of(item: Any) -> Mapping[str, str] | None:
    """An object's labels; None for what has no metadata (options of a connection) or for no object at all."""
    if item is None:
        return None
    if isinstance(item, dict):
        metadata = item.get("metadata")
        return (metadata.get("labels") or {}) if isinstance(metadata, dict) else None
    return item.metadata.labels or {}


def concerns_namespace(query: LabelQuery, review: Review, cluster: Cluster) -> errors.ApiError | bool:
    """Whether the namespace is meant; an error where that cannot be known, to be raised if all else matches."""
    about_namespace = review.resource == "/namespaces"
    if query.everything or (not review.namespace and not about_namespace):
        return True
    if about_namespace and not review.subresource and review.operation in (CREATE, UPDATE):
        return query.matches(labels_of(review.item) or {})
    name = review.name if about_namespace else review.namespace
    found = cluster.find(namespace_kind.KIND, "", name)
    if found is None:
        return answers.not_found(namespace_kind.KIND, name)
    return query.matches(found.metadata.labels or {})


def concerns_object(query: LabelQuery, review: Review) -> bool:
    """Whether the object, as it was or as it shall be, is meant."""
    if query.everything:
        return True
    return any(
        labels is not None and query.matches(labels) for labels in (labels_of(review.item), labels_of(review.old))
    )


def siblings(kind: Kind[Any], kinds: Iterable[Kind[Any]]) -> list[Kind[Any]]:
    """Other versions (of other groups too) of the same stored objects."""
    return [one for one in kinds if one.resource == kind.resource and one is not kind]


def invocation(
    hook: Hook, review: Review, cluster: Cluster, kinds: Callable[[], Iterable[Kind[Any]]]
) -> Invocation | None:
    """How a webhook is to be called, None when it is not concerned. Raises NotFound for a namespace that is not there."""
    in_namespace = concerns_namespace(hook.namespaces, review, cluster)
    if in_namespace is False or not concerns_object(hook.objects, review):
        return None
    found: Invocation | None = None
    rules = hook.webhook.rules
    if matches_rules(rules, resource_of(review.kind), review):
        found = Invocation(hook, review.kind)
    elif hook.webhook.match_policy != "Exact" and rules:
        others = siblings(review.kind, kinds())
        for rule in rules:
            kind = next((one for one in others if _matches(rule, resource_of(one), review)), None)
            if kind is not None:
                found = Invocation(hook, kind)
                break
    if found is not None and isinstance(in_namespace, errors.ApiError):
        raise in_namespace
    return found
