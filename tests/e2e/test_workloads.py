"""Deployments, jobs, services, names: what runs on top of pods."""

from __future__ import annotations

import json

from tests.e2e.conftest import IMAGE, Space
from tests.support import eventually

WEB = f"""
apiVersion: apps/v1
kind: Deployment
metadata: {{name: web}}
spec:
  replicas: 2
  selector: {{matchLabels: {{app: web}}}}
  template:
    metadata: {{labels: {{app: web}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: web
        image: {IMAGE}
        env: [{{name: VERSION, value: one}}]
        command: [sh, -c, 'mkdir -p /w; echo "$VERSION $HOSTNAME" > /w/index.html; exec httpd -f -p 8080 -h /w']
        ports: [{{name: http, containerPort: 8080}}]
        readinessProbe: {{tcpSocket: {{port: http}}, periodSeconds: 1}}
---
apiVersion: v1
kind: Service
metadata: {{name: web}}
spec:
  type: NodePort
  selector: {{app: web}}
  ports: [{{name: http, port: 80, targetPort: http}}]
---
apiVersion: v1
kind: Service
metadata: {{name: web-headless}}
spec:
  clusterIP: None
  selector: {{app: web}}
  ports: [{{name: http, port: 8080}}]
"""


def fetch(space: Space, url: str) -> str:
    return space.exec("client", "wget", "-q", "-O", "-", url)


def test_a_deployment_behind_a_service(space: Space) -> None:
    space.apply(WEB)
    space.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    space.pod("client")
    # by name, and both replicas are asked in time
    eventually(lambda: len({fetch(space, "http://web") for _ in range(10)}) == 2, within_s=30)
    assert fetch(space, f"http://web.{space.name}.svc.cluster.local").startswith("one web-")
    service = space.json("get", "service", "web")
    assert fetch(space, f"http://{service['spec']['clusterIP']}").startswith("one")
    node = space.json("get", "nodes")["items"][0]["status"]["addresses"][0]["address"]
    assert fetch(space, f"http://{node}:{service['spec']['ports'][0]['nodePort']}").startswith("one")
    # a pod reaches itself through the service
    pod = space.json("get", "pods", "-l", "app=web")["items"][0]["metadata"]["name"]
    for _ in range(6):
        assert "one" in space.exec(pod, "wget", "-q", "-O", "-", f"http://{service['spec']['clusterIP']}")
    # names
    answer = space.exec("client", "nslookup", f"web-headless.{space.name}.svc.cluster.local")
    ips = [pod["status"]["podIP"] for pod in space.json("get", "pods", "-l", "app=web")["items"]]
    assert all(ip in answer for ip in ips)
    slices = space.json("get", "endpointslices", "-l", "kubernetes.io/service-name=web")["items"]
    assert sorted(e["addresses"][0] for s in slices for e in s["endpoints"]) == sorted(ips)
    assert {a["ip"] for a in space.json("get", "endpoints", "web")["subsets"][0]["addresses"]} == set(ips)


def test_a_rolling_update_never_leaves_fewer_than_allowed_and_can_be_undone(space: Space) -> None:
    space.apply(WEB)
    space.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    space.kubectl("set", "env", "deployment/web", "VERSION=two")
    space.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    space.pod("client")
    eventually(lambda: fetch(space, "http://web").startswith("two"), within_s=20)
    assert "REVISION" in space.kubectl("rollout", "history", "deployment/web")
    space.kubectl("rollout", "undo", "deployment/web")
    space.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    eventually(lambda: fetch(space, "http://web").startswith("one"), within_s=20)
    sets = space.json("get", "replicasets")["items"]
    assert len(sets) == 2
    assert sorted(item["spec"]["replicas"] for item in sets) == [0, 2]


def test_scaling_up_and_down(space: Space) -> None:
    space.apply(WEB)
    space.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    space.kubectl("scale", "deployment/web", "--replicas=4")
    space.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    space.kubectl("scale", "deployment/web", "--replicas=1")
    eventually(lambda: len(space.json("get", "pods", "-l", "app=web")["items"]) == 1, within_s=60)


def test_deleting_a_deployment_takes_its_pods_along(space: Space) -> None:
    space.apply(WEB)
    space.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    space.kubectl("delete", "deployment", "web")
    eventually(lambda: not space.json("get", "pods,replicasets")["items"], within_s=60)


