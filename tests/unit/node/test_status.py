"""A pod's status from what was observed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podstatus import PodCondition, PodStatus
from edgekube.node.pods.seen import Health, Seen
from edgekube.node.pods.status import Circumstances, make_status
from edgekube.node.pods.statuses import differs, merge
from tests.unit.node.podmaking import detail, make_pod, seeing

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
APP = {"name": "app", "image": "app:1"}
SIDE = {"name": "side", "image": "side:1", "restartPolicy": "Always"}
FIRST = {"name": "first", "image": "first:1"}
READY = {**APP, "readinessProbe": {"exec": {"command": ["true"]}}}


def status(pod: Pod, seen: Seen, last: PodStatus | None = None, **around: Any) -> PodStatus:
    return make_status(pod, seen, last or pod.status, Circumstances(now=NOW, host_ip="192.0.2.1", **around))


def condition(made: PodStatus, kind: str) -> tuple[str, str, str]:
    found = next(c for c in made.conditions if c.type == kind)
    return found.status, found.reason, found.message


PHASES: list[tuple[str, Pod, Seen, dict[str, Any], str]] = [
    ("nothing yet", make_pod(APP), Seen(), {}, "Pending"),
    ("runs", make_pod(APP), seeing(detail("app")), {}, "Running"),
    ("one runs, one is being made", make_pod(APP, {**APP, "name": "b"}), seeing(detail("app")), {}, "Pending"),
    ("Always, ended", make_pod(APP), seeing(detail("app", "EXITED", code=1)), {}, "Running"),
    ("Always, in back-off", make_pod(APP), seeing(detail("app", "EXITED", code=1)), {"troubles": {"app": ("CrashLoopBackOff", "x")}}, "Running"),
    ("Never, done", make_pod(APP, restartPolicy="Never"), seeing(detail("app", "EXITED")), {}, "Succeeded"),
    ("Never, failed", make_pod(APP, restartPolicy="Never"), seeing(detail("app", "EXITED", code=2)), {}, "Failed"),
    ("OnFailure, failed: it comes back", make_pod(APP, restartPolicy="OnFailure"), seeing(detail("app", "EXITED", code=2)), {}, "Running"),
    ("Always, deleted and stopped", make_pod(APP), seeing(detail("app", "EXITED", code=137)), {"terminal": True, "stopped": True}, "Failed"),
    ("Always, deleted and stopped well", make_pod(APP), seeing(detail("app", "EXITED")), {"terminal": True, "stopped": True}, "Succeeded"),
    ("init runs", make_pod(APP, init=(FIRST,)), seeing(detail("first")), {}, "Pending"),
    ("init failed, Never", make_pod(APP, init=(FIRST,), restartPolicy="Never"), seeing(detail("first", "EXITED", code=1)), {}, "Failed"),
    ("init failed, Always", make_pod(APP, init=(FIRST,)), seeing(detail("first", "EXITED", code=1)), {}, "Pending"),
    ("sidecar and main run", make_pod(APP, init=(SIDE,)), seeing(detail("side"), detail("app")), {}, "Running"),
    ("sidecar ended after the main container", make_pod(APP, init=(SIDE,), restartPolicy="Never"),
     seeing(detail("side", "EXITED", code=143), detail("app", "EXITED")), {}, "Succeeded"),
    ("a deadline passed", make_pod(APP), seeing(detail("app")), {"outcome": ("DeadlineExceeded", "late")}, "Failed"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("pod", "seen", "around", "wanted"), [case[1:] for case in PHASES], ids=[case[0] for case in PHASES]
)
def test_the_phase(pod: Pod, seen: Seen, around: dict[str, Any], wanted: str) -> None:
    assert status(pod, seen, **around).phase == wanted


def test_a_finished_pod_never_un_finishes() -> None:
    pod = make_pod(APP, restartPolicy="Never")
    assert status(pod, seeing(detail("app")), PodStatus(phase="Succeeded")).phase == "Succeeded"


def test_a_container_that_waits_says_why() -> None:
    made = status(make_pod(APP), Seen()).container_statuses[0]
    assert (made.state.waiting.reason, made.ready, made.started, made.restart_count) == (
        "ContainerCreating",
        False,
        False,
        0,
    )
    assert status(make_pod(APP, init=(FIRST,)), Seen()).container_statuses[0].state.waiting.reason == "PodInitializing"
    trouble = {"app": ("ErrImagePull", "no route")}
    assert status(make_pod(APP), Seen(), troubles=trouble).container_statuses[0].state.waiting.message == "no route"


def test_back_off_shows_the_last_end_beside_the_wait() -> None:
    seen = seeing(detail("app", "EXITED", code=3, attempt=1, at=200), detail("app", "EXITED", code=2, at=100))
    plain = status(make_pod(APP), seen).container_statuses[0]
    assert (plain.state.terminated.exit_code, plain.last_state.terminated.exit_code, plain.restart_count) == (3, 2, 1)
    held = status(make_pod(APP), seen, troubles={"app": ("CrashLoopBackOff", "back-off 10s")}).container_statuses[0]
    assert held.state.waiting.reason == "CrashLoopBackOff"
    assert held.last_state.terminated.exit_code == 3
    assert held.last_state.terminated.reason == "Error"
    assert held.container_id == "containerd://app-1"


def test_readiness_needs_the_probe_and_the_gates() -> None:
    waiting = status(make_pod(READY), seeing(detail("app"), health={"app-0": Health(ready=False)}))
    assert condition(waiting, "Ready") == ("False", "ContainersNotReady", "containers with unready status: [app]")
    pod = make_pod(READY, readinessGates=[{"conditionType": "lb/ready"}])
    healthy = seeing(detail("app"), health={"app-0": Health(ready=True)})
    assert condition(status(pod, healthy), "Ready") == (
        "False", "ReadinessGatesNotReady", 'corresponding condition of pod readiness gate "lb/ready" does not exist.',
    )  # fmt: skip
    gated = PodStatus(conditions=[PodCondition(type="lb/ready", status="True")])
    made = status(pod, healthy, gated)
    assert condition(made, "Ready") == ("True", "", "")
    assert made.conditions[-1].type == "lb/ready"


def test_a_condition_keeps_the_moment_it_turned() -> None:
    pod = make_pod(APP)
    first = status(pod, seeing(detail("app")))
    later = make_status(pod, seeing(detail("app")), first, Circumstances(now=NOW.replace(hour=9), host_ip="192.0.2.1"))
    assert later == first
    assert {str(c.last_transition_time) for c in first.conditions} == {"2026-01-02T03:04:05Z"}


def test_finished_pods_say_so_in_their_conditions() -> None:
    made = status(make_pod(APP, restartPolicy="Never"), seeing(detail("app", "EXITED"), sandbox=False))
    assert condition(made, "Ready") == ("False", "PodCompleted", "")
    assert condition(made, "Initialized") == ("True", "PodCompleted", "")
    assert condition(made, "PodReadyToStartContainers")[0] == "False"


def test_initialisation_names_what_is_left() -> None:
    made = status(make_pod(APP, init=(FIRST, SIDE)), seeing(detail("first")))
    assert condition(made, "Initialized") == (
        "False", "ContainersNotInitialized", "containers with incomplete status: [first side]",
    )  # fmt: skip


def test_addresses_outlive_the_sandbox_of_a_finished_pod() -> None:
    pod = make_pod(APP, restartPolicy="Never")
    alive = status(pod, seeing(detail("app")))
    assert (alive.pod_ip, [ip.ip for ip in alive.pod_ips], alive.host_ip) == ("10.0.0.5", ["10.0.0.5"], "192.0.2.1")
    dead = status(pod, Seen((), (detail("app", "EXITED"),)), alive)
    assert dead.pod_ip == "10.0.0.5"


def test_a_container_the_runtime_lost_is_told_as_such() -> None:
    pod = make_pod(APP)
    before = status(pod, seeing(detail("app")))
    made = status(pod, Seen(), before, terminal=True, stopped=True).container_statuses[0]
    assert (made.state.terminated.exit_code, made.state.terminated.reason) == (137, "ContainerStatusUnknown")


def test_writing_keeps_the_conditions_of_others() -> None:
    live = PodStatus(
        conditions=[PodCondition(type="lb/ready", status="True"), PodCondition(type="Ready", status="False")]
    )
    ours = PodStatus(phase="Running", conditions=[PodCondition(type="Ready", status="True")])
    merged = merge(live, ours)
    assert [(c.type, c.status) for c in merged.conditions] == [("Ready", "True"), ("lb/ready", "True")]


def test_only_what_others_write_wakes_a_worker() -> None:
    pod = make_pod(APP)
    ours = make_pod(APP, status={"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]})
    assert not differs(pod, ours)
    assert differs(pod, make_pod(APP, status={"conditions": [{"type": "lb/ready", "status": "True"}]}))
    assert differs(pod, make_pod(APP, metadata={"generation": 2}))
