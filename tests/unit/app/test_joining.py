"""What a machine does before it is a node: over real TLS, against a server that writes down everything it is told."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from edgekube.api.certificates import ends_at, read_request
from edgekube.api.jointoken import JoinToken, authority_hash
from edgekube.app.identity import AgentConfig, Identity, certificate_request, identity_of, new_key
from edgekube.app.joining import check_machine, check_server, fetch_authority, join
from edgekube.app.pki import Pki, ensure_server, open_pki, serving_names
from edgekube.app.renewal import REFUSALS, Renewal
from edgekube.clock import SystemClock, TrustedClock
from edgekube.errors import EnvironmentError_, Unauthorized, UsageError
from edgekube.net.exchange import Exchange
from edgekube.net.listener import serving
from edgekube.net.tls import ClientTls, ServerTls
from edgekube.server.context import User
from edgekube.server.joining import Pages

SECRET = "0123456789abcdef"
SETTINGS = {
    "cluster-cidr": "10.42.0.0/16", "service-cidr": "10.43.0.0/16", "cluster-dns": "10.43.0.10",
    "cluster-domain": "cluster.local", "network-backend": "vxlan",
}  # fmt: skip


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    made = open_pki(tmp_path_factory.mktemp("pki"), SystemClock())
    names = serving_names(node_name="gw1", addresses=["127.0.0.1"], service_address="10.43.0.1", domain="cluster.local")
    ensure_server(made, names)
    return made


@dataclass
class Server:
    """Pages over TLS; `told` is every head and body that arrived, `keys` who may come back."""

    pki: Pki
    url: str = ""
    told: list[str] = field(default_factory=list)
    keys: dict[str, tuple[str, ...]] = field(default_factory=dict)
    clock: TrustedClock = field(default_factory=TrustedClock)

    async def authenticate(self, request: Any) -> User:
        if request.header("authorization") == f"Bearer abc123.{SECRET}":
            return User("system:bootstrap:abc123", ("system:bootstrappers",))
        raise Unauthorized

    def token(self) -> JoinToken:
        authority = self.pki.certificate("server-ca").read_text()
        return JoinToken(authority_hash(authority), "abc123", SECRET)

    async def handle(self, exchange: Exchange) -> None:
        request = exchange.request
        self.told.append(f"{request.method} {request.path} {dict(request.headers)}")
        pages = Pages(
            authenticator=self, authority=self.pki.certificate("server-ca").read_bytes,
            keys=lambda node: self.keys.get(node, ()), settings=SETTINGS, now=self.clock.now, certain=self.clock.certain,
            sign=lambda pem, usages: self.pki.sign_request(pem, "client-ca", days=365, usages=usages),
            forget=_nothing, shut_out=_nothing,
        )  # fmt: skip
        if not await pages.handle(exchange):
            body = msgspec.json.encode({"kind": "Status", "message": "not here", "reason": "NotFound", "code": 404})
            await exchange.respond(404, [("Content-Type", "application/json")], body)


async def _nothing(_: str) -> None:
    await trio.lowlevel.checkpoint()


@asynccontextmanager
async def server(pki: Pki) -> AsyncIterator[Server]:
    made = Server(pki)
    tls = ServerTls(pki.certificate("serving-api"), pki.key("serving-api"), (pki.certificate("client-ca"),))
    async with serving(made.handle, hosts=("127.0.0.1",), port=0, ssl_context=tls.context, drain_s=1) as port:
        made.url = f"https://127.0.0.1:{port}"
        yield made


def config_for(made: Server, directory: Path) -> AgentConfig:
    return AgentConfig(server=made.url, node_name="gw2", data_dir=directory)


async def test_a_stranger_is_told_nothing(pki: Pki, tmp_path: Path) -> None:
    async with server(pki) as made:
        token = JoinToken("00" * 32, "abc123", SECRET)
        with pytest.raises(EnvironmentError_, match="nothing was sent to it"):
            await join(config_for(made, tmp_path), token, identity_of(tmp_path), print)
        assert [line.split(" {")[0] for line in made.told] == ["GET /cacerts"]
        assert SECRET not in "".join(made.told)
        assert "authorization" not in made.told[0]
        assert not identity_of(tmp_path).complete


async def test_the_authority_of_the_token_is_believed(pki: Pki) -> None:
    async with server(pki) as made:
        assert await fetch_authority(made.url, made.token()) == pki.certificate("server-ca").read_bytes()
    with pytest.raises(EnvironmentError_, match=r"cannot reach https://127\.0\.0\.1:1"):
        await fetch_authority("https://127.0.0.1:1", JoinToken("00" * 32, "abc123", SECRET))


async def test_the_secret_goes_to_the_right_server_and_a_bad_one_is_told_in_a_line(pki: Pki, tmp_path: Path) -> None:
    async with server(pki) as made:
        good = made.token()
        wrong = JoinToken(good.authority, "abc123", "f" * 16)
        with pytest.raises(EnvironmentError_, match="does not accept the token"):
            await join(config_for(made, tmp_path), wrong, identity_of(tmp_path), print)
        with pytest.raises(EnvironmentError_, match="not here"):  # no API behind these pages
            await join(config_for(made, tmp_path), good, identity_of(tmp_path), print)
        assert f"Bearer abc123.{SECRET}" in "".join(made.told)
        key = identity_of(tmp_path).key()
        assert (key.stat().st_mode & 0o777, key.read_bytes().count(b"PRIVATE KEY")) == (0o600, 2)


async def test_versions_too_far_apart_are_told_before_anything_is_asked(
    pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edgekube.app.joining.AGENT_PAGE", "/edgekube/v1/agent?version=v1.34.1")
    async with server(pki) as made:
        with pytest.raises(EnvironmentError_, match=r"the agent is v1\.34\.1 and the server v1\.36\.0"):
            await join(config_for(made, tmp_path), made.token(), identity_of(tmp_path), print)


def joined(made: Server, directory: Path) -> tuple[Identity, Renewal, trio.Event]:
    """An identity whose certificate is long over."""
    identity, config, removed = identity_of(directory), config_for(made, directory), trio.Event()
    identity.put(identity.authority, made.pki.certificate("server-ca").read_bytes())
    request = certificate_request(identity.ensure_key(), "gw2")
    old = made.pki.sign_request(request, "client-ca", days=-30, usages=["client auth"])
    identity.put(identity.certificate(), old)
    identity.write_config(config)
    clock = TrustedClock()
    tls = ClientTls(identity.authority.read_bytes(), clock.certain)
    return identity, Renewal(config, identity, clock, tls, removed), removed


async def test_a_machine_whose_certificate_is_over_comes_back_by_its_key(pki: Pki, tmp_path: Path) -> None:
    async with server(pki) as made:
        identity, renewal, removed = joined(made, tmp_path)
        assert renewal.is_due("client")
        made.keys["gw2"] = ("another", read_request(certificate_request(identity.ensure_key(), "gw2")).key)
        before = identity.key().read_bytes()
        assert await renewal.come_back()
        assert not renewal.is_due("client")
        assert ends_at(identity.certificate().read_bytes()) > TrustedClock().now()
        assert identity.key().read_bytes() == before
        assert not removed.is_set()


async def test_a_machine_that_was_removed_does_not_come_back(pki: Pki, tmp_path: Path, caplog: Any) -> None:
    async with server(pki) as made:
        identity, renewal, removed = joined(made, tmp_path)
        made.keys["gw2"] = (read_request(certificate_request(new_key(), "gw2")).key,)
        before = identity.certificate().read_bytes()
        for asked in range(REFUSALS):
            assert removed.is_set() == (asked == REFUSALS)
            assert not await renewal.come_back()
        assert removed.is_set()
        assert identity.certificate().read_bytes() == before
        assert "join again with a fresh token" in caplog.text


async def test_a_server_that_is_away_removes_nobody(pki: Pki, tmp_path: Path) -> None:
    async with server(pki) as made:
        _, renewal, removed = joined(made, tmp_path)
    for _ in range(REFUSALS + 1):
        assert not await renewal.come_back()
    assert not removed.is_set()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("https://gw1:6443", "https://gw1:6443"), ("gw1", "https://gw1:6443"), ("gw1:7000", "https://gw1:7000"),
     ("https://[fd00::1]/", "https://[fd00::1]:6443")],
)  # fmt: skip
def test_addresses_people_type(typed: str, meant: str) -> None:
    assert check_server(typed) == meant


@pytest.mark.parametrize("typed", ["http://gw1:6443", "https://", "https://gw1/path", "https://gw1:seven"])
def test_addresses_that_make_no_sense(typed: str) -> None:
    with pytest.raises(UsageError):
        check_server(typed)


def test_a_machine_that_cannot_be_a_node_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = AgentConfig(server="https://gw1:6443", node_name="gw2", data_dir=tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    with pytest.raises(EnvironmentError_, match="needs root"):
        check_machine(config, identity_of(tmp_path))
    monkeypatch.setattr("os.geteuid", lambda: 0)
    (tmp_path / "store.db").touch()
    with pytest.raises(EnvironmentError_, match="holds a server's data"):
        check_machine(config, identity_of(tmp_path))
    (tmp_path / "store.db").unlink()
    monkeypatch.setattr("shutil.which", lambda program, path="": None if program in ("runc", "nft") else program)
    with pytest.raises(EnvironmentError_, match="missing on this machine: nft, runc"):
        check_machine(config, identity_of(tmp_path))


def test_an_identity_reads_as_it_was_written_and_is_held_once(tmp_path: Path) -> None:
    identity = identity_of(tmp_path)
    with pytest.raises(EnvironmentError_, match="edgekube join"):
        identity.read_config()
    config = AgentConfig(
        server="https://gw1:6443", node_name="gw2", data_dir=tmp_path, node_label=("a=b",), cluster=SETTINGS,
        resolv_conf=Path("/run/resolv.conf"),
    )  # fmt: skip
    for path in (identity.authority, identity.certificate(), identity.key()):
        identity.put(path, b"x")
    identity.write_config(config)
    assert identity.read_config() == config
    assert (str(config.cluster_cidr), config.dns_ip, config.network_backend) == ("10.42.0.0/16", "10.43.0.10", "vxlan")
    with identity.locked():
        assert identity.holder() > 0
        with pytest.raises(EnvironmentError_, match="an agent is running"), identity.locked():
            pass
    with identity.locked():
        pass
    with pytest.raises(EnvironmentError_, match="joined https://gw1:6443 as gw2 already"):
        check_machine_as_root(config, identity)


def check_machine_as_root(config: AgentConfig, identity: Identity) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("os.geteuid", lambda: 0)
        check_machine(config, identity)
