"""Tokens of an outside OpenID Connect issuer: whose they are, checked against the issuer's published keys.

The issuer is asked when its first token comes, and again when a key is unknown (but not on everybody's whim: at most once in a
while). A token that proves nothing names nobody; why is logged. Source: k8s.io/apiserver plugin/pkg/authenticator/token/oidc.
"""

from __future__ import annotations

import base64
import json
import logging
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import trio

from edgekube.clock import Clock
from edgekube.errors import ConnectionFailed
from edgekube.server.context import User

log = logging.getLogger(__name__)

ALGORITHMS = ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "PS256", "PS384", "PS512")
TOKEN_MAX_LETTERS = 64 * 1024
FETCH_S = 10.0
FETCH_AGAIN_S = 10.0  # after a fetch that did not bring the key
NOT_BEFORE_LEEWAY_S = 300  # clocks of others may be ahead
CREDENTIAL = "authentication.kubernetes.io/credential-id"


class Refused(Exception):
    """A token of the issuer that lets nobody in; the message says why, for the log."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSettings:
    """What the --oidc-* options say."""

    issuer: str
    client_id: str
    username_claim: str = "sub"
    username_prefix: str = ""  # "-": none; "": the issuer's, where the claim is not an address
    groups_claim: str = ""
    groups_prefix: str = ""
    authorities: bytes = b""  # PEM; none: the system's
    required: Mapping[str, str] = field(default_factory=dict)
    algorithms: tuple[str, ...] = ("RS256",)

    @property
    def prefix(self) -> str:
        """What stands before every user's name."""
        if self.username_prefix == "-":
            return ""
        if not self.username_prefix and self.username_claim != "email":
            return f"{self.issuer}#"
        return self.username_prefix


