"""What people do with lightkube, each thing a scenario. Runs in the clients' own environment."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from lightkube import ApiError, AsyncClient, Client, codecs
from lightkube.generic_resource import create_namespaced_resource, load_in_cluster_generic_resources
from lightkube.models.meta_v1 import ObjectMeta
from lightkube.resources.apiextensions_v1 import CustomResourceDefinition
from lightkube.resources.apps_v1 import Deployment
from lightkube.resources.core_v1 import ConfigMap, Namespace, Node, Pod, Service
from lightkube.types import PatchType

MANIFEST = """
apiVersion: v1
kind: Service
metadata: {name: {{ name }}}
spec: {ports: [{port: 80}], selector: {app: {{ name }}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: {{ name }}}
spec:
  replicas: 0
  selector: {matchLabels: {app: {{ name }}}}
  template:
    metadata: {labels: {app: {{ name }}}}
    spec: {containers: [{name: main, image: "example.test/{{ name }}:1"}]}
"""


@pytest.fixture(name="space")
def _space() -> Iterator[str]:
    name = f"light-{uuid.uuid4().hex[:8]}"
    client = Client()
    client.create(Namespace(metadata=ObjectMeta(name=name)))
    yield name
    client.delete(Namespace, name)


def settings(name: str, space: str, **data: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name, namespace=space), data=data)


def manifest(name: str) -> list[Any]:
    return list(codecs.load_all_yaml(MANIFEST.replace("{{ name }}", name)))


def test_objects_are_created_read_replaced_and_deleted(space: str) -> None:
    client = Client(namespace=space)
    made = client.create(settings("one", space, a="1"))
    assert made.metadata is not None
    assert made.metadata.creationTimestamp is not None
    made.data["b"] = "2"
    assert client.replace(made).data == {"a": "1", "b": "2"}
    with pytest.raises(ApiError) as stale:
        client.replace(made)
    assert stale.value.status.code == 409
    client.delete(ConfigMap, "one")
    with pytest.raises(ApiError) as missing:
        client.get(ConfigMap, "one")
    assert missing.value.status.reason == "NotFound"


def test_lists_by_label_field_and_page(space: str) -> None:
    client = Client(namespace=space)
    for number in range(5):
        item = settings(f"n{number}", space)
        item.metadata.labels = {"odd": str(number % 2)}
        client.create(item)
    assert [one.metadata.name for one in client.list(ConfigMap, labels={"odd": "1"})] == ["n1", "n3"]
    assert [one.metadata.name for one in client.list(ConfigMap, fields={"metadata.name": "n2"})] == ["n2"]
    mine = {"odd": ["0", "1"]}
    assert [one.metadata.name for one in client.list(ConfigMap, labels=mine, chunk_size=2)] == [
        f"n{n}" for n in range(5)
    ]
    assert [one.metadata.name for one in client.list(ConfigMap, namespace="*", labels=mine)][:1] == ["n0"]


def test_patches_of_every_type(space: str) -> None:
    client = Client(namespace=space)
    for part in manifest("web"):
        client.create(part)
    strategic = {"spec": {"template": {"spec": {"containers": [{"name": "main", "args": ["x"]}]}}}}
    assert client.patch(Deployment, "web", strategic).spec.template.spec.containers[0].image == "example.test/web:1"
    merged = client.patch(Service, "web", {"metadata": {"labels": {"a": "b"}}}, patch_type=PatchType.MERGE)
    assert merged.metadata.labels == {"a": "b"}
    steps = [{"op": "add", "path": "/metadata/labels/c", "value": "d"}]
    assert client.patch(Service, "web", steps, patch_type=PatchType.JSON).metadata.labels == {"a": "b", "c": "d"}


def test_server_side_apply_and_its_conflicts(space: str) -> None:
    first = Client(namespace=space, field_manager="first")
    second = Client(namespace=space, field_manager="second")
    assert first.apply(settings("one", space, a="1")).data == {"a": "1"}
    with pytest.raises(ApiError) as refused:
        second.apply(settings("one", space, a="2"))
    assert refused.value.status.code == 409
    assert refused.value.status.details.causes[0].field == ".data.a"
    assert second.apply(settings("one", space, a="2"), force=True).data == {"a": "2"}


def test_the_scale_and_status_subresources(space: str) -> None:
    client = Client(namespace=space)
    for part in manifest("web"):
        client.apply(part, field_manager="light")
    scaled = client.patch(Deployment.Scale, "web", {"spec": {"replicas": 1}})
    assert scaled.spec.replicas == 1
    assert client.get(Deployment.Status, "web").metadata.name == "web"


def test_a_wait_ends_when_the_condition_holds(space: str) -> None:
    client = Client(namespace=space)
    for part in manifest("web"):
        client.create(part)
    ready = client.wait(Deployment, "web", for_conditions=["Available"])
    assert ready.status.observedGeneration == 1


def test_a_watch_sees_changes(space: str) -> None:
    client = Client(namespace=space)
    client.create(settings("one", space, a="1"))
    seen = []
    for operation, item in client.watch(ConfigMap, fields={"metadata.name": "one"}):
        seen.append((operation, item.data))
        if operation == "ADDED":
            client.patch(ConfigMap, "one", {"data": {"a": "2"}})
        elif operation == "MODIFIED":
            client.delete(ConfigMap, "one")
        else:
            break
    assert seen == [("ADDED", {"a": "1"}), ("MODIFIED", {"a": "2"}), ("DELETED", {"a": "2"})]


def test_custom_resources_are_loaded_and_used(space: str) -> None:
    client = Client(namespace=space)
    group = f"g{uuid.uuid4().hex[:8]}.example.test"
    text = f"""
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {{name: lamps.{group}}}
spec:
  group: {group}
  scope: Namespaced
  names: {{plural: lamps, singular: lamp, kind: Lamp}}
  versions:
  - name: v1
    served: true
    storage: true
    subresources: {{status: {{}}}}
    schema:
      openAPIV3Schema: {{type: object, x-kubernetes-preserve-unknown-fields: true}}
"""
    (definition,) = codecs.load_all_yaml(text)
    client.create(definition)
    client.wait(CustomResourceDefinition, f"lamps.{group}", for_conditions=["Established"])
    lamps = create_namespaced_resource(group, "v1", "Lamp", "lamps")
    made = client.create(lamps(metadata=ObjectMeta(name="one", namespace=space), spec={"on": True}))
    assert made.spec == {"on": True}
    client.patch(lamps.Status, "one", {"status": {"lit": True}}, patch_type=PatchType.MERGE)
    assert client.get(lamps, "one").status == {"lit": True}
    load_in_cluster_generic_resources(client)
    client.delete(CustomResourceDefinition, f"lamps.{group}")
    deadline = time.monotonic() + 60
    while f"lamps.{group}" in [one.metadata.name for one in client.list(CustomResourceDefinition)]:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_cluster_wide_resources_and_dry_runs(space: str) -> None:
    client = Client(namespace=space)
    assert isinstance(list(client.list(Node)), list)
    assert space in [one.metadata.name for one in client.list(Namespace)]
    dry = Client(namespace=space, dry_run=True)
    assert dry.create(settings("one", space, a="1")).metadata.uid
    assert [one for one in client.list(ConfigMap) if one.metadata.name == "one"] == []


async def test_the_asynchronous_client_does_the_same(space: str) -> None:
    client = AsyncClient(namespace=space)
    await client.create(settings("one", space, a="1"))
    assert [one.metadata.name async for one in client.list(ConfigMap, fields={"metadata.name": "one"})] == ["one"]
    async for operation, item in client.watch(ConfigMap, fields={"metadata.name": "one"}):
        assert (operation, item.data) == ("ADDED", {"a": "1"})
        break
    await client.delete(ConfigMap, "one")
    await client.deletecollection(Pod)
    assert [one async for one in client.list(Pod)] == []
    await client.close()
