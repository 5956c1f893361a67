"""What certificate requests ask for, and whether a signer of ours may give it: pure rules shared by who approves, signs
and believes.

Parsing needs `cryptography`, which is imported when a request is first read. Which key signs, and how, is not known here.
Source: k8s.io/kubernetes pkg/apis/certificates/helpers.go, pkg/controller/certificates (signer, certificate_controller_utils).
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

CLIENT = "kubernetes.io/kube-apiserver-client"
NODE_CLIENT = "kubernetes.io/kube-apiserver-client-kubelet"
NODE_SERVING = "kubernetes.io/kubelet-serving"
LEGACY = "kubernetes.io/legacy-unknown"
SIGNERS = (CLIENT, NODE_CLIENT, NODE_SERVING, LEGACY)
APPROVED, DENIED, FAILED = "Approved", "Denied", "Failed"
NODE_USER, NODE_GROUP = "system:node:", "system:nodes"
PEM_BEGIN, PEM_END = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
LONGEST_S = 365 * 24 * 3600.0  # upstream's --cluster-signing-duration
SHORTEST_S = 600.0

# The fingerprints of the keys that nodes may use, by node name. Signing writes them, the server believes no other key.
KEYS_NAMESPACE, KEYS_NAME = "kube-system", "edgekube-node-keys"


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a request is for. `key` is the SHA-256 of its public key (SubjectPublicKeyInfo), in hex."""

    common_name: str = ""
    organizations: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    others: tuple[str, ...] = field(default=())  # "Email" or "URI" names
    key: str = ""

    @property
    def node(self) -> str:
        """The node it names, "" when it names none."""
        if NODE_GROUP not in self.organizations or not self.common_name.startswith(NODE_USER):
            return ""
        return self.common_name.removeprefix(NODE_USER)


def read_request(pem: bytes) -> Asked:
    """A PEM request, opened. Raises ValueError."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    request = x509.load_pem_x509_csr(pem)
    if not request.is_signature_valid:
        raise ValueError("the request is not signed by its own key")
    subject = request.subject
    commons = [str(part.value) for part in subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    try:
        names = list(request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        names = []
    others = [
        "Email" if isinstance(name, x509.RFC822Name) else "URI"
        for name in names
        if not isinstance(name, x509.DNSName | x509.IPAddress)
    ]
    return Asked(
        common_name=commons[0] if commons else "",
        organizations=tuple(str(part.value) for part in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)),
        dns=tuple(name.value for name in names if isinstance(name, x509.DNSName)),
        addresses=tuple(str(name.value) for name in names if isinstance(name, x509.IPAddress)),
        others=tuple(others),
        key=key_print(request.public_key()),
    )


def problem(asked: Asked, usages: Sequence[str], signer: str) -> str | None:
    """Why this signer does not sign this, None when it does."""
    if signer == NODE_CLIENT:
        return _node_client_problem(asked, set(usages))
    if signer == NODE_SERVING:
        return _node_serving_problem(asked, set(usages))
    if signer == CLIENT:
        for usage in usages:
            if usage not in ("digital signature", "key encipherment", "client auth"):
                return f"invalid usage for client certificate: {usage}"
        if "client auth" not in usages:
            return "missing required usage for client certificate: client auth"
    return None


def _node_client_problem(asked: Asked, usages: set[str]) -> str | None:
    if asked.organizations != (NODE_GROUP,):
        return "subject organization is not system:nodes"
    if asked.dns:
        return "DNS subjectAltNames are not allowed"
    if "Email" in asked.others:
        return "Email subjectAltNames are not allowed"
    if asked.addresses:
        return "IP subjectAltNames are not allowed"
    if asked.others:
        return "URI subjectAltNames are not allowed"
    if not asked.common_name.startswith(NODE_USER):
        return "subject common name does not begin with system:node:"
    return _usages_problem(usages, "client auth")


def _node_serving_problem(asked: Asked, usages: set[str]) -> str | None:
    if asked.organizations != (NODE_GROUP,):
        return "subject organization is not system:nodes"
    if not asked.dns and not asked.addresses:
        return "DNS or IP subjectAltName is required"
    if asked.others:
        return f"{asked.others[0]} subjectAltNames are not allowed"
    if problem_found := _usages_problem(usages, "server auth"):
        return problem_found
    if not asked.common_name.startswith(NODE_USER):
        return "subject common name does not begin with system:node:"
    return None


def _usages_problem(usages: set[str], purpose: str) -> str | None:
    needed = {"digital signature", purpose}
    if usages in (needed, needed | {"key encipherment"}):
        return None
    return f"usages did not match [{' '.join(sorted(needed | {'key encipherment'}))}]"


def life_s(asked_s: int | None) -> float:
    """How long a certificate may live: what was asked for, within bounds."""
    return LONGEST_S if asked_s is None else min(LONGEST_S, max(SHORTEST_S, float(asked_s)))


def has_condition(request: Any, *types: str) -> bool:
    """Whether one of these is true of a CertificateSigningRequest."""
    return any(one.type in types and one.status == "True" for one in request.status.conditions)


def ends_at(pem: bytes) -> datetime:
    """When a PEM certificate is over; read by hand, because who only asks for this should not load `cryptography`. Raises ValueError."""
    begin, end = pem.find(PEM_BEGIN), pem.find(PEM_END)
    if begin < 0 or end < begin:
        raise ValueError("not a PEM certificate")
    der = base64.b64decode(b"".join(pem[begin + len(PEM_BEGIN) : end].split()), validate=True)
    try:
        _, certificate, _ = _element(der, 0)
        _, at, _ = _element(der, certificate)  # TBSCertificate
        if der[at] == 0xA0:  # version
            _, _, at = _element(der, at)
        for _ in range(3):  # serial number, signature algorithm, issuer
            _, _, at = _element(der, at)
        _, validity, _ = _element(der, at)
        _, _, at = _element(der, validity)  # notBefore
        kind, begins, ends = _element(der, at)
        form = {0x17: "%y%m%d%H%M%SZ", 0x18: "%Y%m%d%H%M%SZ"}[kind]  # UTCTime, GeneralizedTime
        return datetime.strptime(der[begins:ends].decode(), form).replace(tzinfo=UTC)
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise ValueError("not a certificate") from error


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """(tag, where the content begins, where it ends) of the DER element at a position."""
    kind, length, at = der[at], der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, at = int.from_bytes(der[at : at + size], "big"), at + size
    return kind, at, at + length


def end_of(certificate: Any) -> datetime:
    """When a certificate of `cryptography` is over, whatever its release calls that."""
    found = getattr(certificate, "not_valid_after_utc", None)
    return found if isinstance(found, datetime) else certificate.not_valid_after.replace(tzinfo=UTC)


def key_print(public_key: Any) -> str:
    """The fingerprint a public key of `cryptography` is known by: SHA-256 of its SubjectPublicKeyInfo, in hex."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def keys_of(data: Mapping[str, str], node: str) -> tuple[str, ...]:
    """The fingerprints a node may use, newest first."""
    return tuple(key for key in data.get(node, "").split(",") if key)
