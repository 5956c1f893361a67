"""Exec, logs and port-forward through the official client, kr8s and lightkube, in the pod that POD names and NAMESPACE has."""

from __future__ import annotations

import os

import kr8s
import pytest
from kr8s.objects import Pod
from kubernetes import client, config
from kubernetes.stream import stream
from lightkube import Client

NAMESPACE, POD = os.environ["NAMESPACE"], os.environ["POD"]


@pytest.fixture(name="core")
def _core() -> client.CoreV1Api:
    config.load_kube_config()
    return client.CoreV1Api(client.ApiClient())


def test_the_official_client_reads_what_a_command_prints(core: client.CoreV1Api) -> None:
    answer = stream(
        core.connect_get_namespaced_pod_exec, POD, NAMESPACE, command=["sh", "-c", "echo out; echo err >&2"],
        stdin=False, stdout=True, stderr=True, tty=False,
    )  # fmt: skip
    assert sorted(answer.split()) == ["err", "out"]


def test_the_official_client_talks_with_a_shell(core: client.CoreV1Api) -> None:
    shell = stream(
        core.connect_get_namespaced_pod_exec, POD, NAMESPACE, command=["sh"], stdin=True, stdout=True, stderr=True,
        tty=False, _preload_content=False,
    )  # fmt: skip
    shell.write_stdin("echo one\n")
    assert shell.readline_stdout(timeout=60) == "one"
    shell.write_stdin("echo two >&2\n")
    assert shell.readline_stderr(timeout=60) == "two"
    shell.write_stdin("exit 3\n")
    shell.run_forever(timeout=60)
    assert shell.returncode == 3
    shell.close()


def test_the_official_client_reads_logs(core: client.CoreV1Api) -> None:
    assert core.read_namespaced_pod_log(POD, NAMESPACE) == "started\n"


def test_kr8s_reads_what_a_command_prints_and_its_code() -> None:
    pod = Pod.get(POD, namespace=NAMESPACE)
    done = pod.exec(["sh", "-c", "echo out"])
    assert done.stdout == b"out\n"
    assert done.returncode == 0
    failed = pod.exec(["sh", "-c", "exit 5"], check=False)
    assert failed.returncode == 5
    assert list(pod.logs()) == ["started"]
    assert kr8s.whoami()


def test_lightkube_reads_what_a_command_prints() -> None:
    light = Client(namespace=NAMESPACE)
    assert [line.strip() for line in light.log(POD)] == ["started"]
    if not hasattr(light, "exec"):
        pytest.skip("this lightkube has no exec")
    done = light.exec(POD, command=["sh", "-c", "echo out"], stdout=True, stderr=True)
    assert done.stdout == "out\n"
