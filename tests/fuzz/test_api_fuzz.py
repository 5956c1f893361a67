"""Whatever is sent, the server answers, with a Status that is somebody else's fault: never a 5xx, never silence.

Bodies are real manifests with members changed, removed or replaced by anything JSON can say; requests are random paths, queries
and headers. The seed is hypothesis's, printed when a case fails.
"""

from __future__ import annotations

import copy
import http.client
import json
import ssl
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import Server, api_server

pytestmark = pytest.mark.slow
EXAMPLES = 250
ANSWER_S = 20
SETTINGS = settings(
    max_examples=EXAMPLES, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), print_blob=True
)

POD_SPEC: dict[str, Any] = {
    "containers": [
        {
            "name": "c", "image": "i", "ports": [{"containerPort": 80, "name": "http"}],
            "env": [{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            "resources": {"requests": {"cpu": "100m"}, "limits": {"memory": "1Gi"}},
            "livenessProbe": {"httpGet": {"path": "/", "port": "http"}},
            "volumeMounts": [{"name": "v", "mountPath": "/v"}],
        }
    ],
    "volumes": [{"name": "v", "configMap": {"name": "x", "items": [{"key": "a", "path": "b"}]}}],
    "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "k", "labelSelector": {"matchLabels": {"a": "b"}}}]}},
    "tolerations": [{"key": "k", "operator": "Exists"}],
}  # fmt: skip
MANIFESTS: dict[str, dict[str, Any]] = {
    "/api/v1/namespaces/default/pods": {"metadata": {"generateName": "p-", "labels": {"a": "b"}}, "spec": POD_SPEC},
    "/apis/apps/v1/namespaces/default/deployments": {
        "metadata": {"generateName": "d-"},
        "spec": {
            "replicas": 0, "selector": {"matchLabels": {"a": "b"}},
            "strategy": {"rollingUpdate": {"maxSurge": "25%"}},
            "template": {"metadata": {"labels": {"a": "b"}}, "spec": POD_SPEC},
        },
    },
    "/api/v1/namespaces/default/services": {
        "metadata": {"generateName": "s-"},
        "spec": {"type": "NodePort", "selector": {"a": "b"}, "ports": [{"port": 80, "targetPort": "http"}]},
    },
    "/api/v1/namespaces/default/configmaps": {"metadata": {"generateName": "c-"}, "data": {"a": "b"}, "binaryData": {"x": "AA=="}},
    "/api/v1/namespaces/default/secrets": {"metadata": {"generateName": "s-"}, "type": "Opaque", "stringData": {"a": "b"}},
    "/apis/batch/v1/namespaces/default/jobs": {
        "metadata": {"generateName": "j-"},
        "spec": {"suspend": True, "template": {"spec": {**POD_SPEC, "restartPolicy": "Never"}}},
    },
    "/apis/rbac.authorization.k8s.io/v1/clusterroles": {
        "metadata": {"generateName": "r-"}, "rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}],
    },
    "/apis/networking.k8s.io/v1/namespaces/default/ingresses": {
        "metadata": {"generateName": "i-"},
        "spec": {"rules": [{"host": "a.b", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "x", "port": {"number": 80}}}}]}}]},
    },
    "/apis/authorization.k8s.io/v1/subjectaccessreviews": {"spec": {"user": "u", "resourceAttributes": {"verb": "get"}}},
    "/api/v1/namespaces/default/events": {
        "metadata": {"generateName": "e-"}, "involvedObject": {"kind": "Pod", "namespace": "default"}, "type": "Normal",
    },
}  # fmt: skip

ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@pytest.fixture(name="server", scope="module")
def _server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with api_server(tmp_path_factory.mktemp("fuzz")) as server:
        yield server
        assert "Traceback" not in server.log.read_text()


class Asker:
    """One kept-alive connection; a server that closes it is asked again on a new one."""

    def __init__(self, server: Server) -> None:
        at = urlsplit(server.url)
        ca, certificate, key = server.credentials()
        self._context = ssl.create_default_context(cafile=str(ca))
        self._context.load_cert_chain(certificate, key)
        self._where = (at.hostname or "", at.port)
        self._connection: http.client.HTTPSConnection | None = None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def ask(
        self, method: str, target: str, body: bytes | None = None, media: str = "application/json"
    ) -> tuple[int, bytes]:
        for fresh in (self._connection is None, True):
            if fresh or self._connection is None:
                self.close()
                self._connection = http.client.HTTPSConnection(*self._where, context=self._context, timeout=ANSWER_S)
            try:
                self._connection.request(method, target, body, {"Content-Type": media})
                answer = self._connection.getresponse()
                return answer.status, answer.read()
            except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
                self.close()
        raise AssertionError(f"{method} {target}: the server hung up")


