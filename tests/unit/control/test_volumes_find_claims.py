"""Persistent volumes, claims and the pods that use them, over an API in memory."""

from __future__ import annotations

from typing import Any

from edgekube.errors import NotFound

GIB = {"requests": {"storage": "1Gi"}}


def volume(name: str, size: str, **spec: Any) -> dict[str, Any]:
    common = {"capacity": {"storage": size}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": f"/{name}"}}
    return {"metadata": {"name": name}, "spec": {**common, "storageClassName": "manual", **spec}}


def claim(name: str = "c", **spec: Any) -> dict[str, Any]:
    common = {"accessModes": ["ReadWriteOnce"], "resources": GIB, "storageClassName": "manual"}
    return {"metadata": {"name": name}, "spec": {**common, **spec}}


async def bound(cluster: Any, name: str = "c") -> Any:
    async def there() -> Any:
        found = await cluster.get("persistentvolumeclaims", name)
        return found if found.status.phase == "Bound" else None

    return await cluster.until(there)


async def test_a_claim_gets_the_smallest_volume_that_fits(autojump_clock: Any, cluster: Any) -> None:
    for name, size in (("large", "10Gi"), ("fits", "2Gi"), ("small", "500Mi")):
        await cluster.create("persistentvolumes", volume(name, size))
    await cluster.create("persistentvolumeclaims", claim())
    found = await bound(cluster)
    assert found.spec.volume_name == "fits"
    assert found.status.capacity == {"storage": "2Gi"}
    chosen = await cluster.get("persistentvolumes", "fits")
    assert (chosen.spec.claim_ref.name, chosen.spec.claim_ref.uid) == ("c", found.metadata.uid)

    async def phases() -> Any:
        found = {item.metadata.name: item.status.phase for item in await cluster.list("persistentvolumes")}
        return found == {"large": "Available", "fits": "Bound", "small": "Available"}

    assert await cluster.until(phases)


async def test_a_claim_that_waits_is_bound_when_a_volume_comes(autojump_clock: Any, cluster: Any) -> None:
    await cluster.create("persistentvolumeclaims", claim())

    async def told() -> Any:
        return [event for event in await cluster.list("events") if event.reason == "ProvisioningFailed"]

    (event,) = await cluster.until(told)
    assert event.message == 'storageclass.storage.k8s.io "manual" not found'
    await cluster.create("persistentvolumes", volume("v", "1Gi"))
    assert (await bound(cluster)).spec.volume_name == "v"


async def test_a_claim_in_use_outlives_its_deletion_and_the_volume_is_released(
    autojump_clock: Any, cluster: Any
) -> None:
    await cluster.create("persistentvolumes", volume("v", "1Gi"))
    await cluster.create("persistentvolumeclaims", claim())
    await bound(cluster)
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    spec = {"containers": [{"name": "c", "image": "i"}], "volumes": volumes}
    await cluster.create("pods", {"metadata": {"name": "p"}, "spec": spec})

    async def held() -> Any:
        return "kubernetes.io/pvc-protection" in (await cluster.get("persistentvolumeclaims", "c")).metadata.finalizers

    await cluster.until(held)
    await cluster.delete("persistentvolumeclaims", "c")
    assert (await cluster.get("persistentvolumeclaims", "c")).metadata.deletion_timestamp
    await cluster.delete("pods", "p", grace_s=0)

    async def released() -> Any:
        try:
            await cluster.get("persistentvolumeclaims", "c")
        except NotFound:
            return (await cluster.get("persistentvolumes", "v")).status.phase == "Released"
        return False

    assert await cluster.until(released)


async def test_a_claim_that_waits_for_its_pod_is_bound_where_the_pod_can_run(
    autojump_clock: Any, scheduled: Any
) -> None:
    cluster = scheduled
    provisioner = {"provisioner": "kubernetes.io/no-provisioner", "volumeBindingMode": "WaitForFirstConsumer"}
    await cluster.create("storageclasses", {"metadata": {"name": "manual"}, **provisioner})
    amounts = {"cpu": "2", "memory": "1Gi", "pods": "10"}
    for name in ("a", "b"):
        labels = {"kubernetes.io/hostname": name}
        await cluster.create("nodes", {"metadata": {"name": name, "labels": labels}})
        ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2999-01-01T00:00:00Z"}
        status = {"allocatable": amounts, "capacity": amounts, "conditions": [ready]}
        await cluster.patch("nodes", name, {"status": status}, subresource="status")
    match = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["b"]}
    affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [match]}]}}
    await cluster.create("persistentvolumes", volume("v", "1Gi", nodeAffinity=affinity))
    await cluster.create("persistentvolumeclaims", claim())
    volumes = [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]
    spec = {"containers": [{"name": "c", "image": "i"}], "volumes": volumes}
    await cluster.create("pods", {"metadata": {"name": "p"}, "spec": spec})

    async def placed() -> Any:
        return (await cluster.get("pods", "p")).spec.node_name

    assert await cluster.until(placed) == "b"
    assert (await bound(cluster)).spec.volume_name == "v"


async def test_an_ephemeral_volume_gets_a_claim_that_goes_with_its_pod(autojump_clock: Any, cluster: Any) -> None:
    template = {"spec": {"accessModes": ["ReadWriteOnce"], "resources": GIB, "storageClassName": "manual"}}
    volumes = [{"name": "scratch", "ephemeral": {"volumeClaimTemplate": template}}]
    spec = {"containers": [{"name": "c", "image": "i"}], "volumes": volumes}
    await cluster.create("pods", {"metadata": {"name": "p"}, "spec": spec})

    async def made() -> Any:
        return [item.metadata.name for item in await cluster.list("persistentvolumeclaims")]

    assert await cluster.until(made) == ["p-scratch"]
    await cluster.delete("pods", "p", grace_s=0)

    async def gone() -> Any:
        return not await made()

    assert await cluster.until(gone)
