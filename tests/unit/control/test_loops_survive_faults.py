"""Loops whose writes fail, or succeed without saying so, still reach what was asked for, and nothing is done twice."""

from __future__ import annotations

from typing import Any

from edgekube.errors import NotFound

CONTAINER = {"name": "c", "image": "i", "resources": {"requests": {"cpu": "100m"}}}


async def node(cluster: Any, name: str) -> None:
    amounts = {"cpu": "8", "memory": "8Gi", "pods": "110"}
    await cluster.create("nodes", {"metadata": {"name": name}})
    now = cluster.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = {"type": "Ready", "status": "True", "lastHeartbeatTime": "2999-01-01T00:00:00Z", "lastTransitionTime": now}
    status = {"allocatable": amounts, "capacity": amounts, "conditions": [ready]}
    await cluster.patch("nodes", name, {"status": status}, subresource="status")


async def act_as_node(cluster: Any) -> list[Any]:
    """Run what is placed; end what is to go."""
    found: list[Any] = await cluster.list("pods")
    for pod in found:
        if not pod.spec.node_name:
            continue
        if pod.metadata.deletion_timestamp is not None:
            try:
                await cluster.delete("pods", pod.metadata.name, grace_s=0)
            except NotFound:
                continue
        elif pod.status.phase == "Pending":
            ends = pod.metadata.labels.get("job-name")
            await cluster.run_pod(pod, **({"phase": "Succeeded"} if ends else {}))
    return found


async def test_everything_asked_for_exists_once_and_only_once(autojump_clock: Any, unreliable: Any) -> None:
    cluster = unreliable
    for name in ("a", "b"):
        await node(cluster, name)
    template = {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [CONTAINER]}}
    spec = {"replicas": 5, "selector": {"matchLabels": {"app": "w"}}, "template": template}
    await cluster.create("deployments", {"metadata": {"name": "w"}, "spec": spec})
    ports = [{"port": 80, "targetPort": 8080}]
    await cluster.create("services", {"metadata": {"name": "s"}, "spec": {"selector": {"app": "w"}, "ports": ports}})
    once = {"spec": {"containers": [CONTAINER], "restartPolicy": "Never"}}
    await cluster.create(
        "jobs", {"metadata": {"name": "j"}, "spec": {"completions": 4, "parallelism": 2, "template": once}}
    )

    async def settled() -> Any:
        await act_as_node(cluster)
        deployment, job = await cluster.get("deployments", "w"), await cluster.get("jobs", "j")
        done = any(c.type == "Complete" and c.status == "True" for c in job.status.conditions)
        return done and deployment.status.available_replicas == 5 and deployment.status.updated_replicas == 5

    await cluster.until(settled, 900)
    await cluster.patch("deployments", "w", {"spec": {"template": {"metadata": {"labels": {"v": "2"}}}}})

    async def rolled() -> Any:
        await act_as_node(cluster)
        found = await cluster.get("deployments", "w")
        status = found.status
        same = status.observed_generation == found.metadata.generation
        return same and status.available_replicas == status.updated_replicas == status.replicas == 5

    await cluster.until(rolled, 900)
    job = await cluster.get("jobs", "j")
    assert (job.status.succeeded, job.status.failed) == (4, 0)
    assert len(await cluster.list("pods", labels="job-name=j")) == 4
    assert {pod.metadata.labels["v"] for pod in await cluster.list("pods", labels="app=w")} == {"2"}
    assert len(await cluster.list("replicasets")) == 2

    async def served() -> Any:
        slices = await cluster.list("endpointslices", labels="kubernetes.io/service-name=s")
        names = sorted(e.target_ref.name for item in slices for e in item.endpoints or () if e.conditions.ready)
        return names == sorted(pod.metadata.name for pod in await cluster.list("pods", labels="app=w"))

    assert await cluster.until(served, 600)
