"""Certificates are judged by our time, not by OpenSSL's: an expired server is refused, one the clock calls expired is not."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio

from edgekube.app.pki import Pki, Subject, open_pki
from edgekube.clock import SeededClock
from edgekube.net.tls import ClientTls, ServerTls

YEAR = timedelta(days=365)


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """A server certificate that was over years before any test runs: its clock stood at the beginning of 2001."""
    made = open_pki(tmp_path_factory.mktemp("pki"), SeededClock())
    made.ensure("old", "server-ca", Subject("gw1"), ["gw1"])
    made.ensure("client", "client-ca", Subject("system:node:gw2", ("system:nodes",)))
    return made


async def shake(pki: Pki, certain: datetime, *, client: bool = False) -> bytes | None:
    """What the server saw as the client's certificate."""
    server = ServerTls(pki.certificate("old"), pki.key("old"), (pki.certificate("client-ca"),))
    tls = ClientTls(pki.certificate("server-ca").read_bytes(), lambda: certain)
    if client:
        tls.show(pki.certificate("client").read_bytes(), pki.key("client").read_bytes())
    near, far = trio.testing.memory_stream_pair()
    ours = trio.SSLStream(near, tls.context, server_hostname="gw1")
    theirs = trio.SSLStream(far, server.context, server_side=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(theirs.do_handshake)
        try:
            await ours.do_handshake()
        finally:
            nursery.cancel_scope.cancel() if not client else None
        if client:
            nursery.start_soon(ours.send_all, b"x")
            assert await theirs.receive_some(1) == b"x"
    seen: bytes | None = theirs.getpeercert(binary_form=True) if client else None
    return seen


async def test_a_certificate_is_good_until_its_end_has_surely_come(pki: Pki) -> None:
    ends = datetime.fromtimestamp(
        ssl.cert_time_to_seconds(ssl._ssl._test_decode_cert(str(pki.certificate("old")))["notAfter"]),
        UTC,  # type: ignore[attr-defined]
    )
    await shake(pki, ends - timedelta(seconds=1))
    with pytest.raises((trio.BrokenResourceError, ExceptionGroup)) as refused:
        await shake(pki, ends + timedelta(seconds=1))
    assert "expired on" in repr(cause_of(refused.value))


def cause_of(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error.__cause__ or error


async def test_a_client_certificate_of_any_age_is_shown_to_who_judges_it(pki: Pki) -> None:
    seen = await shake(pki, datetime(2026, 1, 2, tzinfo=UTC), client=True)
    assert seen == ssl.PEM_cert_to_DER_cert(pki.certificate("client").read_text())


def test_rubbish_is_refused_in_words(tmp_path: Path) -> None:
    from edgekube.errors import EnvironmentError_

    with pytest.raises(EnvironmentError_, match="cannot use the server's CA"):
        ClientTls(b"no certificate", lambda: datetime.now(UTC))
