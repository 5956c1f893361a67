"""rbac.authorization.k8s.io/v1 ClusterRole: its types and rules."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import LabelSelector, Object, Struct, list_atomic
from edgekube.api.names import path_segment


class AggregationRule(Struct):
    cluster_role_selectors: Annotated[list[LabelSelector], list_atomic()] = []


class PolicyRule(Struct):
    verbs: Annotated[list[str] | None, list_atomic()] = None
    api_groups: Annotated[list[str], list_atomic()] = []
    resources: Annotated[list[str], list_atomic()] = []
    resource_names: Annotated[list[str], list_atomic()] = []
    non_resource_urls: Annotated[list[str], list_atomic()] = field(name="nonResourceURLs", default_factory=list)


class ClusterRole(Object):
    rules: Annotated[list[PolicyRule] | None, list_atomic()] = None
    aggregation_rule: AggregationRule | None = None


def default(role: ClusterRole) -> None:
    """No rules are null, as they come back from upstream's storage."""
    role.rules = role.rules or None


KIND = Kind(
    type=ClusterRole,
    group="rbac.authorization.k8s.io",
    version="v1",
    name="ClusterRole",
    plural="clusterroles",
    singular="clusterrole",
    scope=Scope.CLUSTER,
    default=default,
    generation=False,
    allow_create_on_update=True,
    name_rule=path_segment,
)
