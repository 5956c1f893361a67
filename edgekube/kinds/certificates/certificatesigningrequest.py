"""certificates.k8s.io/v1 CertificateSigningRequest: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind, Scope, Subresource
from edgekube.api.meta import Int32, Object, Struct, Time, list_atomic, list_map, zero


class CertificateSigningRequestSpec(Struct):
    request: bytes = zero(bytes)
    signer_name: str = zero(str)
    expiration_seconds: Int32 | None = None
    usages: Annotated[list[str], list_atomic()] = []
    username: str = ""
    uid: str = ""
    groups: Annotated[list[str], list_atomic()] = []
    extra: dict[str, list[str]] = {}


class CertificateSigningRequestCondition(Struct):
    type: str = zero(str)
    status: str = zero(str)
    reason: str = ""
    message: str = ""
    last_update_time: Time | None = None
    last_transition_time: Time | None = None


class CertificateSigningRequestStatus(Struct):
    conditions: Annotated[list[CertificateSigningRequestCondition], list_map("type", strategy="")] = []
    certificate: bytes = b""


class CertificateSigningRequest(Object):
    spec: CertificateSigningRequestSpec = zero(CertificateSigningRequestSpec)
    status: CertificateSigningRequestStatus = zero(CertificateSigningRequestStatus)


KIND = Kind(
    type=CertificateSigningRequest,
    group="certificates.k8s.io",
    version="v1",
    name="CertificateSigningRequest",
    plural="certificatesigningrequests",
    singular="certificatesigningrequest",
    short=("csr",),
    scope=Scope.CLUSTER,
    has_status=True,
    subresources=(Subresource("approval", "CertificateSigningRequest", ("get", "patch", "update")),),
)
