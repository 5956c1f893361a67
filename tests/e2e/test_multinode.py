"""Three machines, one cluster: pods, services and names across nodes, and what survives which outage. One site for all of it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.conftest import missing
from tests.e2e.machines import DNS, IMAGE, OUTSIDE, Site
from tests.support import eventually

NODES = ("gw1", "gw2", "gw3")
GRACE_S = 20
KUBERNETES = "10.153.0.1"
EVERYWHERE = f"""
apiVersion: apps/v1
kind: DaemonSet
metadata: {{name: web, labels: {{app: web}}}}
spec:
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: {IMAGE}
        command: [sh, -c, "mkdir /www; echo $NODE > /www/index.html; exec httpd -f -v -p 8080 -h /www"]
        env: [{{name: NODE, valueFrom: {{fieldRef: {{fieldPath: spec.nodeName}}}}}}]
        readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{type: NodePort, selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080, nodePort: 30080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: near}}
spec: {{internalTrafficPolicy: Local, selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: closest}}
spec: {{trafficDistribution: PreferSameNode, selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: all}}
spec: {{clusterIP: None, selector: {{app: web}}, ports: [{{port: 8080}}]}}
"""


class Cluster:
    """The site with its pods."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.server, self.second, self.third = (site.machines[name] for name in NODES)

    def kubectl(self, *words: str, stdin: str = "") -> str:
        return self.server.kubectl(*words, stdin=stdin)

    def pods(self, selector: str = "app=web") -> dict[str, Any]:
        """The pods of a selector by node."""
        found = self.server.json("get", "pods", "-l", selector)["items"]
        return {pod["spec"].get("nodeName", ""): pod for pod in found if "deletionTimestamp" not in pod["metadata"]}

    def addresses(self) -> dict[str, str]:
        return {node: pod["status"]["podIP"] for node, pod in self.pods().items()}

    def shell(self, pod: str, script: str) -> str:
        """Run a script in a pod; what it says, whether it fails or not."""
        return self.server.kubectl_raw("exec", pod, "--", "sh", "-c", script).stdout

    def reached_from(self, pod: str, addresses: list[str], port: int = 8080) -> list[str]:
        """What answers at these addresses: the names of nodes. (A static wget stumbles over getservbyname.)"""
        ask = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 3 {} {} | tail -n 1;"
        return self.shell(pod, "".join(ask.format(at, port) for at in addresses)).split()

    def service(self, name: str) -> str:
        """A service's address."""
        return str(self.server.json("get", "service", name)["spec"]["clusterIP"])

    def names(self) -> dict[str, str]:
        return {node: pod["metadata"]["name"] for node, pod in self.pods().items()}

    def identities(self) -> dict[str, tuple[str, int]]:
        """Container id and restarts by node: unchanged while nobody disturbs them."""
        states = {node: pod["status"]["containerStatuses"][0] for node, pod in self.pods().items()}
        return {node: (state["containerID"], state["restartCount"]) for node, state in states.items()}

    def all_reach_all(self) -> bool:
        """Every pod reaches every pod, straight."""
        addresses = self.addresses()
        wanted = [addresses[node] for node in NODES]
        return all(self.reached_from(pod, wanted) == list(NODES) for pod in self.names().values())


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    if reason := missing():
        pytest.skip(reason)
    with Site(tmp_path_factory.mktemp("site")) as site:
        server = site.machine("gw1")
        server.start_server("--node-monitor-grace-period", f"{GRACE_S}s")
        for name in NODES[1:]:
            site.join(site.machine(name), wait=False)
        for name in NODES:
            site.until_node(name)
        made = Cluster(site)
        made.kubectl("apply", "-f", "-", stdin=EVERYWHERE)
        made.kubectl("rollout", "status", "daemonset/web", "--timeout=60s")
        eventually(made.all_reach_all, within_s=90, why="paths between all nodes")
        web = made.service("web")
        for machine in site.machines.values():
            eventually(lambda: machine.ask(web, 80) in NODES, within_s=60, why="the service on every node")  # noqa: B023
        yield made


