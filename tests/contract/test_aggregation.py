"""A real server with a second API server behind it: requests, identity, discovery, OpenAPI, and what is said when it is gone."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.support import Server, api_server, eventually
from tests.tls_peers import Authority

GROUP, VERSION = "weather.example.org", "v1"
PATH = f"/apis/{GROUP}/{VERSION}"
RESOURCES = {
    "kind": "APIResourceList",
    "apiVersion": "v1",
    "groupVersion": f"{GROUP}/{VERSION}",
    "resources": [
        {"name": "clouds", "singularName": "cloud", "namespaced": True, "kind": "Cloud", "verbs": ["get", "list"]},
        {"name": "clouds/status", "singularName": "", "namespaced": True, "kind": "Cloud", "verbs": ["get"]},
    ],
}
OPENAPI_V2 = {
    "swagger": "2.0",
    "paths": {f"{PATH}/clouds": {"get": {}}, "/healthz": {"get": {}}},
    "definitions": {"org.example.weather.v1.Cloud": {"type": "object"}},
}


class Weather(BaseHTTPRequestHandler):
    """The aggregated server: says back who it was told asks."""

    protocol_version = "HTTP/1.1"
    seen: list[dict[str, Any]]

    def do_GET(self) -> None:
        connection = self.connection
        assert isinstance(connection, ssl.SSLSocket)
        certificate = connection.getpeercert()
        subject = dict(pair for part in (certificate or {}).get("subject", ()) for pair in part)
        heard = {
            "path": self.path,
            "certificate": subject.get("commonName", ""),
            "user": self.headers.get("X-Remote-User", ""),
            "groups": self.headers.get_all("X-Remote-Group") or [],
            "extra": {key: value for key, value in self.headers.items() if key.lower().startswith("x-remote-extra-")},
            "authorization": self.headers.get("Authorization", ""),
        }
        path = self.path.partition("?")[0]
        documents = {PATH: RESOURCES, "/openapi/v2": OPENAPI_V2, f"/openapi/v3{PATH}": {"openapi": "3.0.0"}}
        documents["/openapi/v3"] = {"paths": {PATH[1:]: {"serverRelativeURL": f"/openapi/v3{PATH}?hash=AB"}}}
        if self.headers.get("Upgrade") == "echo":
            self._echo()
        elif "watch=true" in self.path:
            self._watch()
        elif path in documents:
            self._answer(200, documents[path])
        elif path.startswith(f"{PATH}/namespaces/"):
            self._answer(200, {"kind": "Cloud", "apiVersion": f"{GROUP}/{VERSION}", "heard": heard})
        else:
            self._answer(404, {"kind": "Status", "status": "Failure", "code": 404})

    def _answer(self, status: int, document: Any) -> None:
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _watch(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for word in ("ADDED", "MODIFIED"):
            line = json.dumps({"type": word, "object": {"kind": "Cloud"}}).encode() + b"\n"
            self.wfile.write(b"%x\r\n%s\r\n" % (len(line), line))
            self.wfile.flush()
        self.wfile.write(b"0\r\n\r\n")

    def _echo(self) -> None:
        self.wfile.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
        while line := self.rfile.readline():
            self.wfile.write(line.upper())
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


class Front(ThreadingHTTPServer):
    """Handshakes happen in the connection's own thread, so that a bad one stops nobody."""

    daemon_threads = True

    def __init__(self, context: ssl.SSLContext) -> None:
        super().__init__(("", 0), Weather)
        self.context = context

    def finish_request(self, request: Any, client_address: Any) -> None:
        with self.context.wrap_socket(request, server_side=True) as secured:
            self.RequestHandlerClass(secured, client_address, self)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is the client's to notice."""


def own_address() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            pytest.skip("this machine has no address but the loopback's")
        return str(probe.getsockname()[0])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with api_server(tmp_path_factory.mktemp("server")) as running:
        yield running


