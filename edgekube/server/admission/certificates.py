"""Certificate signing requests: whose they are, who may approve and sign them, and what their status may become.

Source: kubernetes plugin/pkg/admission/certificates, pkg/registry/certificates and pkg/apis/certificates/validation.
"""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from edgekube.api import rules
from edgekube.api.kind import FieldError
from edgekube.api.meta import format_time
from edgekube.clock import Clock
from edgekube.errors import Forbidden
from edgekube.server import answers
from edgekube.server.admission.interface import CREATE, UPDATE, Cluster, Review, Step
from edgekube.server.context import Attributes, Authorizer

GROUP = "certificates.k8s.io"
RESOURCE = f"{GROUP}/certificatesigningrequests"
APPROVED, DENIED, FAILED = "Approved", "Denied", "Failed"
KNOWN = (APPROVED, DENIED, FAILED)
LEGACY_SIGNER = "kubernetes.io/legacy-unknown"
CLIENT_SIGNER, MASTERS = "kubernetes.io/kube-apiserver-client", "system:masters"
CERTIFICATE_MARK = b"-----BEGIN CERTIFICATE-----"


class CertificateRequests(Step):
    """Everything about requests that needs to know who asks."""

    name = "CertificateRequests"

    def __init__(self, authorizer: Authorizer, clock: Clock) -> None:
        self._authorizer, self._clock = authorizer, clock

    async def mutate(self, review: Review, cluster: Cluster) -> None:
        """The requester is who sends the request, whatever it says; conditions get their times."""
        if review.resource != RESOURCE:
            return
        if review.operation == CREATE:
            user, spec = review.context.user, review.item.spec
            spec.username, spec.uid, spec.groups = user.name, user.uid, list(user.groups)
            spec.extra = {key: list(values) for key, values in user.extra.items()}
        elif review.operation == UPDATE and review.subresource:
            self._date(review.item.status, review.old.status)
        elif review.operation == UPDATE:
            review.item = replace(review.item, spec=review.old.spec)

    def _date(self, status: Any, old: Any) -> None:
        now = format_time(self._clock.now())
        before = {one.type: one for one in old.conditions}
        for condition in status.conditions:
            was = before.get(condition.type)
            if condition.last_update_time is None:
                condition.last_update_time = now
            if condition.last_transition_time is None:
                same = was is not None and was.status == condition.status
                condition.last_transition_time = was.last_transition_time if was is not None and same else now

    async def validate(self, review: Review, cluster: Cluster) -> None:
        """Raises Forbidden for a request to become a master."""
        if review.resource == RESOURCE and review.operation == CREATE:
            _check_subject(review)

    async def prepare(self, review: Review, cluster: Cluster) -> None:
        """Raises Forbidden for who may not, Invalid for a status that may not follow the present one.

        Permission is asked before rules, so that nobody learns from them about what they may not change.
        """
        if review.resource != RESOURCE:
            return
        if review.operation == CREATE and review.item.spec.signer_name == LEGACY_SIGNER:
            words = "the legacy signerName is not allowed via this API version"
            broken = [rules.invalid("spec.signerName", LEGACY_SIGNER, words)]
            raise answers.invalid(review.kind, review.name, broken)
        if review.operation != UPDATE or not review.subresource:
            return
        if review.subresource == "approval":
            self._may(review, "approve")
        elif _signs(review.item.status, review.old.status):
            self._may(review, "sign")
        broken = status_errors(review.item.status, review.old.status, approving=review.subresource == "approval")
        if broken:
            raise answers.invalid(review.kind, review.name, broken)

    def _may(self, review: Review, verb: str) -> None:
        signer = review.old.spec.signer_name
        for name in (signer, f"{signer.partition('/')[0]}/*"):
            asked = Attributes(
                user=review.context.user, verb=verb, group=GROUP, version="*", resource="signers", name=name
            )
            if self._authorizer.refuse(asked) is None:
                return
        why = f'user not permitted to {verb} requests with signerName "{signer}"'
        raise _forbidden(review, why)


def _forbidden(review: Review, why: str) -> Forbidden:
    return answers.forbidden(review.kind, review.name, why)


def _signs(new: Any, old: Any) -> bool:
    """Whether a status write does what a signer does."""

    def failed(status: Any) -> list[Any]:
        return [one for one in status.conditions if one.type == FAILED]

    return new.certificate != old.certificate or failed(new) != failed(old)


def _check_subject(review: Review) -> None:
    """Nobody becomes a master by asking for a certificate."""
    spec = review.item.spec
    if spec.signer_name != CLIENT_SIGNER or MASTERS.encode() not in _decoded(spec.request):
        return
    if MASTERS in _organizations(spec.request):
        raise _forbidden(review, f"use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed")


def _organizations(request: bytes) -> list[str]:
    """The groups a PEM request asks for."""
    from cryptography import x509

    try:
        subject = x509.load_pem_x509_csr(request).subject
    except ValueError:
        return [MASTERS]  # whatever it is, it names them
    return [str(part.value) for part in subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)]


def _decoded(request: bytes) -> bytes:
    """The DER in a PEM request; its strings stand there as they are."""
    import base64
    import binascii

    body = b"".join(line for line in request.splitlines() if line and b"-----" not in line)
    try:
        return base64.b64decode(body)
    except (binascii.Error, ValueError):
        return b""


def status_errors(new: Any, old: Any, *, approving: bool) -> list[FieldError]:
    """What a status may not become."""
    path = "status.conditions"
    broken: list[FieldError] = []
    kinds = [one.type for one in new.conditions]
    before = [one.type for one in old.conditions]
    for position, condition in enumerate(new.conditions):
        at = rules.index(path, position)
        if not condition.type:
            broken.append(rules.required(f"{at}.type"))
        elif condition.type in KNOWN and condition.status != "True":
            broken.append(rules.not_supported(f"{at}.status", condition.status, ("True",)))
        elif condition.status not in ("True", "False", "Unknown"):
            allowed = ("False", "True", "Unknown")
            broken.append(
                rules.not_supported(f"{at}.status", condition.status, allowed)
                if condition.status
                else rules.required(f"{at}.status")
            )
        if condition.type in kinds[:position]:
            broken.append(rules.duplicate(f"{at}.type", condition.type))
    if APPROVED in kinds and DENIED in kinds and not (APPROVED in before and DENIED in before):
        later = DENIED if kinds.index(DENIED) > kinds.index(APPROVED) else APPROVED
        broken.append(rules.invalid(path, later, "Approved and Denied conditions are mutually exclusive"))
    if new.certificate and new.certificate != old.certificate and CERTIFICATE_MARK not in new.certificate:
        words = "must contain at least one CERTIFICATE PEM block"
        broken.append(rules.invalid("status.certificate", "<certificate data>", words))
    for name in KNOWN:
        if name in before and name not in kinds:
            broken.append(rules.forbidden(path, f'updates may not remove a condition of type "{name}"'))
    if not approving:
        for name in (APPROVED, DENIED):
            if name in kinds and name not in before:
                broken.append(rules.forbidden(path, f'updates may not add a condition of type "{name}"'))
    return broken