@pytest.fixture(name="asker", scope="module")
def _asker(server: Server) -> Iterator[Asker]:
    asker = Asker(server)
    yield asker
    asker.close()


def places(document: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The path of every member."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield (*at, key)
            yield from places(value, (*at, key))
    elif isinstance(document, list):
        for number, value in enumerate(document):
            yield (*at, number)
            yield from places(value, (*at, number))


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """A collection and a manifest for it with one to three members changed."""
    path = draw(st.sampled_from(sorted(MANIFESTS)))
    document = copy.deepcopy(MANIFESTS[path])
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(document))
        if not found:
            break
        *holder_path, last = draw(st.sampled_from(found))
        holder = document
        for step in holder_path:
            holder = holder[step]
        change = draw(st.sampled_from(["replace", "remove", "add"]))
        if change == "remove":
            del holder[last]
        elif change == "replace" or isinstance(holder, list):
            holder[last] = draw(ANYTHING)
        else:
            holder[draw(st.text(max_size=8))] = draw(ANYTHING)
    return path, document


def fine(status: int, body: bytes, what: str) -> None:
    assert status < 500, f"{what}: {status} {body[:600]!r}"
    if status >= 400:
        assert json.loads(body)["kind"] == "Status", what


@given(damaged(), st.sampled_from(["", "Strict", "Warn", "Ignore"]))
@SETTINGS
def test_damaged_manifests_are_created_or_refused(
    asker: Asker, case: tuple[str, dict[str, Any]], validation: str
) -> None:
    path, document = case
    query = f"?dryRun=All&fieldValidation={validation}" if validation else "?dryRun=All"
    status, body = asker.ask("POST", path + query, json.dumps(document).encode())
    fine(status, body, f"POST {path} {document}")


@given(
    st.sampled_from(["application/merge-patch+json", "application/strategic-merge-patch+json", "application/json-patch+json",
                     "application/apply-patch+yaml"]),
    damaged(), ANYTHING,
)  # fmt: skip
@SETTINGS
def test_damaged_patches_are_applied_or_refused(
    asker: Asker, media: str, case: tuple[str, dict[str, Any]], anything: Any
) -> None:
    _, patch = case
    body: Any = patch
    if media.startswith("application/json-patch"):
        body = [{"op": "replace", "path": "/" + "/".join(list(patch)[:2]), "value": anything}, anything]
    elif media.startswith("application/apply"):
        body = {"apiVersion": "v1", "kind": "ConfigMap", **patch}
    target = "/api/v1/namespaces/kube-public/configmaps/kube-root-ca.crt?dryRun=All&fieldManager=fuzz&force=false"
    if not media.startswith("application/apply"):
        target = target.replace("&force=false", "")
    status, answer = asker.ask("PATCH", target, json.dumps(body).encode(), media)
    fine(status, answer, f"PATCH {media} {body}")


@given(
    st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "BREW"]),
    st.lists(st.sampled_from(["api", "apis", "v1", "apps", "namespaces", "default", "pods", "services", "status", "scale",
                              "log", "exec", "proxy", "watch", "x", "", "..", "%00", "ü"]), max_size=7),
    st.dictionaries(
        st.sampled_from(["limit", "continue", "resourceVersion", "resourceVersionMatch", "labelSelector", "fieldSelector",
                         "timeoutSeconds", "pretty", "dryRun", "fieldManager", "sendInitialEvents", "container", "tailLines"]),
        st.text(max_size=10), max_size=4,
    ),
    st.binary(max_size=60),
)  # fmt: skip
@SETTINGS
def test_any_request_gets_an_answer(
    asker: Asker, method: str, steps: list[str], query: dict[str, str], body: bytes
) -> None:
    target = "/" + "/".join(quote(step, safe="%.") for step in steps) + ("?" + urlencode(query) if query else "")
    content = body if method in ("POST", "PUT", "PATCH") else None
    status, answer = asker.ask(method, target, content)
    known_closed = status == 503 and b"not connected" in answer  # a control plane alone has no nodes to ask
    assert status < 500 or status == 501 or known_closed, f"{method} {target} {body!r}: {status} {answer[:400]!r}"


@given(st.binary(min_size=1, max_size=200))
@SETTINGS
def test_rubbish_bodies_in_every_media_type_are_refused(asker: Asker, body: bytes) -> None:
    for media in ("application/json", "application/yaml", "application/vnd.kubernetes.protobuf"):
        content = b"k8s\x00" + body if media.endswith("protobuf") else body
        status, answer = asker.ask("POST", "/api/v1/namespaces/default/configmaps?dryRun=All", content, media)
        assert status < 500, f"{media} {content!r}: {status} {answer[:400]!r}"
