"""Certificates: issued once, issued again when due or named otherwise, accepted by TLS."""

from __future__ import annotations

import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio

from edgekube.app.pki import (
    CHECK_S,
    LEAF_DAYS,
    RENEW_DAYS,
    Pki,
    Subject,
    ensure_server,
    keep_renewed,
    open_pki,
    rotate,
    serving_names,
)
from edgekube.clock import SeededClock
from edgekube.net.tls import ServerTls

NAMES = serving_names(
    node_name="box", addresses=["192.0.2.7"], service_address="10.43.0.1", domain="cluster.local", extra=["api.example"]
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    ensure_server(open_pki(directory, SeededClock()), NAMES)
    return directory


def again(made: Path, clock: SeededClock | None = None) -> Pki:
    return open_pki(made, clock or SeededClock())


def test_everything_a_client_may_call_the_server_by_is_named() -> None:
    own = ["localhost", "127.0.0.1", "::1", "box", "192.0.2.7", "10.43.0.1", "api.example"]
    service = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    assert sorted([*own, *service]) == NAMES


def test_files_are_private(made: Path) -> None:
    assert {stat.S_IMODE(entry.stat().st_mode) for entry in made.iterdir()} == {0o600}


def test_nothing_is_issued_twice_without_a_reason(made: Path) -> None:
    before = {entry.name: entry.read_bytes() for entry in made.iterdir()}
    assert not ensure_server(again(made), NAMES)
    assert {entry.name: entry.read_bytes() for entry in made.iterdir()} == before


def test_other_names_and_due_dates_are_reasons(tmp_path: Path) -> None:
    clock = SeededClock()
    ensure_server(open_pki(tmp_path, clock), NAMES)
    assert ensure_server(again(tmp_path, clock), [*NAMES, "more.example"])
    clock.jump(timedelta(days=LEAF_DAYS - RENEW_DAYS - 1).total_seconds())
    assert not ensure_server(again(tmp_path, clock), [*NAMES, "more.example"])
    clock.jump(timedelta(days=2).total_seconds())
    assert ensure_server(again(tmp_path, clock), [*NAMES, "more.example"])


def test_a_clock_that_is_far_behind_still_issues_certificates_that_are_good_today(tmp_path: Path) -> None:
    from cryptography import x509

    pki = open_pki(tmp_path, SeededClock(start=datetime(1970, 1, 1, tzinfo=UTC)))
    ensure_server(pki, NAMES)
    certificate = x509.load_pem_x509_certificate(pki.certificate("serving-api").read_bytes())
    assert certificate.not_valid_before_utc == datetime(1970, 1, 1, tzinfo=UTC)
    assert certificate.not_valid_after_utc >= datetime(2026, 12, 1, tzinfo=UTC)


async def greet(tls: ServerTls, client: ssl.SSLContext, name: str) -> bytes | None:
    near, far = trio.testing.memory_stream_pair()
    seen: list[bytes | None] = []

    async def serve() -> None:
        stream = trio.SSLStream(far, tls.context, server_side=True)
        await stream.do_handshake()
        seen.append(stream.getpeercert(binary_form=True))  # type: ignore[attr-defined]

    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve)
        await trio.SSLStream(near, client, server_hostname=name).do_handshake()
    return seen[0]


@pytest.mark.parametrize("name", ["box", "10.43.0.1", "kubernetes.default.svc", "localhost"])
async def test_tls_accepts_the_names_and_sees_the_client(made: Path, name: str) -> None:
    pki = again(made)
    tls = ServerTls(
        pki.certificate("serving-api"),
        pki.key("serving-api"),
        (pki.certificate("client-ca"), pki.certificate("request-header-ca")),
    )
    client = ssl.create_default_context(cafile=str(pki.certificate("server-ca")))
    assert await greet(tls, client, name) is None
    client.load_cert_chain(pki.certificate("client-admin"), pki.key("client-admin"))
    shown = await greet(tls, client, name)
    assert shown == ssl.PEM_cert_to_DER_cert(pki.certificate("client-admin").read_text())


async def test_a_renewed_certificate_is_shown_to_new_connections(tmp_path: Path) -> None:
    pki = open_pki(tmp_path, SeededClock())
    pki.ensure("serving-api", "server-ca", Subject("s"), ["old.example"])
    tls = ServerTls(pki.certificate("serving-api"), pki.key("serving-api"))
    client = ssl.create_default_context(cafile=str(pki.certificate("server-ca")))
    await greet(tls, client, "old.example")
    pki.ensure("serving-api", "server-ca", Subject("s"), ["new.example"])
    tls.reload()
    await greet(tls, client, "new.example")


def test_a_request_is_signed_with_its_subject(made: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import Encoding

    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "system:node:n1")])
    request = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    pem = again(made).sign_request(request.public_bytes(Encoding.PEM), "client-ca", days=30, usages=["client auth"])
    certificate = x509.load_pem_x509_certificate(pem)
    assert certificate.subject == subject
    certificate.verify_directly_issued_by(
        x509.load_pem_x509_certificate(again(made).certificate("client-ca").read_bytes())
    )


async def test_what_comes_due_while_the_server_runs_is_issued_again(tmp_path: Path, autojump_clock: object) -> None:
    clock = SeededClock()
    pki, renewed, names = open_pki(tmp_path, clock), [], list(NAMES)
    ensure_server(pki, names)

    async def changed() -> None:
        renewed.append(clock.now())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_renewed, pki, lambda: names, changed)
        await trio.sleep(10 * CHECK_S)
        assert not renewed
        clock.jump(timedelta(days=LEAF_DAYS - 1).total_seconds())
        await trio.sleep(2 * CHECK_S)
        assert len(renewed) == 1
        names.append("another.example")
        await trio.sleep(2 * CHECK_S)
        assert len(renewed) == 2
        nursery.cancel_scope.cancel()


async def test_rotating_by_hand_makes_new_keys_under_the_same_authorities_and_is_taken_up(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    pki = open_pki(tmp_path, SeededClock())
    ensure_server(pki, NAMES)
    authority, before = pki.certificate("server-ca").read_bytes(), pki.certificate("serving-api").read_bytes()
    taken = trio.Event()

    async def changed() -> None:
        taken.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_renewed, pki, lambda: NAMES, changed)
        await trio.sleep(60)
        assert not taken.is_set()
        assert rotate(pki) == ["client-admin", "client-proxy", "serving-api"]
        await taken.wait()
        nursery.cancel_scope.cancel()
    assert pki.certificate("server-ca").read_bytes() == authority
    assert pki.certificate("serving-api").read_bytes() != before
    assert not ensure_server(pki, NAMES)