def test_every_pod_reaches_every_pod_and_sees_who_asks(cluster: Cluster) -> None:
    assert cluster.all_reach_all()
    addresses, names = cluster.addresses(), cluster.names()
    ranges = {
        node["metadata"]["name"]: node["spec"]["podCIDR"] for node in cluster.server.json("get", "nodes")["items"]
    }
    assert len(set(ranges.values())) == 3
    for node, address in addresses.items():
        assert address.rpartition(".")[0] == ranges[node].rpartition(".")[0]
    told = cluster.kubectl("logs", names["gw2"])
    assert addresses["gw1"] in told, "pods see each other's own addresses"
    assert addresses["gw3"] in told


def test_hosts_reach_pods_and_services_of_other_nodes(cluster: Cluster) -> None:
    addresses = cluster.addresses()
    service = cluster.service("web")
    for machine in cluster.site.machines.values():
        for node, address in addresses.items():
            assert machine.ask(address, 8080) == node
        found = {machine.ask(service, 80) for _ in range(20)}
        assert found <= set(NODES)
        assert len(found) > 1, "twenty requests do not all meet one of three pods"


def test_services_and_names_work_from_every_node(cluster: Cluster) -> None:
    addresses, web = cluster.addresses(), cluster.service("web")
    near, closest = cluster.service("near"), cluster.service("closest")
    for node, pod in cluster.names().items():
        found = cluster.reached_from(pod, [web] * 20, 80)
        assert len(found) == 20
        assert len(set(found)) > 1, "requests are spread over nodes"
        for service in (near, closest):
            eventually(
                lambda: cluster.reached_from(pod, [service] * 4, 80) == [node] * 4,  # noqa: B023 - awaited at once
                within_s=60, why="internalTrafficPolicy Local and PreferSameNode stay on the node",
            )  # fmt: skip
        assert web in cluster.shell(pod, f"nslookup web.default.svc.cluster.local {DNS}")
        listed = cluster.shell(pod, f"nslookup all.default.svc.cluster.local {DNS}")
        assert {address for address in addresses.values() if address in listed} == set(addresses.values())
        assert "reached" in cluster.shell(pod, f"nc -w 5 {KUBERNETES} 443 < /dev/null && echo reached")


def test_a_node_port_answers_on_every_node_and_a_local_one_only_where_its_pod_is(cluster: Cluster) -> None:
    for machine in cluster.site.machines.values():
        found = {cluster.site.switch.ask(machine.address, 30080) for _ in range(20)}
        assert found <= set(NODES)
        assert len(found) > 1, "every node's port leads to pods of several nodes"
    cluster.kubectl("apply", "-f", "-", stdin="""
apiVersion: v1
kind: Service
metadata: {name: local}
spec:
  type: NodePort
  externalTrafficPolicy: Local
  selector: {app: single}
  ports: [{port: 80, targetPort: 8080, nodePort: 30081}]
""")  # fmt: skip
    overrides = {"spec": {"nodeName": "gw2", "terminationGracePeriodSeconds": 1}}
    cluster.kubectl(
        "run", "single", f"--image={IMAGE}", "--labels=app=single", f"--overrides={json.dumps(overrides)}",
        "--", "sh", "-c", "mkdir /www; echo single > /www/index.html; exec httpd -f -v -p 8080 -h /www",
    )  # fmt: skip
    cluster.kubectl("wait", "pod/single", "--for=condition=Ready", "--timeout=60s")
    eventually(
        lambda: cluster.site.switch.ask(cluster.second.address, 30081) == "single",
        within_s=60,
        why="the pod's own node",
    )
    first = cluster.names()["gw1"]
    eventually(
        lambda: cluster.reached_from(first, [cluster.server.address], 30081) == ["single"],
        within_s=60, why="pods reach it through any node",
    )  # fmt: skip
    assert cluster.site.switch.ask(cluster.server.address, 30081) == "", "others do not"
    seen = set(re.findall(r"10\.99\.0\.\d+", cluster.kubectl("logs", "single")))
    assert "10.99.0.1" in seen, "the asker's address is kept"
    cluster.kubectl("delete", "pod/single", "service/local", "--wait=false")


LISTEN = """
import socket
listener = socket.create_server(("198.51.100.1", 9000))
listener.settimeout(60)
print("ready", flush=True)
print(listener.accept()[1][0], flush=True)
"""


def test_the_world_sees_the_node_not_the_pod(cluster: Cluster) -> None:
    names = cluster.names()
    line = cluster.site.switch.enter(sys.executable, "-c", LISTEN)
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline().strip() == "ready"
        cluster.shell(names["gw3"], f"nc -w 5 {OUTSIDE} 9000 < /dev/null")
        try:
            assert listener.stdout.readline().strip() == cluster.third.address
        finally:
            listener.kill()


