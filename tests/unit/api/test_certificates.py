"""Reading when a certificate is over, without the library that could tell it all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from edgekube.api.certificates import end_of, ends_at, keys_of, life_s
from edgekube.app.identity import certificate_request, new_key
from edgekube.app.pki import open_pki
from edgekube.clock import SeededClock


@pytest.mark.parametrize("start", [datetime(2026, 1, 1, tzinfo=UTC), datetime(2049, 12, 1, tzinfo=UTC)])
def test_the_end_is_read_as_cryptography_reads_it(tmp_path: Path, start: datetime) -> None:
    from cryptography import x509

    pki = open_pki(tmp_path, SeededClock(start=start))
    made = pki.sign_request(certificate_request(new_key(), "gw2"), "client-ca", days=60, usages=["client auth"])
    assert ends_at(made) == end_of(x509.load_pem_x509_certificate(made)) == start + timedelta(days=60)
    authority = pki.certificate("client-ca").read_bytes()
    assert ends_at(authority) == end_of(x509.load_pem_x509_certificate(authority))


@pytest.mark.parametrize("text", [b"", b"-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n", b"rubbish"])
def test_rubbish_is_a_value_error(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"certificate|base64"):
        ends_at(text)


def test_lives_and_keys() -> None:
    assert (life_s(None), life_s(1), life_s(3600)) == (365 * 86400, 600, 3600)
    assert (keys_of({"a": "x,y"}, "a"), keys_of({}, "a")) == (("x", "y"), ())
