"""Options of the audit log and of outside issuers, and what cannot be meant by them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgekube.app.config import combine
from edgekube.errors import UsageError

ISSUER = {"oidc_issuer_url": "https://id.example.org", "oidc_client_id": "edgekube"}


def test_nothing_is_told_and_nobody_believed_by_default() -> None:
    made = combine({}, {})
    assert (made.audit_policy_file, made.audit_log_path, made.oidc_issuer_url) == (None, "", "")
    assert (made.oidc_username_claim, made.oidc_signing_algs) == ("sub", ("RS256",))


def test_algorithms_as_upstream_writes_them_and_claims() -> None:
    flags: dict[str, Any] = {**ISSUER, "oidc_signing_algs": ("RS256,ES256",), "oidc_required_claim": ("team=red",)}
    made = combine(flags, {})
    assert made.oidc_signing_algs == ("RS256", "ES256")
    assert made.oidc_required_claim == ("team=red",)


def test_files_are_absolute(tmp_path: Path) -> None:
    made = combine({"audit_policy_file": str(tmp_path / "p"), "audit_log_path": "-"}, {})
    assert made.audit_policy_file == tmp_path / "p"


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ({"oidc_issuer_url": "https://x"}, "--oidc-issuer-url and --oidc-client-id belong together"),
        ({**ISSUER, "oidc_issuer_url": "http://x"}, "no https URL"),
        ({**ISSUER, "oidc_signing_algs": ("HS256",)}, "'HS256' is none of RS256"),
        ({**ISSUER, "oidc_required_claim": ("team",)}, "'team' is not key=value"),
        ({"audit_log_path": "x"}, "--audit-policy-file and --audit-log-path belong together"),
        ({"audit_log_maxage": -1}, "--audit-log-maxage: -1 is less than nothing"),
    ],
)
def test_what_cannot_be_meant(flags: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError) as caught:
        combine(flags, {})
    assert words in str(caught.value)
