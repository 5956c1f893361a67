"""The cluster's own certificates under `<data-dir>/pki`: three authorities, what they issued, and when it is due again.

    server-ca          signs what servers show           -> serving-api (SANs: names and addresses of this server)
    client-ca          signs who a client is             -> client-admin (O=system:masters)
    request-header-ca  signs front proxies               -> client-proxy
    service-account    RSA key that signs ServiceAccount tokens (public half beside it)

Every file is 0600 and written whole. Certificates are valid from 1970 on, because a device without a clock battery may not know
better at first, and the authorities outlive the hardware. `cryptography` is imported only when something is really issued: what
was issued is remembered in `issued.json`, so a usual start only reads files.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import trio

from edgekube.clock import BUILT, Clock
from edgekube.errors import EnvironmentError_

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
AUTHORITY_DAYS = 50 * 365
LEAF_DAYS = 365
RENEW_DAYS = 90  # left when a leaf is issued again
KEY_USAGES = frozenset(
    ("digital signature", "signing", "content commitment", "key encipherment", "data encipherment", "key agreement")
)
CHECK_S = 600.0  # how often due dates are looked at: a clock that was set is noticed soon
LOOK_S = 10.0  # how often the files are: somebody may have rotated them by hand

log = logging.getLogger("edgekube.pki")


@dataclass(frozen=True, slots=True)
class Subject:
    """Who a certificate names: `groups` become organizations."""

    name: str
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pki:
    """The files. Made by `open_pki`."""

    directory: Path
    clock: Clock

    def certificate(self, name: str) -> Path:
        """PEM of an authority or of what was issued."""
        return self.directory / f"{name}.crt"

    def key(self, name: str) -> Path:
        """PEM of a private key."""
        return self.directory / f"{name}.key"

    @property
    def service_account_key(self) -> bytes:
        """PEM of the key that signs ServiceAccount tokens."""
        return self.key("service-account").read_bytes()

    def ensure(self, name: str, authority: str, subject: Subject, sans: Sequence[str] = ()) -> bool:
        """Issue a leaf again when it is missing, nearly due, names somebody else or other SANs. Returns whether it did."""
        wanted = {"subject": [subject.name, *subject.groups], "sans": sorted(set(sans)), "authority": authority}
        issued = _issued(self.directory)
        known = issued.get(name, {})
        now = max(self.clock.now(), BUILT)
        due = datetime.fromtimestamp(known.get("not_after", 0), UTC) - timedelta(days=RENEW_DAYS)
        present = self.certificate(name).exists() and self.key(name).exists()
        if present and now < due and {key: known.get(key) for key in wanted} == wanted:
            return False
        not_after = now + timedelta(days=LEAF_DAYS)
        _issue_leaf(self, name, authority, subject, wanted["sans"], not_after)
        issued[name] = {**wanted, "not_after": int(not_after.timestamp())}
        write_whole(self.directory / "issued.json", json.dumps(issued, indent=1).encode())
        log.info("issued the certificate %s, good until %s", name, not_after.date())
        return True

    def sign_request(self, request: bytes, authority: str, *, days: float, usages: Sequence[str]) -> bytes:
        """Sign a PEM certificate request as it stands (the caller checked it). Raises ValueError for one that makes no sense."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        asked = x509.load_pem_x509_csr(request)
        if not asked.is_signature_valid:
            raise ValueError("the request is not signed by its own key")
        now = max(self.clock.now(), BUILT)
        until = now + timedelta(days=days)
        builder = (
            x509.CertificateBuilder()
            .subject_name(asked.subject)
            .public_key(asked.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(EPOCH)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        )
        if set(usages) & KEY_USAGES:
            builder = builder.add_extension(_asked_usage(usages), critical=True)
        if purposes := _purposes(usages):
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        try:
            names = asked.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
            builder = builder.add_extension(names, critical=False)
        except x509.ExtensionNotFound:
            pass
        made: bytes = _sign(self, builder, authority).public_bytes(Encoding.PEM)
        return made


def open_pki(directory: Path, clock: Clock) -> Pki:
    """The authorities and keys of a data directory, made when they are not there. Raises EnvironmentError_."""
    pki = Pki(directory, clock)
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name in ("server-ca", "client-ca", "request-header-ca"):
            if not (pki.certificate(name).exists() and pki.key(name).exists()):
                _make_authority(pki, name)
        if not pki.key("service-account").exists():
            _make_signing_key(pki)
    except OSError as error:
        raise EnvironmentError_(f"cannot keep certificates in {directory}: {error.strerror}") from error
    return pki


def serving_names(
    *, node_name: str, addresses: Sequence[str], service_address: str, domain: str, extra: Sequence[str] = ()
) -> list[str]:
    """Everything a client may call this server by."""
    names = ["localhost", "127.0.0.1", "::1", node_name, *addresses, service_address, *extra]
    names += ["kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{domain}"]
    return sorted({name for name in names if name})


def ensure_server(pki: Pki, names: Sequence[str]) -> bool:
    """The leaves a server needs; True when one was issued again."""
    changed = [
        pki.ensure("client-admin", "client-ca", Subject("system:admin", ("system:masters",))),
        pki.ensure("client-proxy", "request-header-ca", Subject("system:auth-proxy")),
        pki.ensure("serving-api", "server-ca", Subject("edgekube-server"), names),
    ]
    return any(changed)


def rotate(pki: Pki) -> list[str]:
    """Issue every leaf again, with new keys; their names. A running server takes them up by itself. Raises EnvironmentError_."""
    issued = _issued(pki.directory)
    try:
        for known in issued.values():
            known["not_after"] = 0
        write_whole(pki.directory / "issued.json", json.dumps(issued, indent=1).encode())
        for name, known in issued.items():
            who, *groups = known["subject"]
            pki.ensure(name, known["authority"], Subject(who, tuple(groups)), known["sans"])
    except (OSError, KeyError, ValueError) as error:
        raise EnvironmentError_(f"cannot issue certificates in {pki.directory}: {error}") from error
    return sorted(issued)


async def keep_renewed(
    pki: Pki,
    names: Callable[[], Sequence[str]],
    changed: Callable[[], Awaitable[None]],
) -> None:
    """Issue again whatever comes due, or is to carry other names, for as long as the server runs. Never ends.

    Leaves that were issued again by hand (`rotate`) count as changed too.
    """
    seen, due = _written(pki), trio.current_time() + CHECK_S
    while True:
        await trio.sleep(LOOK_S)
        try:
            if trio.current_time() >= due:
                due = trio.current_time() + CHECK_S
                ensure_server(pki, names())
            now = _written(pki)
            if now != seen:
                await changed()
                seen = now
        except (OSError, EnvironmentError_) as error:
            log.error("certificates could not be renewed, trying again later: %s", error)


def _written(pki: Pki) -> int:
    """What tells one set of leaves from the next. Written last, when all of them are in place."""
    return (pki.directory / "issued.json").stat().st_mtime_ns


def _issued(directory: Path) -> dict[str, Any]:
    try:
        issued = json.loads((directory / "issued.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return issued if isinstance(issued, dict) else {}


def _make_authority(pki: Pki, name: str) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    key = ec.generate_private_key(ec.SECP256R1())
    now = max(pki.clock.now(), BUILT)
    # The time of making is in the name, so that authorities of two clusters are told apart by clients that hold both.
    common = f"edgekube-{name}@{int(now.timestamp())}"
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, common)])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(EPOCH)
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    made = builder.sign(key, hashes.SHA256())
    write_whole(pki.key(name), _key_bytes(key))
    write_whole(pki.certificate(name), made.public_bytes(Encoding.PEM))


