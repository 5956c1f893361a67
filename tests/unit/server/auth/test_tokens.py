"""ServiceAccount tokens: what they say, whom they stand for, and when they stop."""

from __future__ import annotations

import base64
import json
from datetime import timedelta
from typing import Any

import pytest

from edgekube.api.meta import format_time
from edgekube.clock import SeededClock
from edgekube.errors import BadRequest, Conflict, Invalid, NotFound, Unauthorized
from edgekube.net.exchange import Request
from edgekube.server.auth.authentication import Authentication, administrator
from edgekube.server.auth.bootstrap_tokens import BootstrapTokens
from edgekube.server.auth.jwt import BadToken, Signer
from edgekube.server.auth.serviceaccounts import ISSUER, Rejected, ServiceAccountTokens, split_username
from edgekube.server.context import ANONYMOUS, User
from edgekube.store.interface import Key, Put, Remove
from edgekube.store.memory import MemoryStore


@pytest.fixture(scope="session")
def signing_key() -> bytes:
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    key = rsa.generate_private_key(65537, 2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


class StandingClock(SeededClock):
    """Moves by `jump` alone."""

    def monotonic(self) -> float:
        return 0.0


@pytest.fixture
def clock() -> SeededClock:
    return StandingClock()


@pytest.fixture
async def store() -> MemoryStore:
    made = MemoryStore()
    await put(made, "/serviceaccounts", "ns", "robot", "uid-robot")
    await put(made, "/pods", "ns", "p", "uid-p", spec={"nodeName": "n1"})
    await put(made, "/secrets", "ns", "s", "uid-s")
    await put(made, "/nodes", "", "n1", "uid-n1")
    return made


@pytest.fixture
def tokens(store: MemoryStore, clock: SeededClock, signing_key: bytes) -> ServiceAccountTokens:
    return ServiceAccountTokens(store, Signer(signing_key), clock)


async def put(store: MemoryStore, resource: str, namespace: str, name: str, uid: str, **rest: Any) -> None:
    document = {"metadata": {"name": name, "namespace": namespace, "uid": uid, "resourceVersion": "@"}} | rest
    text = json.dumps(document)
    at = text.index("@")
    await store.write([Put(Key(resource, namespace, name), text.replace("@", "").encode(), at, None)])


def granted(tokens: ServiceAccountTokens, **spec: Any) -> str:
    made: str = tokens.grant("ns", "robot", {"spec": spec})["status"]["token"]
    return made


async def test_a_token_stands_for_its_account(tokens: ServiceAccountTokens) -> None:
    verified = tokens.verify(granted(tokens))
    assert verified.user.name == "system:serviceaccount:ns:robot"
    assert verified.user.uid == "uid-robot"
    assert verified.user.groups == ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated")
    assert verified.user.extra["authentication.kubernetes.io/credential-id"][0].startswith("JTI=")
    assert verified.audiences == (ISSUER,)


async def test_a_pod_bound_token_names_pod_and_node(tokens: ServiceAccountTokens) -> None:
    token = granted(tokens, boundObjectRef={"kind": "Pod", "apiVersion": "v1", "name": "p"})
    extra = tokens.verify(token).user.extra
    assert extra["authentication.kubernetes.io/pod-name"] == ("p",)
    assert extra["authentication.kubernetes.io/pod-uid"] == ("uid-p",)
    assert extra["authentication.kubernetes.io/node-name"] == ("n1",)
    assert extra["authentication.kubernetes.io/node-uid"] == ("uid-n1",)


@pytest.mark.parametrize(
    ("kind", "resource", "namespace", "name"),
    [("Pod", "/pods", "ns", "p"), ("Secret", "/secrets", "ns", "s"), ("Node", "/nodes", "", "n1")],
)
async def test_a_token_ends_with_what_it_is_bound_to(
    tokens: ServiceAccountTokens, store: MemoryStore, kind: str, resource: str, namespace: str, name: str
) -> None:
    token = granted(tokens, boundObjectRef={"kind": kind, "apiVersion": "v1", "name": name})
    assert tokens.verify(token)
    await store.write([Remove(Key(resource, namespace, name), b"", 0, None)])
    with pytest.raises(Rejected):
        tokens.verify(token)
    await put(store, resource, namespace, name, "another-uid")
    with pytest.raises(Rejected):
        tokens.verify(token)


async def test_a_token_ends_with_its_account_and_its_time(
    tokens: ServiceAccountTokens, store: MemoryStore, clock: SeededClock
) -> None:
    token = granted(tokens, expirationSeconds=600)
    clock.jump(599)
    assert tokens.verify(token)
    clock.jump(2)
    with pytest.raises(Rejected, match="expired"):
        tokens.verify(token)
    token = granted(tokens)
    await put(store, "/serviceaccounts", "ns", "robot", "reborn")
    with pytest.raises(Rejected):
        tokens.verify(token)


async def test_an_account_that_is_going_vouches_a_minute_longer(
    tokens: ServiceAccountTokens, store: MemoryStore, clock: SeededClock
) -> None:
    token = granted(tokens)
    going = format_time(clock.now())
    text = f'{{"metadata":{{"uid":"uid-robot","deletionTimestamp":"{going}","resourceVersion":""}}}}'
    await store.write([Put(Key("/serviceaccounts", "ns", "robot"), text.encode(), len(text) - 3, None)])
    assert tokens.verify(token)
    clock.jump(61)
    with pytest.raises(Rejected):
        tokens.verify(token)


async def test_audiences_must_meet(tokens: ServiceAccountTokens) -> None:
    token = granted(tokens, audiences=["vault"])
    with pytest.raises(Rejected) as caught:
        tokens.verify(token)
    assert str(caught.value) == f'token audiences ["vault"] is invalid for the target audiences ["{ISSUER}"]'
    assert tokens.verify(token, ["other", "vault"]).audiences == ("vault",)


async def test_what_a_kubelet_asks_for_lasts_a_year_and_says_when_to_warn(
    tokens: ServiceAccountTokens, signing_key: bytes, clock: SeededClock
) -> None:
    answer = tokens.grant(
        "ns",
        "robot",
        {"spec": {"expirationSeconds": 3607, "boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p"}}},
    )
    claims = Signer(signing_key).open(answer["status"]["token"])
    assert claims["exp"] - claims["iat"] == 365 * 24 * 3600
    assert claims["kubernetes.io"]["warnafter"] - claims["iat"] == 3607
    expected = clock.now() + timedelta(seconds=3607)
    assert answer["status"]["expirationTimestamp"] == format_time(expected)


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ({"expirationSeconds": 599}, Invalid, "less than 10 minutes"),
        ({"expirationSeconds": 2**32 + 1}, Invalid, "larger than 2^32 seconds"),
        ({"boundObjectRef": {"kind": "ConfigMap", "apiVersion": "v1", "name": "s"}}, BadRequest, "/v1, Kind=ConfigMap"),
        ({"boundObjectRef": {}}, BadRequest, "cannot bind token to object of type /, Kind="),
        ({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "no"}}, NotFound, 'pods "no" not found'),
        ({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "p", "uid": "x"}}, Conflict, "does not match"),
    ],
)
async def test_requests_that_make_no_sense_are_refused(
    tokens: ServiceAccountTokens, spec: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message.replace("^", r"\^")):
        tokens.grant("ns", "robot", {"spec": spec})
    with pytest.raises(NotFound):
        tokens.grant("ns", "nobody", {"spec": {}})