def ask(server: Server, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    import urllib.error
    import urllib.request

    ca, certificate, key = server.credentials()
    context = ssl.create_default_context(cafile=str(ca))
    context.load_cert_chain(certificate, key)
    data = json.dumps(body).encode() if body is not None else None
    named = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(server.url + path, data=data, method=method, headers=named)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(request, timeout=60) as answer:
            raw, status = answer.read(), answer.status
    except urllib.error.HTTPError as error:
        with error:
            raw, status = error.read(), error.code
    try:
        return status, json.loads(raw)
    except ValueError:
        return status, raw.decode()


@pytest.fixture(scope="module")
def weather(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """The second server, its service, its endpoints, and the APIService that leads there."""
    authority = Authority(tmp_path_factory.mktemp("weather"))
    certificate, key = authority.issue("weather", "weather.default.svc")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    _, trusted = ask(server, "GET", "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication")
    context.load_verify_locations(cadata=trusted["data"]["requestheader-client-ca-file"])
    context.verify_mode = ssl.CERT_OPTIONAL
    front = Front(context)
    thread = threading.Thread(target=front.serve_forever, daemon=True)
    thread.start()
    deploy(server, authority, front.server_address[1])
    try:
        yield front
    finally:
        front.shutdown()
        front.server_close()
        thread.join()


def deploy(server: Server, authority: Authority, port: int) -> None:
    import base64

    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "weather"},
        "spec": {"ports": [{"port": 443}]},
    }
    assert ask(server, "POST", "/api/v1/namespaces/default/services", service)[0] == 201
    slices = {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "weather", "labels": {"kubernetes.io/service-name": "weather"}},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [own_address()], "conditions": {"ready": True}}],
        "ports": [{"name": "", "port": port}],
    }
    assert ask(server, "POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slices)[0] == 201
    made = {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": f"{VERSION}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "version": VERSION,
            "groupPriorityMinimum": 100,
            "versionPriority": 10,
            "service": {"namespace": "default", "name": "weather"},
            "caBundle": base64.b64encode(authority.pem).decode(),
        },
    }
    assert ask(server, "POST", "/apis/apiregistration.k8s.io/v1/apiservices", made)[0] == 201


def condition(server: Server) -> dict[str, Any]:
    path = f"/apis/apiregistration.k8s.io/v1/apiservices/{VERSION}.{GROUP}"
    conditions = ask(server, "GET", path)[1].get("status", {}).get("conditions") or [{}]
    return dict(conditions[0])


def test_requests_go_there_in_the_name_of_who_asked(server: Server, weather: Front) -> None:
    eventually(lambda: condition(server).get("status") == "True", within_s=60)
    assert condition(server)["reason"] == "Passed"
    path = f"{PATH}/namespaces/default/clouds/c?pretty=1"
    status, answer = ask(server, "GET", path, X_Remote_User="mallory", Authorization="Bearer none-of-its-business")
    assert status == 200
    heard = answer["heard"]
    assert heard["path"] == path
    assert (heard["certificate"], heard["user"]) == ("system:auth-proxy", "system:admin")
    assert heard["groups"] == ["system:masters", "system:authenticated"]
    assert heard["authorization"] == ""
    (credential,) = heard["extra"].values()
    assert credential.startswith("X509SHA256=")
    _, other = ask(server, "GET", path, Impersonate_User="jane", Impersonate_Group="system:masters")
    assert other["heard"]["user"] == "jane"


def test_watches_are_passed_on(server: Server, weather: Front) -> None:
    eventually(lambda: condition(server).get("status") == "True", within_s=60)
    status, raw = ask(server, "GET", f"{PATH}/clouds?watch=true")
    assert status == 200
    assert [json.loads(line)["type"] for line in raw.splitlines()] == ["ADDED", "MODIFIED"]


def test_upgraded_connections_are_passed_on(server: Server, weather: Front) -> None:
    from urllib.parse import urlsplit

    eventually(lambda: condition(server).get("status") == "True", within_s=60)
    ca, certificate, key = server.credentials()
    context = ssl.create_default_context(cafile=str(ca))
    context.load_cert_chain(certificate, key)
    place = urlsplit(server.url)
    assert place.hostname is not None
    with (
        socket.create_connection((place.hostname, place.port or 443), timeout=60) as plain,
        context.wrap_socket(plain, server_hostname=place.hostname) as stream,
        stream.makefile("rwb") as file,
    ):
        head = (
            f"GET {PATH}/namespaces/default/clouds/c/shell HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo"
        )
        file.write(f"{head}\r\n\r\n".encode())
        file.flush()
        assert file.readline().startswith(b"HTTP/1.1 101 ")
        while file.readline().strip():
            pass
        for word in (b"rain\n", b"snow\n"):
            file.write(word)
            file.flush()
            assert file.readline() == word.upper()


