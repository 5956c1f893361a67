"""Nobody becomes a master by asking for a certificate."""

from __future__ import annotations

import base64

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from tests.server_harness import Api

REQUESTS = "/apis/certificates.k8s.io/v1/certificatesigningrequests"
NAME, GROUP = x509.NameOID.COMMON_NAME, x509.NameOID.ORGANIZATION_NAME


def request(*subject: tuple[x509.ObjectIdentifier, str]) -> bytes:
    name = x509.Name([x509.NameAttribute(kind, text) for kind, text in subject])
    builder = x509.CertificateSigningRequestBuilder().subject_name(name)
    return builder.sign(ec.generate_private_key(ec.SECP256R1()), hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize(
    ("subject", "signer", "refused"),
    [
        ([(GROUP, "system:masters"), (NAME, "jane")], "kubernetes.io/kube-apiserver-client", True),
        ([(GROUP, "a"), (GROUP, "system:masters"), (NAME, "jane")], "kubernetes.io/kube-apiserver-client", True),
        ([(GROUP, "staff"), (NAME, "system:masters")], "kubernetes.io/kube-apiserver-client", False),
        ([(GROUP, "system:masters"), (NAME, "jane")], "example.org/other", False),
    ],
)
async def test_who_asks_to_be_a_master(
    api: Api, subject: list[tuple[x509.ObjectIdentifier, str]], signer: str, refused: bool
) -> None:
    document = {
        "apiVersion": "certificates.k8s.io/v1",
        "kind": "CertificateSigningRequest",
        "metadata": {"name": "a"},
        "spec": {
            "request": base64.b64encode(request(*subject)).decode(),
            "signerName": signer,
            "usages": ["client auth"],
        },
    }
    made = await api.ask("POST", REQUESTS, document)
    if refused:
        words = "use of kubernetes.io/kube-apiserver-client signer with system:masters group is not allowed"
        assert (made.status, made.document["message"].endswith(words)) == (403, True)
    else:
        assert made.status == 201, made.answer
