"""authentication.k8s.io/v1 TokenReview: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Object, Struct, list_atomic, zero
from edgekube.kinds.authentication.selfsubjectreview import UserInfo


class TokenReviewSpec(Struct):
    token: str = ""
    audiences: Annotated[list[str], list_atomic()] = []


class TokenReviewStatus(Struct):
    authenticated: bool = False
    user: UserInfo = zero(UserInfo)
    audiences: Annotated[list[str], list_atomic()] = []
    error: str = ""


class TokenReview(Object):
    spec: TokenReviewSpec = zero(TokenReviewSpec)
    status: TokenReviewStatus = zero(TokenReviewStatus)


KIND = Kind(
    type=TokenReview,
    group="authentication.k8s.io",
    version="v1",
    name="TokenReview",
    plural="tokenreviews",
    singular="tokenreview",
    scope=Scope.CLUSTER,
    verbs=("create",),
    generation=False,
)
