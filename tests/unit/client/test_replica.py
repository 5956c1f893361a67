"""The copy an agent lives from: the same answers as the server's while there is a way to it, and the last ones while there is none."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from edgekube.api.meta import ObjectMeta, format_time
from edgekube.client.fake import FakeVerbs
from edgekube.client.follow import Cache, follow
from edgekube.client.interface import Client, Event
from edgekube.client.replica import is_local, open_replica
from edgekube.client.replica_link import LONGEST_PAUSE_S, PATIENCE_S, PROBE_S
from edgekube.clock import SeededClock
from edgekube.errors import AlreadyExists, Conflict, ConnectionFailed, NotFound, Offline, ServiceUnavailable
from edgekube.kinds.coordination import lease
from edgekube.kinds.coordination.lease import Lease
from edgekube.kinds.core import configmap, node, pod, secret
from edgekube.kinds.core.configmap import ConfigMap
from edgekube.kinds.core.container import Container
from edgekube.kinds.core.node import Node, NodeCondition, NodeSpec, NodeStatus
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podspec import PodSpec
from edgekube.kinds.core.podstatus import PodCondition, PodStatus
from edgekube.kinds.core.secret import Secret
from edgekube.store.memory import MemoryStore
from edgekube.store.offload import InlineOffloader

MINE = "spec.nodeName=edge"


class Wire:
    """A client over a line that can be cut: requests fail, or hang, and watches break."""

    def __init__(self, verbs: FakeVerbs) -> None:
        self.verbs = verbs
        self._inner = verbs.client("kubelet")
        self.cut = self.hangs = False
        self.asked: list[str] = []
        self.answer: Callable[..., Awaitable[Any]] | None = None
        self.watched_after: list[int] = []
        self._watches: set[trio.CancelScope] = set()

    def break_line(self, *, hangs: bool = False) -> None:
        self.cut, self.hangs = True, hangs
        if not hangs:
            for scope in list(self._watches):
                scope.cancel()

    def mend(self) -> None:
        self.cut = self.hangs = False

    async def _pass(self, what: str) -> None:
        self.asked.append(what)
        await trio.lowlevel.checkpoint()
        if self.hangs:
            await trio.sleep_forever()
        if self.cut:
            raise ConnectionFailed("no way to the server")

    def __getattr__(self, verb: str) -> Callable[..., Awaitable[Any]]:
        async def ask(*parts: Any, **more: Any) -> Any:
            kind = parts[0]
            if verb == "call" and self.answer is not None and kind == "POST":
                await self._pass("call")
                return await self.answer(*parts)
            await self._pass(f"{verb} {kind if isinstance(kind, str) else kind.plural}")
            return await getattr(self._inner, verb)(*parts, **more)

        return ask

    @asynccontextmanager
    async def watch(self, kind: Any, namespace: str = "", *, after: str, **more: str) -> AsyncIterator[Any]:
        await self._pass(f"watch {kind.plural}")
        self.watched_after.append(int(after))
        async with self._inner.watch(kind, namespace, after=after, **more) as events:
            yield self._until_cut(events)

    async def _until_cut(self, events: Any) -> AsyncIterator[Event[Any]]:
        while True:
            got: list[Event[Any]] = []
            with trio.CancelScope() as scope:
                self._watches.add(scope)
                try:
                    got.append(await anext(events))
                finally:
                    self._watches.discard(scope)
            if not got:
                raise ConnectionFailed("the watch broke")
            if self.hangs:
                await trio.sleep_forever()
            yield got[0]


@pytest.fixture
def verbs() -> FakeVerbs:
    return FakeVerbs(MemoryStore())


@pytest.fixture
def wire(verbs: FakeVerbs) -> Wire:
    return Wire(verbs)


@pytest.fixture
def opened(tmp_path: Path, wire: Wire) -> Callable[..., Any]:
    def open_it(cluster: str = "one", remote: Client | None = None) -> Any:
        return open_replica(
            tmp_path / "agent" / "replica.db",
            remote or wire,  # type: ignore[arg-type]
            SeededClock(),
            node_name="edge",
            cluster=cluster,
            offloader=lambda _: InlineOffloader(),
        )

    return open_it


def config(name: str, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace="default"), data=data)


def a_pod(name: str, on: str = "edge") -> Pod:
    spec = PodSpec(node_name=on, containers=[Container(name="main", image="web:1")])
    return Pod(metadata=ObjectMeta(name=name, namespace="default"), spec=spec, status=PodStatus(phase="Pending"))


def running(item: Pod, ip: str = "10.1.1.1", phase: str = "Running") -> Pod:
    ready = PodCondition(type="Ready", status="True")
    item.status = PodStatus(phase=phase, pod_ip=ip, conditions=[ready])
    return item


async def settle() -> None:
    await trio.testing.wait_all_tasks_blocked()


async def until(true: Callable[[], bool]) -> None:
    with trio.fail_after(600):
        while not true():  # noqa: ASYNC110 what is waited for has no event
            await trio.sleep(1)


@asynccontextmanager
async def followed(
    client: Client, kind: Any, *, fields: str = "", namespace: str = ""
) -> AsyncIterator[tuple[Cache[Any], list[tuple[Any, Any]]]]:
    cache: Cache[Any] = Cache()
    changes: list[tuple[Any, Any]] = []

    async def run(task_status: Any) -> None:
        await follow(
            client,
            kind,
            cache,
            on_change=lambda before, after: changes.append((before, after)),
            fields=fields,
            namespace=namespace,
            task_status=task_status,
        )

    async with trio.open_nursery() as nursery:
        await nursery.start(run)
        await settle()
        yield cache, changes
        nursery.cancel_scope.cancel()


def shown(cache: Cache[Any], name: str, namespace: str = "default") -> Any:
    found = cache.get(namespace, name)
    assert found is not None
    return found


def names(cache: Cache[Any]) -> list[str]:
    return sorted(item.metadata.name for item in cache.list())


async def put_pod(verbs: FakeVerbs, name: str, on: str = "edge") -> Pod:
    made = await verbs.client().create(pod.KIND, a_pod(name, on))
    return await verbs.client().update(pod.KIND, running(made), subresource="status")


# ---- reading while cut off


async def test_a_node_that_starts_while_cut_off_finds_what_it_had(
    opened: Any, wire: Wire, verbs: FakeVerbs, autojump_clock: Any
) -> None:
    await put_pod(verbs, "web")
    await put_pod(verbs, "other", on="elsewhere")
    await verbs.client().create(configmap.KIND, config("settings", colour="red"))
    named = {"namespace": "default", "fields": "metadata.name=settings"}
    async with (
        opened() as replica,
        followed(replica, pod.KIND, fields=MINE),
        followed(replica, configmap.KIND, **named),
    ):
        pass
    wire.break_line()
    async with opened() as replica, followed(replica, pod.KIND, fields=MINE) as (pods, _):
        async with followed(replica, configmap.KIND, **named) as (maps, _):
            assert names(pods) == ["web"]
            assert shown(pods, "web").status.pod_ip == "10.1.1.1"
            assert shown(maps, "settings").data == {"colour": "red"}
        assert not replica.online
        assert (await replica.get(pod.KIND, "web", "default")).spec.node_name == "edge"
        with pytest.raises(ConnectionFailed):
            await replica.get(configmap.KIND, "never-asked-for", "default")


async def test_what_is_known_not_to_exist_is_not_found_and_what_is_unknown_is_offline(
    opened: Any, wire: Wire, verbs: FakeVerbs, autojump_clock: Any
) -> None:
    await verbs.client().create(configmap.KIND, config("settings"))
    async with opened() as replica:
        async with followed(replica, configmap.KIND, namespace="default", fields="metadata.name=settings") as (maps, _):
            await verbs.client().delete(configmap.KIND, "settings", "default")
            await settle()
            assert names(maps) == []
        wire.break_line()
        with pytest.raises(NotFound):
            await replica.get(configmap.KIND, "settings", "default")
        with pytest.raises(ConnectionFailed):
            await replica.get(configmap.KIND, "other", "default")
        with pytest.raises(ConnectionFailed):
            await replica.list(configmap.KIND, "default")


async def test_a_watch_is_resumed_where_the_copy_ends(
    opened: Any, wire: Wire, verbs: FakeVerbs, autojump_clock: Any
) -> None:
    await put_pod(verbs, "web")
    async with opened() as replica, followed(replica, pod.KIND, fields=MINE):
        revision = verbs.store.revision
    wire.break_line()
    async with opened() as replica, followed(replica, pod.KIND, fields=MINE) as (pods, changes):
        await verbs.client().delete(pod.KIND, "web", "default")
        await put_pod(verbs, "new")
        wire.asked.clear()
        wire.mend()
        with trio.fail_after(2 * LONGEST_PAUSE_S):
            await replica.wait_online()
        await until(lambda: names(pods) == ["new"])
        assert wire.watched_after[-1] == revision
        assert "list pods" not in wire.asked
        assert [after is None for _, after in changes] == [False, True, False, False]


async def test_a_copy_that_is_too_old_is_compared_with_a_list(opened: Any, tmp_path: Path, autojump_clock: Any) -> None:
    verbs = FakeVerbs(MemoryStore(window_changes=4))
    wire = Wire(verbs)
    await put_pod(verbs, "stays")
    await put_pod(verbs, "goes")
    async with opened(remote=wire) as replica, followed(replica, pod.KIND, fields=MINE):
        pass
    wire.break_line()
    async with opened(remote=wire) as replica, followed(replica, pod.KIND, fields=MINE) as (pods, changes):
        await verbs.client().delete(pod.KIND, "goes", "default")
        for number in range(6):
            await verbs.client().create(configmap.KIND, config(f"noise-{number}"))
        before = shown(pods, "stays")
        changes.clear()
        wire.mend()
        await until(lambda: names(pods) == ["stays"])
        assert shown(pods, "stays").metadata.uid == before.metadata.uid
        assert [(b.metadata.name, a) for b, a in changes] == [("goes", None)]
    wire.break_line()
    async with opened(remote=wire) as replica:
        assert [item.metadata.name for item in (await replica.list(pod.KIND, fields=MINE)).items] == ["stays"]


async def test_a_line_that_swallows_everything_is_found_out(
    opened: Any, wire: Wire, verbs: FakeVerbs, autojump_clock: Any
) -> None:
    await put_pod(verbs, "web")
    async with opened() as replica, followed(replica, pod.KIND, fields=MINE) as (pods, _):
        wire.break_line(hangs=True)
        begun = trio.current_time()
        with pytest.raises(Offline):
            await replica.get(configmap.KIND, "settings", "default")
        assert not replica.online
        assert trio.current_time() - begun <= PATIENCE_S + PROBE_S + 1
        assert (await replica.get(pod.KIND, "web", "default")).metadata.name == "web"
        await put_pod(verbs, "late")
        wire.mend()
        await until(lambda: names(pods) == ["late", "web"])


async def test_a_server_that_is_slow_but_there_is_waited_for(
    opened: Any, wire: Wire, verbs: FakeVerbs, autojump_clock: Any
) -> None:
    class Slow:
        def __getattr__(self, name: str) -> Any:
            return getattr(wire, name)

        async def list(self, *parts: Any, **more: Any) -> Any:
            await trio.sleep(10 * PATIENCE_S)
            return await wire.list(*parts, **more)

    await put_pod(verbs, "web")
    async with opened(remote=Slow()) as replica:
        assert len((await replica.list(pod.KIND, fields=MINE)).items) == 1
        assert replica.online


async def test_a_server_that_cannot_work_is_as_good_as_none_for_reading(
    opened: Any, verbs: FakeVerbs, wire: Wire, autojump_clock: Any
) -> None:
    await put_pod(verbs, "web")
    async with opened() as replica:
        await settle()
        assert len((await replica.list(pod.KIND, fields=MINE)).items) == 1
        verbs.fail_next(ServiceUnavailable("starting"))
        assert len((await replica.list(pod.KIND, fields=MINE)).items) == 1


# ---- sharing


async def test_two_who_follow_the_same_share_one_watch(
    opened: Any, wire: Wire, verbs: FakeVerbs, autojump_clock: Any
) -> None:
    await put_pod(verbs, "web")
    async with opened() as replica, followed(replica, pod.KIND, fields=MINE) as (first, _):
        await put_pod(verbs, "between")
        await settle()
        async with followed(replica, pod.KIND, fields=MINE) as (second, changes):
            await put_pod(verbs, "later")
            await settle()
            assert names(first) == names(second) == ["between", "later", "web"]
            assert len(changes) == 4  # two that were there, one born, one running
        await verbs.client().delete(pod.KIND, "web", "default")
        await settle()
        assert names(first) == ["between", "later"]
    assert wire.asked.count("watch pods") == 1
    assert wire.asked.count("list pods") == 1


async def test_who_listed_a_moment_ago_misses_nothing(
    opened: Any, wire: Wire, verbs: FakeVerbs, autojump_clock: Any
) -> None:
    await put_pod(verbs, "web")
    async with opened() as replica:
        listing = await replica.list(pod.KIND, fields=MINE)
        async with followed(replica, pod.KIND, fields=MINE):
            await put_pod(verbs, "between")
            await settle()
            async with replica.watch(pod.KIND, after=listing.revision, fields=MINE) as events:
                seen = [await anext(events), await anext(events)]
                assert [(one.type, one.object.metadata.name) for one in seen] == [
                    ("ADDED", "between"),
                    ("MODIFIED", "between"),
                ]


# ---- writing while cut off


async def test_a_status_that_cannot_be_sent_is_shown_here_and_outlives_a_reboot(
    opened: Any, wire: Wire, verbs: FakeVerbs, autojump_clock: Any
) -> None:
    await put_pod(verbs, "web")
    async with opened() as replica, followed(replica, pod.KIND, fields=MINE) as (pods, changes):
        wire.break_line()
        changes.clear()
        item = shown(pods, "web")
        for _ in range(2):  # saying it twice is no news
            with pytest.raises(ConnectionFailed):
                await replica.update(pod.KIND, running(copy(item), "10.1.1.9"), subresource="status")
        await settle()
        assert [after.status.pod_ip for _, after in changes] == ["10.1.1.9"]
        assert is_local(shown(pods, "web").metadata.resource_version)
        ended = {"status": {"phase": "Succeeded"}}
        with pytest.raises(ConnectionFailed):
            await replica.patch(pod.KIND, "web", "default", ended, subresource="status")
    async with opened() as replica, followed(replica, pod.KIND, fields=MINE) as (pods, _):
        found = shown(pods, "web")
        assert (found.status.phase, found.status.pod_ip) == ("Succeeded", "10.1.1.9")
        wire.mend()
        await replica.wait_online()
        await replica.update(pod.KIND, found, subresource="status")
        await until(lambda: not is_local(shown(pods, "web").metadata.resource_version))
        assert (await verbs.client().get(pod.KIND, "web", "default")).status.phase == "Succeeded"
    wire.break_line()
    async with opened() as replica:
        assert not is_local((await replica.get(pod.KIND, "web", "default")).metadata.resource_version)


def copy(item: Pod) -> Pod:
    return pod.KIND.from_dict(pod.KIND.to_dict(item))


async def test_a_status_said_of_a_pod_that_was_reborn_is_forgotten(
    opened: Any, wire: Wire, verbs: FakeVerbs, autojump_clock: Any
) -> None:
    await put_pod(verbs, "web")
    async with opened() as replica, followed(replica, pod.KIND, fields=MINE) as (pods, _):
        wire.break_line()
        item = running(copy(shown(pods, "web")), "10.1.1.9", "Succeeded")
        with pytest.raises(ConnectionFailed):
            await replica.update(pod.KIND, item, subresource="status")
        await verbs.client().delete(pod.KIND, "web", "default")
        await put_pod(verbs, "web")
        wire.mend()
        await until(lambda: not is_local(shown(pods, "web").metadata.resource_version))
        found = shown(pods, "web")
        assert (found.status.phase, found.status.pod_ip) == ("Running", "10.1.1.1")
        wire.break_line()
        replica.look()
        await replica.wait_offline()
        assert (await replica.get(pod.KIND, "web", "default")).status.phase == "Running"


async def test_what_the_server_refuses_is_not_remembered(
    opened: Any, wire: Wire, verbs: FakeVerbs, autojump_clock: Any
) -> None:
    await put_pod(verbs, "web")
    async with opened() as replica, followed(replica, pod.KIND, fields=MINE) as (pods, _):
        stale = copy(shown(pods, "web"))
        await verbs.client().patch(pod.KIND, "web", "default", {"metadata": {"labels": {"a": "b"}}})
        await settle()
        with pytest.raises(Conflict):
            await replica.update(pod.KIND, running(stale, "10.9.9.9"), subresource="status")
        assert shown(pods, "web").status.pod_ip == "10.1.1.1"
        with pytest.raises(AlreadyExists):
            await replica.create(pod.KIND, a_pod("web"))
        wire.break_line()
        with pytest.raises(ConnectionFailed):
            await replica.create(pod.KIND, a_pod("another"))
        with pytest.raises(ConnectionFailed):
            await replica.delete(pod.KIND, "web", "default", grace_s=0)
        assert (await replica.list(pod.KIND, fields=MINE)).items[0].metadata.name == "web"


# ---- tokens and secrets


async def test_a_token_is_given_again_while_cut_off_and_lies_sealed_on_disk(
    opened: Any, wire: Wire, tmp_path: Path, autojump_clock: Any
) -> None:
    tokens = iter(["first", "second"])

    async def call(method: str, path: str, body: Any = None) -> dict[str, Any]:
        return {"status": {"token": f"very-secret-{next(tokens)}", "expirationTimestamp": "2026-01-01T01:00:00Z"}}

    wire.answer = call
    path = "/api/v1/namespaces/default/serviceaccounts/default/token"
    body = {"spec": {"audiences": [], "expirationSeconds": 3607, "boundObjectRef": {"kind": "Pod", "uid": "u1"}}}
    async with opened() as replica:
        assert (await replica.call("POST", path, body))["status"]["token"] == "very-secret-first"
    wire.break_line()
    async with opened() as replica:
        assert (await replica.call("POST", path, body))["status"]["token"] == "very-secret-first"
        with pytest.raises(ConnectionFailed):
            await replica.call("POST", path, {"spec": {**body["spec"], "audiences": ["vault"]}})
        wire.mend()
        await replica.wait_online()
        assert (await replica.call("POST", path, body))["status"]["token"] == "very-secret-second"
    for file in (tmp_path / "agent").iterdir():
        assert b"very-secret" not in file.read_bytes()


async def test_secrets_lie_sealed_on_disk_and_a_copy_without_its_key_is_begun_anew(
    opened: Any, wire: Wire, verbs: FakeVerbs, tmp_path: Path, autojump_clock: Any
) -> None:
    made = Secret(metadata=ObjectMeta(name="login", namespace="default"), data={"password": b"open sesame"})
    await verbs.client().create(secret.KIND, made)
    fields = {"namespace": "default", "fields": "metadata.name=login"}
    async with opened() as replica, followed(replica, secret.KIND, **fields):
        pass
    for file in (tmp_path / "agent").iterdir():
        assert b"b3BlbiBzZXNhbWU" not in file.read_bytes()
        assert file.stat().st_mode & 0o077 == 0 or file.suffix != ".key"
    wire.break_line()
    async with opened() as replica, followed(replica, secret.KIND, **fields) as (secrets, _):
        assert shown(secrets, "login").data == {"password": b"open sesame"}
    (tmp_path / "agent" / "replica.key").unlink()
    async with opened() as replica:
        with pytest.raises(ConnectionFailed):
            await replica.get(secret.KIND, "login", "default")


# ---- the disk


async def test_nothing_is_written_while_nothing_changes(
    opened: Any, wire: Wire, verbs: FakeVerbs, tmp_path: Path, autojump_clock: Any
) -> None:
    ready = NodeCondition(type="Ready", status="True", last_heartbeat_time=format_time(verbs.clock.now()))
    status = NodeStatus(conditions=[ready])
    made = await verbs.client().create(node.KIND, Node(metadata=ObjectMeta(name="edge"), status=status))
    async with opened() as replica, followed(replica, node.KIND) as (nodes, _):
        await trio.sleep(1200)  # the day's snapshot is taken ten minutes after the start
        before = writes(tmp_path)
        for _ in range(50):
            await trio.sleep(300)
            ready = NodeCondition(type="Ready", status="True", last_heartbeat_time=format_time(verbs.clock.now()))
            made.status = NodeStatus(conditions=[ready])
            made.metadata.resource_version = ""
            await verbs.client().update(node.KIND, made, subresource="status")
            await settle()
        assert shown(nodes, "edge", "").status.conditions == [ready]
        assert writes(tmp_path) == before
        await verbs.client().patch(node.KIND, "edge", "", {"metadata": {"labels": {"room": "hall"}}})
        await trio.sleep(60)
        assert writes(tmp_path) != before


def writes(directory: Path) -> list[tuple[str, int, int]]:
    """What the files look like: a page written to the log shows in its size or its time."""
    files = sorted((directory / "agent").glob("replica.db*"))
    return [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files if file.suffix != ".lock"]


async def test_what_nobody_follows_any_more_is_given_up(
    opened: Any, wire: Wire, verbs: FakeVerbs, tmp_path: Path, autojump_clock: Any
) -> None:
    await verbs.client().create(
        node.KIND, Node(metadata=ObjectMeta(name="edge"), spec=NodeSpec(pod_cidr="10.1.0.0/24"))
    )
    await verbs.client().create(secret.KIND, Secret(metadata=ObjectMeta(name="login", namespace="default")))
    async with opened() as replica:
        await replica.get(node.KIND, "edge")
        async with followed(replica, secret.KIND, namespace="default", fields="metadata.name=login"):
            await trio.sleep(3600)
            assert rows(tmp_path) >= {"edge", "login"}
        wire.break_line()
        replica.look()
        await replica.wait_offline()
        await trio.sleep(24 * 3600)
        assert (await replica.get(secret.KIND, "login", "default")).metadata.name == "login"
        wire.mend()
        await trio.sleep(3600)
    assert rows(tmp_path) >= {"edge"}
    assert "login" not in rows(tmp_path)


def rows(directory: Path) -> set[str]:
    with sqlite3.connect(directory / "agent" / "replica.db") as database:
        return {row[0].rpartition("/")[2] for row in database.execute("select path from objects")}


async def test_a_copy_of_another_cluster_is_not_used(
    opened: Any, wire: Wire, verbs: FakeVerbs, autojump_clock: Any
) -> None:
    await put_pod(verbs, "web")
    async with opened() as replica, followed(replica, pod.KIND, fields=MINE):
        pass
    wire.break_line()
    async with opened(cluster="two") as replica:
        with pytest.raises(ConnectionFailed):
            await replica.list(pod.KIND, fields=MINE)


async def test_leases_are_not_kept(opened: Any, wire: Wire, verbs: FakeVerbs, autojump_clock: Any) -> None:
    made = Lease(metadata=ObjectMeta(name="edge", namespace="kube-node-lease"))
    await verbs.client().create(lease.KIND, made)
    async with opened() as replica:
        assert (await replica.get(lease.KIND, "edge", "kube-node-lease")).metadata.name == "edge"
        wire.break_line()
        with pytest.raises(ConnectionFailed):
            await replica.get(lease.KIND, "edge", "kube-node-lease")


async def test_two_who_learn_at_once_that_an_object_is_gone_do_not_get_in_each_others_way(
    opened: Any, wire: Wire, verbs: FakeVerbs, autojump_clock: Any
) -> None:
    async def ask(replica: Any) -> None:
        with pytest.raises(NotFound):
            await replica.get(pod.KIND, "web", "default")

    await put_pod(verbs, "web")
    async with opened() as replica, followed(replica, pod.KIND, fields=MINE):
        await verbs.client().delete(pod.KIND, "web", "default")
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(ask, replica)
        assert (await replica.list(pod.KIND, fields=MINE)).items == []
