"""Machines come, stay, leave and are put out: over real TLS, with real containers, from the lines a person types."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.machines import IMAGE, Machine, Site
from tests.support import eventually

pytestmark = [pytest.mark.runtime, pytest.mark.kubectl]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """gw1 serves; gw2 joined, and gw1 can open no connection to it."""
    with Site(tmp_path_factory.mktemp("joining")) as site:
        first, second = site.machine("gw1"), site.machine("gw2")
        site.refuse_connections(first, second)
        first.start_server()
        site.join(second, "--node-label", "hall=3", "--node-taint", "kiosk=yes:NoSchedule")
        yield site


def join_raw(site: Site, machine: Machine, line: list[str], *flags: str) -> subprocess.CompletedProcess[str]:
    return machine.run_raw(
        *line, "--node-name", machine.host_name, "--resolv-conf", str(site.resolv_conf), "--no-service", *flags
    )


def as_node(machine: Machine, identity: Path, method: str, path: str, body: Any = None) -> tuple[int, dict[str, Any]]:
    """One request with a node's credentials, from where the machine is."""
    assert machine.site.server is not None
    url = f"https://{machine.site.server.address}:6443{path}"
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    done = machine.run(
        "curl", "-s", "-X", method, "--cacert", str(identity / "ca.crt"), "--cert", str(identity / "client.crt"),
        "--key", str(identity / "client.key"), "-H", f"Content-Type: {kind}", "-w", "\n%{http_code}",
        *(["-d", json.dumps(body)] if body is not None else []), url,
    )  # fmt: skip
    text, _, code = done.rpartition("\n")
    return int(code), json.loads(text or "{}")


def cgroups_of(uid: str) -> list[Path]:
    return list(Path("/sys/fs/cgroup").glob(f"**/kubepods/**/pod{uid}"))


