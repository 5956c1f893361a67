"""authorization.k8s.io/v1 LocalSubjectAccessReview: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind
from edgekube.api.meta import FieldSelectorRequirement, LabelSelectorRequirement, Object, Struct, list_atomic, zero


class NonResourceAttributes(Struct):
    path: str = ""
    verb: str = ""


class FieldSelectorAttributes(Struct):
    raw_selector: str = ""
    requirements: Annotated[list[FieldSelectorRequirement], list_atomic()] = []


class LabelSelectorAttributes(Struct):
    raw_selector: str = ""
    requirements: Annotated[list[LabelSelectorRequirement], list_atomic()] = []


class ResourceAttributes(Struct):
    namespace: str = ""
    verb: str = ""
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""
    field_selector: FieldSelectorAttributes | None = None
    label_selector: LabelSelectorAttributes | None = None


class SubjectAccessReviewSpec(Struct):
    resource_attributes: ResourceAttributes | None = None
    non_resource_attributes: NonResourceAttributes | None = None
    user: str = ""
    groups: Annotated[list[str], list_atomic()] = []
    extra: dict[str, list[str]] = {}
    uid: str = ""


class SubjectAccessReviewStatus(Struct):
    allowed: bool = zero(bool)
    denied: bool = False
    reason: str = ""
    evaluation_error: str = ""


class LocalSubjectAccessReview(Object):
    spec: SubjectAccessReviewSpec = zero(SubjectAccessReviewSpec)
    status: SubjectAccessReviewStatus = zero(SubjectAccessReviewStatus)


KIND = Kind(
    type=LocalSubjectAccessReview,
    group="authorization.k8s.io",
    version="v1",
    name="LocalSubjectAccessReview",
    plural="localsubjectaccessreviews",
    singular="localsubjectaccessreview",
    verbs=("create",),
    generation=False,
)
