"""Types: BoundObjectReference, TokenRequestSpec, TokenRequestStatus, TokenRequest."""

from __future__ import annotations

from typing import Annotated

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
