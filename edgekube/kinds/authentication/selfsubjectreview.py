"""authentication.k8s.io/v1 SelfSubjectReview: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Object, Struct, list_atomic, zero


class UserInfo(Struct):
    username: str = ""
    uid: str = ""
    groups: Annotated[list[str], list_atomic()] = []
    extra: dict[str, list[str]] = {}


class SelfSubjectReviewStatus(Struct):
    user_info: UserInfo = zero(UserInfo)


class SelfSubjectReview(Object):
    status: SelfSubjectReviewStatus = zero(SelfSubjectReviewStatus)


KIND = Kind(
    type=SelfSubjectReview,
    group="authentication.k8s.io",
    version="v1",
    name="SelfSubjectReview",
    plural="selfsubjectreviews",
    singular="selfsubjectreview",
    scope=Scope.CLUSTER,
    verbs=("create",),
    generation=False,
)
