"""What every namespace has, and how one goes."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from edgekube.control.controllers.namespace import Inquiry, Remaining, Seen, reconcile
from edgekube.control.resources import Resource
from edgekube.errors import NotFound
from edgekube.kinds.core import namespace as namespace_kind


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


class Shelf:
    """A client of a namespace that holds what it is told to, and counts what is asked."""

    def __init__(self, held: dict[str, int]) -> None:
        self.held, self.asked = held, Counter[str]()

    async def call(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        verbs = ["delete", "deletecollection", "get", "list"]
        if path == "/apis":
            return {"groups": []}
        if path == "/api/v1":
            kinds = (("configmaps", "ConfigMap"), ("pods", "Pod"), ("secrets", "Secret"))
            return {
                "resources": [{"name": name, "kind": kind, "namespaced": True, "verbs": verbs} for name, kind in kinds]
            }
        plural = path.rpartition("/")[2]
        self.asked[f"{method} {plural}"] += 1
        item = {"metadata": {"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
        return {"items": [item] * self.held.get(plural, 0)}


async def test_pods_go_first_and_what_is_empty_is_looked_at_once_more_only_at_the_end() -> None:
    namespace = namespace_kind.KIND.from_dict({"metadata": {"name": "x", "uid": "u"}})
    seen = Seen(namespace, datetime(2026, 1, 1, tzinfo=UTC))
    inquiry, shelf = Inquiry(), Shelf({"pods": 1, "secrets": 1})
    client: Any = shelf
    for _ in range(3):
        found = await inquiry(client, seen)
        assert [left.resource.plural for left in found.remaining] == ["pods"]
    assert shelf.asked == {"GET pods": 3}
    shelf.held["pods"] = 0
    for _ in range(3):
        found = await inquiry(client, seen)
        assert [left.resource.plural for left in found.remaining] == ["secrets"]
    assert shelf.asked == {"GET pods": 4, "GET configmaps": 1, "GET secrets": 3}
    shelf.held["secrets"] = 0
    assert (await inquiry(client, seen)).remaining == []
    assert shelf.asked == {"GET pods": 5, "GET configmaps": 2, "GET secrets": 5}


@pytest.mark.parametrize(("age_s", "pause_s"), [(0, 0.5), (60, 6.0), (3600, 15.0)])
def test_a_namespace_that_something_holds_is_looked_at_less_and_less(age_s: int, pause_s: float) -> None:
    document = {"metadata": {"name": "x", "deletionTimestamp": "2026-01-01T00:00:00Z"}}
    resource = Resource("", "v1", "pods", "Pod", True, ())
    now = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=age_s)
    seen = Seen(namespace_kind.KIND.from_dict(document), now, remaining=[Remaining(resource, 1, {})], asked=True)
    assert reconcile(seen).look_again_s == pause_s
