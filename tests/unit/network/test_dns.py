"""Cluster DNS: the zone as a pure function, and real packets over real sockets on loopback."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import trio
from dnslib import QTYPE, RCODE, DNSRecord

from edgekube.kinds.core.service import KIND as SERVICES
from edgekube.kinds.discovery.endpointslice import KIND as SLICES
from edgekube.network.dns.server import DnsServer, upstreams
from edgekube.network.dns.zone import Zone, build


def service(name: str, **spec: Any) -> Any:
    return SERVICES.from_dict({"metadata": {"name": name, "namespace": "shop"}, "spec": spec})


def pods(name: str, *endpoints: dict[str, Any]) -> Any:
    return SLICES.from_dict(
        {
            "metadata": {"name": f"{name}-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"name": "web", "port": 8080, "protocol": "TCP"}],
            "endpoints": list(endpoints),
        }
    )


@pytest.fixture(name="zone")
def _zone() -> Zone:
    services = [
        service("front", clusterIP="10.43.0.5", ports=[{"name": "web", "port": 80, "protocol": "TCP"}]),
        service("db", clusterIP="None", ports=[{"name": "web", "port": 8080}]),
        service("mail", type="ExternalName", externalName="front.shop.svc.cluster.local"),
    ]
    slices = [
        pods(
            "db",
            {"addresses": ["10.42.0.7"], "hostname": "db-0", "conditions": {"ready": True}},
            {"addresses": ["10.42.0.8"], "conditions": {"ready": True}},
            {"addresses": ["10.42.0.9"], "conditions": {"ready": False}},
        )
    ]
    return build("cluster.local", services, slices)


def data(zone: Zone, name: str, kind: str) -> list[Any]:
    answer = zone.answer(name, kind)
    assert answer is not None
    assert answer.exists
    return [record.data for record in answer.records]


def test_a_service_has_its_cluster_address(zone: Zone) -> None:
    assert data(zone, "front.shop.svc.cluster.local.", "A") == ["10.43.0.5"]
    assert data(zone, "FRONT.shop.svc.cluster.local", "A") == ["10.43.0.5"]
    assert data(zone, "front.shop.svc.cluster.local", "AAAA") == []


def test_a_headless_service_has_every_ready_pod_and_names_for_each(zone: Zone) -> None:
    assert data(zone, "db.shop.svc.cluster.local", "A") == ["10.42.0.7", "10.42.0.8"]
    assert data(zone, "db-0.db.shop.svc.cluster.local", "A") == ["10.42.0.7"]
    assert data(zone, "10-42-0-8.db.shop.svc.cluster.local", "A") == ["10.42.0.8"]


def test_named_ports_have_srv_records_with_the_addresses_of_their_targets(zone: Zone) -> None:
    assert data(zone, "_web._tcp.front.shop.svc.cluster.local", "SRV") == [(0, 100, 80, "front.shop.svc.cluster.local")]
    answer = zone.answer("_web._tcp.db.shop.svc.cluster.local", "SRV")
    assert answer is not None
    assert sorted(record.data for record in answer.extra) == ["10.42.0.7", "10.42.0.8"]


def test_addresses_have_names(zone: Zone) -> None:
    assert data(zone, "5.0.43.10.in-addr.arpa", "PTR") == ["front.shop.svc.cluster.local"]
    assert data(zone, "7.0.42.10.in-addr.arpa", "PTR") == ["db-0.db.shop.svc.cluster.local"]
    assert zone.answer("1.1.1.1.in-addr.arpa", "PTR") is None


def test_pod_names_spell_their_address(zone: Zone) -> None:
    assert data(zone, "10-42-0-8.shop.pod.cluster.local", "A") == ["10.42.0.8"]


def test_what_does_not_exist_is_said_so_and_other_zones_are_not_ours(zone: Zone) -> None:
    missing = zone.answer("nope.shop.svc.cluster.local", "A")
    assert missing is not None
    assert not missing.exists
    parent = zone.answer("shop.svc.cluster.local", "A")
    assert parent is not None
    assert parent.exists
    assert zone.answer("example.com", "A") is None


async def ask(port: int, name: str, kind: str) -> DNSRecord:
    with trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM) as outgoing:
        await outgoing.connect(("127.0.0.1", port))
        await outgoing.send(DNSRecord.question(name, kind).pack())
        return DNSRecord.parse(await outgoing.recv(4096))


async def with_server(zone: Zone, body: Callable[[int], Any]) -> None:
    server = DnsServer(lambda: zone, list, port=0)
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(server.serve, "127.0.0.1")
            await body(port)
            nursery.cancel_scope.cancel()


async def test_udp_answers_are_authoritative(zone: Zone) -> None:
    async def body(port: int) -> None:
        reply = await ask(port, "front.shop.svc.cluster.local", "A")
        assert reply.header.aa == 1
        assert str(reply.rr[0].rdata) == "10.43.0.5"
        missing = await ask(port, "nope.shop.svc.cluster.local", "A")
        assert missing.header.rcode == RCODE.NXDOMAIN
        assert missing.auth[0].rtype == QTYPE.SOA

    await with_server(zone, body)


async def test_an_external_name_comes_with_its_addresses(zone: Zone) -> None:
    async def body(port: int) -> None:
        reply = await ask(port, "mail.shop.svc.cluster.local", "A")
        assert [str(rr.rdata) for rr in reply.rr] == ["front.shop.svc.cluster.local.", "10.43.0.5"]

    await with_server(zone, body)


async def test_tcp_carries_several_questions(zone: Zone) -> None:
    async def body(port: int) -> None:
        async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
            packet = DNSRecord.question("db.shop.svc.cluster.local", "A").pack()
            await stream.send_all((len(packet).to_bytes(2, "big") + packet) * 2)
            received = b""
            while len(received) < 4 or received.count(b"\x0a\x2a\x00\x07") < 2:
                received += await stream.receive_some(4096)
            assert received.count(b"\x0a\x2a\x00\x08") == 2

    await with_server(zone, body)


async def test_foreign_names_fail_when_there_is_nobody_to_ask(zone: Zone) -> None:
    async def body(port: int) -> None:
        assert (await ask(port, "example.com", "A")).header.rcode == RCODE.SERVFAIL

    await with_server(zone, body)


async def test_rubbish_is_ignored_and_the_next_question_answered(zone: Zone) -> None:
    server = DnsServer(lambda: zone, list)
    for rubbish in (b"", b"\x00", b"\xff" * 40, DNSRecord.question("a.b").reply().pack()):
        assert await server.reply(rubbish, tcp=False) is None
    assert await server.reply(DNSRecord.question("cluster.local").pack(), tcp=False) is not None


def test_the_hosts_resolvers_are_read_without_ourselves(tmp_path: Any) -> None:
    path = tmp_path / "resolv.conf"
    path.write_text("search x\nnameserver 10.43.0.10\nnameserver 9.9.9.9\n# nameserver 1.1.1.1\n")
    assert upstreams(path, never=("10.43.0.10",)) == ["9.9.9.9"]
