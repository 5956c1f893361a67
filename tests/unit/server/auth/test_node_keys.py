"""Client certificates: whose, until when, and for nodes only with the key that is written down."""

from __future__ import annotations

import json
import ssl
from datetime import timedelta
from pathlib import Path

import pytest

from edgekube.api.certificates import KEYS_NAME, KEYS_NAMESPACE, read_request
from edgekube.app.identity import certificate_request, new_key
from edgekube.app.pki import Pki, Subject, open_pki
from edgekube.clock import SeededClock
from edgekube.errors import Unauthorized
from edgekube.net.exchange import Request
from edgekube.server.auth.authentication import Authentication, CertificateUsers
from edgekube.server.auth.nodekeys import NodeKeys
from edgekube.server.context import ANONYMOUS
from edgekube.store.interface import Key, Put
from edgekube.store.memory import MemoryStore


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return open_pki(tmp_path_factory.mktemp("pki"), SeededClock())


def node_certificate(pki: Pki, key: bytes, name: str = "gw2") -> bytes:
    pem = pki.sign_request(certificate_request(key, name), "client-ca", days=30, usages=["client auth"])
    return ssl.PEM_cert_to_DER_cert(pem.decode())


async def write_keys(store: MemoryStore, **keys: str) -> None:
    key = Key("/configmaps", KEYS_NAMESPACE, KEYS_NAME)
    text = json.dumps({"metadata": {"name": KEYS_NAME, "resourceVersion": "@"}, "data": keys})
    await store.write([Put(key, text.replace("@", "").encode(), text.index("@"), None)])


def fingerprint(key: bytes) -> str:
    return read_request(certificate_request(key, "x")).key


def shown(certificate: bytes | None) -> Request:
    return Request("GET", "/", peer_certificate=certificate)


async def test_a_node_comes_in_with_the_key_that_is_written_down(pki: Pki) -> None:
    store, clock = MemoryStore(), SeededClock()
    first, second = new_key(), new_key()
    users = CertificateUsers(pki.certificate("client-ca").read_bytes(), certain=clock.now, keys=NodeKeys(store))
    door = Authentication(certificates=users)
    certificate = node_certificate(pki, first)
    with pytest.raises(Unauthorized):
        await door.authenticate(shown(certificate))
    await write_keys(store, gw2=f"{fingerprint(second)},{fingerprint(first)}")
    user = await door.authenticate(shown(certificate))
    assert (user.name, user.groups) == ("system:node:gw2", ("system:nodes", "system:authenticated"))
    with pytest.raises(Unauthorized):
        await door.authenticate(shown(node_certificate(pki, first, "gw3")))
    await write_keys(store, gw2=fingerprint(second))
    assert door.is_over(certificate)
    with pytest.raises(Unauthorized):
        await door.authenticate(shown(certificate))
    assert (await door.authenticate(shown(node_certificate(pki, second)))).name == "system:node:gw2"
    assert await door.authenticate(shown(None)) == ANONYMOUS


async def test_an_expired_certificate_is_a_401_once_its_end_has_surely_come(pki: Pki) -> None:
    clock = SeededClock()
    pki.ensure("alice", "client-ca", Subject("alice"))
    certificate = ssl.PEM_cert_to_DER_cert(pki.certificate("alice").read_text())
    door = Authentication(certificates=CertificateUsers(pki.certificate("client-ca").read_bytes(), certain=clock.now))
    assert (await door.authenticate(shown(certificate))).name == "alice"
    clock.jump(timedelta(days=400).total_seconds())
    with pytest.raises(Unauthorized):
        await door.authenticate(shown(certificate))


async def test_a_certificate_of_another_authority_names_nobody(pki: Pki, tmp_path: Path) -> None:
    other = open_pki(tmp_path, SeededClock())
    door = Authentication(certificates=CertificateUsers(pki.certificate("client-ca").read_bytes()))
    assert await door.authenticate(shown(node_certificate(other, new_key()))) == ANONYMOUS
    assert not door.is_over(node_certificate(other, new_key()))