def pod(name: str, node: str = "", **spec: Any) -> str:
    container = {"name": "main", "image": IMAGE, "command": ["sh", "-c", f"echo here is {name}; sleep 3600"]}
    whole: dict[str, Any] = {"containers": [container], "terminationGracePeriodSeconds": 0, **spec}
    if node:
        whole["nodeName"] = node
    return json.dumps({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": whole})


def run_pod(site: Site, name: str, node: str, machine: Machine) -> None:
    """A pod on a node, Ready."""
    server = site.server
    assert server is not None
    server.kubectl("apply", "-f", "-", stdin=pod(name, node))
    waited = server.kubectl_raw("wait", "--for=condition=Ready", f"pod/{name}", "--timeout=90s")
    if waited.returncode:
        described = server.kubectl("describe", "pod", name)
        raise AssertionError(f"{waited.stderr}\n{described}\n{machine.tail()}\n{server.tail()}")


def test_a_pasted_line_makes_a_node_that_can_be_reached_into(site: Site) -> None:
    server = site.server
    assert server is not None
    node = server.json("get", "node", "gw2")
    assert node["metadata"]["labels"]["hall"] == "3"
    assert {"key": "kiosk", "value": "yes", "effect": "NoSchedule"} in node["spec"]["taints"]
    run_pod(site, "there", "gw2", site.machines["gw2"])
    assert eventually(lambda: server.kubectl("logs", "there")) == "here is there\n"
    assert server.kubectl("exec", "there", "--", "echo", "through the tunnel") == "through the tunnel\n"
    requests = server.json("get", "csr")["items"]
    assert {one["spec"]["signerName"] for one in requests} >= {"kubernetes.io/kube-apiserver-client-kubelet"}
    assert all(one["status"].get("certificate") for one in requests)


def test_tokens_that_were_used_revoked_or_are_over_are_refused(site: Site) -> None:
    server, third = site.server, site.machine("gw3")
    assert server is not None
    used = site.token()
    secret = json.loads(
        server.kubectl("get", "secret", "-n", "kube-system", f"bootstrap-token-{used[3].split('.')[2]}", "-o", "json")
    )
    assert secret["type"] == "bootstrap.kubernetes.io/token"
    mark = {"metadata": {"annotations": {"edgekube.io/used-by": "gw9", "edgekube.io/used-key": "0" * 64}}}
    server.kubectl("patch", "secret", "-n", "kube-system", secret["metadata"]["name"], "-p", json.dumps(mark))
    refused = join_raw(site, third, used)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "the token was used already, by gw9" in refused.stderr

    revoked = site.token()
    server.run("edgekube", "token", "revoke", revoked[3])
    refused = join_raw(site, third, revoked)
    assert refused.returncode == 1
    assert "does not accept the token" in refused.stderr

    over = site.token("--ttl", "1s")
    name = over[3].split(".")[2]
    eventually(lambda: name not in server.run("edgekube", "token", "list"), why="the expired token is cleaned away")
    refused = join_raw(site, third, over)
    assert "does not accept the token" in refused.stderr

    wrong = [*over[:3], over[3].replace("EK1.", "EK1.0", 1)[: 4 + 64] + over[3][4 + 64 :]]
    refused = join_raw(site, third, wrong)
    assert "not the server this token is from" in refused.stderr
    assert refused.stderr.count("\n") == 1


def test_a_node_may_do_nothing_but_its_own_work(site: Site) -> None:
    server, second = site.server, site.machines["gw2"]
    assert server is not None
    identity = second.data / "agent"
    server.kubectl("create", "secret", "generic", "of-gw1", "--from-literal=key=value")
    server.kubectl(
        "apply", "-f", "-", stdin=pod("elsewhere", "gw1", volumes=[{"name": "s", "secret": {"secretName": "of-gw1"}}])
    )
    attempts = [
        ("GET", "/api/v1/namespaces/default/secrets/of-gw1", None),
        ("GET", "/api/v1/secrets", None),
        ("GET", "/api/v1/pods", None),
        ("GET", "/api/v1/namespaces/kube-system/configmaps/edgekube-node-keys", None),
        ("POST", "/api/v1/namespaces/default/pods", json.loads(pod("smuggled", "gw1"))),
        ("POST", "/api/v1/namespaces/default/pods", json.loads(pod("smuggled", "gw2"))),
        ("PATCH", "/api/v1/nodes/gw1", {"metadata": {"labels": {"mine": "now"}}}),
        ("PATCH", "/api/v1/nodes/gw2", {"metadata": {"labels": {"node-restriction.kubernetes.io/hall": "4"}}}),
        ("PATCH", "/api/v1/nodes/gw2", {"spec": {"taints": []}}),
        ("PATCH", "/api/v1/namespaces/default/pods/elsewhere/status", {"status": {"phase": "Failed"}}),
        ("DELETE", "/api/v1/namespaces/default/pods/elsewhere", None),
        ("DELETE", "/api/v1/nodes/gw2", None),
        ("PUT", "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases/gw1", {"metadata": {"name": "gw1"}}),
        ("POST", "/api/v1/namespaces/default/serviceaccounts/default/token", {"spec": {"audiences": []}}),
    ]  # fmt: skip
    answers = {(method, path): as_node(second, identity, method, path, body)[0] for method, path, body in attempts}
    assert answers == dict.fromkeys(answers, 403)
    status, node = as_node(second, identity, "GET", "/api/v1/nodes/gw2")
    assert (status, node["metadata"]["name"]) == (200, "gw2")


def test_a_machine_set_up_anew_takes_the_place_of_its_former_self(site: Site) -> None:
    server, second = site.server, site.machines["gw2"]
    assert server is not None
    former = site.directory / "former"
    shutil.copytree(second.data / "agent", former, dirs_exist_ok=True)
    before = server.json("get", "node", "gw2")["metadata"]["uid"]
    second.power_off()
    shutil.rmtree(second.data)
    second.data.mkdir()
    second.plug_in()
    site.refuse_connections(server, second)
    site.join(second)
    assert server.json("get", "node", "gw2")["metadata"]["uid"] == before
    assert as_node(second, former, "GET", "/api/v1/nodes/gw2")[0] == 401
    assert as_node(second, second.data / "agent", "GET", "/api/v1/nodes/gw2")[0] == 200


def test_a_node_away_for_longer_than_its_certificate_lives_comes_back_by_its_key(site: Site) -> None:
    server, second = site.server, site.machines["gw2"]
    assert server is not None
    certificate = second.data / "agent" / "client.crt"
    before = certificate.read_bytes()
    second.stop()
    server.stop()
    years = time.time() + 800 * 24 * 3600  # what the server knows for certain, kept on its disk
    (server.data / "time").write_text(f"{int(years)}\n")
    server.start_again()
    server.until_ready()
    assert as_node(second, second.data / "agent", "GET", "/api/v1/nodes/gw2")[0] == 401
    second.start_again()
    eventually(lambda: certificate.read_bytes() != before, within_s=60, why=second.tail())
    site.until_node("gw2")
    assert as_node(second, second.data / "agent", "GET", "/api/v1/nodes/gw2")[0] == 200


def test_a_removed_node_is_drained_and_out_for_good(site: Site) -> None:
    server, second = site.server, site.machines["gw2"]
    assert server is not None
    run_pod(site, "moved", "gw2", second)
    identity = second.data / "agent"
    told = server.run("edgekube", "node", "remove", "gw2", "--drain")
    assert told == "node gw2 removed\n"
    assert server.kubectl_raw("get", "pod", "moved").returncode != 0
    assert as_node(second, identity, "GET", "/api/v1/nodes/gw2")[0] == 401
    assert second.process is not None
    assert second.process.wait(60) == 78, second.tail()
    assert "not a node of its cluster any more" in second.tail()
    assert server.kubectl_raw("get", "node", "gw2").returncode != 0
    assert server.run_raw("edgekube", "node", "remove", "gw2").stderr == "error: there is no node gw2\n"


def test_leaving_leaves_nothing_and_the_machine_may_join_under_another_name(site: Site) -> None:
    server, second = site.server, site.machines["gw2"]
    assert server is not None
    second.run("edgekube", "leave")
    assert list(second.data.parent.glob("data")) == []
    second.data.mkdir()
    links = {link["ifname"] for link in json.loads(second.do("ip", "-json", "link"))}
    site.bring_image(second)
    line = site.token()
    done = join_raw(site, second, line, "--node-name", "hall-4")
    assert done.returncode == 0, done.stderr
    second.start("agent")
    eventually(lambda: site.node_ready("hall-4"), within_s=90, why=second.tail())
    run_pod(site, "again", "hall-4", second)

    uid = server.json("get", "pod", "again")["metadata"]["uid"]
    assert cgroups_of(uid) != []
    told = second.run("edgekube", "leave")
    assert told == f"hall-4 has left https://{server.address}:6443\n"
    assert server.kubectl_raw("get", "node", "hall-4").returncode != 0
    assert second.processes() == []
    assert cgroups_of(uid) == []
    assert {link["ifname"] for link in json.loads(second.do("ip", "-json", "link"))} == links == {"lo", "eth0"}
    assert second.do("nft", "list", "tables", check=False).replace("table inet site\n", "") == ""
    assert second.do("ip", "-4", "addr", "show", "dev", "lo").count("inet ") == 1
    assert str(second.data) not in Path("/proc/mounts").read_text()
    assert not second.data.exists()
