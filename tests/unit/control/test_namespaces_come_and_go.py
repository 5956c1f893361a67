"""What every namespace has, and how one goes."""

from __future__ import annotations

from typing import Any

import pytest

from edgekube.errors import NotFound


async def absent(cluster: Any, plural: str, name: str, namespace: str = "default") -> bool:
    try:
        await cluster.get(plural, name, namespace)
    except NotFound:
        return True
    return False


async def test_a_namespace_gets_an_account_and_the_ca_and_gets_them_back(autojump_clock: Any, cluster: Any) -> None:
    await cluster.create("namespaces", {"metadata": {"name": "x"}})

    async def complete() -> Any:
        return not await absent(cluster, "serviceaccounts", "default", "x") and not await absent(
            cluster, "configmaps", "kube-root-ca.crt", "x"
        )

    await cluster.until(complete)
    await cluster.delete("serviceaccounts", "default", "x")
    await cluster.patch("configmaps", "kube-root-ca.crt", {"data": {"ca.crt": "tampered"}}, "x")

    async def restored() -> Any:
        published = await cluster.get("configmaps", "kube-root-ca.crt", "x")
        return published.data == {"ca.crt": "PEM"} and not await absent(cluster, "serviceaccounts", "default", "x")

    assert await cluster.until(restored)


async def test_a_deleted_namespace_takes_its_content_along(autojump_clock: Any, cluster: Any) -> None:
    await cluster.create("namespaces", {"metadata": {"name": "x"}})
    await cluster.create("configmaps", {"metadata": {"name": "a"}}, "x")
    await cluster.delete("namespaces", "x")

    async def gone() -> Any:
        return await absent(cluster, "namespaces", "x")

    assert await cluster.until(gone)
    assert await cluster.list("configmaps", "x") == []


async def test_a_finalizer_holds_the_namespace_and_conditions_say_which(autojump_clock: Any, cluster: Any) -> None:
    await cluster.create("namespaces", {"metadata": {"name": "x"}})
    await cluster.create("configmaps", {"metadata": {"name": "held", "finalizers": ["example.org/hold"]}}, "x")
    await cluster.delete("namespaces", "x")

    async def told() -> Any:
        found = await cluster.get("namespaces", "x")
        conditions = {c.type: c for c in found.status.conditions}
        return conditions if "NamespaceFinalizersRemaining" in conditions else None

    conditions = await cluster.until(told)
    assert conditions["NamespaceContentRemaining"].message == (
        "Some resources are remaining: configmaps. has 1 resource instances"
    )
    assert conditions["NamespaceFinalizersRemaining"].message == (
        "Some content in the namespace has finalizers remaining: example.org/hold in 1 resource instances"
    )
    await cluster.patch("configmaps", "held", {"metadata": {"finalizers": None}}, "x")

    async def gone() -> Any:
        return await absent(cluster, "namespaces", "x")

    assert await cluster.until(gone)


@pytest.mark.parametrize("replicas", [0, 3])
async def test_a_replica_set_keeps_its_number(autojump_clock: Any, cluster: Any, replicas: int) -> None:
    template = {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 1, "selector": {"matchLabels": {"app": "w"}}, "template": template}
    await cluster.create("pods", {"metadata": {"name": "orphan", "labels": {"app": "w"}}, "spec": template["spec"]})
    await cluster.create("replicasets", {"metadata": {"name": "w"}, "spec": spec})

    async def adopted() -> Any:
        return (await cluster.get("pods", "orphan")).metadata.owner_references

    (owner,) = await cluster.until(adopted)
    assert (owner.kind, owner.controller, owner.block_owner_deletion) == ("ReplicaSet", True, True)
    await cluster.patch("replicasets", "w", {"spec": {"replicas": replicas}})

    async def settled() -> Any:
        found = await cluster.get("replicasets", "w")
        return found.status.replicas == replicas and found.status.observed_generation == found.metadata.generation

    await cluster.until(settled)
    assert len(await cluster.list("pods")) == replicas
