"""The one-word status, ready count and restarts of pods, as tables show them."""

from __future__ import annotations

from typing import Any

import pytest

from edgekube.kinds.core.pod import KIND
from edgekube.kinds.core.pod_printing import summary

NOW = "2026-01-01T01:00:00Z"
RUNNING: dict[str, Any] = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}


def container(name: str = "a", state: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A container's status."""
    base = {"name": name, "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": state or {}}
    return base | more


def row(status: dict[str, Any], spec: dict[str, Any] | None = None, **meta: Any) -> list[Any]:
    """Ready, status and restarts of a pod with one container unless told otherwise."""
    spec = {"containers": [{"name": "a"}]} | (spec or {})
    item = KIND.from_dict({"metadata": {"name": "p"} | meta, "spec": spec, "status": status})
    return [column.value(item, NOW) for column in KIND.columns[1:4]]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({"phase": "Pending"}, ["0/1", "Pending", "0"]),
        ({"phase": "Pending", "reason": "Evicted"}, ["0/1", "Evicted", "0"]),
        (
            {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]},
            ["0/1", "SchedulingGated", "0"],
        ),
        ({"phase": "Running", "containerStatuses": [container(state=RUNNING, ready=True)]}, ["1/1", "Running", "0"]),
        (
            {"phase": "Running", "containerStatuses": [container(state={"waiting": {"reason": "CrashLoopBackOff"}}, restartCount=2)]},
            ["0/1", "CrashLoopBackOff", "2"],
        ),
        (
            {
                "phase": "Running",
                "containerStatuses": [
                    container(
                        state=RUNNING,
                        ready=True,
                        restartCount=2,
                        lastState={"terminated": {"exitCode": 1, "finishedAt": "2026-01-01T00:59:30Z"}},
                    )
                ],
            },
            ["1/1", "Running", "2 (30s ago)"],
        ),
        ({"phase": "Failed", "containerStatuses": [container(state={"terminated": {"exitCode": 3}})]}, ["0/1", "ExitCode:3", "0"]),
        (
            {"phase": "Failed", "containerStatuses": [container(state={"terminated": {"exitCode": 137, "reason": "OOMKilled"}})]},
            ["0/1", "OOMKilled", "0"],
        ),
    ],
)  # fmt: skip
def test_a_pod_says_what_its_containers_do(status: dict[str, Any], expected: list[Any]) -> None:
    assert row(status) == expected


def test_a_pod_with_one_ended_and_one_running_container_runs() -> None:
    done = container("a", {"terminated": {"exitCode": 0, "reason": "Completed"}})
    status = {"phase": "Running", "containerStatuses": [done, container("b", RUNNING, ready=True)]}
    two = {"containers": [{"name": "a"}, {"name": "b"}]}
    assert row(status, two)[:2] == ["1/2", "NotReady"]
    assert row(status | {"conditions": [{"type": "Ready", "status": "True"}]}, two)[:2] == ["1/2", "Running"]


@pytest.mark.parametrize(
    ("statuses", "reason"),
    [
        ([container("i1", RUNNING)], "Init:0/2"),
        ([container("i1", {"terminated": {"exitCode": 0}}), container("i2", RUNNING)], "Init:1/2"),
        ([container("i1", {"terminated": {"exitCode": 2}})], "Init:ExitCode:2"),
        ([container("i1", {"terminated": {"exitCode": 2, "reason": "Error"}})], "Init:Error"),
        ([container("i1", {"waiting": {"reason": "ImagePullBackOff"}})], "Init:ImagePullBackOff"),
        ([container("i1", {"waiting": {"reason": "PodInitializing"}})], "Init:0/2"),
    ],
)
def test_a_pod_says_where_its_initialisation_is(statuses: list[dict[str, Any]], reason: str) -> None:
    spec = {"initContainers": [{"name": "i1"}, {"name": "i2"}]}
    assert row({"phase": "Pending", "initContainerStatuses": statuses}, spec)[1] == reason


def test_a_sidecar_counts_as_a_container_with_its_own_restarts() -> None:
    spec = {"initContainers": [{"name": "init"}, {"name": "side", "restartPolicy": "Always"}]}
    status = {
        "phase": "Running",
        "initContainerStatuses": [
            container("init", {"terminated": {"exitCode": 0}}, restartCount=5),
            container("side", RUNNING, ready=True, started=True, restartCount=1),
        ],
        "containerStatuses": [container(state=RUNNING, ready=True)],
    }
    assert row(status, spec) == ["2/2", "Running", "1"]


def test_a_pod_being_deleted_is_terminating_unless_it_ended_or_its_node_is_lost() -> None:
    gone = {"deletionTimestamp": "2026-01-01T00:00:00Z"}
    assert row({"phase": "Running"}, **gone)[1] == "Terminating"
    assert row({"phase": "Succeeded"}, **gone)[1] == "Succeeded"
    assert row({"phase": "Running", "reason": "NodeLost"}, **gone)[1] == "Unknown"


def test_rows_of_finished_pods_are_marked() -> None:
    finished = KIND.from_dict({"spec": {"containers": []}, "status": {"phase": "Succeeded"}})
    assert [one["reason"] for one in KIND.row_conditions(finished)] == ["Succeeded"]
    assert KIND.row_conditions(KIND.from_dict({"spec": {"containers": []}})) == []


def test_nothing_is_known_of_an_empty_pod() -> None:
    seen = summary(KIND.from_dict({"spec": {"containers": []}}))
    assert (seen.ready, seen.total, seen.reason, seen.restarts, seen.last_restart) == (0, 0, "", 0, "")
