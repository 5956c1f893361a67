"""Webhooks that change and refuse, over real TLS: whom they hear of what, and what follows from their answers."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
import trio

from edgekube.net.exchange import Request
from edgekube.server.resources import Answer
from tests.server_harness import JSON_PATCH, MERGE, Api, config_map, pod
from tests.tls_peers import Authority, Peer, https_peer

GROUP = "/apis/admissionregistration.k8s.io/v1"
MAPS = "/api/v1/namespaces/default/configmaps"


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("hooks"))


def rule(*resources: str, operations: tuple[str, ...] = ("*",), group: str = "", version: str = "*") -> dict[str, Any]:
    return {
        "apiGroups": [group],
        "apiVersions": [version],
        "operations": list(operations),
        "resources": list(resources) or ["configmaps"],
    }


def hook(peer: Peer, path: str = "/", name: str = "hook.example.org", **more: Any) -> dict[str, Any]:
    bundle = base64.b64encode(peer.authority.pem).decode()
    return {
        "name": name,
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": {"url": peer.url + path, "caBundle": bundle},
        "rules": [rule()],
    } | more


async def configure(api: Api, kind: str, *hooks: dict[str, Any], name: str = "c") -> None:
    await api.good(
        "POST",
        f"{GROUP}/{kind.lower()}webhookconfigurations",
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": f"{kind}WebhookConfiguration",
            "metadata": {"name": name},
            "webhooks": list(hooks),
        },
    )


def answer(review: Any, *operations: dict[str, Any], allowed: bool = True, **more: Any) -> dict[str, Any]:
    response: dict[str, Any] = {"uid": review["request"]["uid"], "allowed": allowed} | more
    if operations:
        response["patchType"] = "JSONPatch"
        response["patch"] = base64.b64encode(json.dumps(operations).encode()).decode()
    return {"kind": "AdmissionReview", "apiVersion": review["apiVersion"], "response": response}


async def allow(_: Request, review: Any) -> Any:
    return answer(review)


async def test_what_a_webhook_is_told(api: Api, authority: Authority) -> None:
    async with https_peer(authority, allow) as peer:
        await configure(api, "Validating", hook(peer, "/check", timeoutSeconds=7))
        await api.good("POST", f"{MAPS}?fieldManager=me", config_map("a"))
        await api.good("PATCH", f"{MAPS}/a", {"data": {"x": "z"}}, MERGE)
        await api.good("DELETE", f"{MAPS}/a")
    (made, created), (_, changed), (_, deleted) = peer.heard
    assert (made.method, made.path, made.query) == ("POST", "/check", (("timeout", "7s"),))
    assert (created["kind"], created["apiVersion"]) == ("AdmissionReview", "admission.k8s.io/v1")
    request = created["request"]
    assert request["object"]["data"] == {"x": "y"}
    assert request["oldObject"] is None
    assert request["object"]["kind"] == "ConfigMap"
    assert request["object"]["metadata"]["uid"]
    assert {k: request[k] for k in ("kind", "resource", "name", "namespace", "operation", "dryRun")} == {
        "kind": {"group": "", "version": "v1", "kind": "ConfigMap"},
        "resource": {"group": "", "version": "v1", "resource": "configmaps"},
        "name": "a",
        "namespace": "default",
        "operation": "CREATE",
        "dryRun": False,
    }
    assert request["requestKind"] == request["kind"]
    assert request["requestResource"] == request["resource"]
    assert request["userInfo"] == {"username": "admin", "groups": ["system:masters", "system:authenticated"]}
    assert request["options"]["kind"] == "CreateOptions"
    assert request["options"]["fieldManager"] == "me"
    request = changed["request"]
    assert (request["operation"], request["options"]["kind"]) == ("UPDATE", "PatchOptions")
    assert request["object"]["data"] == {"x": "z"}
    assert request["oldObject"]["data"] == {"x": "y"}
    request = deleted["request"]
    assert request["operation"] == "DELETE"
    assert request["object"] is None
    assert request["oldObject"]["data"] == {"x": "z"}
    assert request["options"]["kind"] == "DeleteOptions"


async def test_a_change_is_defaulted_and_checked_again(api: Api, authority: Authority) -> None:
    async def respond(_: Request, review: Any) -> Any:
        bad = review["request"]["object"]["metadata"]["name"] == "bad"
        added = {"name": "UPPER" if bad else "side", "image": "side:1"}
        return answer(review, {"op": "add", "path": "/spec/containers/-", "value": added})

    async with https_peer(authority, respond) as peer:
        await configure(api, "Mutating", hook(peer, rules=[rule("pods", operations=("CREATE",))]))
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        await api.good("POST", "/api/v1/namespaces/default/serviceaccounts", account)
        made = await api.good("POST", "/api/v1/namespaces/default/pods", pod("good"))
        code, words = await api.refused("POST", "/api/v1/namespaces/default/pods", pod("bad"))
    side = made["spec"]["containers"][1]
    assert (side["name"], side["terminationMessagePath"]) == ("side", "/dev/termination-log")
    assert code == 422
    assert "spec.containers[1].name" in words


async def test_refusals_in_upstreams_words(api: Api, authority: Authority) -> None:
    told = {
        "plain": {},
        "said": {"status": {"message": "not on Sundays", "code": 403, "reason": "Forbidden"}},
        "reason": {"status": {"reason": "Because", "code": 200}},
    }

    async def respond(_: Request, review: Any) -> Any:
        return answer(review, allowed=False, **told[review["request"]["name"]])

    async with https_peer(authority, respond) as peer:
        await configure(api, "Validating", hook(peer))
        seen = {name: await api.refused("POST", MAPS, config_map(name)) for name in told}
    page = (await api.ask("GET", "/metrics")).answer.decode()
    labels = 'name="hook.example.org",type="validating",operation="CREATE",outcome="denied"'
    assert f"apiserver_admission_webhook_request_total{{{labels}}} 3" in page
    by = 'admission webhook "hook.example.org" denied the request'
    assert seen["plain"] == (400, f"{by} without explanation")
    assert seen["said"] == (403, f"{by}: not on Sundays")
    assert seen["reason"] == (400, f"{by}: Because")


@pytest.mark.parametrize(
    ("reply", "why"),
    [
        (500, 'an error on the server ("no") has prevented the request from succeeding'),
        (404, "the server could not find the requested resource"),
        ({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1"}, "webhook response was absent"),
        (
            {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": {"uid": "x", "allowed": True}},
            'got "x"',
        ),
    ],
)
async def test_a_webhook_that_fails_closes_or_opens_the_door(
    api: Api, authority: Authority, reply: Any, why: str
) -> None:
    async def respond(_: Request, __: Any) -> Any:
        return reply

    async with https_peer(authority, respond) as peer:
        await configure(api, "Validating", hook(peer))
        made = await api.ask("POST", MAPS, config_map("a"))
        await api.good(
            "PATCH",
            f"{GROUP}/validatingwebhookconfigurations/c",
            [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": "Ignore"}],
            JSON_PATCH,
        )
        await api.good("POST", MAPS, config_map("a"))
    assert made.status == 500
    assert why in made.document["message"]
    assert made.document["message"].startswith('Internal error occurred: failed calling webhook "hook.example.org": ')
    (cause,) = made.document["details"]["causes"]
    assert f"Internal error occurred: {cause['message']}" == made.document["message"]


async def test_a_webhook_nobody_answers_for(api: Api, authority: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    async with https_peer(authority, allow, "elsewhere.example.org") as peer:
        await configure(api, "Validating", hook(peer))
        wrong_name = await api.refused("POST", MAPS, config_map("a"))
        peer.authority = other
        await configure(api, "Validating", hook(peer), name="b")
        wrong_authority = await api.refused("POST", MAPS, config_map("a"))
        peer.authority = authority
    await api.good("DELETE", f"{GROUP}/validatingwebhookconfigurations/b")
    refused = await api.refused("POST", MAPS, config_map("a"))
    start = 'Internal error occurred: failed calling webhook "hook.example.org": failed to call webhook: Post'
    start = f'{start} "{peer.url}/?timeout=10s": '
    assert wrong_name == (
        500,
        start + "tls: failed to verify certificate: x509: certificate is not valid for 127.0.0.1",
    )
    assert wrong_authority[1].endswith(
        "tls: failed to verify certificate: x509: certificate signed by unknown authority"
    )
    assert refused == (500, start + f"dial tcp 127.0.0.1:{peer.port}: connect: connection refused")


async def test_a_slow_webhook_is_given_up(api: Api, authority: Authority) -> None:
    async def respond(_: Request, __: Any) -> Any:
        await trio.sleep_forever()

    async with https_peer(authority, respond) as peer:
        await configure(api, "Validating", hook(peer, timeoutSeconds=1))
        code, words = await api.refused("POST", MAPS, config_map("a"))
    assert code == 500
    assert words.endswith('?timeout=1s": context deadline exceeded')


async def test_reinvocation_for_those_who_wish_it(api: Api, authority: Authority) -> None:
    async def respond(request: Request, review: Any) -> Any:
        labels = review["request"]["object"]["metadata"].get("labels") or {}
        if request.path == "/late" and "late" not in labels:
            labels = {**labels, "late": "yes"}
        elif request.path == "/early":
            labels = {**labels, "early": "saw-late" if "late" in labels else "alone"}
        return answer(review, {"op": "add", "path": "/metadata/labels", "value": labels})

    async with https_peer(authority, respond) as peer:
        await configure(
            api,
            "Mutating",
            hook(peer, "/early", "a.example.org", reinvocationPolicy="IfNeeded"),
            hook(peer, "/late", "b.example.org"),
        )
        made = await api.good("POST", MAPS, config_map("a"))
    assert made["metadata"]["labels"] == {"early": "saw-late", "late": "yes"}
    assert [request.path for request, _ in peer.heard] == ["/early", "/late", "/early"]


async def test_who_is_concerned(api: Api, authority: Authority) -> None:
    async with https_peer(authority, allow) as peer:
        await configure(
            api,
            "Validating",
            hook(peer, "/labelled", "a.example.org", objectSelector={"matchLabels": {"x": "y"}}),
            hook(peer, "/other-ns", "b.example.org", namespaceSelector={"matchLabels": {"x": "y"}}),
            hook(peer, "/deletes", "c.example.org", rules=[rule(operations=("DELETE",))]),
            hook(peer, "/cluster", "d.example.org", rules=[rule() | {"scope": "Cluster"}]),
            hook(peer, "/status", "e.example.org", rules=[rule("pods/status", "namespaces/*")]),
            hook(peer, "/all", "f.example.org", rules=[rule("*/*")]),
            hook(peer, "/exact", "g.example.org", matchPolicy="Exact", rules=[rule("events", group="events.k8s.io")]),
            hook(peer, "/equal", "h.example.org", rules=[rule("events", group="events.k8s.io", version="v1")]),
        )

        async def heard(method: str, path: str, body: Any = None, content_type: str = "application/json") -> set[str]:
            peer.heard.clear()
            await api.good(method, path, body, content_type)
            return {request.path for request, _ in peer.heard}

        assert await heard("POST", MAPS, config_map("a")) == {"/all"}
        labelled = {"metadata": {"labels": {"x": "y"}}}
        assert await heard("PATCH", f"{MAPS}/a", labelled, MERGE) == {"/all", "/labelled"}
        assert await heard("DELETE", f"{MAPS}/a") == {"/all", "/labelled", "/deletes"}
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "n", "labels": {"x": "y"}}}
        assert await heard("POST", "/api/v1/namespaces", namespace) == {"/all", "/status"}
        assert await heard("POST", "/api/v1/namespaces/n/configmaps", config_map("a")) == {"/all", "/other-ns"}
        event = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": "e"},
            "involvedObject": {"namespace": "default", "kind": "Pod", "name": "p"},
        }
        assert await heard("POST", "/api/v1/namespaces/default/events", event) == {"/all", "/equal"}
        sent = next(review for request, review in peer.heard if request.path == "/equal")["request"]
    assert sent["object"]["apiVersion"] == "events.k8s.io/v1"
    assert "regarding" in sent["object"]
    assert sent["resource"]["group"] == "events.k8s.io"
    assert sent["requestResource"]["group"] == ""


async def test_dry_runs_go_only_to_those_without_side_effects(api: Api, authority: Authority) -> None:
    async def respond(_: Request, review: Any) -> Any:
        return answer(review, warnings=["mind the gap"])

    async with https_peer(authority, respond) as peer:
        await configure(api, "Validating", hook(peer, sideEffects="NoneOnDryRun"))
        made = await api.ask("POST", f"{MAPS}?dryRun=All", config_map("a"))
    assert made.status == 201
    assert made.headers["warning"] == ['299 - "mind the gap"']
    assert peer.heard[0][1]["request"]["dryRun"] is True


async def test_configurations_are_never_subject_to_webhooks(api: Api, authority: Authority) -> None:
    async def refuse(_: Request, review: Any) -> Any:
        return answer(review, allowed=False)

    everything = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*/*"]}
    async with https_peer(authority, refuse) as peer:
        await configure(api, "Validating", hook(peer, rules=[everything]))
        assert (await api.refused("POST", MAPS, config_map("a")))[0] == 400
        await api.good("DELETE", f"{GROUP}/validatingwebhookconfigurations/c")
    await api.good("POST", MAPS, config_map("a"))


async def test_the_older_review_version(api: Api, authority: Authority) -> None:
    async def respond(_: Request, review: Any) -> Any:
        patch = base64.b64encode(json.dumps([{"op": "add", "path": "/data/y", "value": "1"}]).encode()).decode()
        return {"response": {"allowed": True, "patch": patch}} if review["apiVersion"].endswith("v1beta1") else 500

    async with https_peer(authority, respond) as peer:
        await configure(api, "Mutating", hook(peer, admissionReviewVersions=["v9", "v1beta1", "v1"]))
        made = await api.good("POST", MAPS, config_map("a"))
    assert made["data"] == {"x": "y", "y": "1"}


async def test_webhooks_behind_a_service(api: Api, authority: Authority) -> None:
    async with https_peer(authority, allow, "hooks.default.svc") as peer:
        config = {
            "service": {"namespace": "default", "name": "hooks", "path": "/check", "port": 8443},
            "caBundle": base64.b64encode(authority.pem).decode(),
        }
        await configure(api, "Validating", hook(peer) | {"clientConfig": config})
        start = 'failed to call webhook: Post "https://hooks.default.svc:8443/check?timeout=10s": '
        missing = await api.refused("POST", MAPS, config_map("a"))
        service = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "hooks"},
            "spec": {"ports": [{"port": 8443, "targetPort": 1}]},
        }
        await api.good("POST", "/api/v1/namespaces/default/services", service)
        empty = await api.refused("POST", MAPS, config_map("a"))
        # a slice may not name the loopback: a pod behind a gate may listen there
        target = {"kind": "Pod", "namespace": "default", "name": "p"}
        endpoint = {"addresses": ["10.1.2.3"], "targetRef": target, "nodeName": "n", "conditions": {"ready": True}}
        slices = {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": "s", "labels": {"kubernetes.io/service-name": "hooks"}},
            "addressType": "IPv4",
            "endpoints": [endpoint],
            "ports": [{"name": "", "port": peer.port}],
        }
        await api.good("POST", "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices", slices)
        dialled = []

        class Gate:
            async def dial(self, namespace: str, pod: str, port: int) -> trio.abc.Stream:
                dialled.append((namespace, pod, port))
                return await trio.open_tcp_stream("127.0.0.1", port)

        api.server.reach.gates = lambda node: Gate()  # type: ignore[assignment,return-value]
        await api.good("POST", MAPS, config_map("a"))
        await api.good("POST", MAPS, config_map("b"))
    assert missing[1].endswith(start + 'service "hooks" not found')
    assert empty[1].endswith(start + 'no endpoints available for service "hooks"')
    assert dialled == [("default", "p", peer.port)]  # the connection was kept for the second call
    assert [request.header("host") for request, _ in peer.heard] == ["hooks.default.svc:8443"] * 2


async def test_conditions_say_whom_a_webhook_is_not_asked_about(api: Api, authority: Authority) -> None:
    async with https_peer(authority, allow) as peer:
        conditions = [
            {"name": "data", "expression": "'x' in object.data"},
            {"name": "user", "expression": "request.userInfo.username == 'admin' && request.operation == 'CREATE'"},
            {"name": "may", "expression": "authorizer.group('').resource('pods').check('delete').allowed()"},
        ]
        await configure(api, "Validating", hook(peer, matchConditions=conditions))
        await api.good("POST", MAPS, config_map("a"))
        await api.good("POST", MAPS, config_map("b", data={"q": "1"}))
        await api.good("PATCH", f"{MAPS}/a", {"data": {"x": "z"}}, MERGE)
        assert [review["request"]["name"] for _, review in peer.heard] == ["a"]
        bad = [{"name": "bad", "expression": "object.nothing.here == 1"}]
        await configure(api, "Validating", hook(peer, matchConditions=bad), name="bad")
        code, words = await api.refused("POST", MAPS, config_map("c"))
    assert code == 403
    assert words == (
        "configmaps \"c\" is forbidden: expression 'object.nothing.here == 1' resulted in error: no such key: nothing"
    )


async def test_what_is_never_stored_is_shown_too(api: Api, authority: Authority) -> None:
    async def respond(_: Request, review: Any) -> Any:
        operations = []
        if review["request"]["resource"]["resource"] == "serviceaccounts":
            operations = [{"op": "replace", "path": "/spec/expirationSeconds", "value": 1200}]
        return answer(review, *operations)

    granted = []

    async def grant(asked: Any, target: Any, request: Request, body: bytes, context: Any) -> Any:
        granted.append((request.header("content-type"), json.loads(body)))
        return Answer(201, b"{}")

    api.server.resources.special["/serviceaccounts/token"] = grant
    asking = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [], "expirationSeconds": 600},
    }
    async with https_peer(authority, respond) as peer:
        await configure(api, "Mutating", hook(peer, rules=[rule("serviceaccounts/token", "pods/binding")]))
        await api.good("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", asking)
    (sent,) = [review["request"] for _, review in peer.heard]
    assert sent["kind"] == {"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"}
    assert (sent["subResource"], sent["name"], sent["operation"]) == ("token", "default", "CREATE")
    assert granted == [("application/json", asking | {"spec": {"audiences": [], "expirationSeconds": 1200}})]


async def test_connections_are_admitted(api: Api, authority: Authority) -> None:
    async def refuse(_: Request, review: Any) -> Any:
        return answer(review, allowed=False)

    opened = []

    async def connector(exchange: Any, _: Any, __: Any) -> None:
        opened.append(exchange)
        await exchange.respond(200, [])

    api.server.resources.connectors["/pods/exec"] = connector
    path = "/api/v1/namespaces/default/pods/p/exec?command=ls&command=-l&stdin=true&container=c"
    async with https_peer(authority, refuse) as peer:
        assert (await api.ask("GET", path)).status == 200
        await configure(api, "Validating", hook(peer, rules=[rule("pods/exec", operations=("CONNECT",))]))
        assert (await api.ask("GET", path)).status == 400
    assert len(opened) == 1
    (sent,) = [review["request"] for _, review in peer.heard]
    assert (sent["operation"], sent["kind"]["kind"], sent["subResource"]) == ("CONNECT", "PodExecOptions", "exec")
    assert sent["object"] == {
        "kind": "PodExecOptions",
        "apiVersion": "v1",
        "stdin": True,
        "container": "c",
        "command": ["ls", "-l"],
    }
