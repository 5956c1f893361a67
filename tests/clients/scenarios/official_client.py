"""What people do with the official Python client, each thing a scenario. Runs in the clients' own environment."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from kubernetes import client, config, utils, watch
from kubernetes.client.exceptions import ApiException
from kubernetes.dynamic import DynamicClient
from kubernetes.dynamic import exceptions as dynamic_errors

WAIT_S = 60


def until(what: Callable[[], Any], why: str) -> Any:
    """The first true answer."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        answer = what()
        if answer:
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not within {WAIT_S} s: {why}")


@pytest.fixture(name="api", scope="module")
def _api() -> client.ApiClient:
    config.load_kube_config()
    return client.ApiClient()


@pytest.fixture(name="core", scope="module")
def _core(api: client.ApiClient) -> client.CoreV1Api:
    return client.CoreV1Api(api)


@pytest.fixture(name="dynamic", scope="module")
def _dynamic(api: client.ApiClient) -> DynamicClient:
    return DynamicClient(api)


@pytest.fixture(name="space")
def _space(core: client.CoreV1Api) -> Iterator[str]:
    name = f"official-{uuid.uuid4().hex[:8]}"
    core.create_namespace(client.V1Namespace(metadata=client.V1ObjectMeta(name=name)))
    yield name
    core.delete_namespace(name)


def settings(name: str, **data: str) -> client.V1ConfigMap:
    return client.V1ConfigMap(metadata=client.V1ObjectMeta(name=name, labels={"made-by": "official"}), data=data)


def test_a_config_map_is_made_read_replaced_and_deleted(core: client.CoreV1Api, space: str) -> None:
    made = core.create_namespaced_config_map(space, settings("one", a="1"))
    assert made.metadata.uid
    assert made.metadata.creation_timestamp.tzinfo is not None
    made.data["b"] = "2"
    replaced = core.replace_namespaced_config_map("one", space, made)
    assert replaced.data == {"a": "1", "b": "2"}
    with pytest.raises(ApiException) as stale:
        core.replace_namespaced_config_map("one", space, made)
    assert stale.value.status == 409
    core.delete_namespaced_config_map("one", space)
    with pytest.raises(ApiException) as missing:
        core.read_namespaced_config_map("one", space)
    assert missing.value.status == 404
    assert missing.value.body.endswith("}\n")


def test_patches_of_three_types(api: client.ApiClient, core: client.CoreV1Api, space: str) -> None:
    core.create_namespaced_config_map(space, settings("one", a="1", b="2"))
    merged = core.patch_namespaced_config_map("one", space, {"data": {"a": None, "c": "3"}})
    assert merged.data == {"b": "2", "c": "3"}
    steps = [{"op": "test", "path": "/data/b", "value": "2"}, {"op": "replace", "path": "/data/b", "value": "4"}]
    assert core.patch_namespaced_config_map("one", space, steps).data["b"] == "4"
    apps = client.AppsV1Api(api)
    apps.create_namespaced_deployment(space, deployment("web"))
    container = {"name": "web", "env": [{"name": "A", "value": "1"}]}
    patched = apps.patch_namespaced_deployment(
        "web", space, {"spec": {"template": {"spec": {"containers": [container]}}}}
    )
    (only,) = patched.spec.template.spec.containers
    assert only.image == "example.test/web:1"
    assert only.env[0].value == "1"


def deployment(name: str, replicas: int = 0) -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": name, "image": f"example.test/{name}:1"}]},
            },
        },
    }


def test_a_deployment_is_scaled_through_its_subresource(api: client.ApiClient, space: str) -> None:
    apps = client.AppsV1Api(api)
    apps.create_namespaced_deployment(space, deployment("web"))
    scaled = apps.patch_namespaced_deployment_scale("web", space, {"spec": {"replicas": 2}})
    assert scaled.spec.replicas == 2
    until(lambda: apps.read_namespaced_deployment_status("web", space).status.replicas == 2, "two replicas")
    owned = client.CoreV1Api(api).list_namespaced_pod(space, label_selector="app=web").items
    assert {pod.metadata.owner_references[0].kind for pod in owned} == {"ReplicaSet"}


def test_invalid_objects_are_refused_with_causes(core: client.CoreV1Api, space: str) -> None:
    with pytest.raises(ApiException) as refused:
        core.create_namespaced_service(space, {"metadata": {"name": "Web"}, "spec": {"ports": [{"port": 0}]}})
    assert refused.value.status == 422
    assert '"reason":"Invalid"' in refused.value.body
    assert "spec.ports[0].port" in refused.value.body


