"""authorization.k8s.io/v1 SubjectAccessReview: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Object, zero
from edgekube.kinds.authorization.localsubjectaccessreview import SubjectAccessReviewSpec, SubjectAccessReviewStatus


class SubjectAccessReview(Object):
    spec: SubjectAccessReviewSpec = zero(SubjectAccessReviewSpec)
    status: SubjectAccessReviewStatus = zero(SubjectAccessReviewStatus)


KIND = Kind(
    type=SubjectAccessReview,
    group="authorization.k8s.io",
    version="v1",
    name="SubjectAccessReview",
    plural="subjectaccessreviews",
    singular="subjectaccessreview",
    scope=Scope.CLUSTER,
    verbs=("create",),
    generation=False,
)
