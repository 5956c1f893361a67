"""Into a node that no connection can be opened to: everything goes through the one it opened itself."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.machines import IMAGE, Machine, Site
from tests.support import eventually
from tests.tls_peers import Authority

pytestmark = [pytest.mark.runtime, pytest.mark.kubectl]

SCRIPT = (
    "mkdir -p /www; echo served > /www/index.html; httpd -p 8080 -h /www; echo started; while true; do sleep 1; done"
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """gw1 serves; gw2 has joined, runs the pod `inside`, and lets nobody connect to it."""
    with Site(tmp_path_factory.mktemp("tunnel")) as site:
        first, second = site.machine("gw1"), site.machine("gw2")
        site.refuse_connections(first, second)
        first.start_server("--agent-heartbeat", "3s", "--node-monitor-grace-period", "20s")
        site.join(second)
        container = {
            "name": "main",
            "image": IMAGE,
            "command": ["sh", "-c", SCRIPT],
            "ports": [{"containerPort": 8080}],
        }
        pod = {
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "inside", "labels": {"app": "inside"}},
            "spec": {"nodeName": "gw2", "terminationGracePeriodSeconds": 0, "containers": [container]},
        }  # fmt: skip
        eventually(lambda: first.kubectl_raw("get", "serviceaccount", "default").returncode == 0, within_s=60)
        first.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
        first.kubectl("expose", "pod", "inside", "--port", "80", "--target-port", "8080")
        first.kubectl("wait", "pod/inside", "--for=condition=Ready", "--timeout=90s")
        yield site


@pytest.fixture
def server(site: Site) -> Machine:
    assert site.server is not None
    return site.server


def test_the_server_cannot_connect_but_reaches_in(site: Site, server: Machine) -> None:
    knock = ("nc", "-w", "2", site.machines["gw2"].address, "10250")
    assert server.run_raw("busybox", *knock).returncode != 0
    assert server.kubectl("logs", "inside", "--tail=1") == "started\n"
    done = server.kubectl_raw("exec", "-i", "inside", "--", "sh", "-c", "cat; echo oops >&2; exit 7", stdin="typed")
    assert (done.returncode, done.stdout) == (7, "typed")
    assert done.stderr.startswith("oops\n")
    assert server.kubectl("get", "--raw", "/api/v1/nodes/gw2/proxy/healthz") == "ok"
    assert "node_cpu_usage_seconds_total" in server.kubectl("get", "--raw", "/api/v1/nodes/gw2/proxy/metrics/resource")
    for place in ("pods/inside:8080", "services/inside"):
        assert server.kubectl("get", "--raw", f"/api/v1/namespaces/default/{place}/proxy/") == "served\n"
    refused = server.kubectl_raw("exec", "inside", "-c", "none", "--", "true")
    assert "container none is not valid for pod inside" in refused.stderr


def test_files_are_copied_both_ways(site: Site, server: Machine) -> None:
    big = site.directory / "big"
    big.write_bytes(bytes(range(256)) * 8192)
    server.kubectl("cp", str(big), "inside:/tmp/big")
    back = site.directory / "back"
    server.kubectl("cp", "inside:/tmp/big", str(back))
    assert back.read_bytes() == big.read_bytes()


@contextmanager
def in_background(machine: Machine, *words: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        machine.line(*words), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=machine.environment()
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def test_ports_are_forwarded(server: Machine) -> None:
    with in_background(server, "kubectl", "port-forward", "pod/inside", "18080:8080") as forwarding:
        assert forwarding.stdout is not None
        assert "Forwarding from 127.0.0.1:18080" in forwarding.stdout.readline()
        page = ("busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:18080/")
        assert [server.run(*page) for _ in range(3)] == ["served\n"] * 3


def test_a_webhook_in_a_pod_behind_the_tunnel_is_asked(site: Site, server: Machine) -> None:
    """The machine's own Python, in the pod's network: no image of ours carries one."""
    authority = Authority(site.directory)
    certificate, key = authority.issue("hook", "hook.default.svc")
    program = Path(__file__).with_name("hook_server.py")
    container = {
        "name": "hook",
        "image": IMAGE,
        "command": ["chroot", "/host", sys.executable, str(program), str(certificate), str(key)],
        "volumeMounts": [{"name": "machine", "mountPath": "/host"}],
        "readinessProbe": {"tcpSocket": {"port": 8443}, "periodSeconds": 1},
    }
    spec = {
        "nodeName": "gw2",
        "terminationGracePeriodSeconds": 0,
        "containers": [container],
        "volumes": [{"name": "machine", "hostPath": {"path": "/"}}],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "hook", "labels": {"app": "hook"}}, "spec": spec}
    server.kubectl("apply", "-f", "-", stdin=json.dumps(pod))
    server.kubectl("expose", "pod", "hook", "--port", "443", "--target-port", "8443")
    server.kubectl("wait", "pod/hook", "--for=condition=Ready", "--timeout=90s")
    rule = {"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}
    webhook = {
        "name": "hook.example.org",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": {
            "service": {"namespace": "default", "name": "hook"},
            "caBundle": base64.b64encode(authority.pem).decode(),
        },
        "rules": [rule],
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "default"}},
    }
    configuration = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "hook"},
        "webhooks": [webhook],
    }
    server.kubectl("apply", "-f", "-", stdin=json.dumps(configuration))
    bad = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bad", "labels": {"bad": "yes"}}}
    words = 'admission webhook "hook.example.org" denied the request: hook.default.svc:443 says no'
    eventually(
        lambda: words in server.kubectl_raw("create", "-f", "-", stdin=json.dumps(bad)).stderr, within_s=60, why=words
    )
    server.kubectl("create", "configmap", "good")
    server.kubectl(
        "delete", "validatingwebhookconfiguration,pod,service,configmap", "hook", "good", "--ignore-not-found"
    )


def test_what_is_used_can_be_seen(server: Machine) -> None:
    eventually(lambda: "gw2" in server.kubectl_raw("top", "nodes").stdout, within_s=60, why="figures of gw2")
    nodes = {line.split()[0] for line in server.kubectl("top", "nodes", "--no-headers").splitlines()}
    assert nodes == {"gw1", "gw2"}
    [figure] = server.kubectl("top", "pod", "inside", "--containers", "--no-headers").splitlines()
    assert figure.split()[:2] == ["inside", "main"]
    listed = json.loads(server.kubectl("get", "--raw", "/apis/metrics.k8s.io/v1beta1/namespaces/default/pods"))
    assert [item["metadata"]["name"] for item in listed["items"]] == ["inside"]
    assert "metrics.k8s.io/v1beta1" in server.kubectl("api-versions").split()


def link_bytes(server: Machine) -> dict[str, float]:
    found = {}
    for line in server.kubectl("get", "--raw", "/metrics").splitlines():
        if line.startswith('edgekube_node_link_bytes_total{node="gw2",'):
            found[line.partition('direction="')[2].partition('"')[0]] = float(line.split()[-1])
    return found


def test_the_links_bytes_are_counted_and_heartbeats_renew_the_lease(server: Machine) -> None:
    def renewed() -> Any:
        return server.json("get", "lease", "gw2", "-n", "kube-node-lease")["spec"]["renewTime"]

    before, first = link_bytes(server), renewed()
    assert set(before) == {"received", "sent"}
    eventually(lambda: renewed() != first, within_s=60, why="a renewed lease")
    assert all(link_bytes(server)[direction] > before[direction] for direction in before)


def test_a_broken_tunnel_is_dug_again_and_nothing_restarts(site: Site, server: Machine) -> None:
    agent = site.machines["gw2"]

    def containers() -> Any:
        [status] = server.json("get", "pod", "inside")["status"]["containerStatuses"]
        return status["containerID"], status["restartCount"]

    before = containers()
    with in_background(server, "kubectl", "logs", "-f", "inside") as following:
        agent.do("nft", "-f", "-", stdin=f"""
            add table inet broken
            add chain inet broken output {{ type filter hook output priority 0; }}
            add rule inet broken output ip daddr {server.address} tcp dport 6443 ct state new drop
        """)  # fmt: skip
        agent.do("ss", "-K", "dst", server.address, "dport", "=", "6443")
        following.wait(90)  # the server misses the agent at once, or (where ss cannot kill) after the third heartbeat
    words = "node gw2 is not connected"
    eventually(lambda: words in server.kubectl_raw("logs", "inside").stderr, within_s=60, why=words)
    site.until_node("gw2", ready=False)  # nothing renews its Lease any more
    agent.do("nft", "delete", "table", "inet", "broken")
    site.until_node("gw2")
    eventually(lambda: server.kubectl_raw("logs", "inside").returncode == 0, within_s=90, why="logs of inside")
    assert containers() == before