def test_pages_of_a_list_add_up(core: client.CoreV1Api, space: str) -> None:
    for number in range(7):
        core.create_namespaced_config_map(space, settings(f"n{number}"))
    seen: list[str] = []
    page = core.list_namespaced_config_map(space, limit=3, label_selector="made-by=official")
    seen += [one.metadata.name for one in page.items]
    assert page.metadata.remaining_item_count in (None, 4)
    while page.metadata._continue:
        page = core.list_namespaced_config_map(
            space, limit=3, label_selector="made-by=official", _continue=page.metadata._continue
        )
        seen += [one.metadata.name for one in page.items]
    assert seen == [f"n{number}" for number in range(7)]


def test_a_collection_is_deleted_by_its_labels(core: client.CoreV1Api, space: str) -> None:
    for number in range(3):
        core.create_namespaced_config_map(space, settings(f"n{number}"))
    core.delete_collection_namespaced_config_map(space, label_selector="made-by=official")
    assert core.list_namespaced_config_map(space, label_selector="made-by=official").items == []


def test_a_watch_sees_every_change_from_a_revision_on(core: client.CoreV1Api, space: str) -> None:
    start = core.list_namespaced_config_map(space).metadata.resource_version
    core.create_namespaced_config_map(space, settings("one", a="1"))
    core.patch_namespaced_config_map("one", space, {"data": {"a": "2"}})
    core.delete_namespaced_config_map("one", space)
    watcher, seen = watch.Watch(), []
    for event in watcher.stream(
        core.list_namespaced_config_map, space, resource_version=start, timeout_seconds=WAIT_S,
        field_selector="metadata.name=one",
    ):  # fmt: skip
        seen.append((event["type"], event["object"].data))
        if event["type"] == "DELETED":
            watcher.stop()
    assert seen == [("ADDED", {"a": "1"}), ("MODIFIED", {"a": "2"}), ("DELETED", {"a": "2"})]


def test_a_watch_ends_by_itself_and_sends_bookmarks(core: client.CoreV1Api, space: str) -> None:
    core.create_namespaced_config_map(space, settings("one"))
    kinds = [
        event["type"]
        for event in watch.Watch().stream(
            core.list_namespaced_config_map, space, timeout_seconds=1, allow_watch_bookmarks=True
        )
    ]
    assert "ADDED" in kinds


def test_manifests_are_made_from_yaml_and_conflicts_are_gathered(api: client.ApiClient, space: str) -> None:
    parts = [deployment("web"), {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "web"},
                                 "spec": {"ports": [{"port": 80}], "selector": {"app": "web"}}}]  # fmt: skip
    utils.create_from_yaml(api, yaml_objects=parts, namespace=space)
    assert client.CoreV1Api(api).read_namespaced_service("web", space).spec.cluster_ip
    with pytest.raises(utils.FailToCreateError) as failed:
        utils.create_from_yaml(api, yaml_objects=parts, namespace=space)
    assert [one.status for one in failed.value.api_exceptions] == [409, 409]


def test_a_secret_keeps_bytes_and_string_data(core: client.CoreV1Api, space: str) -> None:
    made = core.create_namespaced_secret(space, {"metadata": {"name": "s"}, "stringData": {"word": "hidden"}})
    assert made.data == {"word": "aGlkZGVu"}


def test_a_service_account_token_speaks_for_its_account(
    api: client.ApiClient, core: client.CoreV1Api, space: str
) -> None:
    core.create_namespaced_service_account(space, {"metadata": {"name": "robot"}})
    asked = client.AuthenticationV1TokenRequest(spec=client.V1TokenRequestSpec(audiences=[]))
    token = core.create_namespaced_service_account_token("robot", space, asked).status.token
    mine = client.Configuration.get_default_copy()
    mine.cert_file = mine.key_file = None
    mine.api_key = {"authorization": f"Bearer {token}"}
    robot = client.ApiClient(mine)
    told = client.AuthenticationV1Api(robot).create_self_subject_review({})
    assert told.status.user_info.username == f"system:serviceaccount:{space}:robot"
    with pytest.raises(ApiException) as refused:
        client.CoreV1Api(robot).list_namespaced_secret(space)
    assert refused.value.status == 403
    rules = [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["list"]}]
    access = client.RbacAuthorizationV1Api(api)
    access.create_namespaced_role(space, {"metadata": {"name": "reads"}, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "robot", "namespace": space}
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "reads"}
    access.create_namespaced_role_binding(
        space, {"metadata": {"name": "reads"}, "subjects": [subject], "roleRef": reference}
    )

    def allowed() -> bool:
        try:
            client.CoreV1Api(robot).list_namespaced_secret(space)
        except ApiException as error:
            if error.status != 403:
                raise
            return False
        return True

    assert until(allowed, "the role to take hold")


