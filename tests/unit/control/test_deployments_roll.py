"""Deployments, replica sets and their pods, end to end over an API in memory."""

from __future__ import annotations

from typing import Any


def deployment(replicas: int, **spec: Any) -> dict[str, Any]:
    template = {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    return {
        "metadata": {"name": "w"},
        "spec": {"replicas": replicas, "selector": {"matchLabels": {"app": "w"}}, "template": template, **spec},
    }


async def test_a_deployment_makes_its_pods_and_says_so(autojump_clock: Any, cluster: Any) -> None:
    await cluster.create("deployments", deployment(2))

    async def two_pods() -> Any:
        found = await cluster.list("pods", labels="app=w")
        return found if len(found) == 2 else None

    pods = await cluster.until(two_pods)
    (replica_set,) = await cluster.list("replicasets")
    assert {pod.metadata.owner_references[0].name for pod in pods} == {replica_set.metadata.name}
    assert all(
        pod.metadata.labels["pod-template-hash"] == replica_set.metadata.labels["pod-template-hash"] for pod in pods
    )
    for pod in pods:
        await cluster.run_pod(pod)

    async def complete() -> Any:
        found = await cluster.get("deployments", "w")
        return found if any(c.reason == "NewReplicaSetAvailable" for c in found.status.conditions) else None

    done = await cluster.until(complete)
    assert (done.status.replicas, done.status.ready_replicas, done.status.available_replicas) == (2, 2, 2)
    assert done.metadata.annotations["deployment.kubernetes.io/revision"] == "1"
    assert {c.type: c.status for c in done.status.conditions} == {"Available": "True", "Progressing": "True"}

    async def told() -> Any:
        events = {(e.reason, e.source.component, e.message) for e in await cluster.list("events")}
        return events if len(events) >= 3 else None

    events = await cluster.until(told)
    assert (
        "ScalingReplicaSet",
        "deployment-controller",
        f"Scaled up replica set {replica_set.metadata.name} from 0 to 2",
    ) in events


async def test_a_new_template_replaces_pods_within_surge_and_unavailability(autojump_clock: Any, cluster: Any) -> None:
    rolling = {"strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}
    await cluster.create("deployments", deployment(3, **rolling))
    seen: list[tuple[int, int]] = []

    async def ready_all() -> Any:
        pods = await cluster.list("pods")
        ready = [pod for pod in pods if any(c.type == "Ready" for c in pod.status.conditions)]
        seen.append((len(pods), len(ready)))
        for pod in pods:
            if pod not in ready:
                await cluster.run_pod(pod)
                break
        found = await cluster.get("deployments", "w")
        return (
            found
            if found.status.available_replicas == found.status.updated_replicas == 3 == found.status.replicas
            else None
        )

    await cluster.until(ready_all)
    seen.clear()
    await cluster.patch("deployments", "w", {"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}})

    async def rolled() -> Any:
        found = await ready_all()
        return found if found and found.status.observed_generation == 2 else None

    await cluster.until(rolled)
    assert {pod.metadata.labels["v"] for pod in await cluster.list("pods")} == {"2"}
    assert max(total for total, _ in seen) <= 4
    assert min(ready for _, ready in seen) >= 3
    sets = await cluster.list("replicasets")
    assert sorted((s.metadata.annotations["deployment.kubernetes.io/revision"], s.spec.replicas) for s in sets) == [
        ("1", 0),
        ("2", 3),
    ]
