"""What is said of pods in all kinds of trouble."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from edgekube.cli.explaining import ending, explain
from edgekube.cli.status import nodes_table, trouble, warnings

NODE = {"metadata": {"name": "n1"}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}


def pod(*, spec: dict[str, Any] | None = None, metadata: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": "p", "namespace": "d", **(metadata or {})},
        "spec": {"nodeName": "n1", **(spec or {})},
        "status": status,
    }


def container(state: dict[str, Any], last: dict[str, Any] | None = None, restarts: int = 0) -> dict[str, Any]:
    return {
        "name": "c",
        "image": "app:1",
        "state": state,
        "lastState": last or {},
        "restartCount": restarts,
        "ready": False,
    }


def event(reason: str, message: str, when: str = "2026-01-01T00:00:00Z") -> dict[str, Any]:
    return {"reason": reason, "message": message, "lastTimestamp": when}


def said(pod_: dict[str, Any], *events: dict[str, Any], node: dict[str, Any] | None = NODE) -> str:
    return "\n".join(f"{one.seen} -> {one.advice}" for one in explain(pod_, events, node))


def unfit(message: str) -> dict[str, Any]:
    conditions = [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}]
    return pod(spec={"nodeName": ""}, phase="Pending", conditions=conditions)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("0/1 nodes are available: 1 Insufficient cpu.", "asks for more than any node has left"),
        ("0/1 nodes are available: 1 node(s) had untolerated taint {a: b}.", "Add a toleration"),
        ("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.", "kubectl label node"),
        ("0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.", "kubectl get pvc"),
        ("0/1 nodes are available: 1 node(s) were unschedulable.", "uncordon"),
    ],
)
def test_the_schedulers_words_are_quoted_and_translated(message: str, words: str) -> None:
    text = said(unfit(message), node=None)
    assert message in text
    assert words in text


def test_gates_and_foreign_schedulers_hold_a_pod() -> None:
    assert "scheduling gates: a, b" in said(
        pod(spec={"nodeName": "", "schedulingGates": [{"name": "a"}, {"name": "b"}]}), node=None
    )
    assert "scheduler of that name" in said(pod(spec={"nodeName": "", "schedulerName": "other"}), node=None)


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        ("manifest unknown", "architecture"),
        ("401 Unauthorized", "imagePullSecrets"),
        ("x509: certificate signed by unknown authority", "CA"),
        ("dial tcp: lookup x: no such host", "edgekube images import"),
    ],
)
def test_an_image_that_cannot_be_pulled(words: str, advice: str) -> None:
    text = said(pod(containerStatuses=[container({"waiting": {"reason": "ImagePullBackOff", "message": words}})]))
    assert words in text
    assert advice in text


def test_a_container_that_crashes_says_how_it_ended_and_where_its_words_are() -> None:
    waiting, last = {"waiting": {"reason": "CrashLoopBackOff"}}, {"terminated": {"exitCode": 3, "reason": "Error"}}
    text = said(pod(containerStatuses=[container(waiting, last, restarts=4)]))
    assert "exit code 3. It was started 5 times" in text
    assert "kubectl logs p -c c --previous" in text


@pytest.mark.parametrize(
    ("terminated", "words"),
    [
        ({"exitCode": 137, "reason": "OOMKilled"}, "more memory than its limit"),
        ({"exitCode": 137}, "SIGKILL"),
        ({"exitCode": 139}, "SIGSEGV"),
        ({"exitCode": 127}, "not found in the image"),
        ({"exitCode": 0}, "successfully"),
        ({"exitCode": 128, "reason": "StartError", "message": "no such file"}, "no such file"),
    ],
)
def test_every_ending_has_its_words(terminated: dict[str, Any], words: str) -> None:
    assert words in ending(terminated)


def test_probes_that_fail_are_told() -> None:
    running = container({"running": {}}, {"terminated": {"exitCode": 137}}, restarts=1)
    text = said(pod(phase="Running", containerStatuses=[running]), event("Unhealthy", "Liveness probe failed: 500"))
    assert "Liveness probe failed: 500 -> Is the liveness probe right" in text
    quiet = pod(phase="Running", containerStatuses=[container({"running": {}})])
    assert "services leave it out. Readiness probe failed: x" in said(
        quiet, event("Unhealthy", "Readiness probe failed: x")
    )


def test_what_comes_before_containers_is_told() -> None:
    waiting = pod(phase="Pending", containerStatuses=[container({"waiting": {"reason": "ContainerCreating"}})])
    old, new = (
        event("FailedMount", "old", "2026-01-01T00:00:00Z"),
        event("FailedMount", 'secret "s" not found', "2026-01-02T00:00:00Z"),
    )
    text = said(waiting, new, old)
    assert 'secret "s" not found' in text
    assert "old" not in text


def test_a_node_that_is_gone_or_silent_is_told_first() -> None:
    assert explain(pod(phase="Running"), [], None)[0].seen.startswith("Its node n1 does not exist")
    silent = {
        "metadata": {"name": "n1"},
        "status": {"conditions": [{"type": "Ready", "status": "Unknown", "message": "no word"}]},
    }
    assert "not ready: no word" in explain(pod(phase="Running"), [], silent)[0].seen


def test_deletion_and_eviction_are_told() -> None:
    going = {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": ["x/y"]}
    assert "waits for x/y" in said(pod(metadata=going, phase="Running"))
    assert "(Evicted): low on memory" in said(pod(phase="Failed", reason="Evicted", message="low on memory"))


def test_all_is_well_in_one_sentence() -> None:
    ready = pod(phase="Running", conditions=[{"type": "Ready", "status": "True"}])
    assert said(ready) == "p runs and is ready. -> "
    assert said(pod(phase="Succeeded")).startswith("p has finished")


def test_trouble_is_seen_at_a_glance() -> None:
    assert trouble(pod(phase="Succeeded")) == ""
    assert trouble(pod(phase="Running", conditions=[{"type": "Ready", "status": "True"}])) == ""
    assert trouble(pod(phase="Failed", reason="Evicted")) == "Evicted"
    assert trouble(unfit("0/1")) == "Unschedulable"
    crashing = container({"waiting": {"reason": "CrashLoopBackOff"}}, restarts=7)
    assert trouble(pod(phase="Running", containerStatuses=[crashing])) == "CrashLoopBackOff, 7 restarts"


def test_nodes_and_warnings_are_lines() -> None:
    node = {
        **NODE,
        "spec": {"unschedulable": True},
        "status": {
            **NODE["status"],
            "allocatable": {"pods": "110"},
            "addresses": [{"type": "InternalIP", "address": "10.0.0.1"}],
        },
    }  # type: ignore[dict-item]
    summary = {
        "memory": {"workingSetBytes": 2**29, "availableBytes": 2**29},
        "fs": {"availableBytes": 2**31, "capacityBytes": 2**33},
    }
    lines = nodes_table([node], [pod(phase="Running")], {"n1": summary}).splitlines()
    assert re.split(" {3,}", lines[1]) == [
        "n1",
        "Ready,cordoned",
        "1/110",
        "512MiB of 1.0GiB",
        "2.0GiB of 8.0GiB",
        "10.0.0.1",
    ]
    told = {"metadata": {"creationTimestamp": "2026-01-01T00:00:00Z"}, "lastTimestamp": "2026-01-01T00:00:00Z", "reason": "BackOff",
            "message": "Back-off\nrestarting", "involvedObject": {"kind": "Pod", "namespace": "d", "name": "p"}}  # fmt: skip
    assert warnings([told], datetime(2026, 1, 1, 0, 5, tzinfo=UTC)) == ["5m ago  Pod d/p: BackOff: Back-off restarting"]
