"""A node that is not there: commands are little functions, ports lead to echoes; and a server with one pod on it."""

from __future__ import annotations

import datetime
import ipaddress
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import trio
import trio.testing

from edgekube import errors
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core import service as service_kind
from edgekube.kinds.discovery import endpointslice as slice_kind
from edgekube.net.exchange import Exchange
from edgekube.net.nodegate import Channels, LogOptions, RunOptions
from edgekube.server import paths
from edgekube.server.context import ANONYMOUS
from edgekube.server.subresources.streaming import connectors

DISCOVERY: dict[str, dict[str, Any]] = {
    "/api": {"kind": "APIVersions", "versions": ["v1"]},
    "/apis": {"kind": "APIGroupList", "apiVersion": "v1", "groups": []},
    "/api/v1": {
        "kind": "APIResourceList",
        "groupVersion": "v1",
        "resources": [{"name": "pods", "namespaced": True, "kind": "Pod", "verbs": ["get"], "singularName": "pod"}],
    },
}
SUCCESS: dict[str, Any] = {"metadata": {}, "status": "Success"}


def exited(code: int) -> dict[str, Any]:
    return {
        "metadata": {},
        "status": "Failure",
        "reason": "NonZeroExitCode",
        "message": f"command terminated with non-zero exit code: exit status {code}",
        "details": {"causes": [{"reason": "ExitCode", "message": str(code)}]},
    }


class FakeGate:
    """A NodeGate. `dial` gives an HTTP-ish echo on port 80, a raw echo on 7, nothing elsewhere."""

    def __init__(self) -> None:
        self.ran: list[tuple[str, RunOptions]] = []
        self.asked_logs: list[LogOptions] = []
        self.cancelled, self.release = trio.Event(), trio.Event()
        self.sizes: list[tuple[int, int]] = []
        self.nursery: trio.Nursery

    @asynccontextmanager
    async def logs(self, namespace: str, pod: str, container: str, options: LogOptions) -> AsyncIterator[Any]:
        self.asked_logs.append(options)
        if options.previous:
            raise errors.NotFound("no such container")

        async def lines() -> AsyncIterator[bytes]:
            for number in range(3):
                yield f"{container} line {number}\n".encode()
            if options.follow:
                await trio.sleep_forever()

        yield lines()

    async def run(self, namespace: str, pod: str, container: str, options: RunOptions, channels: Channels) -> None:
        self.ran.append((container, options))
        word = options.command[0] if options.command else "cat"
        if word == "missing":
            raise errors.NotFound('container not found ("c")')
        if word == "forever":
            try:
                await trio.sleep_forever()
            finally:
                self.cancelled.set()
        if word == "deaf":
            await self.release.wait()
            await channels.finish(SUCCESS)
            return
        if word == "terminal":
            assert channels.resizes is not None
            async for size in channels.resizes:
                self.sizes.append(size)
                await channels.finish(SUCCESS)
                return
        if word == "both":
            assert channels.stdout is not None
            assert channels.stderr is not None
            await channels.stdout.send_all(b"out" * 100_000)
            await channels.stderr.send_all(b"err")
            await channels.finish(exited(int(options.command[1])))
            return
        if channels.stdin is not None:
            assert channels.stdout is not None
            while data := await channels.stdin.receive_some():
                await channels.stdout.send_all(data)
        await channels.finish(SUCCESS)

    async def dial(self, namespace: str, pod: str, port: int) -> trio.abc.Stream:
        if port not in (7, 80):
            raise ConnectionRefusedError(f"dial tcp 127.0.0.1:{port}: connect: connection refused")
        near, far = trio.testing.memory_stream_pair()
        self.nursery.start_soon(self._echo if port == 7 else self._http, far)
        return near

    async def _echo(self, stream: Any) -> None:
        try:
            while data := await stream.receive_some():
                await stream.send_all(data)
            await stream.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _http(self, stream: Any) -> None:
        data = b""
        while b"\r\n\r\n" not in data or (b"content-length: 4\r\n" in data.lower() and not data.endswith(b"body")):
            got = await stream.receive_some()
            if not got:
                return
            data += got
        if b"upgrade: shout" in data.lower():
            await stream.send_all(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: shout\r\n\r\n")
            while got := await stream.receive_some():
                await stream.send_all(got.upper())
            return
        await stream.send_all(
            b"HTTP/1.1 201 Created\r\nX-From: pod\r\nLocation: /here\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        await stream.send_all(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))

    async def fetch(self, path: str) -> tuple[int, str, bytes]:
        return 200, "text/plain", f"page {path}".encode()


def pod(name: str, *containers: str, node: str = "n1", **status: Any) -> Any:
    return pod_kind.KIND.from_dict(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "default", "uid": "u-1"},
            "spec": {
                "nodeName": node,
                "containers": [
                    {"name": one, "image": "i", "ports": [{"containerPort": 80, "name": "http"}]} for one in containers
                ],
            },
            "status": {"phase": "Running", "podIP": "10.1.2.3", "podIPs": [{"ip": "10.1.2.3"}], **status},
        }
    )


