"""authentication.k8s.io/v1 TokenRequest: a request for a service account's token; the body of `serviceaccounts/token`."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind
from edgekube.api.meta import Object, Struct, Time, list_atomic, zero


class BoundObjectReference(Struct):
    kind: str = ""
    api_version: str = ""
    name: str = ""
    uid: str = ""


class TokenRequestSpec(Struct):
    audiences: Annotated[list[str] | None, list_atomic()] = None
    expiration_seconds: int | None = None
    bound_object_ref: BoundObjectReference | None = None


class TokenRequestStatus(Struct):
    token: str = zero(str)
    expiration_timestamp: Time | None = None


class TokenRequest(Object):
    spec: TokenRequestSpec = zero(TokenRequestSpec)
    status: TokenRequestStatus = zero(TokenRequestStatus)


KIND = Kind(
    type=TokenRequest,
    group="authentication.k8s.io",
    version="v1",
    name="TokenRequest",
    plural="tokenrequests",
    singular="tokenrequest",
    verbs=(),
    generation=False,
)
