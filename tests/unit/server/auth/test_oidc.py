"""Tokens of an outside issuer, which answers over real TLS in this process."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa, utils

from edgekube.clock import SeededClock
from edgekube.net.exchange import Request
from edgekube.server.auth.oidc import OidcSettings, OidcTokens
from edgekube.server.context import User
from tests.tls_peers import Authority, Peer, https_peer

RSA, EC = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP256R1())


def encoded(value: Any) -> str:
    data = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def token(claims: dict[str, Any], *, kid: str = "r1", alg: str = "RS256") -> str:
    signed = f"{encoded({'alg': alg, 'kid': kid})}.{encoded(claims)}"
    if alg.startswith("ES"):
        r, s = utils.decode_dss_signature(EC.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        proof = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    else:
        scheme = padding.PSS(padding.MGF1(hashes.SHA256()), 32) if alg.startswith("PS") else padding.PKCS1v15()
        proof = RSA.sign(signed.encode(), scheme, hashes.SHA256())
    return f"{signed}.{encoded(proof)}"


class Issuer:
    """What the issuer publishes."""

    def __init__(self, peer: Peer, clock: SeededClock) -> None:
        self.peer, self.clock = peer, clock

    @property
    def url(self) -> str:
        return f"{self.peer.url}/realm"

    def settings(self, **more: Any) -> OidcSettings:
        return OidcSettings(issuer=self.url, client_id="edgekube", authorities=self.peer.authority.pem, **more)

    def claims(self, **more: Any) -> dict[str, Any]:
        now = int(self.clock.now().timestamp())
        return {"iss": self.url, "aud": "edgekube", "sub": "jane", "exp": now + 60, "iat": now, **more}


KEYS: list[dict[str, Any]] = [
    {"kty": "RSA", "kid": "r1", "n": number(RSA.public_key().public_numbers().n), "e": number(65537)},
    {
        "kty": "EC",
        "kid": "e1",
        "crv": "P-256",
        "x": number(EC.public_key().public_numbers().x),
        "y": number(EC.public_key().public_numbers().y),
    },
    {"kty": "oct", "kid": "o1", "k": "c2VjcmV0"},
]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("oidc"))


@asynccontextmanager
async def published(authority: Authority, keys: list[dict[str, Any]]) -> AsyncIterator[Issuer]:
    async def respond(request: Request, _: Any) -> Any:
        url = f"https://{request.header('host')}/realm"
        if request.path == "/realm/.well-known/openid-configuration":
            return {"issuer": url, "jwks_uri": f"{url}/keys"}
        return {"keys": keys} if request.path == "/realm/keys" else 404

    async with https_peer(authority, respond) as peer:
        yield Issuer(peer, SeededClock())


async def user_of(issuer: Issuer, text: str, **settings: Any) -> User | None:
    tokens = OidcTokens(issuer.settings(**settings), issuer.clock)
    try:
        return await tokens(text)
    finally:
        await tokens.aclose()


@pytest.mark.parametrize(("alg", "kid"), [("RS256", "r1"), ("PS256", "r1"), ("ES256", "e1")])
async def test_a_token_of_the_issuer_names_a_user(authority: Authority, alg: str, kid: str) -> None:
    async with published(authority, KEYS) as issuer:
        text = token(issuer.claims(roles=["a", "b"], jti="7"), kid=kid, alg=alg)
        found = await user_of(issuer, text, groups_claim="roles", groups_prefix="oidc:", algorithms=(alg,))
    assert found == User(
        f"{issuer.url}#jane", ("oidc:a", "oidc:b"), "", {"authentication.kubernetes.io/credential-id": ("JTI=7",)}
    )


@pytest.mark.parametrize(
    ("settings", "claims", "name"),
    [
        ({"username_prefix": "-"}, {}, "jane"),
        ({"username_prefix": "x:"}, {}, "x:jane"),
        ({"username_claim": "email"}, {"email": "j@example.org"}, "j@example.org"),
        ({"username_prefix": "-", "required": {"team": "red"}}, {"team": "red"}, "jane"),
        ({"username_prefix": "-"}, {"aud": ["other", "edgekube"]}, "jane"),
    ],
)
async def test_names(authority: Authority, settings: dict[str, Any], claims: dict[str, Any], name: str) -> None:
    async with published(authority, KEYS) as issuer:
        found = await user_of(issuer, token(issuer.claims(**claims)), **settings)
    assert found is not None
    assert found.name == name


@pytest.mark.parametrize(
    ("settings", "claims"),
    [
        ({}, {"iss": "https://elsewhere.example.org"}),
        ({}, {"aud": "other"}),
        ({}, {"exp": 1}),
        ({}, {"exp": None}),
        ({}, {"nbf": 2**40}),
        ({}, {"sub": 7}),
        ({"username_claim": "email"}, {"email": "j@example.org", "email_verified": False}),
        ({"required": {"team": "red"}}, {"team": "blue"}),
        ({"groups_claim": "roles"}, {"roles": [1]}),
        ({"algorithms": ("ES256",)}, {}),
    ],
)
async def test_tokens_that_let_nobody_in(
    authority: Authority, settings: dict[str, Any], claims: dict[str, Any]
) -> None:
    async with published(authority, KEYS) as issuer:
        assert await user_of(issuer, token(issuer.claims(**claims)), **settings) is None


async def test_changed_or_unsigned_tokens(authority: Authority) -> None:
    async with published(authority, KEYS) as issuer:
        head, body, proof = token(issuer.claims()).split(".")
        forged = encoded(issuer.claims(sub="root"))
        none = f"{encoded({'alg': 'none', 'kid': 'r1'})}.{body}."
        for text in (f"{head}.{forged}.{proof}", none, "a.b.c", f"{head}.{body}.!", "x"):
            assert await user_of(issuer, text) is None


async def test_new_keys_are_fetched_when_they_are_first_used(authority: Authority) -> None:
    keys = KEYS[1:]
    async with published(authority, keys) as issuer:
        tokens = OidcTokens(issuer.settings(username_prefix="-"), issuer.clock)
        text = token(issuer.claims(exp=2**40))
        assert await tokens(text) is None
        asked = len(issuer.peer.heard)
        keys.append(KEYS[0])
        assert await tokens(text) is None  # not asked again at once, whoever wants it
        assert len(issuer.peer.heard) == asked
        tokens._fetched_s = float("-inf")
        assert await tokens(text) == User("jane", ())
        asked = len(issuer.peer.heard)
        assert await tokens(text) == User("jane", ())
        assert len(issuer.peer.heard) == asked
        await tokens.aclose()


async def test_an_issuer_that_cannot_be_reached(authority: Authority) -> None:
    async with published(authority, KEYS) as issuer:
        text = token(issuer.claims())
    assert await user_of(issuer, text) is None
