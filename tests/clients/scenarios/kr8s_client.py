"""What people do with kr8s, beside its own suite (see test_own_suites.py). Runs in the clients' own environment."""

from __future__ import annotations

import uuid
from collections.abc import Iterator

import kr8s
import pytest
from kr8s.asyncio.objects import ConfigMap as AsyncConfigMap
from kr8s.objects import ConfigMap, CustomResourceDefinition, Deployment, Namespace, new_class


@pytest.fixture(name="space")
def _space() -> Iterator[str]:
    made = Namespace({"metadata": {"name": f"kr8s-{uuid.uuid4().hex[:8]}"}})
    made.create()
    yield made.name
    made.delete()


def settings(space: str, **data: str) -> dict[str, object]:
    return {"metadata": {"name": "one", "namespace": space, "labels": {"a": "b"}}, "data": data}


def test_objects_live_their_life(space: str) -> None:
    one = ConfigMap(settings(space, a="1"))
    one.create()
    assert one.exists()
    one.patch({"data": {"a": "2"}})
    one.label({"c": "d"})
    one.annotate({"e": "f"})
    again = ConfigMap.get("one", namespace=space)
    assert again.data.a == "2"
    assert again.labels == {"a": "b", "c": "d"}
    assert again.annotations["e"] == "f"
    one.delete()
    one.wait("delete", timeout=60)
    with pytest.raises(kr8s.NotFoundError):
        ConfigMap.get("one", namespace=space)


def test_a_deployment_scales_and_names_its_pods(space: str) -> None:
    labels = {"app": "web"}
    one = Deployment({"metadata": {"name": "web", "namespace": space}, "spec": {
        "replicas": 0, "selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": {
            "containers": [{"name": "web", "image": "example.test/web:1"}]}}}})  # fmt: skip
    one.create()
    one.wait("condition=Available", timeout=60)
    one.scale(0)
    assert one.replicas == 0
    assert one.ready()


def test_api_resources_versions_and_identity() -> None:
    api = kr8s.api()
    assert api.version()["minor"] == "36"
    names = {resource["name"] for resource in api.api_resources()}
    assert {"pods", "deployments", "customresourcedefinitions"} <= names
    assert "apps/v1" in list(api.api_versions())
    assert api.whoami()


def test_custom_resources(space: str) -> None:
    group = f"g{uuid.uuid4().hex[:8]}.example.test"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"plural": "boats", "singular": "boat", "kind": "Boat"}
    definition = CustomResourceDefinition({"metadata": {"name": f"boats.{group}"}, "spec": {
        "group": group, "scope": "Namespaced", "names": names, "versions": [version]}})  # fmt: skip
    definition.create()
    definition.wait("condition=Established", timeout=60)
    boat = new_class(kind="Boat", version=f"{group}/v1", namespaced=True)
    one = boat({"metadata": {"name": "one", "namespace": space}, "spec": {"sails": 2}})
    one.create()
    assert boat.get("one", namespace=space).spec.sails == 2
    assert [item.name for item in kr8s.get(f"boats.{group}", namespace=space)] == ["one"]
    definition.delete()


async def test_watching_with_asyncio(space: str) -> None:
    api = await kr8s.asyncio.api()
    one = await AsyncConfigMap(settings(space, a="1"), api=api)
    await one.create()
    seen = []
    async for event, item in api.watch("configmaps", namespace=space, label_selector="a=b"):
        seen.append((event, item.data.a))
        if event == "ADDED":
            await one.patch({"data": {"a": "2"}})
        elif event == "MODIFIED":
            await one.delete()
        else:
            break
    assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]