def test_an_agent_that_is_killed_leaves_its_pods_alone(cluster: Cluster) -> None:
    before, addresses, names = cluster.identities(), cluster.addresses(), cluster.names()
    cluster.third.kill()
    assert cluster.reached_from(names["gw1"], [addresses["gw3"]]) == ["gw3"]
    cluster.third.start_again()
    eventually(
        lambda: "reached" in cluster.shell(names["gw3"], "echo reached"), within_s=60, why="exec on the agent's pod"
    )
    cluster.site.until_node("gw3")
    assert cluster.identities() == before
    assert cluster.reached_from(names["gw3"], [addresses["gw2"]]) == ["gw2"]


def test_a_server_that_is_killed_leaves_everybody_alone(cluster: Cluster) -> None:
    before, addresses = cluster.identities(), cluster.addresses()
    service = cluster.service("web")
    cluster.server.kill()
    for machine in (cluster.second, cluster.third):
        assert machine.ask(addresses["gw2"], 8080) == "gw2"
        assert machine.ask(service, 80) in NODES
        asked = machine.run("busybox", "nslookup", "all.default.svc.cluster.local", DNS)
        assert addresses["gw3"] in asked, "names go on without the server"
    cluster.server.start_again()
    cluster.server.until_ready()
    for name in NODES:
        cluster.site.until_node(name)
    eventually(
        lambda: all("here" in cluster.shell(pod, "echo here") for pod in cluster.names().values()),
        within_s=60, why="exec on every node's pod again",
    )  # fmt: skip
    assert cluster.identities() == before


def test_an_address_that_changes_is_told_to_all_and_nothing_restarts(cluster: Cluster) -> None:
    before = cluster.identities()
    process = cluster.second.process
    cluster.second.readdress("10.99.0.77")

    def told() -> bool:
        node = cluster.server.json("get", "node", "gw2")
        internal = [each["address"] for each in node["status"]["addresses"] if each["type"] == "InternalIP"]
        return internal == ["10.99.0.77"] and node["metadata"]["annotations"]["edgekube.io/public-ip"] == "10.99.0.77"

    eventually(told, within_s=120, why="the new address in the Node")
    eventually(cluster.all_reach_all, within_s=60, why="paths to the new address")
    cluster.site.until_node("gw2")
    assert cluster.second.process is process
    cluster.second.assert_alive()
    assert cluster.identities() == before
    forwarding = cluster.third.do("bridge", "fdb", "show")
    assert "dst 10.99.0.77" in forwarding
    assert "dst 10.99.0.12" not in forwarding


MOVABLE = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: movable}}
spec:
  replicas: 1
  selector: {{matchLabels: {{app: movable}}}}
  template:
    metadata: {{labels: {{app: movable}}}}
    spec:
      terminationGracePeriodSeconds: 1
      affinity:
        nodeAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - weight: 100
            preference: {{matchExpressions: [{{key: kubernetes.io/hostname, operator: In, values: [gw3]}}]}}
      tolerations:
      - {{key: node.kubernetes.io/unreachable, operator: Exists, effect: NoExecute, tolerationSeconds: 2}}
      containers: [{{name: main, image: {IMAGE}, command: [sleep, "3600"]}}]
