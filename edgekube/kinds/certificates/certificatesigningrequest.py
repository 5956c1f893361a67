"""certificates.k8s.io/v1 CertificateSigningRequest: its types and rules."""

from __future__ import annotations

from base64 import b64encode
from typing import Annotated

from edgekube.api import names, rules
from edgekube.api.durations import human
from edgekube.api.kind import Column, FieldError, Kind, Scope, Subresource
from edgekube.api.meta import Int32, Object, Struct, Time, list_atomic, list_map, null, zero
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
    last_update_time: Time | None = null()
    last_transition_time: Time | None = null()


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


REQUEST_BLOCK = b"-----BEGIN CERTIFICATE REQUEST-----"
DURATION_LEAST_S = 600
USAGES = (
    "any", "cert sign", "client auth", "code signing", "content commitment", "crl sign", "data encipherment",
    "decipher only", "digital signature", "email protection", "encipher only", "ipsec end system", "ipsec tunnel",
    "ipsec user", "key agreement", "key encipherment", "microsoft sgc", "netscape sgc", "ocsp signing", "s/mime",
    "server auth", "signing", "timestamping",
)  # fmt: skip
SIGNER_PATH_WORDS = "must be a fully qualified domain and path of the form 'example.com/signer-name'"


def _signer_rules(signer: str) -> list[FieldError]:
    path = "spec.signerName"
    if not signer:
        return [rules.required(path)]
    domain, slash, name = signer.partition("/")
    if not slash or "/" in name:
        return [rules.invalid(path, signer, SIGNER_PATH_WORDS)]
    broken = rules.each(path, domain, names.dns_subdomain(domain))
    if "." not in domain:
        broken.append(rules.invalid(path, domain, "should be a domain with at least two segments separated by dots"))
    for label in name.split("."):
        broken += rules.each(path, name, names.dns_label(label))
    return broken


def request_rules(request: CertificateSigningRequest) -> list[FieldError]:
    """A PEM request to a signer, for something."""
    spec = request.spec
    broken: list[FieldError] = []
    if REQUEST_BLOCK not in spec.request:
        shown = b64encode(spec.request).decode()
        broken.append(rules.invalid("spec.request", shown, "PEM block type must be CERTIFICATE REQUEST"))
    if not spec.usages:
        broken.append(rules.required("spec.usages"))
    for at, usage in enumerate(spec.usages):
        if usage not in USAGES:
            broken.append(rules.not_supported(f"spec.usages[{at}]", usage, USAGES))
        if usage in spec.usages[:at]:
            broken.append(rules.duplicate(f"spec.usages[{at}]", usage))
    broken += _signer_rules(spec.signer_name)
    if spec.expiration_seconds is not None and spec.expiration_seconds < DURATION_LEAST_S:
        words = f"may not specify a duration less than {DURATION_LEAST_S} seconds (10 minutes)"
        broken.append(rules.invalid("spec.expirationSeconds", spec.expiration_seconds, words))
    return broken


def prepare_update(new: CertificateSigningRequest, old: CertificateSigningRequest) -> None:
    """What was asked for is never changed."""
    new.spec = old.spec


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
    prepare_update=prepare_update,
    rules=request_rules,
)