def crontabs(group: str) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "every": {"type": "string"}, "replicas": {"type": "integer", "minimum": 1, "default": 1}}},
        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}}  # fmt: skip
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema},
               "subresources": {"status": {}}}  # fmt: skip
    names = {"plural": "tabs", "singular": "tab", "kind": "Tab", "shortNames": ["tb"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"tabs.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


@pytest.fixture(name="tabs")
def _tabs(dynamic: DynamicClient, api: client.ApiClient) -> Iterator[Any]:
    group = f"g{uuid.uuid4().hex[:8]}.example.test"
    definitions = client.ApiextensionsV1Api(api)
    definitions.create_custom_resource_definition(crontabs(group))

    def found() -> Any:
        try:
            return DynamicClient(api).resources.get(api_version=f"{group}/v1", kind="Tab")
        except dynamic_errors.ResourceNotFoundError:
            dynamic.resources.invalidate_cache()
            return None

    yield until(found, "the definition in discovery")
    definitions.delete_custom_resource_definition(f"tabs.{group}")


def test_the_dynamic_client_works_on_custom_resources(tabs: Any, space: str) -> None:
    body = {"apiVersion": f"{tabs.group}/v1", "kind": "Tab", "metadata": {"name": "one"}, "spec": {"every": "1h"}}
    made = tabs.create(body=body, namespace=space)
    assert made.spec.replicas == 1
    assert tabs.patch(
        body={"spec": {"replicas": 3}}, name="one", namespace=space, content_type="application/merge-patch+json"
    ).spec.replicas == 3  # fmt: skip
    with pytest.raises(dynamic_errors.UnprocessibleEntityError) as refused:
        tabs.patch(
            body={"spec": {"replicas": 0}}, name="one", namespace=space, content_type="application/merge-patch+json"
        )
    assert "should be greater than or equal to 1" in str(refused.value.body)
    status = {**body, "metadata": {"name": "one"}, "status": {"done": True}}
    answered = tabs.status.patch(
        body=status, name="one", namespace=space, content_type="application/merge-patch+json"
    )  # fmt: skip
    assert answered.status.done is True
    assert answered.spec.every == "1h"
    assert [one.metadata.name for one in tabs.get(namespace=space).items] == ["one"]
    tabs.delete(name="one", namespace=space)
    with pytest.raises(dynamic_errors.NotFoundError):
        tabs.get(name="one", namespace=space)


def test_the_dynamic_client_watches_custom_resources(tabs: Any, space: str) -> None:
    body = {"apiVersion": f"{tabs.group}/v1", "kind": "Tab", "metadata": {"name": "one"}, "spec": {"every": "1h"}}
    start = tabs.get(namespace=space).metadata.resourceVersion
    tabs.create(body=body, namespace=space)
    tabs.delete(name="one", namespace=space)
    seen = []
    for event in tabs.watch(namespace=space, resource_version=start, timeout=WAIT_S):
        seen.append(event["type"])
        if event["type"] == "DELETED":
            break
    assert seen == ["ADDED", "DELETED"]


def test_server_side_apply_owns_conflicts_and_forces(dynamic: DynamicClient, space: str) -> None:
    maps = dynamic.resources.get(api_version="v1", kind="ConfigMap")
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "one"}, "data": {"a": "1"}}
    made = maps.server_side_apply(namespace=space, body=body, field_manager="first")
    assert made.metadata.managedFields[0].manager == "first"
    theirs = {**body, "data": {"a": "2"}}
    with pytest.raises(dynamic_errors.ConflictError) as refused:
        maps.server_side_apply(namespace=space, body=theirs, field_manager="second")
    assert 'conflict with \\"first\\": .data.a' in str(refused.value.body)
    forced = maps.server_side_apply(namespace=space, body=theirs, field_manager="second", force_conflicts=True)
    assert forced.data.a == "2"
    assert {one.manager for one in forced.metadata.managedFields} == {"second"}


def test_one_candidate_leads_and_another_takes_over(space: str) -> None:
    election = pytest.importorskip("kubernetes.leaderelection.leaderelection")
    from kubernetes.leaderelection import electionconfig

    try:
        from kubernetes.leaderelection.resourcelock.leaselock import LeaseLock as Lock
    except ImportError:
        from kubernetes.leaderelection.resourcelock.configmaplock import ConfigMapLock as Lock
    led: list[str] = []
    broken = threading.Event()

    class Failing(Lock):
        """A lock whose holder loses the network, when told to."""

        def update(self, *arguments: Any) -> Any:
            return False if broken.is_set() else super().update(*arguments)

    def candidate(name: str, kind: Any, stopped: Callable[[], None]) -> threading.Thread:
        chosen = electionconfig.Config(
            kind("leader", space, name), lease_duration=4, renew_deadline=3, retry_period=1,
            onstarted_leading=lambda: led.append(name), onstopped_leading=stopped,
        )  # fmt: skip
        thread = threading.Thread(target=election.LeaderElection(chosen).run, daemon=True)
        thread.start()
        return thread

    first = candidate("first", Failing, lambda: led.append("first stopped"))
    until(lambda: led == ["first"], "the first leader")
    candidate("second", Lock, lambda: None)
    broken.set()
    until(lambda: "second" in led, "the second leader")
    first.join(WAIT_S)
    assert set(led) == {"first", "first stopped", "second"}


