"""EndpointSlices and Endpoints follow services, pods and nodes."""

from __future__ import annotations

from typing import Any

from edgekube.control.controllers.endpointslice import hints

POD = {"metadata": {"name": "p1", "labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i", "ports": [{"name": "http", "containerPort": 8080}]}]}}  # fmt: skip


def service(**spec: Any) -> dict[str, Any]:
    ports = [{"name": "web", "port": 80, "targetPort": "http"}]
    return {"metadata": {"name": "s", "labels": {"l": "s"}}, "spec": {"selector": {"app": "x"}, "ports": ports, **spec}}


async def slices(cluster: Any) -> list[Any]:
    found: list[Any] = await cluster.list("endpointslices", labels="kubernetes.io/service-name=s")
    return found


async def test_a_service_without_pods_has_one_empty_slice(autojump_clock: Any, cluster: Any) -> None:
    await cluster.create("services", service())

    async def one() -> Any:
        return await slices(cluster)

    (only,) = await cluster.until(one)
    assert not only.endpoints
    assert not only.ports
    assert only.metadata.labels == {
        "kubernetes.io/service-name": "s",
        "endpointslice.kubernetes.io/managed-by": "endpointslice-controller.k8s.io",
        "l": "s",
    }


async def test_a_pod_appears_becomes_ready_and_leaves_with_its_named_port(autojump_clock: Any, cluster: Any) -> None:
    await cluster.create("services", service())
    pod = await cluster.create("pods", POD)
    await cluster.run_pod(pod, conditions=[{"type": "Ready", "status": "False"}])

    async def unready() -> Any:
        found = await slices(cluster)
        return found[0] if found and found[0].endpoints else None

    listed = await cluster.until(unready)
    assert [(e.conditions.ready, e.conditions.serving, e.conditions.terminating) for e in listed.endpoints] == [
        (False, False, False)
    ]
    assert [(p.name, p.port, p.protocol) for p in listed.ports] == [("web", 8080, "TCP")]
    await cluster.run_pod(pod)

    async def ready() -> Any:
        found = await cluster.get("endpoints", "s")
        return found if found.subsets and found.subsets[0].addresses else None

    endpoints = await cluster.until(ready)
    assert endpoints.subsets[0].addresses[0].target_ref.name == "p1"
    assert endpoints.metadata.labels["endpoints.kubernetes.io/managed-by"] == "endpoint-controller"
    (only,) = await slices(cluster)
    assert only.metadata.name == listed.metadata.name
    await cluster.delete("pods", "p1", grace_s=0)

    async def gone() -> Any:
        found = await slices(cluster)
        return not found[0].endpoints and not (await cluster.get("endpoints", "s")).subsets

    assert await cluster.until(gone)


def test_endpoints_say_for_whom_they_are_where_traffic_is_to_stay_near() -> None:
    def told(distribution: str, zone: str = "hall-3", node: str = "gw1") -> tuple[list[str], list[str]] | None:
        made = hints(distribution, zone, node)
        return made and ([each.name for each in made.for_zones], [each.name for each in made.for_nodes])

    assert told("") is None
    assert told("PreferClose") == told("PreferSameZone") == (["hall-3"], [])
    assert told("PreferSameNode") == (["hall-3"], ["gw1"])
    assert told("PreferSameNode", zone="") == ([], ["gw1"])
    assert told("PreferSameZone", zone="") is None


async def test_endpoints_written_by_hand_are_mirrored(autojump_clock: Any, cluster: Any) -> None:
    await cluster.create("services", {"metadata": {"name": "s"}, "spec": {"ports": [{"port": 80}]}})
    subset = {"addresses": [{"ip": "192.0.2.50"}], "notReadyAddresses": [{"ip": "192.0.2.51"}], "ports": [{"port": 80}]}
    await cluster.create("endpoints", {"metadata": {"name": "s"}, "subsets": [subset]})

    async def mirrored() -> Any:
        return await slices(cluster)

    (only,) = await cluster.until(mirrored)
    assert [(e.addresses, e.conditions.ready) for e in only.endpoints] == [
        (["192.0.2.50"], True),
        (["192.0.2.51"], False),
    ]
    assert only.metadata.owner_references[0].kind == "Endpoints"


async def test_the_endpoints_of_a_deleted_service_go(autojump_clock: Any, cluster: Any) -> None:
    await cluster.create("services", service())

    async def there() -> Any:
        return await cluster.list("endpoints", fields="metadata.name=s")

    await cluster.until(there)
    await cluster.delete("services", "s")

    async def gone() -> Any:
        return not await there()

    assert await cluster.until(gone)