def test_discovery_and_openapi_show_it(server: Server, weather: Front) -> None:
    eventually(lambda: condition(server).get("status") == "True", within_s=60)
    assert GROUP in [one["name"] for one in ask(server, "GET", "/apis")[1]["groups"]]
    assert ask(server, "GET", f"/apis/{GROUP}")[1]["preferredVersion"]["version"] == VERSION
    assert ask(server, "GET", PATH)[1] == RESOURCES
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"

    def whole() -> Any:
        items = ask(server, "GET", "/apis", Accept=accept)[1]["items"]
        found = next(one for one in items if one["metadata"]["name"] == GROUP)["versions"][0]
        return found if found["freshness"] == "Current" else None

    (clouds,) = eventually(whole, within_s=60)["resources"]
    assert (clouds["resource"], clouds["responseKind"]["kind"], clouds["scope"]) == ("clouds", "Cloud", "Namespaced")
    assert [one["subresource"] for one in clouds["subresources"]] == ["status"]
    index = eventually(lambda: ask(server, "GET", "/openapi/v3")[1]["paths"].get(PATH[1:]), within_s=60)
    assert ask(server, "GET", index["serverRelativeURL"]) == (200, {"openapi": "3.0.0"})
    both = ask(server, "GET", "/openapi/v2")[1]
    assert f"{PATH}/clouds" in both["paths"]
    assert "/api/v1/namespaces/{namespace}/pods" in both["paths"]
    assert "org.example.weather.v1.Cloud" in both["definitions"]


def test_what_is_said_when_it_cannot_be_reached(server: Server, weather: Front) -> None:
    eventually(lambda: condition(server).get("status") == "True", within_s=60)
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/weather"
    whole = ask(server, "GET", slices)[1]
    assert ask(server, "DELETE", slices)[0] == 200
    eventually(lambda: condition(server).get("reason") == "EndpointsNotFound", within_s=60)
    assert condition(server)["message"] == 'cannot find endpointslices for service/weather in "default"'
    assert ask(server, "GET", f"{PATH}/clouds") == (503, "service unavailable\n")
    del whole["metadata"]["resourceVersion"]
    whole["ports"][0]["port"] = 9
    status, whole = ask(server, "POST", slices.rpartition("/")[0], whole)
    assert status == 201
    eventually(lambda: condition(server).get("reason") == "FailedDiscoveryCheck", within_s=60)
    assert "connect: connection refused" in condition(server)["message"]
    whole["ports"][0]["port"] = weather.server_address[1]
    assert ask(server, "PUT", slices, whole)[0] == 200
    eventually(lambda: condition(server).get("status") == "True", within_s=60)


def test_a_front_proxy_may_speak_for_others(server: Server) -> None:
    pki = server.directory / "data" / "pki"
    context = ssl.create_default_context(cafile=str(server.credentials()[0]))
    certificates = {path.stem: path for path in pki.iterdir() if path.suffix == ".crt"}
    context.load_cert_chain(certificates["client-proxy"], certificates["client-proxy"].with_suffix(".key"))
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    import http.client
    from urllib.parse import urlsplit

    place = urlsplit(server.url)
    connection = http.client.HTTPSConnection(place.hostname or "", place.port, context=context)
    headers = {"Content-Type": "application/json", "X-Remote-User": "jane", "X-Remote-Extra-Scopes": "a"}
    connection.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", json.dumps(review), headers)
    with connection.getresponse() as answer:
        told = json.loads(answer.read())["status"]["userInfo"]
    connection.close()
    assert told == {"username": "jane", "groups": ["system:authenticated"], "extra": {"scopes": ["a"]}}


def test_an_api_service_for_every_version_of_custom_resources(server: Server) -> None:
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": {"type": "object"}}}
    names = {"plural": "winds", "singular": "wind", "kind": "Wind", "listKind": "WindList"}
    definition = {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "winds.air.example.org"},
        "spec": {"group": "air.example.org", "scope": "Cluster", "names": names, "versions": [version]},
    }
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    service = "/apis/apiregistration.k8s.io/v1/apiservices/v1.air.example.org"
    assert ask(server, "POST", path, definition)[0] == 201
    found = eventually(lambda: (made := ask(server, "GET", service))[0] == 200 and made[1], within_s=60)
    assert found["spec"]["groupPriorityMinimum"] == 1000
    assert found["status"]["conditions"][0]["reason"] == "Local"
    assert ask(server, "DELETE", f"{path}/winds.air.example.org")[0] == 200
    eventually(lambda: ask(server, "GET", service)[0] == 404, within_s=60)
