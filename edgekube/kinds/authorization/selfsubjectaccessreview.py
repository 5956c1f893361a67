"""authorization.k8s.io/v1 SelfSubjectAccessReview: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Object, Struct, zero
from edgekube.kinds.authorization.localsubjectaccessreview import (
    NonResourceAttributes,
    ResourceAttributes,
    SubjectAccessReviewStatus,
)


class SelfSubjectAccessReviewSpec(Struct):
    resource_attributes: ResourceAttributes | None = None
    non_resource_attributes: NonResourceAttributes | None = None


class SelfSubjectAccessReview(Object):
    spec: SelfSubjectAccessReviewSpec = zero(SelfSubjectAccessReviewSpec)
    status: SubjectAccessReviewStatus = zero(SubjectAccessReviewStatus)


KIND = Kind(
    type=SelfSubjectAccessReview,
    group="authorization.k8s.io",
    version="v1",
    name="SelfSubjectAccessReview",
    plural="selfsubjectaccessreviews",
    singular="selfsubjectaccessreview",
    scope=Scope.CLUSTER,
    verbs=("create",),
    generation=False,
)