async def test_changed_and_foreign_tokens_are_bad(tokens: ServiceAccountTokens) -> None:
    head, body, proof = granted(tokens).split(".")
    for token in (f"{head}.{body}x.{proof}", f"{head}.{body}.{proof[:-4]}AAAA", f"e30.{body}.{proof}", "a.b.c", ".."):
        with pytest.raises(BadToken):
            tokens.verify(token)


async def test_who_asks_is_told_from_the_token_or_is_anonymous(tokens: ServiceAccountTokens) -> None:
    authentication = Authentication(service_accounts=tokens, static_tokens={"secret": administrator()})

    def asking(value: str) -> Request:
        return Request("GET", "/", headers=(("authorization", value),) if value else ())

    assert await authentication.authenticate(asking("")) == ANONYMOUS
    assert await authentication.authenticate(asking("Basic YTpi")) == ANONYMOUS
    assert await authentication.authenticate(asking("Bearer ")) == ANONYMOUS
    assert (await authentication.authenticate(asking("Bearer secret"))).groups[0] == "system:masters"
    assert (await authentication.authenticate(asking(f"bearer {granted(tokens)}"))).uid == "uid-robot"
    for bad in ("Bearer notatoken", "Bearer a.b.c"):
        with pytest.raises(Unauthorized):
            await authentication.authenticate(asking(bad))


def test_account_user_names_are_split() -> None:
    assert split_username("system:serviceaccount:ns:robot") == ("ns", "robot")
    for other in ("jane", "system:serviceaccount:ns", "system:serviceaccount:ns:", "system:serviceaccount:a:b:c"):
        assert split_username(other) is None


async def test_a_bootstrap_token_is_believed_while_its_secret_says_so(store: MemoryStore, clock: SeededClock) -> None:
    hook = BootstrapTokens(store, clock)

    async def keep(**data: str) -> None:
        whole = {
            "token-id": "abcdef",
            "token-secret": "0123456789abcdef",
            "usage-bootstrap-authentication": "true",
            "auth-extra-groups": "system:bootstrappers:edge",
        } | {name.replace("_", "-"): value for name, value in data.items()}
        encoded = {name: base64.b64encode(value.encode()).decode() for name, value in whole.items()}
        kind = "bootstrap.kubernetes.io/token"
        await put(store, "/secrets", "kube-system", "bootstrap-token-abcdef", "u", type=kind, data=encoded)

    assert await hook("abcdef.0123456789abcdef") is None
    await keep()
    user = await hook("abcdef.0123456789abcdef")
    assert user == User("system:bootstrap:abcdef", ("system:bootstrappers", "system:bootstrappers:edge"))
    for wrong in ("abcdef.0123456789abcdeF", "abcdef.0123456789abcdee", "abcdeg.0123456789abcdef", "abcdef"):
        assert await hook(wrong) is None
    await keep(expiration=format_time(clock.now() + timedelta(minutes=1)))
    assert await hook("abcdef.0123456789abcdef") is not None
    clock.jump(61)
    assert await hook("abcdef.0123456789abcdef") is None
    for bad in (
        {"usage_bootstrap_authentication": "false"},
        {"auth_extra_groups": "system:masters"},
        {"expiration": "soon"},
    ):
        await keep(**bad)
        assert await hook("abcdef.0123456789abcdef") is None
