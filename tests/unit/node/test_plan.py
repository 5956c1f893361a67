"""What is done next for a pod, as a table."""

from __future__ import annotations

from typing import Any

import pytest

from edgekube.node.pods.plan import PodPlan, container_hash, plan
from edgekube.node.pods.restarts import BackOff, go_duration, next_back_off, should_restart, waiting_s
from edgekube.node.pods.seen import Health, SandboxSeen, Seen
from tests.unit.node.podmaking import SECOND, detail, make_pod, seeing

APP = {"name": "app", "image": "app:1"}
SIDE = {"name": "side", "image": "side:1", "restartPolicy": "Always"}
FIRST = {"name": "first", "image": "first:1"}
LIVE = {**APP, "livenessProbe": {"exec": {"command": ["true"]}, "terminationGracePeriodSeconds": 7}}
STARTING = {**SIDE, "startupProbe": {"exec": {"command": ["true"]}}}
EXITED_OLD = {"at": 100, "ended": 101}


def words(made: PodPlan) -> str:
    """A plan in a line."""
    told = []
    if made.kill_pod:
        told.append("kill pod")
    if made.create_sandbox:
        told.append(f"sandbox {made.attempt}")
    told += [f"kill {kill.name}" + (" again" if kill.again else "") for kill in made.kill]
    told += [f"start {begin.name}#{begin.restart_count}" for begin in made.start]
    told += [f"hold {name}" for name in made.held]
    return ", ".join(told) or "nothing"


