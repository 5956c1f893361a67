"""A private registry behind TLS and a password, named by registries.yaml as a mirror: pods pull through it."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import ssl
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.e2e.conftest import FLAGS, node_ready, tear_down
from tests.support import ROOT, eventually, start

USER, PASSWORD = "pi", 'rasp"berry'
OCI = "application/vnd.oci.image.manifest.v1+json"


def self_signed(directory: Path) -> tuple[Path, Path]:
    """Certificate and key for 127.0.0.1, the certificate being its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "registry")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=30))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )  # fmt: skip
    certificate, secret = directory / "registry.crt", directory / "registry.key"
    certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return certificate, secret


class Registry:
    """Serves the blobs of one OCI archive to who knows the password."""

    def __init__(self, archive: bytes, certificate: Path, key: Path) -> None:
        self.asked: list[str] = []
        blobs: dict[str, bytes] = {}
        with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
            for member in opened.getmembers():
                if member.isfile():
                    content = opened.extractfile(member)
                    assert content is not None
                    data = content.read()
                    blobs["sha256:" + hashlib.sha256(data).hexdigest()] = data
                    if member.name == "index.json":
                        index = json.loads(data)
        self.blobs, self.manifest = blobs, index["manifests"][0]["digest"]
        registry = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *arguments: Any) -> None:
                """Quiet."""

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
                if self.headers.get("Authorization") != expected:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="here"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                registry.asked.append(self.path)
                wanted = self.path.split("?")[0].rpartition("/")[2]
                digest = wanted if wanted.startswith("sha256:") else registry.manifest
                data = registry.blobs.get(digest, b"")
                self.send_response(200 if data else 404)
                self.send_header("Content-Type", OCI if digest == registry.manifest else "application/octet-stream")
                self.send_header("Docker-Content-Digest", digest)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                if body:
                    self.wfile.write(data)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[Registry]:
    subprocess.run(
        [sys.executable, "packaging/pack-busybox.py", "docker.io/library/far:1", str(tmp_path / "far.tar")],
        cwd=ROOT, check=True, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    certificate, key = self_signed(tmp_path)
    made = Registry((tmp_path / "far.tar").read_bytes(), certificate, key)
    yield made
    made.close()


def test_a_pod_pulls_through_a_mirror_with_a_password_and_an_own_authority(registry: Registry, tmp_path: Path) -> None:
    told = {
        "mirrors": {"docker.io": {"endpoint": [f"https://{registry.address}"]}},
        "configs": {
            registry.address: {
                "auth": {"username": USER, "password": PASSWORD},
                "tls": {"ca_file": str(tmp_path / "registry.crt")},
            }
        },
    }
    (tmp_path / "registries.yaml").write_text(json.dumps(told))
    directory = tmp_path / "c"
    server = start(
        directory, *FLAGS[4:], "--cluster-cidr", "10.146.0.0/16", "--service-cidr", "10.147.0.0/16",
        "--private-registry", str(tmp_path / "registries.yaml"),
    )  # fmt: skip
    try:
        eventually(lambda: node_ready(server), within_s=90)
        eventually(lambda: server.kubectl_raw("get", "serviceaccount", "default").returncode == 0)
        server.kubectl("run", "far", "--image=far:1", "--restart=Never", "--", "true")
        server.kubectl("wait", "pod/far", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=90s")
        assert [path for path in registry.asked if path.startswith("/v2/library/far/")]
        config = directory / "data" / "node" / "containerd" / "config.toml"
        assert config.stat().st_mode & 0o077 == 0
    finally:
        tear_down(server, "10.147.0.10")
