"""Lists: pages, revisions, selectors and forms."""

from __future__ import annotations

import pytest

from edgekube import errors
from edgekube.server.listing import decode_token, encode_token
from tests.server_harness import MERGE, Api, config_map, pod

MAPS = "/api/v1/namespaces/default/configmaps"
PODS = "/api/v1/namespaces/default/pods"


async def some_maps(api: Api, *names: str) -> None:
    for position, name in enumerate(names):
        await api.good("POST", MAPS, config_map(metadata={"name": name, "labels": {"odd": str(position % 2)}}))


def names_of(document: dict[str, object]) -> list[str]:
    items = document["items"]
    assert isinstance(items, list)
    return [item["metadata"]["name"] for item in items]


async def test_pages_go_on_where_they_stopped_as_things_were(api: Api) -> None:
    await some_maps(api, "a", "b", "c", "d", "e")
    first = await api.good("GET", f"{MAPS}?limit=2")
    assert names_of(first) == ["a", "b"]
    assert first["metadata"]["remainingItemCount"] == 3
    await api.good("DELETE", f"{MAPS}/c")
    second = await api.good("GET", f"{MAPS}?limit=2&continue={first['metadata']['continue']}")
    assert names_of(second) == ["c", "d"]
    third = await api.good("GET", f"{MAPS}?limit=2&continue={second['metadata']['continue']}")
    assert names_of(third) == ["e"]
    assert "continue" not in third["metadata"]


async def test_pages_count_what_a_selector_lets_through(api: Api) -> None:
    await some_maps(api, "a", "b", "c", "d", "e")
    first = await api.good("GET", f"{MAPS}?limit=2&labelSelector=odd%3D0")
    assert names_of(first) == ["a", "c"]
    assert "remainingItemCount" not in first["metadata"]
    rest = await api.good("GET", f"{MAPS}?limit=2&labelSelector=odd%3D0&continue={first['metadata']['continue']}")
    assert names_of(rest) == ["e"]


def test_tokens_say_where_and_when() -> None:
    assert decode_token(encode_token(7, ("ns", "name"))) == (7, ("ns", "name"))
    assert decode_token(encode_token(-1, ("", "name"))) == (-1, ("", "name"))
    with pytest.raises(errors.BadRequest, match="continue key is not valid"):
        decode_token("nope")


async def test_the_past_can_be_listed_exactly(api: Api) -> None:
    await some_maps(api, "a", "b")
    then = api.store.revision
    await api.good("DELETE", f"{MAPS}/a")
    past = await api.good("GET", f"{MAPS}?resourceVersion={then}&resourceVersionMatch=Exact")
    assert names_of(past) == ["a", "b"]


async def test_the_future_cannot(api: Api) -> None:
    made = await api.ask("GET", f"{MAPS}?resourceVersion=999999&resourceVersionMatch=Exact")
    assert made.status == 504
    assert made.document["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_a_not_yet_reached_revision_is_waited_for(api: Api, autojump_clock: object) -> None:
    code, words = await api.refused("GET", f"{MAPS}?resourceVersion=999999&resourceVersionMatch=NotOlderThan")
    assert code == 504
    assert words.startswith("Timeout: Too large resource version: 999999")


async def test_field_selectors_look_inside(api: Api) -> None:
    await api.good("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    await api.good("POST", PODS, pod("a", nodeName="n1"))
    await api.good("POST", PODS, pod("b"))
    assert names_of(await api.good("GET", f"{PODS}?fieldSelector=spec.nodeName%3Dn1")) == ["a"]
    assert names_of(await api.good("GET", f"{PODS}?fieldSelector=metadata.name%3Db")) == ["b"]
    assert names_of(await api.good("GET", f"{PODS}?fieldSelector=metadata.name%21%3Db")) == ["a"]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        (
            "fieldSelector=data.x%3Dy",
            '"data.x" is not a known field selector: only "metadata.name", "metadata.namespace"',
        ),
        ("labelSelector=a%3Db%3Dc", "found '=', expected: ',' or 'end of string'"),
        ("limit=abc", 'strconv.ParseInt: parsing "abc": invalid syntax'),
        (
            "resourceVersion=abc",
            'invalid resource version: resourceVersion: Invalid value: "abc": strconv.ParseUint: parsing "abc": invalid syntax',
        ),
    ],
)
async def test_nonsense_is_refused_in_upstreams_words(api: Api, query: str, words: str) -> None:
    assert await api.refused("GET", f"{MAPS}?{query}") == (400, words)


async def test_items_of_a_list_carry_no_kind(api: Api) -> None:
    await some_maps(api, "a")
    listed = await api.good("GET", MAPS)
    assert listed["kind"] == "ConfigMapList"
    assert set(listed["items"][0]) == {"metadata", "data"}


async def test_tables_and_bare_metadata_are_made_when_asked_for(api: Api) -> None:
    await some_maps(api, "a")
    table = await api.ask("GET", MAPS, accept="application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
    assert table.document["rows"][0]["cells"][0] == "a"
    bare = await api.ask("GET", f"{MAPS}/a", accept="application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io")
    assert set(bare.document) == {"kind", "apiVersion", "metadata"}


async def test_versions_of_a_resource_show_the_same_objects(api: Api) -> None:
    path = "/apis/autoscaling/{}/namespaces/default/horizontalpodautoscalers"
    target = {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}
    spec = {"maxReplicas": 3, "scaleTargetRef": target, "targetCPUUtilizationPercentage": 50}
    document = {
        "apiVersion": "autoscaling/v1",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "h"},
        "spec": spec,
    }
    await api.good("POST", path.format("v1"), document)
    newer = await api.good("GET", f"{path.format('v2')}/h")
    assert newer["apiVersion"] == "autoscaling/v2"
    assert newer["spec"]["metrics"][0]["resource"]["target"]["averageUtilization"] == 50
    await api.good("PATCH", f"{path.format('v2')}/h", {"spec": {"maxReplicas": 5}}, MERGE)
    older = await api.good("GET", path.format("v1"))
    assert older["items"][0]["spec"]["maxReplicas"] == 5