CASES: list[tuple[str, Any, Seen, str]] = [
    ("a new pod gets a sandbox and its container", make_pod(APP), Seen(), "sandbox 0, start app#0"),
    ("a new pod with init containers starts the first", make_pod(APP, init=(FIRST, SIDE)), Seen(), "sandbox 0, start first#0"),
    ("a running pod is left alone", make_pod(APP), seeing(detail("app")), "nothing"),
    ("a container that is missing is started", make_pod(APP), seeing(), "start app#0"),
    ("Always: an ended container starts again", make_pod(APP), seeing(detail("app", "EXITED")), "start app#1"),
    ("OnFailure: success ends the pod", make_pod(APP, restartPolicy="OnFailure"), seeing(detail("app", "EXITED")), "kill pod"),
    ("OnFailure: failure starts again", make_pod(APP, restartPolicy="OnFailure"), seeing(detail("app", "EXITED", code=1)), "start app#1"),
    ("Never: failure ends the pod", make_pod(APP, restartPolicy="Never"), seeing(detail("app", "EXITED", code=1)), "kill pod"),
    ("Never: one of two still runs", make_pod(APP, {**APP, "name": "two"}, restartPolicy="Never"),
     seeing(detail("app", "EXITED"), detail("two")), "nothing"),
    ("the sandbox died: all again in a new one", make_pod(APP), seeing(detail("app", "EXITED"), sandbox=False), "kill pod, sandbox 1, start app#1"),
    ("the sandbox died, Never: the pod is over", make_pod(APP, restartPolicy="Never"),
     seeing(detail("app", "EXITED", code=255), sandbox=False), "nothing"),
    ("the sandbox died, OnFailure and done: over", make_pod(APP, restartPolicy="OnFailure"),
     seeing(detail("app", "EXITED"), sandbox=False), "nothing"),
    ("init: running is waited for", make_pod(APP, init=(FIRST,)), seeing(detail("first")), "nothing"),
    ("init: done, so the main container starts", make_pod(APP, init=(FIRST,)), seeing(detail("first", "EXITED")), "start app#0"),
    ("init: failure starts again", make_pod(APP, init=(FIRST,)), seeing(detail("first", "EXITED", code=1)), "start first#1"),
    ("init: failure with Never ends the pod", make_pod(APP, init=(FIRST,), restartPolicy="Never"),
     seeing(detail("first", "EXITED", code=1)), "kill pod"),
    ("init: gone from the runtime but the pod is past it", make_pod(APP, init=(FIRST,)), seeing(detail("app")), "nothing"),
    ("sidecar: started before the main container", make_pod(APP, init=(SIDE,)), seeing(), "start side#0"),
    ("sidecar: runs, so the main container starts", make_pod(APP, init=(SIDE,)), seeing(detail("side")), "start app#0"),
    ("sidecar: its startup probe holds the rest", make_pod(APP, init=(STARTING,)), seeing(detail("side")), "nothing"),
    ("sidecar: started, so the rest goes on", make_pod(APP, init=(STARTING,)),
     seeing(detail("side"), health={"side-0": Health(started=True)}), "start app#0"),
    ("sidecar: ended beside a running main container, starts again", make_pod(APP, init=(SIDE,)),
     seeing(detail("side", "EXITED"), detail("app")), "start side#1"),
    ("sidecar: does not keep a finished pod alive", make_pod(APP, init=(SIDE,), restartPolicy="Never"),
     seeing(detail("side"), detail("app", "EXITED")), "kill pod"),
    ("sidecar: stays down when all is done", make_pod(APP, init=(SIDE,), restartPolicy="Never"),
     seeing(detail("side", "EXITED"), detail("app", "EXITED")), "kill pod"),
    ("liveness: a dead container is stopped to start again", make_pod(LIVE),
     seeing(detail("app"), health={"app-0": Health(alive=False)}), "kill app again"),
    ("liveness with Never: stopped for good", make_pod(LIVE, restartPolicy="Never"),
     seeing(detail("app"), health={"app-0": Health(alive=False)}), "kill app"),
    ("stopped by us in order to start: exit 0 does not matter", make_pod(LIVE, restartPolicy="OnFailure"),
     seeing(detail("app", "EXITED"), owed=frozenset({"app-0"})), "start app#1"),
    ("a changed image replaces the container", make_pod(APP),
     seeing(detail("app", annotations={"io.kubernetes.container.hash": "other"})), "kill app again"),
    ("the same image does not", make_pod(APP),
     seeing(detail("app", annotations={"io.kubernetes.container.hash": container_hash(make_pod(APP).spec.containers[0])})), "nothing"),
    ("a deleted pod is stopped", make_pod(APP, metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"}), seeing(detail("app")), "kill pod"),
    ("a debug container starts beside the others",
     make_pod(APP, ephemeralContainers=[{"name": "debug", "image": "d"}]), seeing(detail("app")), "start debug#0"),
    ("a debug container never starts twice",
     make_pod(APP, ephemeralContainers=[{"name": "debug", "image": "d"}]), seeing(detail("app"), detail("debug", "EXITED")), "nothing"),
]  # fmt: skip


@pytest.mark.parametrize(("pod", "seen", "wanted"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_the_next_step(pod: Any, seen: Seen, wanted: str) -> None:
    assert words(plan(pod, seen, {}, 1000.0)) == wanted


def test_two_ready_sandboxes_are_replaced_by_one() -> None:
    seen = Seen((SandboxSeen("b", 1, True, 2, ("10.0.0.6",)), SandboxSeen("a", 0, True, 1)), ())
    assert words(plan(make_pod(APP), seen, {}, 0)) == "kill pod, sandbox 2, start app#0"


def test_a_probes_own_grace_is_used() -> None:
    made = plan(make_pod(LIVE), seeing(detail("app"), health={"app-0": Health(alive=False)}), {}, 0)
    assert made.kill[0].grace_s == 7
    assert made.kill[0].message == "Container app failed liveness probe, will be restarted"


def test_a_restart_waits_for_its_back_off() -> None:
    seen = seeing(detail("app", "EXITED", code=1, ended=1000))
    made = plan(make_pod(APP), seen, {"app": BackOff(20, 990)}, 1005.0)
    assert words(made) == "hold app"
    assert made.look_again_s == 15
    assert made.held["app"] == ("CrashLoopBackOff", "back-off 20s restarting failed container=app pod=web_shop(u1)")
    assert words(plan(make_pod(APP), seen, {"app": BackOff(20, 990)}, 1020.0)) == "start app#1"


def test_back_off_doubles_to_five_minutes_and_is_forgotten_after_ten() -> None:
    ended, back_off, pauses = detail("app", "EXITED", ended=1000), None, []
    for _ in range(7):
        back_off = next_back_off(back_off, ended, 1000)
        pauses.append(back_off.pause_s)
    assert pauses == [10, 20, 40, 80, 160, 300, 300]
    later = detail("app", "EXITED", ended=1601)
    assert waiting_s(back_off, later, 1601) == 0
    assert next_back_off(back_off, later, 1601).pause_s == 10


def test_container_restart_rules_go_before_the_pods_policy() -> None:
    ruled = {
        **APP,
        "restartPolicy": "Never",
        "restartPolicyRules": [{"action": "Restart", "exitCodes": {"operator": "In", "values": [42]}}],
    }
    pod = make_pod(ruled, restartPolicy="Never")
    container = pod.spec.containers[0]
    assert should_restart(pod, container, 42)
    assert not should_restart(pod, container, 1)


def test_durations_read_as_gos() -> None:
    assert [go_duration(s) for s in (10, 80, 300, 3661)] == ["10s", "1m20s", "5m0s", "1h1m1s"]
    assert SECOND == 10**9


def resized(policy: list[dict[str, str]] | None = None) -> tuple[Any, Seen]:
    pod = make_pod({**APP, "resources": {"limits": {"cpu": "2", "memory": "1Gi"}}, "resizePolicy": policy or []})
    was = "limits.cpu=1 limits.memory=1Gi requests.cpu=1 requests.memory=1Gi"
    return pod, seeing(detail("app", annotations={"edgekube.io/resources": was}))


def test_a_resize_changes_a_running_container_unless_it_needs_a_restart() -> None:
    pod, seen = resized()
    assert [change.name for change in plan(pod, seen, {}, 0).resize] == ["app"]
    restart = {"resourceName": "cpu", "restartPolicy": "RestartContainer"}
    pod, seen = resized([restart])
    made = plan(pod, seen, {}, 0)
    assert words(made) == "kill app again"
    assert made.kill[0].message == "Container app resize requires restart, will be restarted"
    other, seen = resized([{**restart, "resourceName": "memory"}])
    assert plan(other, seen, {}, 0).resize