class OidcTokens:
    """A `TokenHook`."""

    def __init__(self, settings: OidcSettings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._keys: dict[str, Any] = {}
        self._fetched_s = float("-inf")
        self._fetching = trio.Lock()
        self._client: Any = None

    async def __call__(self, token: str) -> User | None:
        """The user, None for a token of somebody else or one that does not hold."""
        parts = token.split(".")
        if len(parts) != 3 or len(token) > TOKEN_MAX_LETTERS:
            return None
        try:
            header, claims = _decoded(parts[0]), _decoded(parts[1])
        except ValueError:
            return None
        if claims.get("iss") != self._settings.issuer:
            return None
        try:
            await self._verify(token, header)
            self._check(claims)
            return self._user(claims)
        except Refused as problem:
            log.warning("a token of %s is not accepted: %s", self._settings.issuer, problem)
            return None

    async def aclose(self) -> None:
        """Close the connection to the issuer."""
        if self._client is not None:
            await self._client.aclose()

    # Signatures

    async def _verify(self, token: str, header: dict[str, Any]) -> None:
        algorithm, key_id = header.get("alg"), str(header.get("kid") or "")
        if algorithm not in self._settings.algorithms:
            raise Refused(f"it is signed with {algorithm!r}")
        key = self._keys.get(key_id)
        if key is None:
            await self._fetch(key_id)
            key = self._keys.get(key_id)
        if key is None:
            raise Refused(f"the issuer does not publish the key {key_id!r}")
        signed, _, signature = token.rpartition(".")
        try:
            proof = _bytes(signature)
        except ValueError:
            raise Refused("its signature is not base64") from None
        if not _holds(str(algorithm), key, signed.encode(), proof):
            raise Refused("its signature does not hold")

    async def _fetch(self, key_id: str) -> None:
        async with self._fetching:
            now = self._clock.monotonic()
            if key_id in self._keys or now - self._fetched_s < FETCH_AGAIN_S:
                return
            self._fetched_s = now
            try:
                with trio.fail_after(FETCH_S):
                    document = await self._get(f"{self._settings.issuer.rstrip('/')}/.well-known/openid-configuration")
                    if document.get("issuer") != self._settings.issuer:
                        raise Refused(f"the issuer calls itself {document.get('issuer')!r}")
                    keys = await self._get(str(document.get("jwks_uri") or ""))
            except (ConnectionFailed, trio.TooSlowError) as problem:
                raise Refused(f"the issuer's keys cannot be had: {problem or 'no answer in time'}") from None
            self._keys = _keys_of(keys)

    async def _get(self, url: str) -> dict[str, Any]:
        from edgekube.net.httpsclient import HttpsClient, Peer, dial_tcp

        split = urlsplit(url)
        if split.scheme != "https" or not split.hostname:
            raise Refused(f"{url!r} is no https URL")
        if self._client is None:
            self._client = HttpsClient()
        host, port = split.hostname, split.port or 443

        async def dial() -> trio.abc.Stream:
            return await dial_tcp(host, port)

        peer = Peer(f"{host}:{port}", host, self._settings.authorities)
        target = (split.path or "/") + (f"?{split.query}" if split.query else "")
        headers = [("host", split.netloc), ("accept", "application/json")]
        try:
            reply = await self._client.call(peer, dial, "GET", target, headers=headers)
        except ssl.SSLError as problem:
            raise Refused(f"{url}: {problem}") from None
        if reply.status != 200:
            raise Refused(f"{url} answers {reply.status}")
        try:
            document = json.loads(reply.body)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise Refused(f"{url} is no JSON object")
        return document

    # Claims

    def _check(self, claims: dict[str, Any]) -> None:
        settings, now = self._settings, self._clock.now().timestamp()
        audience = claims.get("aud")
        if settings.client_id not in (audience if isinstance(audience, list) else [audience]):
            raise Refused(f"it is meant for {audience!r}")
        expires, begins = claims.get("exp"), claims.get("nbf", 0)
        if not isinstance(expires, int | float) or expires < now:
            raise Refused("it has expired")
        if not isinstance(begins, int | float) or begins > now + NOT_BEFORE_LEEWAY_S:
            raise Refused("it is not valid yet")
        for name, value in settings.required.items():
            if claims.get(name) != value:
                raise Refused(f"its claim {name!r} is not {value!r}")

    def _user(self, claims: dict[str, Any]) -> User:
        settings = self._settings
        name = claims.get(settings.username_claim)
        if not isinstance(name, str) or not name:
            raise Refused(f"it has no claim {settings.username_claim!r}")
        if settings.username_claim == "email" and claims.get("email_verified", True) is not True:
            raise Refused("its email is not verified")
        groups = claims.get(settings.groups_claim) if settings.groups_claim else None
        groups = [groups] if isinstance(groups, str) else groups or []
        if not isinstance(groups, list) or not all(isinstance(one, str) for one in groups):
            raise Refused(f"its claim {settings.groups_claim!r} is no list of names")
        extra = {CREDENTIAL: (f"JTI={claims['jti']}",)} if isinstance(claims.get("jti"), str) else {}
        return User(settings.prefix + name, tuple(settings.groups_prefix + one for one in groups), "", extra)


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _decoded(part: str) -> dict[str, Any]:
    """A part of a token. Raises ValueError."""
    try:
        document = json.loads(_bytes(part))
    except (UnicodeError, RecursionError) as problem:
        raise ValueError from problem
    if not isinstance(document, dict):
        raise ValueError("not an object")
    return document


def _number(text: Any) -> int:
    return int.from_bytes(_bytes(str(text)), "big")


def _keys_of(document: dict[str, Any]) -> dict[str, Any]:
    """The public keys in a JWKS document by their id; those that make no sense are left out."""
    from cryptography.hazmat.primitives.asymmetric import ec, rsa

    curves: dict[Any, ec.EllipticCurve] = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
    found: dict[str, Any] = {}
    for one in document.get("keys") or ():
        if not isinstance(one, dict) or one.get("use", "sig") != "sig":
            continue
        try:
            if one.get("kty") == "RSA":
                key: Any = rsa.RSAPublicNumbers(_number(one["e"]), _number(one["n"])).public_key()
            elif one.get("kty") == "EC":
                numbers = ec.EllipticCurvePublicNumbers(_number(one["x"]), _number(one["y"]), curves[one.get("crv")])
                key = numbers.public_key()
            else:
                continue
        except (KeyError, ValueError):
            continue
        found[str(one.get("kid") or "")] = key
    return found


def _holds(algorithm: str, key: Any, signed: bytes, proof: bytes) -> bool:
    """Whether a signature is the key's."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

    digests: dict[str, hashes.HashAlgorithm] = {"256": hashes.SHA256(), "384": hashes.SHA384(), "512": hashes.SHA512()}
    digest = digests[algorithm[2:]]
    try:
        if algorithm.startswith("ES"):
            if not isinstance(key, ec.EllipticCurvePublicKey):
                return False
            half = (key.curve.key_size + 7) // 8
            if len(proof) != 2 * half:
                return False
            pair = int.from_bytes(proof[:half], "big"), int.from_bytes(proof[half:], "big")
            key.verify(utils.encode_dss_signature(*pair), signed, ec.ECDSA(digest))
            return True
        if not isinstance(key, rsa.RSAPublicKey):
            return False
        scheme: padding.AsymmetricPadding = padding.PKCS1v15()
        if algorithm.startswith("PS"):
            scheme = padding.PSS(padding.MGF1(digest), digest.digest_size)
        key.verify(proof, signed, scheme, digest)
    except (InvalidSignature, ValueError):
        return False
    return True