def _make_signing_key(pki: Pki) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key = rsa.generate_private_key(65537, 2048)  # RS256, as every verifier of upstream's tokens expects
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    write_whole(pki.directory / "service-account.pub", public)
    write_whole(pki.key("service-account"), _key_bytes(key))


def _issue_leaf(
    pki: Pki, name: str, authority: str, subject: Subject, sans: Sequence[str], not_after: datetime
) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    key = ec.generate_private_key(ec.SECP256R1())
    parts = [x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, group) for group in subject.groups]
    named = x509.Name([*parts, x509.NameAttribute(x509.NameOID.COMMON_NAME, subject.name)])
    builder = _builder(named, key.public_key(), not_after, server=bool(sans))
    if sans:
        builder = builder.add_extension(x509.SubjectAlternativeName([_general(name) for name in sans]), critical=False)
    made = _sign(pki, builder, authority)
    write_whole(pki.key(name), _key_bytes(key))
    write_whole(pki.certificate(name), made.public_bytes(Encoding.PEM))


def _builder(subject: Any, public_key: Any, not_after: datetime, *, server: bool) -> Any:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    purpose = ExtendedKeyUsageOID.SERVER_AUTH if server else ExtendedKeyUsageOID.CLIENT_AUTH
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(EPOCH)
        .not_valid_after(not_after)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    )


