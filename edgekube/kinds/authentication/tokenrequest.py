"""authentication.k8s.io/v1 TokenRequest: a request for a service account's token; the body of `serviceaccounts/token`."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind
from edgekube.api.meta import Object, Struct, Time, list_atomic, null, zero


class BoundObjectReference(Struct):
    kind: str = ""
    api_version: str = ""
    name: str = ""
    uid: str = ""


class TokenRequestSpec(Struct):
    audiences: Annotated[list[str] | None, list_atomic()] = null()
    expiration_seconds: int | None = null()
    bound_object_ref: BoundObjectReference | None = null()


class TokenRequestStatus(Struct):
    token: str = zero(str)
    expiration_timestamp: Time | None = null()


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
