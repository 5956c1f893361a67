"""What any client promises: the same answers and errors, whether the server is in this process or behind a socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from msgspec.structs import replace

from edgekube.api.meta import ObjectMeta
from edgekube.client.follow import Cache, follow
from edgekube.client.interface import Client
from edgekube.client.kubeconfig import Access
from edgekube.client.local import LocalClient
from edgekube.client.remote import open_remote
from edgekube.errors import AlreadyExists, ApiError, Conflict, ConnectionFailed, Gone, Invalid, NotFound
from edgekube.kinds.core import configmap, node
from edgekube.kinds.core.configmap import ConfigMap
from edgekube.net.exchange import Request
from edgekube.net.listener import serving
from edgekube.server.apiserver import ApiServer
from edgekube.server.context import LOOPBACK, Attributes, User
from edgekube.store.memory import MemoryStore

KIND = configmap.KIND


class Everybody:
    async def authenticate(self, request: Request) -> User:
        return LOOPBACK

    def refuse(self, attributes: Attributes) -> str | None:
        return None


@pytest.fixture(params=["local", "remote"])
async def client(request: pytest.FixtureRequest) -> AsyncIterator[Client]:
    async with AsyncExitStack() as stack:
        store = MemoryStore(window_changes=400)
        api = ApiServer(store, authenticator=Everybody(), authorizer=Everybody())
        await api.bootstrap()
        if request.param == "local":
            yield LocalClient(api.verbs, LOOPBACK, manager="tester")
            return
        port = await stack.enter_async_context(serving(api.handle, hosts=("127.0.0.1",), port=0, drain_s=0.1))
        access = Access(server=f"http://127.0.0.1:{port}")
        yield await stack.enter_async_context(open_remote(access, manager="tester"))


def config(name: str, namespace: str = "default", **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace=namespace, labels={"app": name}), data=data)


async def test_what_is_created_can_be_read_changed_and_deleted(client: Client) -> None:
    made = await client.create(KIND, config("a", x="1"))
    assert made.metadata.uid
    assert made.metadata.managed_fields[0].manager == "tester"
    assert await client.get(KIND, "a", "default") == made
    changed = await client.update(KIND, replace(made, data={"x": "2"}))
    assert changed.metadata.resource_version != made.metadata.resource_version
    patched = await client.patch(KIND, "a", "default", {"data": {"y": "3"}})
    assert patched.data == {"x": "2", "y": "3"}
    await client.delete(KIND, "a", "default")
    with pytest.raises(NotFound) as caught:
        await client.get(KIND, "a", "default")
    assert (caught.value.name, caught.value.kind, caught.value.code) == ("a", "configmaps", 404)
    assert caught.value.message == 'configmaps "a" not found'


async def test_the_caller_s_object_stays_its_own(client: Client) -> None:
    mine = config("a", x="1")
    await client.create(KIND, mine)
    assert mine == config("a", x="1")


async def test_refusals_are_the_same_errors(client: Client) -> None:
    made = await client.create(KIND, config("a"))
    with pytest.raises(AlreadyExists):
        await client.create(KIND, config("a"))
    await client.update(KIND, replace(made, data={"x": "1"}))
    with pytest.raises(Conflict, match="the object has been modified"):
        await client.update(KIND, replace(made, data={"x": "2"}))
    with pytest.raises(Invalid) as caught:
        await client.create(KIND, config("Not A Name"))
    assert caught.value.causes[0].field == "metadata.name"
    with pytest.raises(NotFound):
        await client.create(KIND, config("a", namespace="nowhere"))
    with pytest.raises(Conflict):
        await client.delete(KIND, "a", "default", uid="another")
    with pytest.raises(NotFound):
        await client.call("GET", "/apis/no.such/v1/things")


async def test_a_list_is_selected_and_says_where_to_watch_from(client: Client) -> None:
    for name in ("a", "b", "c"):
        await client.create(KIND, config(name))
    listing = await client.list(KIND, "default", labels="app in (a,c)")
    assert [item.metadata.name for item in listing.items] == ["a", "c"]
    named = await client.list(KIND, fields="metadata.name=b")
    assert [item.metadata.name for item in named.items] == ["b"]
    assert int(listing.revision) > 0
    assert listing.items[0] == await client.get(KIND, "a", "default")


async def test_a_long_list_comes_whole(client: Client) -> None:
    async def one(number: int) -> None:
        await client.create(KIND, config(f"n{number:04}"))

    for begin in range(0, 620, 62):
        async with trio.open_nursery() as nursery:
            for number in range(begin, begin + 62):
                nursery.start_soon(one, number)
    listing = await client.list(KIND, "default")
    names = [item.metadata.name for item in listing.items if item.metadata.name.startswith("n")]
    assert names == [f"n{number:04}" for number in range(620)]


async def test_a_watch_gives_what_happens_after_a_list(client: Client) -> None:
    listing = await client.list(KIND, "default")
    seen: list[tuple[str, Any]] = []
    async with client.watch(KIND, "default", after=listing.revision, labels="app=a") as events:
        made = await client.create(KIND, config("a", x="1"))
        await client.create(KIND, config("b"))
        await client.update(KIND, replace(made, data={"x": "2"}))
        await client.delete(KIND, "a", "default")
        with trio.fail_after(10):
            async for event in events:
                if event.type != "BOOKMARK":
                    seen.append((event.type, event.object.data))
                if event.type == "DELETED":
                    break
    assert seen == [("ADDED", {"x": "1"}), ("MODIFIED", {"x": "2"}), ("DELETED", {"x": "2"})]


async def test_watching_from_too_long_ago_is_gone(client: Client) -> None:
    first = await client.create(KIND, config("a"))
    for number in range(401):
        await client.patch(KIND, "a", "default", {"data": {"n": str(number)}})
    with pytest.raises(Gone), trio.fail_after(10):
        async with client.watch(KIND, "default", after=first.metadata.resource_version) as events:
            await events.__anext__()


async def test_a_status_is_written_apart(client: Client) -> None:
    made = await client.create(node.KIND, node.Node(metadata=ObjectMeta(name="n1")))
    update = node.KIND.from_dict(node.KIND.to_dict(made) | {"status": {"phase": "Running"}})
    assert (await client.update(node.KIND, update)).status.phase == ""
    update.metadata.resource_version = ""
    assert (await client.update(node.KIND, update, subresource="status")).status.phase == "Running"


async def test_server_side_apply_goes_through(client: Client) -> None:
    document = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"x": "1"}}
    media = "application/apply-patch+yaml"
    made = await client.patch(KIND, "a", "default", document, content_type=media, manager="m1")
    assert made.data == {"x": "1"}
    document["data"] = {"x": "2"}
    with pytest.raises(Conflict) as caught:
        await client.patch(KIND, "a", "default", document, content_type=media, manager="m2")
    assert caught.value.causes[0].field == ".data.x"
    forced = await client.patch(KIND, "a", "default", document, content_type=media, manager="m2", force=True)
    assert forced.data == {"x": "2"}


async def test_any_other_request_can_be_made(client: Client) -> None:
    version = await client.call("GET", "/version")
    assert version["major"] == "1"
    listed = await client.call("GET", "/api/v1/namespaces/default/configmaps?limit=1")
    assert listed["kind"] == "ConfigMapList"


async def test_following_keeps_up(client: Client) -> None:
    cache: Cache[ConfigMap] = Cache()
    settled = trio.Event()

    def note(before: ConfigMap | None, after: ConfigMap | None) -> None:
        if after is not None and after.data == {"x": "2"}:
            settled.set()

    async with trio.open_nursery() as nursery:
        await nursery.start(lambda task_status: follow(client, KIND, cache, on_change=note, task_status=task_status))
        made = await client.create(KIND, config("a", x="1"))
        await client.update(KIND, replace(made, data={"x": "2"}))
        with trio.fail_after(10):
            await settled.wait()
        nursery.cancel_scope.cancel()
    assert cache.get("default", "a") is not None


async def test_nobody_there_is_a_failed_connection() -> None:
    async with open_remote(Access(server="http://127.0.0.1:9")) as remote:
        with pytest.raises(ConnectionFailed):
            await remote.get(KIND, "a", "default")
        with pytest.raises(ConnectionFailed):
            async with remote.watch(KIND, after="1"):
                pass
    assert not issubclass(ConnectionFailed, ApiError)
