"""Custom resources in several versions that a webhook converts, over real TLS."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from edgekube.net.exchange import Request
from tests.server_harness import APPLY, MERGE, Api
from tests.tls_peers import Authority, Peer, https_peer

GROUP = "stable.example.com"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def crontabs(version: str, name: str = "") -> str:
    return f"/apis/{GROUP}/{version}/namespaces/default/crontabs{name and '/' + name}"


def version(name: str, *members: str, storage: bool) -> dict[str, Any]:
    spec = {"type": "object", "properties": {member: {"type": "string"} for member in members}}
    schema = {"type": "object", "properties": {"spec": spec}}
    return {"name": name, "served": True, "storage": storage, "schema": {"openAPIV3Schema": schema}}


def definition(peer: Peer) -> dict[str, Any]:
    config = {"url": f"{peer.url}/convert", "caBundle": base64.b64encode(peer.authority.pem).decode()}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"crontabs.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {"plural": "crontabs", "singular": "crontab", "kind": "CronTab", "listKind": "CronTabList"},
            "versions": [version("v1", "host", "port", storage=False), version("v2", "address", storage=True)],
            "conversion": {
                "strategy": "Webhook",
                "webhook": {"conversionReviewVersions": ["v1"], "clientConfig": config},
            },
        },
    }


def converted(document: dict[str, Any], wanted: str) -> dict[str, Any]:
    spec = document["spec"]
    if wanted.endswith("/v2"):
        spec = {"address": f"{spec['host']}:{spec['port']}"}
    else:
        host, _, port = spec["address"].partition(":")
        spec = {"host": host, "port": port}
    return {**document, "apiVersion": wanted, "spec": spec}


async def convert(_: Request, review: Any) -> Any:
    request = review["request"]
    objects = [converted(one, request["desiredAPIVersion"]) for one in request["objects"]]
    response = {"uid": request["uid"], "convertedObjects": objects, "result": {"status": "Success"}}
    return {"kind": "ConversionReview", "apiVersion": review["apiVersion"], "response": response}


def crontab(version: str, name: str, **spec: str) -> dict[str, Any]:
    return {"apiVersion": f"{GROUP}/{version}", "kind": "CronTab", "metadata": {"name": name}, "spec": spec}


@asynccontextmanager
async def served(api: Api, authority: Authority, respond: Any = convert) -> AsyncIterator[Peer]:
    """The definition, established, and its webhook."""
    async with https_peer(authority, respond) as peer, trio.open_nursery() as nursery:
        await nursery.start(api.server.custom.run)
        await api.good("POST", DEFINITIONS, definition(peer))
        with trio.fail_after(60):
            while (await api.ask("GET", crontabs("v1"))).status != 200:
                await trio.testing.wait_all_tasks_blocked()
        peer.heard.clear()
        yield peer
        nursery.cancel_scope.cancel()


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("conversion"))


async def test_an_object_is_seen_in_every_version(api: Api, authority: Authority) -> None:
    async with served(api, authority) as peer:
        made = await api.good("POST", crontabs("v1"), crontab("v1", "a", host="local", port="80"))
        seen = await api.good("GET", crontabs("v2", "a"))
        again = await api.good("GET", crontabs("v1", "a"))
        calls = len(peer.heard)
        await api.good("GET", crontabs("v1", "a"))
        assert len(peer.heard) == calls  # one state of an object is converted once
    assert made["spec"] == again["spec"] == {"host": "local", "port": "80"}
    assert made["apiVersion"] == f"{GROUP}/v1"
    assert (seen["apiVersion"], seen["spec"]) == (f"{GROUP}/v2", {"address": "local:80"})
    assert made["metadata"]["uid"] == seen["metadata"]["uid"]


async def test_lists_are_converted_in_one_call(api: Api, authority: Authority) -> None:
    async with served(api, authority) as peer:
        for name in "abc":
            await api.good("POST", crontabs("v2"), crontab("v2", name, address=f"{name}:1"))
        peer.heard.clear()
        listed = await api.good("GET", crontabs("v1"))
        (call,) = peer.heard
        one = await api.good("GET", f"{crontabs('v1')}?fieldSelector=metadata.name%3Da")
    assert [item["spec"]["host"] for item in listed["items"]] == ["a", "b", "c"]
    assert len(call[1]["request"]["objects"]) == 3
    assert [item["spec"]["host"] for item in one["items"]] == ["a"]


async def test_changes_through_another_version(api: Api, authority: Authority) -> None:
    async with served(api, authority):
        await api.good("POST", crontabs("v2"), crontab("v2", "a", address="one:1"))
        patched = await api.good("PATCH", crontabs("v1", "a"), {"spec": {"port": "2"}}, MERGE)
        assert patched["spec"] == {"host": "one", "port": "2"}
        wanted = crontab("v1", "a", host="two")
        applied = await api.good("PATCH", f"{crontabs('v1', 'a')}?fieldManager=me&force=true", wanted, APPLY)
        assert applied["spec"] == {"host": "two", "port": "2"}
        applied["spec"]["port"] = "3"
        await api.good("PUT", crontabs("v1", "a"), applied)
        assert (await api.good("GET", crontabs("v2", "a")))["spec"] == {"address": "two:3"}
        await api.good("DELETE", crontabs("v1", "a"))


async def test_watches_show_their_version(api: Api, authority: Authority) -> None:
    async with served(api, authority) as peer, trio.open_nursery() as nursery:
        listed = await api.good("GET", crontabs("v1"))
        path = f"{crontabs('v1')}?watch=true&resourceVersion={listed['metadata']['resourceVersion']}"
        watches = [api.exchange("GET", path) for _ in range(3)]
        for one in watches:
            nursery.start_soon(api.server.handle, one)
        await api.good("POST", crontabs("v2"), crontab("v2", "a", address="one:1"))
        events = [(await one.until(1))[0] for one in watches]
        calls = len(peer.heard)
        nursery.cancel_scope.cancel()
    assert [event["object"]["spec"] for event in events] == [{"host": "one", "port": "1"}] * 3
    assert calls <= 3  # at most each at the same moment, never again


@pytest.mark.parametrize(
    ("respond", "words"),
    [
        ({"result": {"status": "Failure", "message": "no idea"}}, "v2, Kind=CronTab failed: no idea"),
        ({"result": {"status": "Success"}}, "v2, Kind=CronTab returned 0 objects, expected 1"),
        ({"result": {}}, "v2, Kind=CronTab failed: response.result.status was '', not 'Success'"),
        (
            {"result": {"status": "Success"}, "convertedObjects": [{"apiVersion": "x/v1"}]},
            f"returned invalid object at index 0: invalid groupVersion (expected {GROUP}/v1, received x/v1)",
        ),
    ],
)
async def test_bad_conversions_in_upstreams_words(api: Api, authority: Authority, respond: Any, words: str) -> None:
    async def answer(_: Request, review: Any) -> Any:
        response = {"uid": review["request"]["uid"]} | respond
        return {"kind": "ConversionReview", "apiVersion": review["apiVersion"], "response": response}

    async with served(api, authority, answer):
        await api.good("POST", crontabs("v2"), crontab("v2", "a", address="one:1"))
        code, message = await api.refused("GET", crontabs("v1", "a"))
        listed = await api.refused("GET", crontabs("v1"))
    assert code == 500
    assert message.startswith(f"conversion webhook for {GROUP}/v2, Kind=CronTab")
    assert message.endswith(words)
    assert listed == (code, message)


async def test_metadata_stays_but_for_labels_and_annotations(api: Api, authority: Authority) -> None:
    async def meddle(request: Request, review: Any) -> Any:
        answer = await convert(request, review)
        for one in answer["response"]["convertedObjects"]:
            one["metadata"] |= {"labels": {"from": "hook"}, "finalizers": ["hook/x"], "generation": 99}
        return answer

    async with served(api, authority, meddle):
        await api.good("POST", crontabs("v2"), crontab("v2", "a", address="one:1"))
        seen = await api.good("GET", crontabs("v1", "a"))
    assert seen["metadata"]["labels"] == {"from": "hook"}
    assert seen["metadata"]["generation"] == 1
    assert "finalizers" not in seen["metadata"]
