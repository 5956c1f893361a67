"""metrics.k8s.io is made of two samples of each node, taken when somebody asks."""

from __future__ import annotations

import json
from typing import Any

import trio
import trio.testing

from edgekube import errors
from edgekube.client.local import LocalClient
from edgekube.control.controllers import podautoscaler
from edgekube.kinds.autoscaling import horizontalpodautoscaler
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core import serviceaccount
from edgekube.server import usage
from edgekube.server.context import LOOPBACK, Context
from edgekube.server.metrics_api import MetricsApi, _window
from edgekube.server.usage import Figure, Reading, Sample, figure, pod_figures
from tests.server_harness import Api
from tests.streaming_fakes import FakeGate

S = usage.SECOND_NS


class Busy(FakeGate):
    """A node whose containers use half a processor and a quarter, and that counts how often it is asked."""

    def __init__(self, clock: Any, *pods: str) -> None:
        super().__init__()
        self.clock, self.pods, self.asked = clock, pods, 0
        self.refusal: Exception | None = None

    async def fetch(self, path: str) -> tuple[int, str, bytes]:
        assert path == usage.PAGE
        self.asked += 1
        if self.refusal is not None:
            raise self.refusal
        at = int(self.clock.now().timestamp() * S)
        reading = {"app": (at, at // 2, 20 << 20), "side": (at, at // 4, 4096)}
        page = {"node": (at, at, 1 << 30), "pods": dict.fromkeys(self.pods, reading)}
        return 200, "application/json", json.dumps(page).encode()


async def site(**nodes: tuple[str, ...]) -> tuple[Api, dict[str, Any]]:
    """A server with nodes, and running pods "namespace/name" on each."""
    api = Api()
    await api.server.bootstrap()
    registry, context = api.server.registry, Context(user=LOOPBACK)
    gates: dict[str, Any] = {}
    for namespace in ("default", "kube-system"):
        await registry.create(serviceaccount.KIND, namespace, {"metadata": {"name": "default"}}, context)
    for node, pods in nodes.items():
        document = {"metadata": {"name": node, "labels": {"zone": node}}}
        await registry.create(node_kind.KIND, "", document, context)
        gates[node] = Busy(api.clock, *pods)
        for pod in pods:
            namespace, _, name = pod.partition("/")
            spec = {"nodeName": node, "containers": [{"name": n, "image": "i"} for n in ("app", "side")]}
            meta = {"name": name, "labels": {"app": name}}
            made = await registry.create(pod_kind.KIND, namespace, {"metadata": meta, "spec": spec}, context)
            running = json.loads(made.value) | {"status": {"phase": "Running"}}
            await api.good("PUT", f"/api/v1/namespaces/{namespace}/pods/{name}/status", running)
    await MetricsApi(registry, gates).appear()
    return api, gates


ROOT = "/apis/metrics.k8s.io/v1beta1"


async def test_nodes_and_pods_tell_what_they_use(autojump_clock: trio.testing.MockClock) -> None:
    api, gates = await site(n1=("default/a", "kube-system/b"), n2=("default/c",))
    nodes = await api.good("GET", f"{ROOT}/nodes")
    assert (nodes["kind"], nodes["apiVersion"]) == ("NodeMetricsList", "metrics.k8s.io/v1beta1")
    assert [(item["metadata"]["name"], item["usage"]) for item in nodes["items"]] == [
        ("n1", {"cpu": "1", "memory": "1Gi"}),
        ("n2", {"cpu": "1", "memory": "1Gi"}),
    ]
    assert nodes["items"][0]["window"] == "1.5s"
    assert nodes["items"][0]["timestamp"].endswith("Z")
    assert nodes["items"][0]["metadata"]["labels"] == {"zone": "n1"}
    pods = await api.good("GET", f"{ROOT}/pods")
    assert [item["metadata"]["name"] for item in pods["items"]] == ["a", "c", "b"]
    assert pods["items"][0]["containers"] == [
        {"name": "app", "usage": {"cpu": "500m", "memory": "20Mi"}},
        {"name": "side", "usage": {"cpu": "250m", "memory": "4Ki"}},
    ]
    assert [gate.asked for gate in gates.values()] == [2, 2]


async def test_selectors_and_namespaces_are_kept(autojump_clock: trio.testing.MockClock) -> None:
    api, gates = await site(n1=("default/a", "kube-system/b"), n2=("default/c",))

    async def names(path: str) -> list[str]:
        return [item["metadata"]["name"] for item in (await api.good("GET", f"{ROOT}/{path}"))["items"]]

    assert await names("namespaces/default/pods?labelSelector=app%3Da") == ["a"]
    assert gates["n2"].asked == 0  # has none of the pods that are meant
    assert await names("namespaces/default/pods") == ["a", "c"]
    assert await names("pods?fieldSelector=metadata.name%3Db") == ["b"]
    assert await names("nodes?labelSelector=zone!%3Dn1") == ["n2"]
    assert (await api.good("GET", f"{ROOT}/namespaces/kube-system/pods/b"))["metadata"]["namespace"] == "kube-system"
    assert (await api.good("GET", f"{ROOT}/nodes/n1"))["kind"] == "NodeMetrics"


async def test_what_has_no_figures_is_not_found_and_not_listed(autojump_clock: trio.testing.MockClock) -> None:
    api, gates = await site(n1=("default/a",), n2=("default/b",))
    gates["n1"].refusal = errors.ConnectionFailed("the connection to node n1 was lost")
    assert [item["metadata"]["name"] for item in (await api.good("GET", f"{ROOT}/nodes"))["items"]] == ["n2"]
    assert await api.refused("GET", f"{ROOT}/nodes/n1") == (404, 'nodemetrics.metrics.k8s.io "n1" not found')
    pods = f"{ROOT}/namespaces/default/pods"
    assert await api.refused("GET", f"{pods}/a") == (404, 'podmetrics.metrics.k8s.io "default/a" not found')
    assert await api.refused("GET", f"{pods}/none") == (404, 'pods "default/none" not found')
    del gates["n2"]
    assert (await api.good("GET", f"{ROOT}/pods"))["items"] == []


async def test_nodes_are_asked_no_more_often_than_it_makes_sense(autojump_clock: trio.testing.MockClock) -> None:
    api, gates = await site(n1=("default/a",))
    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(api.good, "GET", f"{ROOT}/nodes")
    assert gates["n1"].asked == 2
    await trio.sleep(15)
    [item] = (await api.good("GET", f"{ROOT}/nodes"))["items"]
    assert (gates["n1"].asked, item["window"]) == (3, "15s")
    await trio.sleep(usage.RECENT_S + 1)
    assert gates["n1"].asked == 3  # nobody asked
    [item] = (await api.good("GET", f"{ROOT}/nodes"))["items"]
    assert (gates["n1"].asked, item["window"]) == (5, "1.5s")


async def test_the_group_is_discovered_once_it_is_there(autojump_clock: trio.testing.MockClock) -> None:
    bare = Api()
    await bare.server.bootstrap()
    assert "metrics.k8s.io" not in json.dumps(await bare.good("GET", "/apis"))
    api, _ = await site(n1=())
    listed = (await api.good("GET", ROOT))["resources"]
    assert [(one["name"], one["kind"], one["namespaced"], one["verbs"]) for one in listed] == [
        ("nodes", "NodeMetrics", False, ["get", "list"]),
        ("pods", "PodMetrics", True, ["get", "list"]),
    ]
    assert "metrics.k8s.io" in json.dumps(await api.good("GET", "/apis"))
    aggregated = await api.ask(
        "GET", "/apis", accept="application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    )
    assert "PodMetrics" in json.dumps(aggregated.document)
    described = await api.good("GET", "/openapi/v3")
    assert "apis/metrics.k8s.io/v1beta1" in described["paths"]
    schemas = (await api.good("GET", "/openapi/v3/apis/metrics.k8s.io/v1beta1"))["components"]["schemas"]
    assert any(name.endswith(".PodMetrics") for name in schemas), sorted(schemas)
    service = await api.good("GET", "/apis/apiregistration.k8s.io/v1/apiservices/v1beta1.metrics.k8s.io")
    assert service["spec"]["groupPriorityMinimum"] == 100
    role = "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:aggregated-metrics-reader"
    assert (await api.good("GET", role))["rules"][0]["resources"] == ["pods", "nodes"]
    assert (await api.refused("DELETE", f"{ROOT}/nodes/n1"))[0] == 405


async def test_it_is_shown_as_a_table(autojump_clock: trio.testing.MockClock) -> None:
    api, _ = await site(n1=("default/a",))
    accept = "application/json;as=Table;v=v1;g=meta.k8s.io"
    nodes = (await api.ask("GET", f"{ROOT}/nodes", accept=accept)).document
    assert [row["cells"] for row in nodes["rows"]] == [["n1", "1", "1Gi", "1.5s"]]
    pods = (await api.ask("GET", f"{ROOT}/pods", accept=accept)).document
    assert [row["cells"] for row in pods["rows"]] == [["a", "750m", "20484Ki", "1.5s"]]


async def test_an_autoscaler_reads_the_figures(autojump_clock: trio.testing.MockClock) -> None:
    api, _ = await site(n1=("default/a", "default/b"))
    scale_to = {
        "metadata": {"name": "d", "namespace": "default"},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"app": "a"}}, "template": {
            "metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "app", "image": "i"}]}}},
    }  # fmt: skip
    await api.good("POST", "/apis/apps/v1/namespaces/default/deployments", scale_to)
    deployment = await api.good("GET", "/apis/apps/v1/namespaces/default/deployments/d")
    status = deployment | {"status": {"replicas": 1, "observedGeneration": 1}}
    await api.good("PUT", "/apis/apps/v1/namespaces/default/deployments/d/status", status)
    scaler = horizontalpodautoscaler.KIND.from_dict({
        "metadata": {"name": "h", "namespace": "default"},
        "spec": {"maxReplicas": 9, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"},
                 "metrics": [{"type": "Resource", "resource": {
                     "name": "cpu", "target": {"type": "AverageValue", "averageValue": "250m"}}}]},
    })  # fmt: skip
    client = LocalClient(api.server.verbs, LOOPBACK, manager="tester")
    seen = await podautoscaler.inquire(client, podautoscaler.Seen(scaler, api.clock.now()))
    assert seen.usage == {"a": {"cpu": 750, "memory": (20 << 20) + 4096}}
    assert podautoscaler.propose(seen, scaler.spec.metrics[0], 1).replicas == 3


def test_a_counter_that_began_anew_makes_no_figure() -> None:
    assert figure(Reading(0, 100, 1), Reading(2 * S, 100 + S, 7)) == Figure(S // 2, 7, 2.0)
    assert figure(Reading(0, 100, 1), Reading(2 * S, 99, 7)) is None
    assert figure(Reading(S, 100, 1), Reading(S, 200, 7)) is None


def test_half_a_pod_makes_no_figure() -> None:
    node = Reading(0, 0, 0)
    before = Sample(node, {"d/p": {"a": Reading(0, 0, 1)}})
    newest = Sample(node, {"d/p": {"a": Reading(S, 1, 1), "late": Reading(S, 1, 1)}, "d/new": {"a": Reading(S, 1, 1)}})
    assert pod_figures(before, newest, "d/p") is None
    assert pod_figures(before, newest, "d/new") is None
    assert pod_figures(before, newest, "d/gone") is None


def test_windows_are_written_as_go_does() -> None:
    assert [_window(seconds) for seconds in (0.25, 1.5, 10.062, 15, 60, 75.5)] == [
        "250ms", "1.5s", "10.062s", "15s", "1m0s", "1m15.5s",
    ]  # fmt: skip
