"""While the server is away, services and names lead to this node's pods as this node knows them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import trio

from edgekube.client.fake import FakeVerbs
from edgekube.client.follow import Cache, follow
from edgekube.client.replica import Replica, open_replica
from edgekube.clock import SeededClock
from edgekube.errors import ConnectionFailed
from edgekube.kinds.core import pod as pods
from edgekube.kinds.core import service as services
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.service import Service
from edgekube.kinds.discovery import endpointslice as slices
from edgekube.kinds.discovery.endpointslice import EndpointSlice
from edgekube.network.dns.zone import build
from edgekube.network.localendpoints import CATCH_UP_S, LocalEndpoints, overlaid
from edgekube.store.memory import MemoryStore
from edgekube.store.offload import InlineOffloader


def pod(name: str, ip: str, *, ready: bool = True, phase: str = "Running", app: str = "web", **meta: Any) -> Pod:
    return pods.KIND.from_dict(
        {
            "metadata": {"name": name, "namespace": "default", "uid": name, "labels": {"app": app}, **meta},
            "spec": {
                "nodeName": "edge",
                "hostname": name,
                "subdomain": "db",
                "containers": [{"name": "main", "ports": [{"name": "http", "containerPort": 8080}]}],
            },
            "status": {
                "phase": phase,
                "podIP": ip,
                "podIPs": [{"ip": ip}] if ip else [],
                "conditions": [{"type": "Ready", "status": str(ready)}],
            },
        }
    )


def service(name: str = "web", *, selector: dict[str, str] | None = None, **spec: Any) -> Service:
    ports = [{"name": "http", "port": 80, "targetPort": "http", "protocol": "TCP"}]
    document = {"selector": {"app": "web"} if selector is None else selector, "ports": ports, "clusterIP": "10.0.0.5"}
    return services.KIND.from_dict({"metadata": {"name": name, "namespace": "default"}, "spec": {**document, **spec}})


def piece(*endpoints: tuple[str, str], name: str = "web", number: int = 8080) -> EndpointSlice:
    return slices.KIND.from_dict(
        {
            "metadata": {
                "name": f"{name}-abc",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "endpoints": [
                {"addresses": [ip], "nodeName": node, "conditions": {"ready": True}, "zone": f"zone-of-{node}"}
                for ip, node in endpoints
            ],
            "ports": [{"name": "http", "port": number, "protocol": "TCP"}],
        }
    )


def shown(made: list[EndpointSlice]) -> dict[str, tuple[str, bool, int]]:
    """address -> (node, ready, port)."""
    return {
        address: (endpoint.node_name or "", bool(endpoint.conditions.ready), (one.ports or [])[0].port or 0)
        for one in made
        for endpoint in one.endpoints or ()
        for address in endpoint.addresses or ()
    }


def test_own_pods_get_their_new_addresses_and_others_stay_as_last_seen() -> None:
    before = [piece(("10.1.0.2", "edge"), ("10.1.0.3", "edge"), ("10.2.0.9", "far"))]
    made = overlaid("edge", [service()], before, [pod("a", "10.1.0.12"), pod("b", "10.1.0.13", ready=False)])
    assert shown(made) == {
        "10.1.0.12": ("edge", True, 8080),
        "10.1.0.13": ("edge", False, 8080),
        "10.2.0.9": ("far", True, 8080),
    }
    assert shown(before) == dict.fromkeys(["10.1.0.2", "10.1.0.3"], ("edge", True, 8080)) | {
        "10.2.0.9": ("far", True, 8080)
    }
    zones = {endpoint.zone for one in made for endpoint in one.endpoints or () if endpoint.node_name == "edge"}
    assert zones == {"zone-of-edge"}


def test_who_is_not_to_be_reached_is_left_out() -> None:
    others = [
        pod("done", "10.1.0.20", phase="Succeeded"),
        pod("early", ""),
        pod("other", "10.1.0.21", app="db"),
        pod("leaving", "10.1.0.22", deletionTimestamp="2026-01-01T00:00:00Z"),
    ]
    made = overlaid("edge", [service()], [piece(("10.1.0.2", "edge"))], others)
    assert shown(made) == {"10.1.0.22": ("edge", False, 8080)}


def test_services_that_somebody_else_fills_are_left_alone() -> None:
    before = [piece(("10.1.0.2", "edge"))]
    assert overlaid("edge", [service(selector={})], before, [pod("a", "10.1.0.12")]) == before
    assert overlaid("edge", [], before, [pod("a", "10.1.0.12")]) == before


def test_a_service_nobody_stood_behind_so_far_finds_its_pods() -> None:
    numbered = service(ports=[{"name": "http", "port": 81}])
    assert shown(overlaid("edge", [numbered], [], [pod("a", "10.1.0.12")])) == {"10.1.0.12": ("edge", True, 81)}
    unready = overlaid("edge", [service(publishNotReadyAddresses=True)], [], [pod("a", "10.1.0.12", ready=False)])
    assert shown(unready) == {"10.1.0.12": ("edge", True, 8080)}


def test_names_of_single_pods_follow_them() -> None:
    headless = service("db", clusterIP="None")
    made = overlaid("edge", [headless], [piece(("10.1.0.2", "edge"), name="db")], [pod("db-0", "10.1.0.12")])
    zone = build("cluster.local", [headless], made)
    for name in ("db.default.svc.cluster.local", "db-0.db.default.svc.cluster.local"):
        answer = zone.answer(name, "A")
        assert answer is not None
        assert [record.data for record in answer.records] == ["10.1.0.12"]


async def test_the_local_view_lasts_while_the_server_is_away_and_a_moment_longer(
    tmp_path: Path, autojump_clock: Any
) -> None:
    verbs = FakeVerbs(MemoryStore())
    cut = trio.Event()

    class Wire:
        def __getattr__(self, verb: str) -> Any:
            if verb == "watch":
                return getattr(verbs.client(), verb)

            async def ask(*parts: Any, **more: Any) -> Any:
                await trio.lowlevel.checkpoint()
                if cut.is_set():
                    raise ConnectionFailed("cut")
                return await getattr(verbs.client(), verb)(*parts, **more)

            return ask

    made = await verbs.client().create(pods.KIND, pod("a", "10.1.0.2"))
    await verbs.client().create(slices.KIND, piece(("10.1.0.2", "edge"), ("10.2.0.9", "far")))
    known: Cache[EndpointSlice] = Cache()
    told: list[float] = []

    async with (
        open_replica(
            tmp_path / "replica.db",
            Wire(),  # type: ignore[arg-type]
            SeededClock(),
            offloader=lambda _: InlineOffloader(),
        ) as replica,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(follow, replica, slices.KIND, known)
        local = LocalEndpoints(
            replica, "edge", lambda: [service()], known.list, lambda: told.append(trio.current_time())
        )
        await nursery.start(local.run)
        await until(lambda: known.synced)
        assert set(shown(list(local.slices()))) == {"10.1.0.2", "10.2.0.9"}
        cut.set()
        replica.look()
        await replica.wait_offline()
        await say(replica, made, "10.1.0.77")
        await until(lambda: set(shown(list(local.slices()))) == {"10.1.0.77", "10.2.0.9"})
        cut = trio.Event()
        await replica.wait_online()
        back = trio.current_time()
        assert set(shown(list(local.slices()))) == {"10.1.0.77", "10.2.0.9"}
        await until(lambda: set(shown(list(local.slices()))) == {"10.1.0.2", "10.2.0.9"})
        assert CATCH_UP_S <= trio.current_time() - back <= CATCH_UP_S + 2
        assert told[-1] >= back + CATCH_UP_S
        nursery.cancel_scope.cancel()


async def say(replica: Replica, item: Pod, ip: str) -> None:
    moved = pod(item.metadata.name, ip)
    moved.metadata = item.metadata
    try:
        await replica.update(pods.KIND, moved, subresource="status")
    except ConnectionFailed:
        return
    raise AssertionError("the line was meant to be cut")


async def until(true: Any) -> None:
    with trio.fail_after(600):
        while not true():  # noqa: ASYNC110 what is waited for has no event
            await trio.sleep(0.5)
