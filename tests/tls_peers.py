"""HTTPS peers for tests: certificates made on the spot, and a small server that answers in this process."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from edgekube.net.exchange import Exchange, Request
from edgekube.net.listener import serving

LONG = timedelta(days=3650)


def _name(common: str, groups: tuple[str, ...] = ()) -> x509.Name:
    parts = [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*parts, x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])


class Authority:
    """A CA that signs certificates into a directory."""

    def __init__(self, directory: Path, name: str = "test-ca") -> None:
        self.directory, self._key = directory, ec.generate_private_key(ec.SECP256R1())
        self._name = _name(name)
        self.certificate = self._sign(self._name, self._key.public_key(), ca=True)
        self.pem = self.certificate.public_bytes(Encoding.PEM)

    def _sign(self, subject: x509.Name, key: Any, names: tuple[str, ...] = (), *, ca: bool = False) -> x509.Certificate:
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=2))
            .not_valid_after(now + LONG)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if names:
            general: list[x509.GeneralName] = []
            for name in names:
                try:
                    general.append(x509.IPAddress(ip_address(name)))
                except ValueError:
                    general.append(x509.DNSName(name))
            builder = builder.add_extension(x509.SubjectAlternativeName(general), critical=False)
        return builder.sign(self._key, hashes.SHA256())

    def issue(self, common: str, *names: str, groups: tuple[str, ...] = ()) -> tuple[Path, Path]:
        """Files of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        made = self._sign(_name(common, groups), key.public_key(), names)
        certificate, secret = self.directory / f"{common}.crt", self.directory / f"{common}.key"
        certificate.write_bytes(made.public_bytes(Encoding.PEM))
        secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return certificate, secret


Respond = Callable[[Request, Any], Awaitable[Any]]


@dataclass
class Peer:
    """A server that answers what `respond` makes of (request, decoded body); an int is a bare status."""

    authority: Authority
    port: int
    heard: list[tuple[Request, Any]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"


@asynccontextmanager
async def https_peer(
    authority: Authority, respond: Respond, *names: str, client_ca: Authority | None = None
) -> AsyncIterator[Peer]:
    """Serve on a free port of 127.0.0.1 under these names."""
    certificate, key = authority.issue("peer", *(names or ("127.0.0.1",)))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    if client_ca is not None:
        context.load_verify_locations(cadata=client_ca.pem.decode())
        context.verify_mode = ssl.CERT_OPTIONAL
    peer = Peer(authority, 0)

    async def handle(exchange: Exchange) -> None:
        body = await exchange.read_body(1 << 24)
        document = json.loads(body) if body else None
        peer.heard.append((exchange.request, document))
        answer = await respond(exchange.request, document)
        if isinstance(answer, int):
            await exchange.respond(answer, [("Content-Type", "text/plain")], b"no")
            return
        await exchange.respond(200, [("Content-Type", "application/json")], json.dumps(answer).encode())

    async with serving(handle, hosts=("127.0.0.1",), port=0, ssl_context=context, drain_s=0.1) as port:
        peer.port = port
        yield peer
