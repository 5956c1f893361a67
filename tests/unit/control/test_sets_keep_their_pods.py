"""DaemonSets and StatefulSets over an API in memory."""

from __future__ import annotations

from typing import Any

from edgekube.errors import NotFound


def workload(**spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    return {
        "metadata": {"name": "w"},
        "spec": {"selector": {"matchLabels": {"app": "w"}}, "template": template, **spec},
    }


async def node(cluster: Any, name: str, **labels: str) -> None:
    await cluster.create("nodes", {"metadata": {"name": name, "labels": labels}})
    now = cluster.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "KubeletReady",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    await cluster.patch("nodes", name, {"status": {"conditions": [ready]}}, subresource="status")


async def run_all(cluster: Any) -> list[Any]:
    found: list[Any] = await cluster.list("pods", labels="app=w")
    for pod in found:
        if pod.status.phase != "Running" and pod.metadata.deletion_timestamp is None:
            await cluster.run_pod(pod)
    return found


def targets(pods: list[Any]) -> list[str]:
    terms = [p.spec.affinity.node_affinity.required_during_scheduling_ignored_during_execution for p in pods]
    return sorted(term.node_selector_terms[0].match_fields[0].values[0] for term in terms)


async def test_a_daemon_set_has_one_pod_on_every_node_that_suits(autojump_clock: Any, cluster: Any) -> None:
    for name, labels in (("a", {"role": "x"}), ("b", {"role": "x"}), ("c", {})):
        await node(cluster, name, **labels)
    document = workload()
    document["spec"]["template"]["spec"]["nodeSelector"] = {"role": "x"}
    await cluster.create("daemonsets", document)

    async def two() -> Any:
        found = await run_all(cluster)
        status = (await cluster.get("daemonsets", "w")).status
        return found if status.number_available == 2 else None

    assert targets(await cluster.until(two)) == ["a", "b"]
    status = (await cluster.get("daemonsets", "w")).status
    assert (status.desired_number_scheduled, status.current_number_scheduled, status.updated_number_scheduled) == (
        2,
        2,
        2,
    )
    await cluster.patch("nodes", "c", {"metadata": {"labels": {"role": "x"}}})

    async def three() -> Any:
        found = await run_all(cluster)
        return found if len(found) == 3 else None

    assert targets(await cluster.until(three)) == ["a", "b", "c"]


async def test_a_daemon_set_rolls_one_node_at_a_time(autojump_clock: Any, cluster: Any) -> None:
    for name in ("a", "b", "c"):
        await node(cluster, name)
    await cluster.create("daemonsets", workload())

    async def all_well() -> Any:
        await run_all(cluster)
        found = await cluster.get("daemonsets", "w")
        status = found.status
        well = status.number_available == status.updated_number_scheduled == 3
        return well and status.observed_generation == found.metadata.generation

    await cluster.until(all_well)
    await cluster.patch("daemonsets", "w", {"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}})
    least = 3

    async def rolled() -> Any:
        nonlocal least
        ready = [
            p for p in await cluster.list("pods") if p.status.phase == "Running" and not p.metadata.deletion_timestamp
        ]
        least = min(least, len(ready))
        return await all_well()

    await cluster.until(rolled)
    assert least == 2
    assert {pod.metadata.labels.get("v") for pod in await cluster.list("pods")} == {"2"}
    assert sorted(item.revision for item in await cluster.list("controllerrevisions")) == [1, 2]


async def test_a_stateful_set_grows_in_order_and_shrinks_in_reverse(autojump_clock: Any, cluster: Any) -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}  # fmt: skip
    await cluster.create("statefulsets", workload(replicas=3, serviceName="s", volumeClaimTemplates=[claim]))
    births: list[str] = []

    async def grown() -> Any:
        for pod in await run_all(cluster):
            if pod.metadata.name not in births:
                births.append(pod.metadata.name)
        return (await cluster.get("statefulsets", "w")).status.ready_replicas == 3

    await cluster.until(grown)
    assert births == ["w-0", "w-1", "w-2"]
    pod = await cluster.get("pods", "w-1")
    assert pod.metadata.labels["statefulset.kubernetes.io/pod-name"] == "w-1"
    assert (pod.spec.hostname, pod.spec.subdomain) == ("w-1", "s")
    assert pod.spec.volumes[0].persistent_volume_claim.claim_name == "data-w-1"
    assert sorted(item.metadata.name for item in await cluster.list("persistentvolumeclaims")) == ["data-w-0", "data-w-1", "data-w-2"]  # fmt: skip
    await cluster.patch("statefulsets", "w", {"spec": {"replicas": 1}})

    async def shrunk() -> Any:
        return [p.metadata.name for p in await cluster.list("pods")] == ["w-0"]

    await cluster.until(shrunk)
    assert len(await cluster.list("persistentvolumeclaims")) == 3


async def test_a_partition_holds_lower_numbers_at_the_old_revision(autojump_clock: Any, cluster: Any) -> None:
    rolling = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    document = workload(replicas=2, serviceName="s", podManagementPolicy="Parallel", updateStrategy=rolling)
    await cluster.create("statefulsets", document)

    async def well() -> Any:
        await run_all(cluster)
        found = await cluster.get("statefulsets", "w")
        return (
            found
            if found.status.ready_replicas == 2 and found.status.observed_generation == found.metadata.generation
            else None
        )

    await cluster.until(well)
    await cluster.patch("statefulsets", "w", {"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}})

    async def rolled() -> Any:
        found = await well()
        return found if found and found.status.updated_replicas == 1 and found.status.current_replicas == 1 else None

    done = await cluster.until(rolled)
    assert done.status.current_revision != done.status.update_revision
    labels = {p.metadata.name: p.metadata.labels.get("v") for p in await cluster.list("pods")}
    assert labels == {"w-0": None, "w-1": "2"}


async def test_claims_go_with_numbers_that_are_scaled_away_when_asked(autojump_clock: Any, cluster: Any) -> None:
    claim = {"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}  # fmt: skip
    policy = {"whenScaled": "Delete", "whenDeleted": "Retain"}
    document = workload(replicas=2, serviceName="s", podManagementPolicy="Parallel")
    document["spec"].update(volumeClaimTemplates=[claim], persistentVolumeClaimRetentionPolicy=policy)
    await cluster.create("statefulsets", document)

    async def well() -> Any:
        await run_all(cluster)
        return (await cluster.get("statefulsets", "w")).status.ready_replicas == 2

    await cluster.until(well)
    await cluster.patch("statefulsets", "w", {"spec": {"replicas": 1}})

    async def gone() -> Any:
        try:
            await cluster.get("persistentvolumeclaims", "data-w-1")
        except NotFound:
            return True
        return False

    assert await cluster.until(gone)
    assert (await cluster.get("persistentvolumeclaims", "data-w-0")).metadata.deletion_timestamp is None
