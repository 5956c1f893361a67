"""Scheduling with real containers: a more important pod takes a running one's place, gracefully, and says so."""

from __future__ import annotations

import json

from tests.e2e.conftest import IMAGE, Space
from tests.support import eventually

CLASSES = """
apiVersion: scheduling.k8s.io/v1
kind: PriorityClass
metadata: {{name: {name}}}
value: {value}
---
"""


def pod(space: Space, name: str, *, milli_cpu: int, priority: str) -> None:
    space.apply(
        f"apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, labels: {{app: {name}}}}}\nspec:\n"
        f"  priorityClassName: {priority}\n  terminationGracePeriodSeconds: 2\n  containers:\n  - name: main\n"
        f"    image: {IMAGE}\n    imagePullPolicy: Never\n    command: [sh, -c, 'trap \"exit 0\" TERM; sleep 3600 & wait']\n"
        f"    resources: {{requests: {{cpu: {milli_cpu}m}}}}\n"
    )


def test_an_important_pod_takes_the_place_of_a_running_one(space: Space) -> None:
    (node,) = space.json("get", "nodes")["items"]
    cpu = node["status"]["allocatable"]["cpu"]
    whole = int(cpu.removesuffix("m")) if cpu.endswith("m") else int(cpu) * 1000
    low, high = f"{space.name}-low", f"{space.name}-high"
    space.apply(CLASSES.format(name=low, value=-10) + CLASSES.format(name=high, value=1000))
    try:
        pod(space, "weak", milli_cpu=whole * 6 // 10, priority=low)
        space.wait_ready("weak")
        pod(space, "strong", milli_cpu=whole * 6 // 10, priority=high)
        space.wait_ready("strong", "90s")
        eventually(lambda: space.raw("get", "pod", "weak").returncode == 1, within_s=60, why="the victim is gone")
        events = json.loads(space.kubectl("get", "events", "-o", "json"))["items"]
        told = {(one["involvedObject"]["name"], one["reason"]): one["message"] for one in events}
        uid = space.json("get", "pod", "strong")["metadata"]["uid"]
        assert told["weak", "Preempted"] == f"Preempted by pod {uid} on node edge-1"
        assert told["strong", "FailedScheduling"].startswith("0/1 nodes are available: 1 Insufficient cpu.")
        pod(space, "patient", milli_cpu=whole * 6 // 10, priority=low)
        message = eventually(
            lambda: [
                one["message"]
                for one in space.json("get", "pod", "patient")["status"].get("conditions", ())
                if one["type"] == "PodScheduled"
            ],
            within_s=60,
            why="word of why it waits",
        )
        assert message == [
            "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: "
            "1 No preemption victims found for incoming pod."
        ]
    finally:
        space.kubectl("delete", "priorityclass", low, high, "--wait=false")
