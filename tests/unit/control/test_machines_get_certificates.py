"""Certificate requests: approved for whom they should be, signed as asked, refused in words, and cleaned away."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from edgekube.api.certificates import NODE_CLIENT, NODE_SERVING, Asked, ends_at, keys_of, problem, read_request
from edgekube.api.meta import parse_time
from edgekube.app.identity import certificate_request, new_key
from edgekube.app.membership import signing
from edgekube.app.pki import open_pki
from edgekube.client.local import LocalClient
from edgekube.clock import SeededClock
from edgekube.control.config import Config
from edgekube.control.controllers.bootstrapsigner import signature
from edgekube.control.controllers.csrcleaner import due
from edgekube.control.manager import Health, run_controllers
from edgekube.errors import NotFound
from edgekube.kinds.certificates import certificatesigningrequest as requests
from edgekube.kinds.core import configmap, node, secret
from edgekube.server.admission import catalog
from edgekube.server.apiserver import ApiServer, Settings
from edgekube.server.auth.assembly import open_auth
from edgekube.server.auth.bootstrap import put_in_place
from edgekube.server.context import LOOPBACK, User
from edgekube.store.memory import MemoryStore

NODES = ("system:nodes", "system:authenticated")
BOOTSTRAPPERS = ("system:bootstrappers", "system:authenticated")
BROWSER = ["digital signature", "client auth"]


class Cluster:
    """An API with real authorisation and the certificate loops; speaks as anybody."""

    def __init__(self, server: ApiServer, clock: SeededClock) -> None:
        self.server, self.clock = server, clock
        self.connected: set[str] = set()
        self.admin = self.client(LOOPBACK)

    def client(self, user: User) -> LocalClient:
        return LocalClient(self.server.verbs, user, manager="test")

    async def token(self, id_: str = "abcdef", **annotations: str) -> None:
        data = {
            "token-id": id_.encode(), "token-secret": b"0123456789abcdef", "usage-bootstrap-authentication": b"true",
            "usage-bootstrap-signing": b"true",
        }  # fmt: skip
        item = secret.Secret(data=data, type="bootstrap.kubernetes.io/token")
        item.metadata.name, item.metadata.annotations = f"bootstrap-token-{id_}", annotations
        await self.admin.create(secret.KIND, item, "kube-system")

    async def ask(
        self,
        user: User,
        pem: bytes,
        signer: str = NODE_CLIENT,
        usages: Sequence[str] = BROWSER,
        seconds: int | None = None,
    ) -> str:
        spec = requests.CertificateSigningRequestSpec(
            request=pem, signer_name=signer, usages=list(usages), expiration_seconds=seconds
        )
        item = requests.CertificateSigningRequest(spec=spec)
        item.metadata.generate_name = "ask-"
        return (await self.client(user).create(requests.KIND, item)).metadata.name

    async def outcome(self, name: str) -> tuple[str, str, bytes]:
        """(condition, its message, certificate) once there is one or the request is refused."""
        with trio.fail_after(60):
            while True:
                found = await self.admin.get(requests.KIND, name)
                words = {one.type: one.message for one in found.status.conditions}
                for verdict in ("Denied", "Failed"):
                    if verdict in words:
                        return verdict, words[verdict], b""
                if found.status.certificate:
                    return "Approved", words["Approved"], found.status.certificate
                await trio.sleep(0.1)

    async def stays_undecided(self, name: str) -> bool:
        await trio.sleep(120)
        found = await self.admin.get(requests.KIND, name)
        return not found.status.conditions and not found.status.certificate

    async def keys(self, name: str) -> tuple[str, ...]:
        held = await self.admin.get(configmap.KIND, "edgekube-node-keys", "kube-system")
        return keys_of(held.data, name)


def bootstrapper(id_: str = "abcdef") -> User:
    return User(f"system:bootstrap:{id_}", BOOTSTRAPPERS)


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("pki")
    open_pki(directory, SeededClock())
    return directory


@asynccontextmanager
async def running(authorities: Path) -> AsyncIterator[Cluster]:
    assert isinstance(trio.lowlevel.current_clock(), MockClock), "a test must name autojump_clock itself"
    clock, store = SeededClock(3), MemoryStore()
    pki = open_pki(authorities, clock)
    async with open_auth(
        store, clock, client_ca=pki.certificate("client-ca").read_bytes(), signing_key=pki.service_account_key
    ) as auth:
        steps = (*catalog.built_in(clock, Settings()), *auth.steps)
        server = ApiServer(
            store, authenticator=auth.authentication, authorizer=auth.authorization, clock=clock,
            special=auth.special, admission=steps,
        )  # fmt: skip
        await server.bootstrap()
        cluster = Cluster(server, clock)
        await put_in_place(cluster.admin)
        config = Config(
            scheduler=False, own_node="gateway", api_addresses=("192.0.2.1",), sign=signing(pki),
            connected=lambda name: name in cluster.connected,
        )  # fmt: skip
        health = Health()
        async with trio.open_nursery() as nursery:

            async def loops(*, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
                await run_controllers(cluster.admin, clock, config, health=health, task_status=task_status)

            await nursery.start(loops)
            yield cluster
            assert health.summary() is None
            nursery.cancel_scope.cancel()


@pytest.fixture
async def cluster(autojump_clock: MockClock, authorities: Path) -> AsyncIterator[Cluster]:
    async with running(authorities) as made:
        yield made


async def test_a_machine_with_a_token_becomes_a_node_once(autojump_clock: MockClock, cluster: Cluster) -> None:
    await cluster.token(**{"edgekube.io/single-use": "true"})
    key = new_key()
    pem = certificate_request(key, "gw2")
    verdict, words, certificate = await cluster.outcome(await cluster.ask(bootstrapper(), pem))
    assert (verdict, words) == (
        "Approved",
        "Auto approving kubelet client certificate after SubjectAccessReview.",
    )
    assert ends_at(certificate) > cluster.clock.now() + timedelta(days=364)
    assert await cluster.keys("gw2") == (read_request(pem).key,)
    again = await cluster.outcome(await cluster.ask(bootstrapper(), certificate_request(key, "gw2")))
    assert again[0] == "Approved", "an interrupted machine goes on with the key it has"
    other = await cluster.outcome(await cluster.ask(bootstrapper(), certificate_request(new_key(), "gw3")))
    assert other[:2] == (
        "Denied",
        "the token was used already, by gw2; make a fresh one with: edgekube token create",
    )
    with pytest.raises(AssertionError), trio.fail_after(1):
        assert await cluster.keys("gw3")


async def test_a_reusable_token_lets_many_machines_in(autojump_clock: MockClock, cluster: Cluster) -> None:
    await cluster.token()
    for name in ("gw2", "gw3"):
        asked = await cluster.ask(bootstrapper(), certificate_request(new_key(), name))
        assert (await cluster.outcome(asked))[0] == "Approved"


async def test_names_that_are_taken_are_refused(autojump_clock: MockClock, cluster: Cluster) -> None:
    await cluster.token(**{"edgekube.io/single-use": "true"})
    own = await cluster.ask(bootstrapper(), certificate_request(new_key(), "gateway"))
    assert (await cluster.outcome(own))[:2] == (
        "Denied",
        "gateway is the name of the server's own node; choose another with --node-name",
    )
    cluster.connected.add("gw2")
    twin = await cluster.ask(bootstrapper(), certificate_request(new_key(), "gw2"))
    verdict, words, _ = await cluster.outcome(twin)
    assert verdict == "Denied"
    assert "is connected right now" in words
    cluster.connected.clear()
    free = await cluster.ask(bootstrapper(), certificate_request(new_key(), "gw2"))
    assert (await cluster.outcome(free))[0] == "Approved", "the refusals did not cost the token"


async def test_a_node_renews_its_own_certificate_and_nobody_elses(autojump_clock: MockClock, cluster: Cluster) -> None:
    await cluster.token()
    first = certificate_request(new_key(), "gw2")
    await cluster.outcome(await cluster.ask(bootstrapper(), first))
    second = certificate_request(new_key(), "gw2")
    node_user = User("system:node:gw2", NODES)
    verdict, words, _ = await cluster.outcome(await cluster.ask(node_user, second))
    assert (verdict, words) == (
        "Approved",
        "Auto approving self kubelet client certificate after SubjectAccessReview.",
    )
    assert await cluster.keys("gw2") == (read_request(second).key, read_request(first).key)
    joined_anew = certificate_request(new_key(), "gw2")
    await cluster.outcome(await cluster.ask(bootstrapper(), joined_anew))
    assert await cluster.keys("gw2") == (read_request(joined_anew).key,), "its former self is out"
    assert await cluster.stays_undecided(await cluster.ask(node_user, certificate_request(new_key(), "gw3")))


async def test_serving_certificates_are_for_the_nodes_own_names(autojump_clock: MockClock, cluster: Cluster) -> None:
    def addressed(name: str, address: str) -> node.Node:
        made = node.Node(status=node.NodeStatus(addresses=[node.NodeAddress(type="InternalIP", address=address)]))
        made.metadata.name = name
        return made

    for name, address in (("gw2", "192.0.2.2"), ("gw3", "192.0.2.3"), ("gw4", "192.0.2.1")):
        wanted = addressed(name, address)
        made = await cluster.admin.create(node.KIND, wanted)
        made.status = wanted.status
        await cluster.admin.update(node.KIND, made, subresource="status")
    node_user, usages = User("system:node:gw2", NODES), ["digital signature", "server auth"]

    async def asks(*names: str, user: User = node_user, node_name: str = "gw2") -> str:
        return await cluster.ask(user, certificate_request(new_key(), node_name, names), NODE_SERVING, usages)

    assert (await cluster.outcome(await asks("gw2", "192.0.2.2")))[0] == "Approved"
    refused = [
        await asks("gw2", "192.0.2.3"),
        await asks("kubernetes"),
        await asks("gw2", "10.43.0.1"),
        await asks("192.0.2.1", user=User("system:node:gw4", NODES), node_name="gw4"),
        await asks("gw2", user=User("system:node:gw3", NODES)),
    ]
    await trio.sleep(60)
    for name in refused:
        assert not (await cluster.admin.get(requests.KIND, name)).status.conditions


async def test_a_person_approves_and_the_signer_keeps_to_what_was_asked(
    autojump_clock: MockClock, cluster: Cluster
) -> None:
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    alice = User("alice", ("system:authenticated", "system:masters"))
    name = await cluster.ask(
        alice, certificate_request(new_key(), "x"), "kubernetes.io/kube-apiserver-client", BROWSER, 3600
    )
    assert await cluster.stays_undecided(name)
    await approve(cluster, name)
    _, _, certificate = await cluster.outcome(name)
    left = ends_at(certificate) - cluster.clock.now()
    assert timedelta(minutes=55) < left <= timedelta(hours=1)
    read = x509.load_pem_x509_certificate(certificate)
    purposes = read.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(purposes) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    serving = await cluster.ask(
        alice, certificate_request(new_key(), "x"), "kubernetes.io/kube-apiserver-client", ["server auth"]
    )
    await approve(cluster, serving)
    assert (await cluster.outcome(serving))[:2] == ("Failed", "invalid usage for client certificate: server auth")


async def approve(cluster: Cluster, name: str) -> None:
    found = await cluster.admin.get(requests.KIND, name)
    condition = requests.CertificateSigningRequestCondition(type="Approved", status="True", message="by hand")
    found.status.conditions = [condition]
    await cluster.admin.update(requests.KIND, found, subresource="approval")


async def test_requests_and_tokens_go_when_their_time_is_over(autojump_clock: MockClock, cluster: Cluster) -> None:
    await cluster.token()
    answered = await cluster.ask(bootstrapper(), certificate_request(new_key(), "gw2"))
    await cluster.outcome(answered)
    pending = await cluster.ask(bootstrapper(), certificate_request(new_key(), "gw2"), usages=["client auth"])
    token = await cluster.admin.get(secret.KIND, "bootstrap-token-abcdef", "kube-system")
    ends = (cluster.clock.now() + timedelta(minutes=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
    token.data = token.data | {"expiration": ends.encode()}
    await cluster.admin.update(secret.KIND, token)
    await trio.sleep(25 * 60)
    await cluster.admin.get(secret.KIND, "bootstrap-token-abcdef", "kube-system")
    await trio.sleep(10 * 60)
    with pytest.raises(NotFound):
        await cluster.admin.get(secret.KIND, "bootstrap-token-abcdef", "kube-system")
    await cluster.admin.get(requests.KIND, answered)
    await trio.sleep(3600)
    with pytest.raises(NotFound):
        await cluster.admin.get(requests.KIND, answered)
    still = await cluster.admin.get(requests.KIND, pending)
    assert (due(still), due(still) > cluster.clock.now()) == (
        parse_time(still.metadata.creation_timestamp) + timedelta(days=1),
        True,
    )


async def test_cluster_info_is_signed_with_every_token_there_is(autojump_clock: MockClock, cluster: Cluster) -> None:
    info = configmap.ConfigMap(data={"kubeconfig": "apiVersion: v1\n"})
    info.metadata.name = "cluster-info"
    await cluster.admin.create(configmap.KIND, info, "kube-public")
    await cluster.token()

    async def shown() -> dict[str, str]:
        return (await cluster.admin.get(configmap.KIND, "cluster-info", "kube-public")).data

    async def until(true: Callable[[dict[str, str]], bool]) -> None:
        with trio.fail_after(60):
            while True:
                if true(await shown()):
                    return
                await trio.sleep(0.1)

    await until(lambda data: "jws-kubeconfig-abcdef" in data)
    made = (await shown())["jws-kubeconfig-abcdef"]
    assert made == signature("apiVersion: v1\n", "abcdef", "0123456789abcdef")
    header, payload, proof = made.split(".")
    assert json.loads(base64.urlsafe_b64decode(header + "==")) == {"alg": "HS256", "kid": "abcdef"}
    assert (payload, len(proof)) == ("", 43)
    await cluster.admin.delete(secret.KIND, "bootstrap-token-abcdef", "kube-system")
    await until(lambda data: "jws-kubeconfig-abcdef" not in data)
    assert await shown() == {"kubeconfig": "apiVersion: v1\n"}


GOOD = Asked(common_name="system:node:gw2", organizations=("system:nodes",), key="k")


@pytest.mark.parametrize(
    ("asked", "usages", "words"),
    [
        (GOOD, BROWSER, None),
        (GOOD, [*BROWSER, "key encipherment"], None),
        (GOOD, ["client auth"], "usages did not match [client auth digital signature key encipherment]"),
        (replace(GOOD, organizations=("system:masters",)), BROWSER, "subject organization is not system:nodes"),
        (replace(GOOD, common_name="gw2"), BROWSER, "subject common name does not begin with system:node:"),
        (replace(GOOD, dns=("gw2",)), BROWSER, "DNS subjectAltNames are not allowed"),
        (replace(GOOD, addresses=("192.0.2.2",)), BROWSER, "IP subjectAltNames are not allowed"),
        (replace(GOOD, others=("Email",)), BROWSER, "Email subjectAltNames are not allowed"),
        (replace(GOOD, others=("URI",)), BROWSER, "URI subjectAltNames are not allowed"),
    ],
)
def test_what_a_nodes_client_certificate_may_not_be(asked: Asked, usages: list[str], words: str | None) -> None:
    assert problem(asked, usages, NODE_CLIENT) == words


def test_a_request_with_an_expired_certificate_is_due_at_its_end() -> None:
    request = requests.CertificateSigningRequest()
    assert due(request) is None
    request.status.conditions = [
        requests.CertificateSigningRequestCondition(
            type="Denied", status="True", last_update_time="2026-01-01T00:00:00Z"
        )  # type: ignore[arg-type]
    ]
    assert due(request) == datetime(2026, 1, 1, 1, tzinfo=UTC)