"""


def test_pods_of_a_node_that_is_cut_off_move_and_the_node_comes_back(cluster: Cluster) -> None:
    before = cluster.identities()
    cluster.kubectl("apply", "-f", "-", stdin=MOVABLE)
    cluster.kubectl("rollout", "status", "deployment/movable", "--timeout=60s")
    assert list(cluster.pods("app=movable")) == ["gw3"]
    old = cluster.pods("app=movable")["gw3"]["metadata"]["name"]
    cluster.site.cut(cluster.third, cluster.server)
    try:
        cluster.site.until_node("gw3", ready=False, within_s=GRACE_S + 60)

        def taints() -> set[tuple[str, str]]:
            return {
                (taint["key"], taint["effect"])
                for taint in cluster.server.json("get", "node", "gw3")["spec"].get("taints", [])
            }

        wanted = {("node.kubernetes.io/unreachable", effect) for effect in ("NoSchedule", "NoExecute")}
        eventually(lambda: wanted <= taints(), within_s=60, why="taints of the unreachable node")

        def moved() -> bool:
            running = cluster.pods("app=movable")
            return any(node in ("gw1", "gw2") and pod["status"]["phase"] == "Running" for node, pod in running.items())

        eventually(moved, within_s=60, why="the pod on another node")
        address = cluster.addresses()["gw3"]
        answer = cluster.second.ask(address, 8080)
        assert answer == "gw3", "only the way to the server is cut"
    finally:
        cluster.site.heal()
    cluster.site.until_node("gw3", within_s=120)
    eventually(
        lambda: cluster.server.kubectl_raw("get", "pod", old).returncode != 0, within_s=60, why="the evicted pod gone"
    )
    eventually(lambda: cluster.identities() == before, within_s=60, why="daemon pods as they were")
    eventually(cluster.all_reach_all, within_s=60, why="paths between all nodes")


def test_a_node_is_cordoned_drained_and_taken_back(cluster: Cluster) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=MOVABLE)
    cluster.kubectl("rollout", "status", "deployment/movable", "--timeout=60s")
    node = next(iter(cluster.pods("app=movable")))
    cluster.kubectl("drain", node, "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--timeout=90s")
    assert "SchedulingDisabled" in cluster.kubectl("get", "node", node)
    cluster.kubectl("rollout", "status", "deployment/movable", "--timeout=60s")
    assert node not in cluster.pods("app=movable")
    assert node in cluster.pods(), "daemon pods stay"
    cluster.kubectl("uncordon", node)
    assert "SchedulingDisabled" not in cluster.kubectl("get", "node", node)
    cluster.kubectl("delete", "deployment", "movable", "--wait=false")


def test_the_backend_can_be_changed_under_running_pods(cluster: Cluster) -> None:
    before = cluster.identities()
    cluster.server.stop()
    cluster.server.start_server("--node-monitor-grace-period", f"{GRACE_S}s", "--flannel-backend", "host-gw")
    for machine in (cluster.second, cluster.third):
        learnt = machine.data / "agent" / "agent.json"
        eventually(lambda: "host-gw" in learnt.read_text(), within_s=90, why="the new setting on the agent")  # noqa: B023
        machine.stop()
        machine.start_again()
    for name in NODES:
        cluster.site.until_node(name)
    eventually(cluster.all_reach_all, within_s=90, why="paths through the nodes' own addresses")
    assert cluster.identities() == before
    for machine in cluster.site.machines.values():
        assert machine.do("ip", "link", "show", "type", "vxlan") == ""
        routes = machine.do("ip", "route", "show", "proto", "178").splitlines()
        assert len(routes) == 2
        assert all("via 10.99.0." in route and "dev eth0" in route for route in routes)


REMOVE = """
import sys, trio
from pathlib import Path
from edgekube.app.agent import network_config
from edgekube.app.config import combine
from edgekube.network.removal import remove_all
flags = {"data_dir": sys.argv[1], "cluster_cidr": "10.152.0.0/16", "service_cidr": "10.153.0.0/16"}
trio.run(remove_all, network_config(combine(flags, {}), "10.99.0.13"))
trio.run(remove_all, network_config(combine(flags, {}), "10.99.0.13"))
"""


def test_a_node_that_leaves_keeps_nothing_of_its_network(cluster: Cluster) -> None:
    machine = cluster.third
    machine.kill()
    machine.run(sys.executable, "-c", REMOVE, str(machine.data))
    assert machine.do("nft", "list", "tables") == ""
    links = [link["ifname"] for link in json.loads(machine.do("ip", "-json", "link", "show"))]
    assert [name for name in links if name.startswith("edge")] == []
    assert "10.15" not in machine.do("ip", "route")
    assert DNS not in machine.do("ip", "addr", "show", "dev", "lo")
    assert not (machine.data / "cni").exists()


def test_a_server_that_still_waits_for_its_share_of_the_pod_network_stops_when_told(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    if reason := missing():
        pytest.skip(reason)
    with Site(tmp_path_factory.mktemp("waiting")) as site:
        machine = site.machine("gw1")
        machine.start_server("--cluster-cidr", "10.152.0.0/25", wait=False)  # too small for one node's /24
        eventually(lambda: "containers run on node gw1" in machine.tail(), within_s=90, why="waiting for a podCIDR")
        assert machine.stop() == 0
