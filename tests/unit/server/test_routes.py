"""What every request meets: paths, identity, permission, forms, bounds."""

from __future__ import annotations

import pytest

from edgekube.server import routes
from edgekube.server.context import Attributes, User
from edgekube.server.resources import BODY_MAX_BYTES
from tests.server_harness import MERGE, Api, config_map

MAPS = "/api/v1/namespaces/default/configmaps"
NO_METHOD = "the server does not allow this method on the requested resource"
NO_RESOURCE = "the server could not find the requested resource"


@pytest.mark.parametrize(
    ("method", "path", "code", "words"),
    [
        ("POST", f"{MAPS}/a", 405, NO_METHOD),
        ("PUT", MAPS, 405, NO_METHOD),
        ("POST", "/api/v1/configmaps", 405, NO_METHOD),
        ("DELETE", "/api/v1/namespaces", 405, NO_METHOD),
        ("FOO", MAPS, 405, NO_METHOD),
        ("GET", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", 405, NO_METHOD),
        ("GET", "/apis/apps/v1/nosuch", 404, NO_RESOURCE),
        ("GET", "/api/v2/pods", 404, NO_RESOURCE),
        ("GET", f"{MAPS}/a/status", 404, NO_RESOURCE),
        ("GET", "/apis/apps/v1/namespaces/default/deployments/x/nosuch", 404, NO_RESOURCE),
        ("POST", "/version", 405, NO_METHOD),
    ],
)
async def test_paths_and_methods_that_are_not_there(api: Api, method: str, path: str, code: int, words: str) -> None:
    assert await api.refused(method, path) == (code, words)


@pytest.mark.parametrize("path", ["/nosuch", "/apis/nosuch.example.org", "/apis/extensions/v1beta1/deployments"])
async def test_unknown_roots_answer_as_gos_http_server_does(api: Api, path: str) -> None:
    made = await api.ask("GET", path)
    assert (made.status, made.answer, made.header("content-type")) == (
        404,
        b"404 page not found\n",
        "text/plain; charset=utf-8",
    )


async def test_who_is_not_known_is_told_so(api: Api) -> None:
    made = await api.ask("GET", MAPS, authorization="Bearer wrong")
    assert (made.status, made.document["reason"]) == (401, "Unauthorized")


async def test_a_refusal_names_who_what_and_where(api: Api) -> None:
    api.doorman.user = User("jane")
    api.doorman.refused = lambda _: "no rule"
    assert await api.refused("GET", MAPS) == (
        403,
        'configmaps is forbidden: User "jane" cannot list resource "configmaps" in API group "" in the namespace'
        ' "default": no rule',
    )
    assert await api.refused("GET", "/metrics") == (403, 'forbidden: User "jane" cannot get path "/metrics": no rule')


async def test_what_is_asked_is_what_is_authorised(api: Api) -> None:
    asked: list[Attributes] = []
    api.doorman.refused = asked.append  # type: ignore[assignment]
    await api.ask("PATCH", "/apis/apps/v1/namespaces/n/deployments/d/scale", {}, MERGE)
    await api.ask("GET", f"{MAPS}?watch=1&timeoutSeconds=0&fieldSelector=metadata.name%3Da&resourceVersion=x")
    await api.ask("DELETE", MAPS)
    seen = [(one.verb, one.group, one.resource, one.subresource, one.namespace, one.name) for one in asked]
    assert seen == [
        ("patch", "apps", "deployments", "scale", "n", "d"),
        ("watch", "", "configmaps", "", "default", "a"),
        ("deletecollection", "", "configmaps", "", "default", ""),
    ]


async def test_too_large_a_body_is_refused(api: Api) -> None:
    made = await api.ask("POST", MAPS, b"x" * (BODY_MAX_BYTES + 1))
    assert made.status == 413


async def test_too_many_at_once_are_asked_to_come_back(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(routes, "READS_IN_FLIGHT", 0)
    made = await api.ask("GET", MAPS)
    assert (made.status, made.header("retry-after")) == (429, "1")


async def test_large_answers_are_packed_for_who_takes_it(api: Api) -> None:
    await api.good("POST", MAPS, config_map(data={"x": "y" * 200_000}))
    packed = await api.ask("GET", MAPS, accept_encoding="gzip")
    plain = await api.ask("GET", MAPS)
    assert packed.header("content-encoding") == "gzip"
    assert len(packed.answer) < len(plain.answer) / 10


@pytest.mark.parametrize(
    ("accept", "words"),
    [
        (
            "text/html",
            "406: Not Acceptable\n\nAvailable representations: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        ),
        (
            "application/json;as=Nope",
            "only the following media types are accepted: application/json, application/yaml, application/vnd.kubernetes.protobuf",
        ),
    ],
)
async def test_forms_that_cannot_be_made_are_refused(api: Api, accept: str, words: str) -> None:
    await api.good("POST", MAPS, config_map())
    made = await api.ask("GET", f"{MAPS}/a", accept=accept)
    assert (made.status, made.document["message"]) == (406, words)


async def test_yaml_is_read_and_written(api: Api) -> None:
    body = b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  x: 'yes'\n"
    made = await api.ask("POST", MAPS, body, "application/yaml", accept="application/yaml")
    assert (made.status, made.header("content-type")) == (201, "application/yaml")
    assert b'data:\n  x: "yes"\n' in made.answer


async def test_protobuf_is_read_and_written(api: Api) -> None:
    from edgekube.wire import k8s_protobuf

    kind = "application/vnd.kubernetes.protobuf"
    made = await api.ask("POST", MAPS, k8s_protobuf.encode(config_map()), kind, accept=kind)
    assert (made.status, made.header("content-type")) == (201, kind)
    assert k8s_protobuf.decode(made.answer)["data"] == {"x": "y"}


async def test_a_bug_is_a_500_and_never_a_lost_connection(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def broken(*_: object) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(api.server.registry.lister, "get", broken)
    made = await api.ask("GET", f"{MAPS}/a")
    assert (made.status, made.document["message"]) == (500, "Internal error occurred: oops")
    assert "GET" in caplog.text


async def test_health_says_what_is_wrong(api: Api) -> None:
    assert (await api.ask("GET", "/readyz")).answer == b"ok"
    api.server.health.add("disk", lambda: "full", only_ready=True)
    sick = await api.ask("GET", "/readyz")
    assert sick.status == 500
    assert b"[-]disk failed: full" in sick.answer
    assert (await api.ask("GET", "/livez")).status == 200
    assert (await api.ask("GET", "/readyz?exclude=disk")).status == 200


async def test_metrics_count_requests(api: Api) -> None:
    await api.good("POST", MAPS, config_map())
    page = (await api.ask("GET", "/metrics")).answer.decode()
    assert (
        'apiserver_request_total{verb="create",group="",version="v1",resource="configmaps",subresource="",code="201"} 1'
        in page
    )


async def test_discovery_is_cached_by_its_etag(api: Api) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    first = await api.ask("GET", "/apis", accept=accept)
    assert first.document["kind"] == "APIGroupDiscoveryList"
    again = await api.ask("GET", "/apis", accept=accept, if_none_match=first.header("etag"))
    assert (again.status, again.answer) == (304, b"")
