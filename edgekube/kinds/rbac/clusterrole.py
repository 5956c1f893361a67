"""rbac.authorization.k8s.io/v1 ClusterRole: its types and rules."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from edgekube.api import rules
from edgekube.api.kind import FieldError, Kind, Scope
from edgekube.api.meta import LabelSelector, Object, Struct, list_atomic, null
from edgekube.api.names import path_segment
from edgekube.kinds.core.meta_rules import label_selector


class AggregationRule(Struct):
    cluster_role_selectors: Annotated[list[LabelSelector], list_atomic()] = []


class PolicyRule(Struct):
    verbs: Annotated[list[str] | None, list_atomic()] = null()
    api_groups: Annotated[list[str], list_atomic()] = []
    resources: Annotated[list[str], list_atomic()] = []
    resource_names: Annotated[list[str], list_atomic()] = []
    non_resource_urls: Annotated[list[str], list_atomic()] = field(name="nonResourceURLs", default_factory=list)


class ClusterRole(Object):
    rules: Annotated[list[PolicyRule] | None, list_atomic()] = null()
    aggregation_rule: AggregationRule | None = None


def prepare(role: ClusterRole, _old: ClusterRole | None = None) -> None:
    """No rules are null, as they come back from upstream's storage."""
    role.rules = role.rules or None


def policy_rules(path: str, rule: PolicyRule, *, namespaced: bool) -> list[FieldError]:
    """Verbs on resources, or on URLs, never on both."""
    broken: list[FieldError] = []
    if not rule.verbs:
        broken.append(rules.required(f"{path}.verbs", "verbs must contain at least one value"))
    if rule.non_resource_urls:
        at = f"{path}.nonResourceURLs"
        if namespaced:
            words = "namespaced rules cannot apply to non-resource URLs"
            broken.append(rules.invalid(at, rule.non_resource_urls, words))
        if rule.api_groups or rule.resources or rule.resource_names:
            words = "rules cannot apply to both regular resources and non-resource URLs"
            broken.append(rules.invalid(at, rule.non_resource_urls, words))
        return broken
    if not rule.api_groups:
        broken.append(rules.required(f"{path}.apiGroups", "resource rules must supply at least one api group"))
    if not rule.resources:
        broken.append(rules.required(f"{path}.resources", "resource rules must supply at least one resource"))
    return broken


def role_rules(role: ClusterRole) -> list[FieldError]:
    """Every rule, and whom it is put together from."""
    broken: list[FieldError] = []
    for at, rule in enumerate(role.rules or ()):
        broken += policy_rules(f"rules[{at}]", rule, namespaced=False)
    if role.aggregation_rule is not None:
        path = "aggregationRule.clusterRoleSelectors"
        if not role.aggregation_rule.cluster_role_selectors:
            words = "at least one clusterRoleSelector required if aggregationRule is non-nil"
            broken.append(rules.required(path, words))
        for at, selector in enumerate(role.aggregation_rule.cluster_role_selectors):
            broken += label_selector(f"{path}[{at}]", selector)
    return broken


KIND = Kind(
    type=ClusterRole,
    group="rbac.authorization.k8s.io",
    version="v1",
    name="ClusterRole",
    plural="clusterroles",
    singular="clusterrole",
    scope=Scope.CLUSTER,
    prepare_create=prepare,
    prepare_update=prepare,
    generation=False,
    allow_create_on_update=True,
    name_rule=path_segment,
    rules=role_rules,
)
