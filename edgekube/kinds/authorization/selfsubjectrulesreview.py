"""authorization.k8s.io/v1 SelfSubjectRulesReview: its types and rules."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Object, Struct, list_atomic, null, zero


class SelfSubjectRulesReviewSpec(Struct):
    namespace: str = ""


class NonResourceRule(Struct):
    verbs: Annotated[list[str] | None, list_atomic()] = null()
    non_resource_urls: Annotated[list[str], list_atomic()] = field(name="nonResourceURLs", default_factory=list)


class ResourceRule(Struct):
    verbs: Annotated[list[str] | None, list_atomic()] = null()
    api_groups: Annotated[list[str], list_atomic()] = []
    resources: Annotated[list[str], list_atomic()] = []
    resource_names: Annotated[list[str], list_atomic()] = []


class SubjectRulesReviewStatus(Struct):
    resource_rules: Annotated[list[ResourceRule] | None, list_atomic()] = null()
    non_resource_rules: Annotated[list[NonResourceRule] | None, list_atomic()] = null()
    incomplete: bool = zero(bool)
    evaluation_error: str = ""


class SelfSubjectRulesReview(Object):
    spec: SelfSubjectRulesReviewSpec = zero(SelfSubjectRulesReviewSpec)
    status: SubjectRulesReviewStatus = zero(SubjectRulesReviewStatus)


KIND = Kind(
    type=SelfSubjectRulesReview,
    group="authorization.k8s.io",
    version="v1",
    name="SelfSubjectRulesReview",
    plural="selfsubjectrulesreviews",
    singular="selfsubjectrulesreview",
    scope=Scope.CLUSTER,
    verbs=("create",),
    generation=False,
)
