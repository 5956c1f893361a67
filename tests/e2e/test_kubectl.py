"""kubectl's own commands, each as a person would type it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.conftest import IMAGE, Space
from tests.support import ROOT, Server, eventually


def test_nodes_and_cluster_info(cluster: Server) -> None:
    wide = cluster.kubectl("get", "nodes", "-o", "wide")
    assert "Ready" in wide
    assert "containerd://" in wide
    assert "is running at" in cluster.kubectl("cluster-info")
    assert "edge-1" in cluster.kubectl("describe", "node", "edge-1")
    assert "Server Version: v1.36" in cluster.kubectl("version")


def test_run_logs_exec_cp_describe_delete(space: Space, tmp_path: Path) -> None:
    space.kubectl("run", "one", f"--image={IMAGE}", "--image-pull-policy=Never", "--command", "--", "sh", "-c",
                  "for i in 1 2 3; do echo line $i; done; sleep 3600")  # fmt: skip
    space.wait_ready("one")
    assert space.logs("one", "--tail=1") == "line 3\n"
    assert space.logs("one", "--timestamps").startswith("20")
    assert space.exec("one", "echo", "hi") == "hi\n"
    failed = space.raw("exec", "one", "--", "sh", "-c", "exit 7")
    assert failed.returncode == 7
    assert space.kubectl("exec", "-i", "one", "--", "cat", stdin="typed\n") == "typed\n"
    (tmp_path / "file").write_text("copied" * 1000)
    space.kubectl("cp", str(tmp_path / "file"), "one:/tmp/file")
    space.kubectl("cp", "one:/tmp/file", str(tmp_path / "back"))
    assert (tmp_path / "back").read_text() == "copied" * 1000
    described = space.kubectl("describe", "pod", "one")
    assert "Started container one" in described or "Container started" in described
    assert 'pod "one" deleted' in space.kubectl("delete", "pod", "one", "--now")


def test_run_rm_it_prints_what_the_command_printed(space: Space) -> None:
    done = space.raw("run", "once", "--rm", "-i", "--restart=Never", f"--image={IMAGE}", "--image-pull-policy=Never",
                     "--", "sh", "-c", "sleep 2; echo out of it")  # fmt: skip
    assert "out of it" in done.stdout, done.stderr
    eventually(lambda: space.raw("get", "pod", "once").returncode == 1)


def test_logs_follow_until_the_container_ends(space: Space) -> None:
    space.pod("talk", "for i in 1 2 3; do echo $i; sleep 1; done", spec="restartPolicy: Never", wait=False)
    eventually(lambda: space.phase("talk") in ("Running", "Succeeded"))
    assert space.logs("talk", "-f") == "1\n2\n3\n"


def test_attach_sees_what_comes_after(space: Space) -> None:
    space.pod("echo", "while read line; do echo got $line; done", container="stdin: true\nstdinOnce: true")
    done = space.raw("attach", "-i", "echo", stdin="a\nb\n")
    assert "got a" in done.stdout


def test_port_forward(space: Space) -> None:
    space.pod("web", "mkdir /w; echo forwarded > /w/index.html; httpd -f -p 8080 -h /w")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "KUBECONFIG": str(space.server.kubeconfig)}
    forward = subprocess.Popen(
        ["kubectl", "-n", space.name, "port-forward", "pod/web", f"{port}:8080"],
        env=environment,
        stdout=subprocess.PIPE,
    )
    try:
        assert forward.stdout is not None
        assert b"Forwarding from" in forward.stdout.readline()
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
                connection.sendall(b"GET /index.html HTTP/1.0\r\n\r\n")
                received = b""
                while piece := connection.recv(4096):
                    received += piece
            assert received.endswith(b"forwarded\n")
    finally:
        forward.kill()
        forward.wait()
        forward.stdout.close()


def test_edit_patch_label_annotate_replace_diff(space: Space, tmp_path: Path) -> None:
    space.kubectl("create", "configmap", "c", "--from-literal=a=1")
    space.kubectl("label", "configmap", "c", "x=y")
    space.kubectl("annotate", "configmap", "c", "note=this")
    space.kubectl("patch", "configmap", "c", "--type=json", "-p", '[{"op":"add","path":"/data/b","value":"2"}]')
    editor = tmp_path / "editor"
    editor.write_text('#!/bin/sh\nsed -i "s/^  a:/  z:/" "$1"\n')
    editor.chmod(0o755)
    environment = {**os.environ, "KUBECONFIG": str(space.server.kubeconfig), "EDITOR": str(editor)}
    done = subprocess.run(
        ["kubectl", "-n", space.name, "edit", "configmap", "c"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = space.json("get", "configmap", "c")
    assert found["data"] == {"z": "1", "b": "2"}
    assert found["metadata"]["labels"] == {"x": "y"}
    manifest = f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c, namespace: {space.name}}}\ndata: {{z: '9'}}\n"
    diff = space.raw("diff", "-f", "-", stdin=manifest)
    assert diff.returncode == 1
    assert "+" in diff.stdout
    space.kubectl("replace", "-f", "-", stdin=manifest)
    assert space.json("get", "configmap", "c")["data"] == {"z": "9"}


def test_apply_twice_server_side_and_conflicts(space: Space) -> None:
    manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: s}\ndata: {k: '1'}\n"
    assert "serverside-applied" in space.kubectl("apply", "--server-side", "-f", "-", stdin=manifest)
    done = space.raw("apply", "--server-side", "--field-manager=other", "-f", "-", stdin=manifest.replace("'1'", "'2'"))
    assert done.returncode == 1
    assert "conflict" in done.stderr
    manifest = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: t}\ndata: {k: '1'}\n"
    assert "created" in space.apply(manifest)
    assert "unchanged" in space.apply(manifest)
    assert "configured" in space.apply(manifest.replace("'1'", "'2'"))


def test_expose_set_image_autoscale_and_wait(space: Space) -> None:
    space.kubectl("create", "deployment", "d", f"--image={IMAGE}", "--", "sleep", "3600")
    space.kubectl("expose", "deployment", "d", "--port=80", "--target-port=8080")
    space.kubectl("wait", "deployment/d", "--for=condition=Available", "--timeout=60s")
    space.kubectl("set", "image", "deployment/d", f"*={IMAGE}")
    space.kubectl("rollout", "restart", "deployment/d")
    space.kubectl("rollout", "status", "deployment/d", "--timeout=90s")
    space.kubectl("autoscale", "deployment", "d", "--min=1", "--max=2", "--cpu-percent=80")
    assert "d" in space.kubectl("get", "hpa,deploy,svc,ep,rs")


def test_asking_what_one_may_do(space: Space) -> None:
    assert space.kubectl("auth", "can-i", "create", "pods").strip() == "yes"
    space.kubectl("create", "serviceaccount", "robot")
    as_robot = f"--as=system:serviceaccount:{space.name}:robot"
    assert space.raw("auth", "can-i", "list", "secrets", as_robot).stdout.strip() == "no"
    refused = space.raw("get", "secrets", as_robot)
    assert refused.returncode == 1
    assert (
        f'Error from server (Forbidden): secrets is forbidden: User "system:serviceaccount:{space.name}:robot" cannot list '
        f'resource "secrets" in API group "" in the namespace "{space.name}"'
    ) in refused.stderr
    token = space.kubectl("create", "token", "robot").strip()
    assert token.count(".") == 2
    whoami = space.kubectl("auth", "whoami", f"--token={token}", "--kubeconfig=/dev/null", f"--server={space.server.url}",
                           f"--certificate-authority={space.server.credentials()[0]}")  # fmt: skip
    assert f"system:serviceaccount:{space.name}:robot" in whoami


def test_explain_api_resources_events_top_level(space: Space) -> None:
    assert "podIP" in space.kubectl("explain", "pod.status")
    assert "deployments" in space.kubectl("api-resources")
    assert "apps/v1" in space.kubectl("api-versions")
    space.pod("p")
    assert "Started" in space.kubectl("events")


OLD = [
    path
    for n in (27, 28, 29, 30, 31, 33)
    for path in Path(os.path.realpath("/usr/bin/kubectl")).parent.glob(f"kubectl.1.{n}")
]


@pytest.mark.parametrize("binary", [str(path) for path in OLD] or [None], ids=[path.name for path in OLD] or ["none"])
def test_every_kubectl_we_have_can_apply_exec_and_follow(space: Space, binary: str | None) -> None:
    if binary is None:
        pytest.skip("only one kubectl on this machine")
    manifest = (
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n"
        f"  - {{name: c, image: '{IMAGE}', command: [sh, -c, 'echo up; sleep 3600']}}\n"
    )
    space.kubectl("apply", "-f", "-", stdin=manifest, binary=binary)
    space.wait_ready("p")
    assert space.kubectl("exec", "p", "--", "echo", "x", binary=binary) == "x\n"
    assert space.kubectl("exec", "-i", "p", "--", "cat", stdin="typed\n", binary=binary) == "typed\n"
    assert space.kubectl("logs", "p", binary=binary) == "up\n"
    assert "podIP" in space.kubectl("explain", "pod.status", binary=binary)
    space.kubectl("create", "configmap", "c", "--from-literal=a=b", binary=binary)
    space.kubectl("delete", "pod", "p", "--now", binary=binary)


def edgekube(space: Space, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "KUBECONFIG": str(space.server.kubeconfig), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-m", "edgekube", *words[:1], "-n", space.name, *words[1:]],
        input=stdin, capture_output=True, text=True, env=environment, timeout=120, check=False,
    )  # fmt: skip


def test_the_built_in_verbs_do_the_same(space: Space) -> None:
    manifest = (
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  terminationGracePeriodSeconds: 1\n  containers:\n"
        f"  - {{name: c, image: '{IMAGE}', command: [sh, -c, 'echo up; sleep 3600']}}\n"
    )
    assert edgekube(space, "apply", "-f", "-", stdin=manifest).stdout == "pod/p created\n"
    assert edgekube(space, "apply", "-f", "-", stdin=manifest).stdout == "pod/p unchanged\n"
    space.wait_ready("p")
    ours, theirs = edgekube(space, "get", "pods").stdout, space.kubectl("get", "pods")
    assert ours.split()[:5] == theirs.split()[:5]
    assert edgekube(space, "get", "pod", "p", "-o", "yaml").stdout == space.kubectl("get", "pod", "p", "-o", "yaml")
    assert edgekube(space, "logs", "p").stdout == "up\n"
    assert edgekube(space, "exec", "p", "--", "echo", "x").stdout == "x\n"
    assert edgekube(space, "exec", "-i", "p", "--", "cat", stdin="typed").stdout == "typed"
    assert edgekube(space, "exec", "p", "--", "sh", "-c", "exit 5").returncode == 5
    assert "Started" in edgekube(space, "describe", "pod", "p").stdout
    assert edgekube(space, "delete", "pod", "p", "--now").returncode == 0
    missing, same = edgekube(space, "get", "pod", "p"), space.raw("get", "pod", "p")
    assert (missing.returncode, missing.stderr) == (same.returncode, same.stderr)
