"""A real server with its controllers, and webhooks in this process: sidecars into pods that a controller makes, failures and
recovery, and custom resources that a webhook converts, across a restart."""

from __future__ import annotations

import base64
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.support import Server, api_server, eventually
from tests.tls_peers import Authority

GROUP = "stable.example.com"


class Hook(BaseHTTPRequestHandler):
    """Injects a sidecar at /sidecar, refuses what is labelled bad at /check, converts at /convert."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        made = getattr(self, self.path.partition("?")[0].strip("/"))(review["request"])
        answer = {key: review[key] for key in ("kind", "apiVersion")}
        body = json.dumps({**answer, "response": {"uid": review["request"]["uid"], **made}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def sidecar(self, request: Any) -> dict[str, Any]:
        names = [one["name"] for one in request["object"]["spec"]["containers"]]
        if "sidecar" in names:
            return {"allowed": True}
        patch = [{"op": "add", "path": "/spec/containers/-", "value": {"name": "sidecar", "image": "side:1"}}]
        encoded = base64.b64encode(json.dumps(patch).encode()).decode()
        return {"allowed": True, "patchType": "JSONPatch", "patch": encoded, "warnings": ["a sidecar was added"]}

    def check(self, request: Any) -> dict[str, Any]:
        labels = request["object"]["metadata"].get("labels") or {}
        return {"allowed": "bad" not in labels, "status": {"message": "bad is not allowed", "code": 403}}

    def convert(self, request: Any) -> dict[str, Any]:
        objects = []
        for one in request["objects"]:
            spec = one["spec"]
            if request["desiredAPIVersion"].endswith("/v1"):
                spec = dict(zip(("host", "port"), spec["address"].split(":"), strict=True))
            elif "host" in spec:
                spec = {"address": f"{spec['host']}:{spec['port']}"}
            objects.append({**one, "apiVersion": request["desiredAPIVersion"], "spec": spec})
        return {"convertedObjects": objects, "result": {"status": "Success"}}

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


class Hooks(ThreadingHTTPServer):
    """Handshakes happen in the connection's own thread."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Hook)
        self.context = context
        self.connections: set[ssl.SSLSocket] = set()

    def finish_request(self, request: Any, client_address: Any) -> None:
        with self.context.wrap_socket(request, server_side=True) as secured:
            self.connections.add(secured)
            try:
                self.RequestHandlerClass(secured, client_address, self)
            finally:
                self.connections.discard(secured)

    def drop_connections(self) -> None:
        """As a process that dies does."""
        for one in list(self.connections):
            with suppress(OSError):  # it ended just now
                one.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is the client's to notice."""


class Site:
    """The webhook server, which can be stopped and started on the same port."""

    def __init__(self, directory: Path) -> None:
        self.authority = Authority(directory)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*self.authority.issue("hooks", "127.0.0.1"))
        self.port = 0
        self.start()

    def start(self) -> None:
        self.server = Hooks(self.context, self.port)
        self.port = self.server.server_address[1]
        self.thread = threading.Thread(target=self.server.serve_forever, daemon=True)
        self.thread.start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.drop_connections()
        self.server.server_close()
        self.thread.join()

    def client_config(self, path: str) -> dict[str, str]:
        bundle = base64.b64encode(self.authority.pem).decode()
        return {"url": f"https://127.0.0.1:{self.port}/{path}", "caBundle": bundle}

    def hook(self, kind: str, path: str, plural: str, *operations: str) -> dict[str, Any]:
        rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": list(operations), "resources": [plural]}
        return {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": f"{kind}WebhookConfiguration",
            "metadata": {"name": path},
            "webhooks": [
                {
                    "name": f"{path}.example.org",
                    "admissionReviewVersions": ["v1"],
                    "sideEffects": "None",
                    "clientConfig": self.client_config(path),
                    "rules": [rule],
                    "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
                }
            ],
        }


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("site"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with api_server(tmp_path_factory.mktemp("server")) as running:
        yield running


pytestmark = pytest.mark.kubectl


def apply(server: Server, document: Any) -> str:
    done = server.kubectl_raw("apply", "-f", "-", stdin=json.dumps(document))
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def test_pods_that_a_controller_makes_get_their_sidecar(server: Server, site: Site) -> None:
    apply(server, site.hook("Mutating", "sidecar", "pods", "CREATE"))
    server.kubectl("create", "deployment", "web", "--image", "web:1")

    def pods() -> Any:
        return server.json("get", "pods", "-l", "app=web")["items"]

    (pod,) = eventually(pods, within_s=60)
    assert [one["name"] for one in pod["spec"]["containers"]] == ["web", "sidecar"]
    assert pod["spec"]["containers"][1]["terminationMessagePolicy"] == "File"
    done = server.kubectl_raw("run", "one", "--image", "one:1")
    assert (done.returncode, done.stderr.strip()) == (0, "Warning: a sidecar was added")


def test_what_is_refused_is_shown_in_the_webhooks_words(server: Server, site: Site) -> None:
    apply(server, site.hook("Validating", "check", "configmaps", "CREATE", "UPDATE"))
    server.kubectl("create", "configmap", "a", "--from-literal=x=y")
    done = server.kubectl_raw("label", "configmap", "a", "bad=yes")
    assert done.returncode == 1
    assert 'admission webhook "check.example.org" denied the request: bad is not allowed' in done.stderr
    site.stop()
    try:
        done = server.kubectl_raw("create", "configmap", "b")
        assert 'Internal error occurred: failed calling webhook "check.example.org"' in done.stderr
        assert "connect: connection refused" in done.stderr
    finally:
        site.start()
    server.kubectl("create", "configmap", "b")


def test_conversions_hold_across_a_restart(tmp_path: Path, site: Site) -> None:
    def version(name: str, *, storage: bool, members: tuple[str, ...]) -> dict[str, Any]:
        spec = {"type": "object", "properties": {member: {"type": "string"} for member in members}}
        schema = {"type": "object", "properties": {"spec": spec}}
        return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}}

    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"crontabs.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab"},
            "versions": [
                version("v1", storage=False, members=("host", "port")),
                version("v2", storage=True, members=("address",)),
            ],
            "conversion": {
                "strategy": "Webhook",
                "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": site.client_config("convert")},
            },
        },
    }
    one = {
        "apiVersion": f"{GROUP}/v1",
        "kind": "CronTab",
        "metadata": {"name": "a"},
        "spec": {"host": "local", "port": "80"},
    }

    def seen(server: Server, version: str) -> Any:
        return server.json("get", f"crontabs.{version}.{GROUP}", "a")["spec"]

    with api_server(tmp_path) as server:
        apply(server, definition)
        server.kubectl("wait", "--for=condition=Established", f"crd/crontabs.{GROUP}", "--timeout=60s")
        apply(server, one)
        assert seen(server, "v2") == {"address": "local:80"}
        one["spec"] = {"host": "other", "port": "80"}
        assert "configured" in apply(server, one)
    with api_server(tmp_path) as server:
        assert seen(server, "v1") == {"host": "other", "port": "80"}
        assert seen(server, "v2") == {"address": "other:80"}
        server.kubectl("delete", "crd", f"crontabs.{GROUP}")
