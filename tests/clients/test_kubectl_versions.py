"""A walk through kubectl's commands with kubectls of other years: 1.20, as Debian 12 has it, and a recent one."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.clients import installed
from tests.support import Server, eventually

pytestmark = [pytest.mark.slow, pytest.mark.kubectl]

WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 0
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers: [{name: web, image: "example.test/web:1", ports: [{containerPort: 80}]}]
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {selector: {app: web}, ports: [{port: 80}]}
"""
YEARLY = """
apiVersion: batch/v1
kind: CronJob
metadata: {name: c}
spec:
  schedule: "0 0 1 1 *"
  jobTemplate:
    spec:
      template:
        spec:
          restartPolicy: Never
          containers: [{name: main, image: "example.test/job:1"}]
"""
DEFINITION = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: GROUPED}
spec:
  group: GROUP
  scope: Namespaced
  names: {plural: lamps, singular: lamp, kind: Lamp, shortNames: [lmp]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns: [{name: Colour, type: string, jsonPath: .spec.colour}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties: {colour: {type: string, description: What one sees.}}
"""


class Kubectl:
    """One kubectl binary in one namespace."""

    def __init__(self, server: Server, binary: str, version: str, namespace: str) -> None:
        self.server, self.binary, self.version, self.namespace = server, binary, version, namespace

    def raw(self, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return self.server.kubectl_raw("-n", self.namespace, *words, stdin=stdin, binary=self.binary)

    def __call__(self, *words: str, stdin: str = "") -> str:
        return self.server.kubectl("-n", self.namespace, *words, stdin=stdin, binary=self.binary)

    def json(self, *words: str) -> Any:
        return json.loads(self(*words, "-o", "json"))

    def apply(self, text: str, *words: str) -> str:
        return self("apply", "-f", "-", *words, stdin=text)


@pytest.fixture(name="kubectl", params=["1.20", "1.32"])
def _kubectl(request: pytest.FixtureRequest, server: Server, namespace: str) -> Kubectl:
    try:
        binary = installed.kubectl(request.param)
    except installed.Missing as why:
        pytest.skip(str(why))
    return Kubectl(server, binary, request.param, namespace)


def test_create_get_describe_delete(kubectl: Kubectl) -> None:
    assert "configmap/one created" in kubectl("create", "configmap", "one", "--from-literal=a=1")
    assert kubectl("get", "configmap", "one", "-o", "jsonpath={.data.a}") == "1"
    assert kubectl("get", "cm", "one", "-o", "name") == "configmap/one\n"
    header, row = kubectl("get", "cm", "one").splitlines()
    assert header.split() == ["NAME", "DATA", "AGE"]
    assert row.split()[:2] == ["one", "1"]
    described = kubectl("describe", "configmap", "one")
    assert "Name:         one" in described
    assert "a:\n----\n1\n" in described
    again = kubectl.raw("create", "configmap", "one")
    assert again.returncode == 1
    assert "already exists" in again.stderr
    assert 'configmap "one" deleted' in kubectl("delete", "configmap", "one")
    missing = kubectl.raw("get", "configmap", "one")
    assert missing.stderr == 'Error from server (NotFound): configmaps "one" not found\n'


def test_apply_diff_and_prune_what_is_gone(kubectl: Kubectl) -> None:
    assert "deployment.apps/web created" in kubectl.apply(WEB)
    assert "deployment.apps/web unchanged" in kubectl.apply(WEB)
    changed = WEB.replace("web:1", "web:2")
    shown = kubectl.raw("diff", "-f", "-", stdin=changed)
    assert shown.returncode == 1, shown.stderr
    assert "+      - image: example.test/web:2" in shown.stdout
    assert "deployment.apps/web configured" in kubectl.apply(changed)
    assert kubectl.raw("diff", "-f", "-", stdin=changed).returncode == 0
    without = changed.replace(", ports: [{containerPort: 80}]", "")
    kubectl.apply(without)
    container = kubectl.json("get", "deployment", "web")["spec"]["template"]["spec"]["containers"][0]
    assert "ports" not in container


def test_server_side_apply_takes_over_from_client_side(kubectl: Kubectl) -> None:
    kubectl.apply(WEB)
    assert "serverside-applied" in kubectl.apply(WEB, "--server-side", "--force-conflicts")
    conflict = kubectl.raw("apply", "--server-side", "--field-manager=other", "-f", "-",
                           stdin=WEB.replace("replicas: 0", "replicas: 2"))  # fmt: skip
    assert conflict.returncode == 1
    assert "conflict" in conflict.stderr
    assert ".spec.replicas" in conflict.stderr
    kubectl.apply(WEB.replace("replicas: 0", "replicas: 2"), "--server-side", "--field-manager=other",
                  "--force-conflicts")  # fmt: skip
    assert kubectl.json("get", "deployment", "web")["spec"]["replicas"] == 2


def test_patch_label_annotate_and_set(kubectl: Kubectl) -> None:
    kubectl.apply(WEB)
    kubectl(
        "patch",
        "deployment",
        "web",
        "-p",
        '{"spec":{"template":{"spec":{"containers":[{"name":"web","args":["x"]}]}}}}',
    )
    kubectl("patch", "deployment", "web", "--type=merge", "-p", '{"metadata":{"labels":{"b":"c"}}}')
    kubectl("patch", "deployment", "web", "--type=json", "-p", '[{"op":"remove","path":"/metadata/labels/b"}]')
    assert kubectl("label", "deployment", "web", "tier=front").startswith("deployment.apps/web labeled")
    refused = kubectl.raw("label", "deployment", "web", "tier=back")
    assert "--overwrite" in refused.stderr
    kubectl("label", "deployment", "web", "tier=back", "--overwrite")
    kubectl("label", "deployment", "web", "app-")
    kubectl("annotate", "deployment", "web", "note=kept")
    kubectl("set", "image", "deployment/web", "web=example.test/web:3")
    kubectl("set", "env", "deployment/web", "MODE=fast")
    kubectl("set", "resources", "deployment/web", "--limits=cpu=1,memory=64Mi")
    read = kubectl.json("get", "deployment", "web")
    assert read["metadata"]["labels"] == {"tier": "back"}
    assert read["metadata"]["annotations"]["note"] == "kept"
    container = read["spec"]["template"]["spec"]["containers"][0]
    assert (container["args"], container["image"]) == (["x"], "example.test/web:3")
    assert container["env"] == [{"name": "MODE", "value": "fast"}]
    assert container["resources"] == {"limits": {"cpu": "1", "memory": "64Mi"}}


def test_edit_with_an_editor(kubectl: Kubectl, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kubectl("create", "configmap", "one", "--from-literal=a=old")
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/a: old/a: new/" "$1"\n')
    editor.chmod(0o755)
    monkeypatch.setenv("KUBE_EDITOR", str(editor))
    assert "configmap/one edited" in kubectl("edit", "configmap", "one")
    assert kubectl("get", "configmap", "one", "-o", "jsonpath={.data.a}") == "new"


def test_scale_rollout_history_undo_and_restart(kubectl: Kubectl) -> None:
    kubectl.apply(WEB)
    assert "successfully rolled out" in kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    kubectl("scale", "deployment/web", "--replicas=2")
    eventually(lambda: len(kubectl.json("get", "pods", "-l", "app=web")["items"]) == 2, within_s=60)
    refused = kubectl.raw("scale", "deployment/web", "--current-replicas=5", "--replicas=1")
    assert refused.returncode == 1
    kubectl("scale", "deployment/web", "--replicas=0")
    kubectl("set", "image", "deployment/web", "web=example.test/web:2")
    eventually(lambda: "2 " in kubectl("rollout", "history", "deployment/web"), within_s=60)
    assert "Pod Template" in kubectl("rollout", "history", "deployment/web", "--revision=1")
    assert "rolled back" in kubectl("rollout", "undo", "deployment/web")
    template = kubectl.json("get", "deployment", "web")["spec"]["template"]
    assert template["spec"]["containers"][0]["image"] == "example.test/web:1"
    assert "restarted" in kubectl("rollout", "restart", "deployment/web")
    kubectl("rollout", "pause", "deployment/web")
    assert kubectl.json("get", "deployment", "web")["spec"]["paused"] is True
    kubectl("rollout", "resume", "deployment/web")
    assert "autoscaled" in kubectl("autoscale", "deployment/web", "--min=1", "--max=3", "--cpu-percent=50")
    assert kubectl.json("get", "hpa", "web")["spec"]["maxReplicas"] == 3


def test_wait_for_conditions_and_deletion(kubectl: Kubectl) -> None:
    kubectl.apply(WEB)
    assert "condition met" in kubectl("wait", "deployment/web", "--for=condition=Available", "--timeout=60s")
    late = kubectl.raw("wait", "deployment/web", "--for=condition=Nonsense", "--timeout=1s")
    assert late.returncode == 1
    assert "timed out waiting for the condition" in late.stderr
    kubectl("delete", "deployment", "web", "--wait=false")
    waited = kubectl.raw("wait", "deployment/web", "--for=delete", "--timeout=60s")
    gone_before = "not found" in waited.stderr or "no matching resources" in waited.stderr
    assert waited.returncode == 0 or gone_before, waited.stderr


def test_watching_prints_changes(kubectl: Kubectl) -> None:
    kubectl("create", "configmap", "one", "--from-literal=a=1")
    watching = subprocess.Popen(
        [kubectl.binary, "--kubeconfig", str(kubectl.server.kubeconfig), "-n", kubectl.namespace,
         "get", "configmap", "one", "--watch", "--no-headers"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert watching.stdout is not None
        assert watching.stdout.readline().split()[:2] == ["one", "1"]
        kubectl("patch", "configmap", "one", "-p", '{"data":{"b":"2"}}')
        assert watching.stdout.readline().split()[:2] == ["one", "2"]
    finally:
        watching.kill()
        watching.wait()
        if watching.stdout is not None:
            watching.stdout.close()


def test_api_resources_versions_and_explain(kubectl: Kubectl) -> None:
    names = kubectl("api-resources", "-o", "name").split()
    assert {"pods", "deployments.apps", "cronjobs.batch", "ingresses.networking.k8s.io"} <= set(names)
    namespaced = kubectl("api-resources", "--namespaced=false", "--api-group=rbac.authorization.k8s.io", "-o", "name")
    assert namespaced.split() == [
        "clusterrolebindings.rbac.authorization.k8s.io",
        "clusterroles.rbac.authorization.k8s.io",
    ]
    assert "apps/v1" in kubectl("api-versions").split()
    told = kubectl("explain", "deployment.spec.strategy.rollingUpdate")
    assert "maxSurge" in told
    assert "containers" in kubectl("explain", "pod", "--recursive")


def test_auth_can_i_and_roles(kubectl: Kubectl) -> None:
    assert kubectl("auth", "can-i", "create", "deployments").strip() == "yes"
    robot = f"--as=system:serviceaccount:{kubectl.namespace}:robot"
    assert kubectl.raw("auth", "can-i", "list", "pods", robot).stdout.strip() == "no"
    kubectl("create", "serviceaccount", "robot")
    kubectl("create", "role", "reads", "--verb=get,list", "--resource=pods")
    kubectl("create", "rolebinding", "reads", "--role=reads", f"--serviceaccount={kubectl.namespace}:robot")
    eventually(lambda: kubectl.raw("auth", "can-i", "list", "pods", robot).stdout.strip() == "yes", within_s=60)
    assert "pods" in kubectl("auth", "can-i", "--list", robot)
    refused = kubectl.raw("get", "secrets", robot)
    assert "forbidden" in refused.stderr


def test_custom_resources_are_explained_and_shown(kubectl: Kubectl) -> None:
    group = f"{kubectl.namespace}.example.test"
    kubectl.apply(DEFINITION.replace("GROUPED", f"lamps.{group}").replace("GROUP", group))
    kubectl("wait", f"crd/lamps.{group}", "--for=condition=Established", "--timeout=60s")
    lamp = f"apiVersion: {group}/v1\nkind: Lamp\nmetadata: {{name: one}}\nspec: {{colour: red}}\n"
    eventually(lambda: kubectl.raw("apply", "-f", "-", stdin=lamp).returncode == 0, within_s=60)
    header, row = kubectl("get", "lmp").splitlines()
    assert (header.split(), row.split()) == (["NAME", "COLOUR"], ["one", "red"])
    eventually(lambda: "What one sees." in kubectl.raw("explain", "lamps.spec.colour").stdout, within_s=60)
    kubectl.apply(lamp.replace("red", "blue"), "--server-side", "--force-conflicts")
    assert "Colour:  blue" in kubectl("describe", "lamp", "one")
    kubectl("delete", "crd", f"lamps.{group}")
    gone = eventually(lambda: kubectl.raw("get", f"lamps.{group}").stderr, within_s=60)
    assert "the server doesn't have a resource type" in gone


def test_output_forms_and_selectors(kubectl: Kubectl) -> None:
    for name, tier in (("a", "front"), ("b", "back"), ("c", "back")):
        kubectl("create", "configmap", name)
        kubectl("label", "configmap", name, f"tier={tier}")
    assert kubectl("get", "cm", "-l", "tier=back", "-o", "name").split() == ["configmap/b", "configmap/c"]
    assert kubectl("get", "cm", "-l", "tier notin (back),tier", "-o", "name").split() == ["configmap/a"]
    assert kubectl("get", "cm", "--field-selector=metadata.name=b", "-o", "name").split() == ["configmap/b"]
    columns = kubectl("get", "cm", "-l", "tier", "-o", "custom-columns=N:.metadata.name,T:.metadata.labels.tier",
                      "--sort-by=.metadata.labels.tier")  # fmt: skip
    assert columns.splitlines()[0].split() == ["N", "T"]
    assert columns.splitlines()[-1].split() == ["a", "front"]
    template = "{{range .items}}{{.metadata.name}} {{end}}"
    assert kubectl("get", "cm", "-l", "tier", "-o", f"go-template={template}").split() == ["a", "b", "c"]
    assert "TIER" in kubectl("get", "cm", "-L", "tier")
    assert kubectl("get", "cm", "-l", "tier", "--chunk-size=1", "-o", "name").split()[-1] == "configmap/c"
    kubectl("delete", "cm", "-l", "tier=back")
    assert kubectl("get", "cm", "-l", "tier", "-o", "name").split() == ["configmap/a"]


def test_a_dry_run_changes_nothing(kubectl: Kubectl) -> None:
    assert "(server dry run)" in kubectl.apply(WEB, "--dry-run=server")
    assert kubectl("get", "deployments", "-o", "name") == ""
    made = kubectl("create", "deployment", "web", "--image=example.test/web:1", "--dry-run=client", "-o", "yaml")
    assert "kind: Deployment" in made


def test_expose_secrets_jobs_and_quotas(kubectl: Kubectl) -> None:
    kubectl.apply(WEB)
    kubectl("expose", "deployment", "web", "--name=shown", "--port=80")
    assert kubectl.json("get", "service", "shown")["spec"]["clusterIP"]
    kubectl("create", "secret", "generic", "s", "--from-literal=word=hidden")
    assert kubectl("get", "secret", "s", "-o", "jsonpath={.data.word}") == "aGlkZGVu"
    kubectl.apply(YEARLY)  # kubectl 1.20 would make a batch/v1beta1 CronJob, which no server has any more
    if kubectl.version != "1.20":  # which knows CronJobs of batch/v1beta1 only
        kubectl("create", "job", "j", "--from=cronjob/c")
        assert kubectl.json("get", "job", "j")["metadata"]["ownerReferences"][0]["name"] == "c"
    kubectl("create", "job", "k", "--image=example.test/job:1")
    assert kubectl.json("get", "job", "k")["spec"]["backoffLimit"] == 6
    kubectl("create", "quota", "q", "--hard=configmaps=1")
    eventually(lambda: kubectl.json("get", "quota", "q")["status"].get("used"), within_s=60)
    refused = kubectl.raw("create", "configmap", "too-many")
    assert "exceeded quota" in refused.stderr, refused.stdout


def test_taints_cordons_and_drains_of_a_node(kubectl: Kubectl) -> None:
    name = f"node-{kubectl.namespace}"
    kubectl.apply(f"apiVersion: v1\nkind: Node\nmetadata: {{name: {name}}}\n")
    kubectl("taint", "node", name, "only=mine:NoSchedule")
    assert {"key": "only", "value": "mine", "effect": "NoSchedule"} in kubectl.json("get", "node", name)["spec"][
        "taints"
    ]
    kubectl("taint", "node", name, "only-")
    kubectl("cordon", name)
    assert kubectl.json("get", "node", name)["spec"]["unschedulable"] is True
    assert "SchedulingDisabled" in kubectl("get", "node", name)
    kubectl("drain", name, "--timeout=60s")
    kubectl("uncordon", name)
    assert "Unschedulable:      false" in kubectl("describe", "node", name)
    kubectl("delete", "node", name)


def test_a_broken_manifest_is_refused_in_words(kubectl: Kubectl) -> None:
    unknown = WEB.replace("replicas: 0", "replicsa: 0")
    refused = kubectl.raw("apply", "-f", "-", stdin=unknown)
    assert refused.returncode == 1
    assert 'unknown field "replicsa"' in refused.stderr or 'unknown field "spec.replicsa"' in refused.stderr
    invalid = kubectl.raw("apply", "-f", "-", stdin=WEB.replace("containers: [{name: web,", "containers: [{name: W_b,"))
    assert invalid.returncode == 1
    assert "spec.template.spec.containers[0].name: Invalid value" in invalid.stderr