def test_a_job_completes_and_a_failing_one_gives_up(space: Space) -> None:
    space.apply(f"""
apiVersion: batch/v1
kind: Job
metadata: {{name: good}}
spec:
  completions: 3
  parallelism: 2
  template: {{spec: {{restartPolicy: Never, containers: [{{name: c, image: {IMAGE}, command: [sh, -c, echo done]}}]}}}}
---
apiVersion: batch/v1
kind: Job
metadata: {{name: bad}}
spec:
  backoffLimit: 0
  template: {{spec: {{restartPolicy: Never, containers: [{{name: c, image: {IMAGE}, command: [sh, -c, exit 1]}}]}}}}
""")
    space.kubectl("wait", "job/good", "--for=condition=Complete", "--timeout=90s")
    assert space.json("get", "job", "good")["status"]["succeeded"] == 3
    space.kubectl("wait", "job/bad", "--for=condition=Failed", "--timeout=90s")
    conditions = {c["type"]: c["reason"] for c in space.json("get", "job", "bad")["status"]["conditions"]}
    assert conditions["Failed"] == "BackoffLimitExceeded"


def test_a_pod_that_fits_nowhere_is_told_why(space: Space) -> None:
    space.pod("huge", container="resources: {requests: {cpu: '1000'}}", wait=False)

    def told() -> str:
        events = space.json("get", "events", "--field-selector=reason=FailedScheduling")["items"]
        return str(events[0]["message"]) if events else ""

    assert eventually(told).startswith("0/1 nodes are available: 1 Insufficient cpu.")
    assert space.phase("huge") == "Pending"
    space.pod("picky", spec="nodeSelector: {disk: fast}", wait=False)
    space.kubectl("label", "node", "edge-1", "disk=fast")
    space.wait_ready("picky")
    space.kubectl("label", "node", "edge-1", "disk-")


def test_a_cordoned_node_takes_no_new_pods_and_a_drained_one_has_none_left(space: Space) -> None:
    space.apply(WEB)
    space.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    try:
        done = space.raw("drain", "edge-1", "--ignore-daemonsets", "--delete-emptydir-data", "--force",
                         "--pod-selector=app=web", "--timeout=60s")  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        pods = space.json("get", "pods", "-l", "app=web")["items"]
        assert all(not pod["spec"].get("nodeName") for pod in pods)
    finally:
        space.kubectl("uncordon", "edge-1")
    space.kubectl("rollout", "status", "deployment/web", "--timeout=90s")


def test_session_affinity_sends_a_client_to_the_same_pod(space: Space) -> None:
    space.apply(WEB)
    space.kubectl("patch", "service", "web", "-p", '{"spec":{"sessionAffinity":"ClientIP"}}')
    space.kubectl("rollout", "status", "deployment/web", "--timeout=90s")
    space.pod("client")
    eventually(lambda: fetch(space, "http://web"), within_s=20)
    eventually(lambda: len({fetch(space, "http://web") for _ in range(8)}) == 1, within_s=20)


def test_a_host_port_is_reachable_on_the_node(space: Space) -> None:
    space.pod("port", "mkdir /w; echo here > /w/index.html; httpd -f -p 8080 -h /w",
              container="ports: [{containerPort: 8080, hostPort: 31999}]")  # fmt: skip
    space.pod("client", spec="hostNetwork: true")
    node = space.json("get", "pod", "client")["status"]["hostIP"]
    eventually(lambda: fetch(space, f"http://{node}:31999") == "here\n", within_s=20)


def test_pods_reach_the_api_with_their_own_token(space: Space) -> None:
    space.kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods")
    space.kubectl("create", "rolebinding", "reader", "--role=reader", f"--serviceaccount={space.name}:default")
    space.pod("client")
    account = "/var/run/secrets/kubernetes.io/serviceaccount"
    token = space.exec("client", "cat", f"{account}/token")
    ours = (space.server.credentials()[0]).read_text()
    assert space.exec("client", "cat", f"{account}/ca.crt") == ours

    def ask(resource: str) -> tuple[int, bytes]:
        return space.server.get(f"/api/v1/namespaces/{space.name}/{resource}", token=token)

    status, body = ask("pods")
    assert (status, json.loads(body)["kind"]) == (200, "PodList")
    assert ask("secrets")[0] == 403
    # and the pod gets there by name: the connection is taken, and closed when rubbish comes instead of TLS
    script = "echo rubbish | nc -w 3 kubernetes.default.svc.cluster.local 443 >/dev/null && echo reached"
    assert space.exec("client", "sh", "-c", script) == "reached\n"
    assert space.exec("client", "cat", "/var/run/secrets/kubernetes.io/serviceaccount/namespace") == space.name