def _sign(pki: Pki, builder: Any, authority: str) -> Any:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    ca = x509.load_pem_x509_certificate(pki.certificate(authority).read_bytes())
    key: Any = load_pem_private_key(pki.key(authority).read_bytes(), None)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    return builder.issuer_name(ca.subject).add_extension(issuer, critical=False).sign(key, hashes.SHA256())


def _usage(*, signs_certificates: bool) -> Any:
    from cryptography import x509

    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not signs_certificates,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _asked_usage(usages: Sequence[str]) -> Any:
    """The key usages among those a certificate request names. Source: certificates.k8s.io/v1 KeyUsage."""
    from cryptography import x509

    agrees = "key agreement" in usages
    return x509.KeyUsage(
        digital_signature="digital signature" in usages or "signing" in usages,
        content_commitment="content commitment" in usages,
        key_encipherment="key encipherment" in usages,
        data_encipherment="data encipherment" in usages,
        key_agreement=agrees,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=agrees and "encipher only" in usages,
        decipher_only=agrees and "decipher only" in usages,
    )


def _purposes(usages: Sequence[str]) -> list[Any]:
    """The extended key usages among those a certificate request names."""
    from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose
    from cryptography.x509.oid import ObjectIdentifier

    known = {
        "any": Purpose.ANY_EXTENDED_KEY_USAGE,
        "server auth": Purpose.SERVER_AUTH,
        "client auth": Purpose.CLIENT_AUTH,
        "code signing": Purpose.CODE_SIGNING,
        "email protection": Purpose.EMAIL_PROTECTION,
        "s/mime": Purpose.EMAIL_PROTECTION,
        "ipsec end system": ObjectIdentifier("1.3.6.1.5.5.7.3.5"),
        "ipsec tunnel": ObjectIdentifier("1.3.6.1.5.5.7.3.6"),
        "ipsec user": ObjectIdentifier("1.3.6.1.5.5.7.3.7"),
        "timestamping": Purpose.TIME_STAMPING,
        "ocsp signing": Purpose.OCSP_SIGNING,
        "microsoft sgc": ObjectIdentifier("1.3.6.1.4.1.311.10.3.3"),
        "netscape sgc": ObjectIdentifier("2.16.840.1.113730.4.1"),
    }
    return list(dict.fromkeys(known[usage] for usage in usages if usage in known))


def _general(name: str) -> Any:
    from cryptography import x509

    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_bytes(key: Any) -> bytes:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    made: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return made


def write_whole(path: Path, content: bytes) -> None:
    """Put a file (0600) in place so that a power cut leaves the old or the new one. Raises OSError."""
    temporary = path.with_name(path.name + ".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
