"""The same verbs without HTTP, through `client.local`."""

from __future__ import annotations

import pytest

from edgekube import errors
from edgekube.api.meta import ObjectMeta
from edgekube.client.local import LocalClient
from edgekube.kinds.core import configmap
from edgekube.server.context import User
from tests.server_harness import Api, pod

KIND = configmap.KIND


def client(api: Api) -> LocalClient:
    return LocalClient(api.server.verbs, User("system:loop"), manager="loop")


def a_map(**meta: object) -> configmap.ConfigMap:
    return configmap.ConfigMap(metadata=ObjectMeta(name="a", namespace="default", **meta), data={"x": "y"})  # type: ignore[arg-type]


async def test_objects_go_in_and_come_back(api: Api) -> None:
    loop = client(api)
    made = await loop.create(KIND, a_map())
    assert made.metadata.managed_fields[0].manager == "loop"
    assert await loop.get(KIND, "a", "default") == made
    made.data = {"x": "z"}
    assert (await loop.update(KIND, made)).data == {"x": "z"}
    patched = await loop.patch(KIND, "a", "default", {"data": {"q": "r"}})
    assert patched.data == {"x": "z", "q": "r"}
    await loop.delete(KIND, "a", "default", uid=made.metadata.uid)
    with pytest.raises(errors.NotFound):
        await loop.get(KIND, "a", "default")


async def test_lists_say_where_to_watch_from(api: Api) -> None:
    loop = client(api)
    listed = await loop.list(KIND, "default")
    await loop.create(KIND, a_map())
    async with loop.watch(KIND, "default", after=listed.revision) as events:
        event = await anext(events)
    assert (event.type, event.object.metadata.name) == ("ADDED", "a")


async def test_a_stale_update_is_a_conflict(api: Api) -> None:
    loop = client(api)
    made = await loop.create(KIND, a_map())
    await loop.patch(KIND, "a", "default", {"data": {"q": "r"}})
    with pytest.raises(errors.Conflict):
        await loop.update(KIND, made)


async def test_loops_are_authorised_as_anybody(api: Api) -> None:
    api.doorman.refused = lambda attributes: "no" if attributes.verb == "create" else None
    with pytest.raises(errors.Forbidden, match='User "system:loop" cannot create resource "configmaps"'):
        await client(api).create(KIND, a_map())


async def test_other_requests_go_by_path(api: Api) -> None:
    loop = client(api)
    await api.good("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": "default"}})
    await api.good("POST", "/api/v1/namespaces/default/pods", pod())
    bound = await loop.call(
        "POST", "/api/v1/namespaces/default/pods/p/binding", {"target": {"kind": "Node", "name": "n"}}
    )
    assert bound["status"] == "Success"
    with pytest.raises(errors.NotFound):
        await loop.call("GET", "/api/v1/namespaces/default/pods/missing")
