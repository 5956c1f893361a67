"""The node room on a real containerd: what a pod promises its user."""

# ruff: noqa: ASYNC110, ASYNC220, ASYNC240 - what is waited for happens in other processes

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from edgekube.kinds.core import pod as pod_kind
from edgekube.net.nodegate import LogOptions, RunOptions
from edgekube.node import mounting
from edgekube.node.runtime.containerd import ContainerdConfig, render, restricted_oom_scores
from edgekube.node.runtime.packing import PAUSE_IMAGE
from tests.contract.noderig import Rig, can_run, container, ready, rig, running

pytestmark = [pytest.mark.runtime, pytest.mark.skipif(not can_run(), reason="needs root and containerd")]


async def read(rig: Rig, pod: str, name: str, **options: Any) -> bytes:
    """All of a log."""
    assert rig.gate is not None
    async with rig.gate.logs("default", pod, name, LogOptions(**options)) as pieces:
        return b"".join([piece async for piece in pieces])


async def test_a_pod_runs_and_goes() -> None:
    async with rig() as node:
        await node.create(
            {"metadata": {"name": "one"}, "spec": {"containers": [container("app", "echo hello; sleep 600")]}}
        )
        pod = await node.until("one", lambda p: running(p) and ready(p))
        assert pod.status.pod_ip
        assert pod.status.qos_class == "BestEffort"
        assert [c.type for c in pod.status.conditions] == [
            "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled",
        ]  # fmt: skip
        assert await read(node, "one", "app") == b"hello\n"
        await node.client.delete(pod_kind.KIND, "one", "default")
        await node.until_gone("one")
        await node.until_clean()
        assert [e.reason for e in await node.events("one")] == ["Pulled", "Created", "Started", "Killing"]