def test_an_informer_keeps_a_cache(core: client.CoreV1Api, space: str) -> None:
    informers = pytest.importorskip("kubernetes.informer")
    core.create_namespaced_config_map(space, settings("before"))
    seen: list[tuple[str, str]] = []

    def told(kind: str) -> Callable[[Any], None]:
        return lambda item: seen.append((kind, item.metadata.name))

    informer = informers.SharedInformer(
        list_func=core.list_namespaced_config_map, namespace=space, label_selector="made-by=official"
    )
    for kind in (informers.ADDED, informers.MODIFIED, informers.DELETED):
        informer.add_event_handler(kind, told(kind))
    informer.start()
    try:
        until(lambda: informer.cache.get_by_key(f"{space}/before"), "the first list")
        core.create_namespaced_config_map(space, settings("after"))
        until(lambda: informer.cache.get_by_key(f"{space}/after"), "the new object")
        core.patch_namespaced_config_map("after", space, {"data": {"a": "1"}})
        until(lambda: (informers.MODIFIED, "after") in seen, "the change")
        core.delete_namespaced_config_map("after", space)
        until(lambda: informer.cache.get_by_key(f"{space}/after") is None, "the deletion")
    finally:
        informer.stop()
    until(lambda: (informers.DELETED, "after") in seen, "the deletion event")


def test_nodes_and_discovery_answer(api: client.ApiClient, core: client.CoreV1Api) -> None:
    assert core.list_node().kind == "NodeList"
    groups = {group.name for group in client.ApisApi(api).get_api_versions().groups}
    assert {"apps", "batch", "rbac.authorization.k8s.io", "apiextensions.k8s.io"} <= groups
    version = client.VersionApi(api).get_code()
    assert (version.major, version.minor) == ("1", "36")
    assert any(one.name == "pods/exec" for one in core.get_api_resources().resources)


def test_a_dry_run_leaves_nothing(core: client.CoreV1Api, space: str) -> None:
    shown = core.create_namespaced_config_map(space, settings("one", a="1"), dry_run="All")
    assert shown.metadata.uid
    assert core.list_namespaced_config_map(space, label_selector="made-by=official").items == []


async def test_the_asynchronous_client_lists_and_watches() -> None:
    package = pytest.importorskip("kubernetes.aio")
    del package
    from kubernetes.aio import client as aio_client
    from kubernetes.aio import config as aio_config
    from kubernetes.aio import watch as aio_watch

    await aio_config.load_kube_config()
    async with aio_client.ApiClient() as api:
        core, name = aio_client.CoreV1Api(api), f"aio-{uuid.uuid4().hex[:8]}"
        await core.create_namespace({"metadata": {"name": name}})
        start = (await core.list_namespaced_config_map(name)).metadata.resource_version
        await core.create_namespaced_config_map(name, {"metadata": {"name": "one"}, "data": {"a": "1"}})
        watcher = aio_watch.Watch()
        async for event in watcher.stream(
            core.list_namespaced_config_map, name, resource_version=start, field_selector="metadata.name=one",
            timeout_seconds=WAIT_S,
        ):  # fmt: skip
            assert (event["type"], event["object"].data) == ("ADDED", {"a": "1"})
            watcher.stop()
        await watcher.close()
        await core.delete_namespace(name)


def test_events_are_written_and_read(api: client.ApiClient, space: str) -> None:
    events = client.EventsV1Api(api)
    now = "2024-05-01T10:00:00.000000Z"
    events.create_namespaced_event(space, {
        "metadata": {"name": "noted"}, "eventTime": now, "reason": "Noted", "action": "Note", "type": "Normal",
        "reportingController": "example.test/writer", "reportingInstance": "writer-1", "note": "so it was",
        "regarding": {"kind": "ConfigMap", "name": "one", "namespace": space}})  # fmt: skip
    core_view = client.CoreV1Api(api).list_namespaced_event(space, field_selector="reason=Noted").items
    assert [one.message for one in core_view] == ["so it was"]
