"""A machine without its server: everything goes on, also through a reboot, and nothing is disturbed when the server is back."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.e2e.machines import DNS, IMAGE, Machine, Site
from tests.support import eventually

GRACE_S = 20
PLAIN, NAMED, EXTRA = "10.153.0.80", "db.default.svc.cluster.local", "extra"
LIFE = "cat /proc/sys/kernel/random/uuid > /tmp/life; exec httpd -f -p 8080 -h /"
TOKEN = "var/run/secrets/kubernetes.io/serviceaccount/token"
MANIFEST = f"""
apiVersion: v1
kind: ConfigMap
metadata: {{name: settings}}
data: {{colour: red}}
---
apiVersion: v1
kind: Secret
metadata: {{name: login}}
stringData: {{password: open-sesame}}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {{name: db}}
spec:
  serviceName: db
  selector: {{matchLabels: {{app: db}}}}
  template:
    metadata: {{labels: {{app: db}}}}
    spec:
      nodeSelector: {{kubernetes.io/hostname: gw2}}
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: {IMAGE}
        command: [sh, -c, 'echo "$PASSWORD" > /tmp/password; {LIFE}']
        env: [{{name: PASSWORD, valueFrom: {{secretKeyRef: {{name: login, key: password}}}}}}]
        readinessProbe: {{tcpSocket: {{port: 8080}}, periodSeconds: 1}}
        volumeMounts:
        - {{name: settings, mountPath: /settings}}
        - {{name: disk, mountPath: /disk}}
      volumes:
      - {{name: settings, configMap: {{name: settings}}}}
      - {{name: disk, emptyDir: {{}}}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec: {{clusterIP: {PLAIN}, selector: {{app: db}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: db}}
spec: {{clusterIP: None, selector: {{app: db}}, ports: [{{port: 8080}}]}}
---
apiVersion: v1
kind: Pod
metadata: {{name: {EXTRA}}}
spec:
  nodeName: gw2
  terminationGracePeriodSeconds: 0
  containers: [{{name: main, image: {IMAGE}, command: [sleep, '54321']}}]
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with Site(tmp_path_factory.mktemp("offline")) as site:
        server, edge = site.machine("gw1"), site.machine("gw2")
        server.start_server("--node-monitor-grace-period", f"{GRACE_S}s")
        site.join(edge)
        server.kubectl("apply", "-f", "-", stdin=MANIFEST)
        server.kubectl("rollout", "status", "statefulset/db", "--timeout=60s")
        server.kubectl("wait", "--for=condition=Ready", f"pod/{EXTRA}", "--timeout=60s")
        yield site


@pytest.fixture(scope="module")
def server(site: Site) -> Machine:
    return site.machines["gw1"]


@pytest.fixture(scope="module")
def edge(site: Site) -> Machine:
    return site.machines["gw2"]


def soon(true: Callable[[], Any], why: str = "") -> Any:
    return eventually(true, within_s=90, every_s=0.3, why=why)


def read(machine: Machine, path: str, host: str = PLAIN) -> str:
    """A file of the pod behind the service, as the machine gets it; "" when nobody answers."""
    done = machine.run_raw("curl", "-s", "-f", "-m", "3", f"http://{host}/{path}", timeout_s=20)
    return done.stdout.strip() if done.returncode == 0 else ""


def resolve(machine: Machine, name: str) -> list[str]:
    """What the machine's DNS says."""
    script = (
        "import sys; from dnslib import DNSRecord;"
        f"answer = DNSRecord.parse(DNSRecord.question({name!r}).send({DNS!r}, 53, timeout=3));"
        "print(*[str(one.rdata) for one in answer.rr])"
    )
    done = machine.run_raw(sys.executable, "-c", script, timeout_s=20)
    return done.stdout.split()


def pod(server: Machine, name: str = "db-0") -> Any:
    return server.json("get", "pod", name)


def runs_extra(edge: Machine) -> bool:
    found = subprocess.run(["pgrep", "-f", "sleep 54321"], capture_output=True, text=True, check=False).stdout.split()
    return bool(set(map(int, found)) & set(edge.processes()))


def test_a_machine_that_is_cut_off_goes_on_reboots_and_comes_back(site: Site, server: Machine, edge: Machine) -> None:
    life = soon(lambda: read(edge, "tmp/life"), why="the service answers on its node")
    soon(lambda: read(server, "tmp/life") == life, why="and on the other one")
    before = pod(server)
    address = before["status"]["podIP"]
    assert soon(lambda: resolve(edge, NAMED)) == [address]

    site.cut(server, edge)
    site.until_node("gw2", ready=False)
    soon(lambda: not read(server, "tmp/life"), why="the server leads nobody to a node it cannot hear")
    soon(lambda: read(edge, "tmp/life") == life)
    soon(lambda: resolve(edge, NAMED) == [address])
    server.kubectl("patch", "configmap", "settings", "-p", '{"data": {"colour": "green"}}')
    server.kubectl("delete", "pod", EXTRA, "--wait=false")
    assert runs_extra(edge)

    edge.reboot()
    edge.start_again()
    reborn = soon(lambda: read(edge, "tmp/life"), why=f"the service after a reboot; {edge.tail()}")
    assert reborn != life
    (moved,) = soon(lambda: resolve(edge, NAMED), why="a name for the pod")
    assert moved != address
    soon(lambda: read(edge, "tmp/life", f"{moved}:8080") == reborn)
    soon(lambda: read(edge, "settings/colour") == "red")
    soon(lambda: read(edge, "tmp/password") == "open-sesame")
    soon(lambda: read(edge, TOKEN).count(".") == 2)
    soon(lambda: runs_extra(edge), why="what nobody here knows to be deleted runs")
    assert not site.node_ready("gw2")

    site.heal()
    site.until_node("gw2")
    soon(lambda: not runs_extra(edge), why="the pod that was deleted ends")
    soon(lambda: EXTRA not in server.kubectl("get", "pods", "-o", "name"), why="and goes")
    soon(lambda: read(server, "tmp/life") == reborn, why="the service leads to the same pod again")
    after = pod(server)
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["status"]["podIP"] == moved
    (status,) = after["status"]["containerStatuses"]
    assert status["restartCount"] == 1
    assert status["ready"]
    soon(lambda: read(edge, "settings/colour") == "green", why="what changed meanwhile arrives")
    soon(lambda: read(edge, "tmp/life") == reborn)
    slices = server.json("get", "endpointslices", "-l", "kubernetes.io/service-name=web")["items"]
    assert [one["addresses"] for each in slices for one in each.get("endpoints") or ()] == [[moved]]
    soon(lambda: "taints" not in server.json("get", "node", "gw2")["spec"])