async def test_environment_volumes_and_security_reach_the_container() -> None:
    async with rig() as node:
        await node.put("ConfigMap", "settings", data={"colour": "red", "file.txt": "one"})
        await node.put("Secret", "sealed", data={"key": "czNjcmV0"})
        probe = (
            "echo $GREETING; echo $COLOUR; echo $POD_IP_SET; echo $CPU; cat /config/file.txt; echo; cat /secret/key; echo;"
            "cat /labels/labels; echo; cat /token/token; echo; cat /sub/inner; echo; id -u; id -G; hostname; grep mypod /etc/hosts | wc -l;"
            "cat /etc/resolv.conf; mount | grep ' /mem ' | wc -l; echo last words > /dev/termination-log; sleep 600"
        )
        await node.create(
            {
                "metadata": {"name": "mypod", "labels": {"app": "x"}},
                "spec": {
                    "securityContext": {"runAsUser": 1000, "runAsGroup": 3000, "fsGroup": 2000},
                    "containers": [
                        container(
                            "app",
                            "echo inner > /data/dir; " + probe,
                            env=[
                                {"name": "WHO", "value": "world"},
                                {"name": "GREETING", "value": "hello $(WHO) $(NOBODY) $$(WHO)"},
                                {
                                    "name": "COLOUR",
                                    "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "colour"}},
                                },
                                {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                                {"name": "POD_IP_SET", "value": "$(POD_IP)"},
                                {
                                    "name": "CPU",
                                    "valueFrom": {"resourceFieldRef": {"resource": "limits.cpu", "divisor": "1m"}},
                                },
                            ],
                            resources={"limits": {"cpu": "500m", "memory": "64Mi"}},
                            volumeMounts=[
                                {"name": "config", "mountPath": "/config"},
                                {"name": "secret", "mountPath": "/secret"},
                                {"name": "labels", "mountPath": "/labels"},
                                {"name": "token", "mountPath": "/token"},
                                {"name": "data", "mountPath": "/data"},
                                {"name": "config", "mountPath": "/sub/inner", "subPath": "colour"},
                                {"name": "mem", "mountPath": "/mem"},
                            ],
                        )
                    ],
                    "volumes": [
                        {"name": "config", "configMap": {"name": "settings"}},
                        {"name": "secret", "secret": {"secretName": "sealed"}},
                        {
                            "name": "labels",
                            "downwardAPI": {
                                "items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]
                            },
                        },
                        {"name": "token", "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}},
                        {"name": "data", "emptyDir": {}},
                        {"name": "mem", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
                    ],
                },
            }
        )
        pod = await node.until("mypod", running)
        assert pod.status.qos_class == "Guaranteed"
        text = (await node.log_with("mypod", "app", b"options")).decode().splitlines()
        assert text[:14] == [
            "hello world $(NOBODY) $(WHO)", "red", pod.status.pod_ip, "500", "one", "s3cret", 'app="x"', "token-1", "red",
            "1000", "3000 2000", "mypod", "1", "search default.svc.cluster.local svc.cluster.local cluster.local",
        ]  # fmt: skip
        assert "nameserver 10.43.0.10" in text
        assert "options ndots:5" in text
        await node.put("ConfigMap", "settings", data={"colour": "blue", "file.txt": "two"}, update=True)
        with trio.fail_after(10):
            while await node.exec("mypod", "app", "cat", "/config/file.txt") != (0, b"two"):
                await trio.sleep(0.05)
        await node.client.delete(pod_kind.KIND, "mypod", "default")
        await node.until_gone("mypod")
        await node.until_clean()


async def test_containers_restart_back_off_and_finish() -> None:
    async with rig() as node:
        await node.create(
            {"metadata": {"name": "crash"}, "spec": {"containers": [container("app", "echo $$; exit 3")]}}
        )
        await node.create(
            {
                "metadata": {"name": "done"},
                "spec": {"restartPolicy": "Never", "containers": [container("app", "echo bye > /dev/termination-log")]},
            }
        )
        await node.create(
            {
                "metadata": {"name": "failed"},
                "spec": {
                    "restartPolicy": "OnFailure",
                    "activeDeadlineSeconds": 2,
                    "containers": [container("app", "sleep 60")],
                },
            }
        )
        await node.create(
            {
                "metadata": {"name": "steps"},
                "spec": {
                    "restartPolicy": "Never",
                    "initContainers": [
                        container("first", "echo first"),
                        container("side", "sleep 600", restartPolicy="Always"),
                        container("second", "echo second"),
                    ],
                    "containers": [container("app", "echo third")],
                },
            }
        )
        crash = await node.until(
            "crash",
            lambda p: bool(
                (s := p.status.container_statuses)
                and s[0].state.waiting
                and s[0].state.waiting.reason == "CrashLoopBackOff"
            ),
        )
        state = crash.status.container_statuses[0]
        assert state.restart_count == 1
        assert state.last_state.terminated.exit_code == 3
        assert state.last_state.terminated.reason == "Error"
        assert (
            state.state.waiting.message
            == f"back-off 10s restarting failed container=app pod=crash_default({crash.metadata.uid})"
        )
        assert crash.status.phase == "Running"
        done = await node.until("done", lambda p: p.status.phase == "Succeeded")
        ended = done.status.container_statuses[0].state.terminated
        assert (ended.reason, ended.exit_code, ended.message) == ("Completed", 0, "bye\n")
        assert {c.type: c.reason for c in done.status.conditions}["Ready"] == "PodCompleted"
        late = await node.until(
            "failed",
            lambda p: p.status.phase == "Failed" and p.status.container_statuses[0].state.terminated is not None,
        )
        assert late.status.reason == "DeadlineExceeded"
        steps = await node.until("steps", lambda p: p.status.phase == "Succeeded")
        assert [s.state.terminated.exit_code for s in steps.status.init_container_statuses if s.name != "side"] == [
            0,
            0,
        ]
        assert await read(node, "crash", "app", previous=True)
        assert await read(node, "done", "app") == b""
        for name in ("crash", "done", "failed", "steps"):
            await node.client.delete(pod_kind.KIND, name, "default")
            await node.until_gone(name)
        await node.until_clean()
        assert "BackOff" in [e.reason for e in await node.events("crash")]


async def test_probes_decide_readiness_and_life() -> None:
    async with rig() as node:
        fast = {"periodSeconds": 1, "failureThreshold": 1}
        await node.create(
            {
                "metadata": {"name": "web"},
                "spec": {
                    "containers": [
                        container(
                            "app",
                            "httpd -f -p 8080 -h /www & trap 'exit 0' TERM; while true; do sleep 0.1; done",
                            ports=[{"name": "http", "containerPort": 8080}],
                            startupProbe={"tcpSocket": {"port": 8080}, **fast, "failureThreshold": 10},
                            readinessProbe={"httpGet": {"path": "/ok", "port": "http"}, **fast},
                            livenessProbe={"exec": {"command": ["test", "!", "-e", "/tmp/dead"]}, **fast},
                        )
                    ]
                },
            }
        )
        pod = await node.until("web", ready)
        assert pod.status.container_statuses[0].started is True
        assert node.gate is not None
        stream = await node.gate.dial("default", "web", 8080)
        async with stream:
            await stream.send_all(b"GET /ok HTTP/1.0\r\n\r\n")
            answer = b""
            while data := await stream.receive_some():
                answer += data
        assert answer.endswith(b"fine")
        await node.exec("web", "app", "touch", "/tmp/dead")
        pod = await node.until("web", lambda p: p.status.container_statuses[0].restart_count == 1 and ready(p))
        words = [(e.reason, e.message) for e in await node.events("web")]
        assert ("Killing", "Container app failed liveness probe, will be restarted") in words
        assert any(reason == "Unhealthy" and message.startswith("Liveness probe failed:") for reason, message in words)


async def test_pods_outlive_a_restart_of_ours() -> None:
    async with rig() as node:
        await node.create({"metadata": {"name": "stays"}, "spec": {"containers": [container("app", "sleep 600")]}})
        before = await node.until("stays", ready)
        await node.stop()
        await node.start()
        await node.create({"metadata": {"name": "next"}, "spec": {"containers": [container("app", "sleep 600")]}})
        await node.until("next", ready)
        after = await node.get("stays")
        assert after.status.container_statuses == before.status.container_statuses
        assert [c.last_transition_time for c in after.status.conditions] == [
            c.last_transition_time for c in before.status.conditions
        ]


async def test_what_is_missing_is_told_in_the_kubelets_words() -> None:
    async with rig() as node:
        bad = {"name": "app", "image": "edgekube.local/nothing:1"}
        await node.create(
            {"metadata": {"name": "never"}, "spec": {"containers": [{**bad, "imagePullPolicy": "Never"}]}}
        )
        await node.create({"metadata": {"name": "pull"}, "spec": {"containers": [{**bad, "image": "127.0.0.1:1/x:1"}]}})
        await node.create(
            {
                "metadata": {"name": "env"},
                "spec": {"containers": [container("app", "true", envFrom=[{"configMapRef": {"name": "no"}}])]},
            }
        )
        await node.create(
            {
                "metadata": {"name": "vol"},
                "spec": {
                    "containers": [container("app", "sleep 60", volumeMounts=[{"name": "v", "mountPath": "/v"}])],
                    "volumes": [{"name": "v", "secret": {"secretName": "late"}}],
                },
            }
        )

        def waits(reason: str) -> Any:
            return lambda p: bool(
                (s := p.status.container_statuses) and s[0].state.waiting and s[0].state.waiting.reason == reason
            )

        pod = await node.until("never", waits("ErrImageNeverPull"))
        assert pod.status.phase == "Pending"
        assert pod.status.container_statuses[0].state.waiting.message == (
            'Container image "edgekube.local/nothing:1" is not present with pull policy of Never'
        )
        await node.until("pull", waits("ErrImagePull"))
        await node.until("pull", waits("ImagePullBackOff"), limit_s=40)
        pod = await node.until("env", waits("CreateContainerConfigError"))
        assert pod.status.container_statuses[0].state.waiting.message == 'configmap "no" not found'
        await node.until("vol", waits("ContainerCreating"))
        with trio.fail_after(10):
            while not any(e.reason == "FailedMount" for e in await node.events("vol")):
                await trio.sleep(0.05)
        await node.put("Secret", "late", data={"k": "djE="})
        await node.put("ConfigMap", "no", data={"A": "b"})
        await node.until("vol", ready)
        message = next(e.message for e in await node.events("vol") if e.reason == "FailedMount")
        assert message == 'MountVolume.SetUp failed for volume "v" : secret "late" not found'


class Told:
    """A person's ends of an exec."""

    def __init__(self, stdin: bytes | None = None) -> None:
        self.out, self.status = Collect(), {}
        self.stderr = Collect()
        self.stdin = trio.testing.MemoryReceiveStream() if stdin is not None else None
        if self.stdin is not None:
            self.stdin.put_data(stdin or b"")
            self.stdin.put_eof()
        self.stdout = self.out
        self.resizes = None

    async def finish(self, status: dict[str, Any]) -> None:
        self.status = status


class Collect(trio.abc.SendStream):
    """Bytes sent are kept."""

    def __init__(self) -> None:
        self.data = b""

    async def send_all(self, data: bytes) -> None:
        self.data += bytes(data)

    async def wait_send_all_might_not_block(self) -> None: ...

    async def aclose(self) -> None: ...


async def test_commands_run_in_containers_with_streams_and_status() -> None:
    async with rig() as node:
        assert node.gate is not None
        await node.create({"metadata": {"name": "box"}, "spec": {"containers": [container("app", "sleep 600")]}})
        await node.until("box", ready)
        told = Told(b"typed")
        await node.gate.run(
            "default", "box", "app", RunOptions(command=("cat",), stdin=True, stdout=True, stderr=True), told
        )
        assert (told.out.data, told.status["status"]) == (b"typed", "Success")
        told = Told()
        options = RunOptions(command=("sh", "-c", "echo out; echo err >&2; exit 4"), stdout=True, stderr=True)
        await node.gate.run("default", "box", "app", options, told)
        assert (told.out.data, told.stderr.data, told.status["reason"]) == (b"out\n", b"err\n", "NonZeroExitCode")
        assert told.status["details"]["causes"][0]["message"] == "4"
        status, kind, page = await node.gate.fetch("/stats/summary")
        assert (status, kind) == (200, "application/json")
        assert json.loads(page)["pods"][0]["containers"][0]["memory"]["workingSetBytes"] > 0


async def test_hooks_grace_and_debug_containers() -> None:
    async with rig() as node:
        await node.create(
            {
                "metadata": {"name": "polite"},
                "spec": {
                    "terminationGracePeriodSeconds": 8,
                    "shareProcessNamespace": True,
                    "volumes": [
                        {
                            "name": "d",
                            "hostPath": {"path": str(node.config.data_dir / "shared"), "type": "DirectoryOrCreate"},
                        }
                    ],
                    "containers": [
                        container(
                            "app",
                            "trap 'echo term >> /d/log; exit 0' TERM; while true; do sleep 0.1; done",
                            volumeMounts=[{"name": "d", "mountPath": "/d"}],
                            lifecycle={
                                "postStart": {"exec": {"command": ["sh", "-c", "echo started >> /d/log"]}},
                                "preStop": {"exec": {"command": ["sh", "-c", "echo stopping >> /d/log"]}},
                            },
                        )
                    ],
                },
            }
        )
        pod = await node.until("polite", ready)
        debug = {
            **node.document(pod)["spec"],
            "ephemeralContainers": [container("debug", "echo looking; sleep 600", targetContainerName="app")],
        }
        await node.client.patch(pod_kind.KIND, "polite", "default", {"spec": debug})
        await node.until("polite", lambda p: any(s.state.running for s in p.status.ephemeral_container_statuses))
        assert await node.log_with("polite", "debug", b"looking") == b"looking\n"
        await node.client.delete(pod_kind.KIND, "polite", "default")
        await node.until_gone("polite", limit_s=15)
        assert (node.config.data_dir / "shared" / "log").read_text() == "started\nstopping\nterm\n"


async def test_memory_limits_are_kept() -> None:
    async with rig() as node:
        hungry = container(
            "app", "dd if=/dev/zero of=/tmp/x bs=1M count=64; dd if=/mem/a of=/dev/null; sleep 600",
            resources={"limits": {"memory": "24Mi"}}, volumeMounts=[{"name": "m", "mountPath": "/tmp"}],
        )  # fmt: skip
        await node.create(
            {
                "metadata": {"name": "hungry"},
                "spec": {
                    "restartPolicy": "Never",
                    "containers": [hungry],
                    "volumes": [{"name": "m", "emptyDir": {"medium": "Memory"}}],
                },
            }
        )
        pod = await node.until(
            "hungry",
            lambda p: (
                (bool(p.status.container_statuses) and p.status.container_statuses[0].state.terminated is not None)
                or running(p)
            ),
            limit_s=20,
        )
        assert pod.status.qos_class == "Burstable"


async def test_static_pods_run_and_are_shown(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(
        json.dumps(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "fixed"},
                "spec": {"containers": [container("app", "sleep 600")]},
            }
        )
    )
    (tmp_path / "broken.yaml").write_text("{")
    async with rig(static_pods_dir=tmp_path) as node:
        with trio.fail_after(20):
            while not [p for p in (await node.client.list(pod_kind.KIND, "default")).items if running(p)]:
                await trio.sleep(0.05)
        mirror = await node.get("fixed-test-node")
        assert (
            mirror.metadata.annotations["kubernetes.io/config.mirror"]
            == mirror.metadata.annotations["kubernetes.io/config.hash"]
        )
        (tmp_path / "one.yaml").unlink()
        await node.until_gone("fixed-test-node", limit_s=45)


async def test_a_machine_that_was_switched_off_runs_its_pods_again() -> None:
    async with rig() as node:
        await node.create({"metadata": {"name": "again"}, "spec": {"containers": [container("app", "sleep 600")]}})
        before = await node.until("again", ready)
        await node.stop()
        node.power_cut()
        await node.start()
        after = await node.until("again", lambda p: p.status.container_statuses[0].restart_count == 1 and ready(p))
        assert after.metadata.uid == before.metadata.uid
        assert after.status.container_statuses[0].last_state.terminated is not None


async def test_a_containerd_of_somebody_else_is_adopted_and_left_running() -> None:
    base = Path(tempfile.mkdtemp(prefix="ekt-"))
    theirs = ContainerdConfig(root=base / "r", state=base / "s", cni_conf_dir=str(base), cni_bin_dir="/usr/lib/cni")
    restrict = restricted_oom_scores(Path("/proc/self/status").read_text())
    text = render(theirs, snapshotter="native", restrict_oom=restrict)
    (base / "config.toml").write_text(text.replace(PAUSE_IMAGE, "registry.invalid/their/pause:9"))
    child = subprocess.Popen(["containerd", "--config", str(base / "config.toml")], stderr=subprocess.DEVNULL)
    try:
        async with rig(runtime_endpoint=str(theirs.socket)) as node:
            host = {"hostNetwork": True, "containers": [container("app", "sleep 600")]}
            await node.create({"metadata": {"name": "guest"}, "spec": host})
            await node.until("guest", ready)
        assert child.poll() is None
    finally:
        child.terminate()
        child.wait()
        for point in mounting.mounts_below(base):
            mounting.unmount(point)
        shutil.rmtree(base, ignore_errors=True)
