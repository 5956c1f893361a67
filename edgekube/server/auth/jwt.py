"""RS256 JSON web tokens: signing, checking the signature, and the key as verifiers elsewhere want it (JWKS).

What claims mean is not known here. `cryptography` is imported when the first token is made or checked. Source: RFC 7515, 7517.
"""

from __future__ import annotations

import base64
import hashlib
import json
from functools import cached_property
from typing import Any

TOKEN_MAX_BYTES = 16 * 1024  # more than any token we sign; nothing longer is looked at


class BadToken(Exception):
    """Not a token of ours: wrong form, wrong key, changed."""


class Signer:
    """One RSA key, given as PEM."""

    def __init__(self, key: bytes) -> None:
        self._pem = key

    def sign(self, claims: dict[str, Any]) -> str:
        """A compact token."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        header = {"alg": "RS256", "kid": self.key_id}
        signed = f"{_encode(_json(header))}.{_encode(_json(claims))}"
        signature = self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
        return f"{signed}.{_encode(signature)}"

    def open(self, token: str) -> dict[str, Any]:
        """The claims of a token this key signed. Raises BadToken; times and audiences are not looked at."""
        if token.count(".") != 2 or len(token) > TOKEN_MAX_BYTES:
            raise BadToken
        signed, _, signature = token.rpartition(".")
        header, _, body = signed.partition(".")
        try:
            head, claims = json.loads(_decode(header)), json.loads(_decode(body))
            proof = _decode(signature)
        except (ValueError, UnicodeError, RecursionError):
            raise BadToken from None
        if not isinstance(head, dict) or not isinstance(claims, dict) or head.get("alg") != "RS256":
            raise BadToken
        if head.get("kid") not in (None, self.key_id):
            raise BadToken
        self._check(signed.encode(), proof)
        return claims

    def _check(self, signed: bytes, proof: bytes) -> None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import padding

        try:
            self._key.public_key().verify(proof, signed, padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            raise BadToken from None

    @cached_property
    def key_id(self) -> str:
        """SHA-256 of the public key, as upstream names its keys."""
        from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

        der = self._key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return _encode(hashlib.sha256(der).digest())

    def key_set(self) -> dict[str, Any]:
        """The JWKS document of the public key."""
        numbers = self._key.public_key().public_numbers()
        modulus = numbers.n.to_bytes((numbers.n.bit_length() + 7) // 8, "big")
        exponent = numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big")
        return {
            "keys": [
                {
                    "use": "sig",
                    "kty": "RSA",
                    "kid": self.key_id,
                    "alg": "RS256",
                    "n": _encode(modulus),
                    "e": _encode(exponent),
                }
            ]
        }

    @cached_property
    def _key(self) -> Any:
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        return load_pem_private_key(self._pem, None)


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
