"""certificates.k8s.io/v1 CertificateSigningRequest: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.durations import human
from edgekube.api.kind import Column, Kind, Scope, Subresource
from edgekube.api.meta import Int32, Object, Struct, Time, list_atomic, list_map, zero
from edgekube.kinds.columns import AGE, NAME, NONE, described


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


def _duration(request: CertificateSigningRequest, _now: str) -> str:
    seconds = request.spec.expiration_seconds
    return NONE if seconds is None else human(seconds)


def _condition(request: CertificateSigningRequest, _now: str) -> str:
    known = {condition.type for condition in request.status.conditions}
    said = "Denied" if "Denied" in known else "Approved" if "Approved" in known else "Pending"
    if "Failed" in known:
        said += ",Failed"
    return said + (",Issued" if request.status.certificate else "")


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
    generation=False,
    selectable={"spec.signerName": lambda item: item.spec.signer_name},
    columns=described(
        "certificatesigningrequests",
        NAME,
        AGE,
        Column("SignerName", "string", lambda item, _: item.spec.signer_name or NONE),
        Column("Requestor", "string", lambda item, _: item.spec.username),
        Column("RequestedDuration", "string", _duration),
        Column("Condition", "string", _condition),
    ),
)