SERVICE = service_kind.KIND.from_dict(
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "s", "namespace": "default"},
        "spec": {"ports": [{"name": "http", "port": 8080, "targetPort": 80}]},
    }
)
SLICE = slice_kind.KIND.from_dict(
    {
        "metadata": {"name": "s-1", "namespace": "default", "labels": {"kubernetes.io/service-name": "s"}},
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 80}],
        "endpoints": [
            {
                "addresses": ["10.1.2.3"],
                "conditions": {"ready": True},
                "targetRef": {"kind": "Pod", "name": "p", "namespace": "default"},
            }
        ],
    }
)
NODE = node_kind.KIND.from_dict({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"}})


class FakeCluster:
    """What the connections look up."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Any] = {
            ("Pod", "p"): pod("p", "c"),
            ("Pod", "two"): pod("two", "a", "b"),
            ("Pod", "homeless"): pod("homeless", "c", node=""),
            ("Service", "s"): SERVICE,
            ("Node", "n1"): NODE,
        }

    def find(self, kind: Any, namespace: str, name: str) -> Any:
        return self.objects.get((kind.name, name))

    def all(self, kind: Any, namespace: str = "") -> Any:
        return [SLICE] if kind.name == "EndpointSlice" else []


class FakeServer:
    """A handler with the streaming subresources and as little discovery as kubectl's typed clients need."""

    def __init__(self) -> None:
        self.gate, self.cluster = FakeGate(), FakeCluster()
        self._connectors = connectors(self.cluster, lambda _node: self.gate)

    async def handle(self, exchange: Exchange) -> None:
        asked = paths.parse(exchange.request)
        connector = self._connectors.get(f"{asked.group}/{asked.plural}/{asked.subresource}")
        if connector is not None:
            await connector(exchange, ANONYMOUS, asked)
        elif exchange.request.path in DISCOVERY:
            body = json.dumps(DISCOVERY[exchange.request.path]).encode()
            await exchange.respond(200, [("Content-Type", "application/json")], body)
        elif asked.plural == "pods":
            found = self.cluster.find(pod_kind.KIND, asked.namespace, asked.name)
            await exchange.respond(200, [("Content-Type", "application/json")], pod_kind.KIND.to_json(found))
        else:
            raise errors.NotFound("the server could not find the requested resource")


def certificates(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext, bytes]:
    """(server context that asks for client certificates, client context with one, that certificate as DER)."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    day = datetime.timedelta(days=1)
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now - day, now + day)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.DNSName("localhost"), x509.IPAddress(ipaddress.IPv4Address("127.0.0.1"))]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = folder / "both.pem"
    pem.write_bytes(
        certificate.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pem))
    server.load_cert_chain(pem)
    server.verify_mode = ssl.CERT_OPTIONAL
    server.set_alpn_protocols(["http/1.1"])
    client = ssl.create_default_context(cafile=str(pem))
    client.load_cert_chain(pem)
    client.set_alpn_protocols(["h2", "http/1.1"])
    return server, client, certificate.public_bytes(serialization.Encoding.DER)
