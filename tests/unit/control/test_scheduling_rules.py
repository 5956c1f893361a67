"""Rules and scores as tables: a pod, some nodes, and the words of the refusal."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekube.control.scheduler.decide import Chosen, Refused, decide
from edgekube.control.scheduler.preempt import Nothing, preempt
from edgekube.control.scheduler.rules.catalog import RULES
from edgekube.control.scheduler.scores.catalog import SCORES
from edgekube.control.scheduler.snapshot import Snapshot, Summaries, node_info
from edgekube.kinds.core import node as node_kind
from edgekube.kinds.core import persistentvolume as volume_kind
from edgekube.kinds.core import persistentvolumeclaim as claim_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.pod import Pod

NO_VICTIMS = "1 No preemption victims found for incoming pod."
NO_HELP = "1 Preemption is not helpful for scheduling."


def pod(name: str = "p", node: str = "", labels: dict[str, str] | None = None, **spec: Any) -> Pod:
    containers = spec.pop("containers", [{"name": "c", "image": "i"}])
    metadata = {"name": name, "namespace": "default", "uid": name, "labels": labels or {}}
    return pod_kind.KIND.from_dict({"metadata": metadata, "spec": {"nodeName": node, "containers": containers, **spec}})


def asking(**requests: str) -> list[dict[str, Any]]:
    return [{"name": "c", "image": "i", "resources": {"requests": requests}}]


def cluster(nodes: dict[str, dict[str, Any]], running: list[Pod] | None = None, **more: Any) -> Snapshot:
    infos = []
    for name, changes in nodes.items():
        amounts = {"cpu": "2", "memory": "1Gi", "pods": "10", **changes.get("amounts", {})}
        metadata = {"name": name, "labels": {"kubernetes.io/hostname": name, **changes.get("labels", {})}}
        document = {"metadata": metadata, "spec": changes.get("spec", {}), "status": {"allocatable": amounts}}
        node = node_kind.KIND.from_dict(document)
        infos.append(node_info(node, [p for p in running or () if p.spec.node_name == name], Summaries()))
    return Snapshot(infos, {"default": {}}, **more)


def verdict(asked: Pod, seen: Snapshot) -> Chosen | Refused:
    made = decide(asked, seen, RULES, SCORES, lambda: 0.0)
    if isinstance(made, Refused):
        found = preempt(asked, seen, RULES, made, lambda: 0.0)
        if isinstance(found, Nothing):
            return replace(made, message=f"{made.message} preemption: {found.words}")
    return made


def near(key: str, app: str, kind: str = "podAffinity") -> dict[str, Any]:
    term = {"topologyKey": key, "labelSelector": {"matchLabels": {"app": app}}}
    return {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}


SPREAD = [{"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "w"}}}]  # fmt: skip
TAINT = {"taints": [{"key": "k", "value": "v", "effect": "NoSchedule"}]}


@pytest.mark.parametrize(
    ("asked", "node", "running", "reason", "helpful"),
    [
        (pod(containers=asking(cpu="3")), {}, [], "Insufficient cpu", False),
        (pod(containers=asking(cpu="2")), {}, [pod("a", "n", containers=asking(cpu="1m"))], "Insufficient cpu", True),
        (pod(containers=asking(cpu="3", memory="2Gi")), {}, [], "Insufficient cpu, 1 Insufficient memory", False),
        (pod(), {"amounts": {"pods": "1"}}, [pod("a", "n")], "Too many pods", True),
        (pod(), {"spec": {"unschedulable": True}}, [], "node(s) were unschedulable", False),
        (pod(), {"spec": TAINT}, [], "node(s) had untolerated taint(s)", False),
        (pod(nodeSelector={"disk": "ssd"}), {}, [], "node(s) didn't match Pod's node affinity/selector", False),
        (
            pod(containers=[{"name": "c", "image": "i", "ports": [{"containerPort": 80, "hostPort": 80}]}]),
            {},
            [pod("a", "n", containers=[{"name": "c", "image": "i", "ports": [{"containerPort": 1, "hostPort": 80}]}])],
            "node(s) didn't have free ports for the requested pod ports",
            True,
        ),
        (
            pod(affinity=near("zone", "db")),
            {"labels": {"zone": "z"}},
            [],
            "node(s) didn't match pod affinity rules",
            False,
        ),
        (
            pod(affinity=near("kubernetes.io/hostname", "db", "podAntiAffinity")),
            {},
            [pod("a", "n", {"app": "db"})],
            "node(s) didn't match pod anti-affinity rules",
            True,
        ),
        (
            pod(labels={"app": "web"}),
            {},
            [pod("a", "n", affinity=near("kubernetes.io/hostname", "web", "podAntiAffinity"))],
            "node(s) didn't satisfy existing pods anti-affinity rules",
            True,
        ),
        (
            pod(labels={"app": "w"}, topologySpreadConstraints=SPREAD),
            {},
            [],
            "node(s) didn't match pod topology spread constraints (missing required label)",
            False,
        ),
    ],
)
def test_a_refusal_says_why(asked: Pod, node: dict[str, Any], running: list[Pod], reason: str, helpful: bool) -> None:
    made = verdict(asked, cluster({"n": node}, running))
    assert isinstance(made, Refused)
    tail = NO_VICTIMS if helpful else NO_HELP
    assert made.message == f"0/1 nodes are available: 1 {reason}. preemption: 0/1 nodes are available: {tail}"


@pytest.mark.parametrize(
    ("asked", "nodes", "running", "expected"),
    [
        (pod(containers=asking(cpu="1")), {"a": {"amounts": {"cpu": "500m"}}, "b": {}}, [], "b"),
        (pod(tolerations=[{"key": "k", "operator": "Exists"}]), {"a": {"spec": TAINT}}, [], "a"),
        (pod(nodeSelector={"disk": "ssd"}), {"a": {}, "b": {"labels": {"disk": "ssd"}}}, [], "b"),
        (pod(containers=asking(cpu="1")), {"a": {}, "b": {}}, [pod("x", "a", containers=asking(cpu="1"))], "b"),
        (pod(affinity=near("kubernetes.io/hostname", "db")), {"a": {}, "b": {}}, [pod("x", "b", {"app": "db"})], "b"),
        (pod(labels={"app": "db"}, affinity=near("kubernetes.io/hostname", "db")), {"a": {}}, [], "a"),
        (
            pod(labels={"app": "w"}, topologySpreadConstraints=SPREAD),
            {"a": {"labels": {"zone": "1"}}, "b": {"labels": {"zone": "2"}}},
            [pod("x", "a", {"app": "w"})],
            "b",
        ),
        (pod(), {"a": {"spec": {"taints": [{"key": "k", "effect": "PreferNoSchedule"}]}}, "b": {}}, [], "b"),
    ],
)
def test_the_best_node_is_chosen(asked: Pod, nodes: dict[str, Any], running: list[Pod], expected: str) -> None:
    made = verdict(asked, cluster(nodes, running))
    assert isinstance(made, Chosen), made
    assert made.node == expected


def test_several_reasons_are_counted_and_sorted() -> None:
    nodes = {
        "a": {"spec": TAINT},
        "b": {"spec": {"unschedulable": True}},
        "c": {"amounts": {"cpu": "100m"}},
        "d": {"spec": TAINT},
    }
    made = verdict(pod(containers=asking(cpu="1")), cluster(nodes))
    assert isinstance(made, Refused)
    assert made.message == (
        "0/4 nodes are available: 1 Insufficient cpu, 1 node(s) were unschedulable, 2 node(s) had untolerated taint(s). "
        "preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."
    )
    assert made.rules == {"NodeResourcesFit", "NodeUnschedulable", "TaintToleration"}


def volume_pod() -> Pod:
    return pod(volumes=[{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}])


def test_a_missing_claim_makes_the_pod_hopeless() -> None:
    made = verdict(volume_pod(), cluster({"n": {}}))
    assert isinstance(made, Refused)
    assert made.message.startswith('0/1 nodes are available: persistentvolumeclaim "c" not found. preemption: 0/1')


def test_a_bound_volume_draws_the_pod_to_its_node() -> None:
    claim = claim_kind.KIND.from_dict({"metadata": {"name": "c", "namespace": "default"}, "spec": {"volumeName": "v"}, "status": {"phase": "Bound"}})  # fmt: skip
    match = {"key": "kubernetes.io/hostname", "operator": "In", "values": ["b"]}
    affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [match]}]}}
    volume = volume_kind.KIND.from_dict({"metadata": {"name": "v"}, "spec": {"nodeAffinity": affinity}})
    seen = cluster({"a": {}, "b": {}}, claims={("default", "c"): claim}, volumes={"v": volume})
    made = verdict(volume_pod(), seen)
    assert isinstance(made, Chosen)
    assert made.node == "b"


@given(
    st.lists(st.integers(100, 4000), min_size=1, max_size=5),
    st.lists(st.integers(1, 2500), max_size=25),
    st.floats(0, 0.999),
)
def test_no_node_is_ever_promised_more_than_it_has(sizes: list[int], asked: list[int], chance: float) -> None:
    nodes = {f"n{number}": {"amounts": {"cpu": f"{size}m"}} for number, size in enumerate(sizes)}
    running: list[Pod] = []
    for number, milli in enumerate(asked):
        newcomer = pod(f"p{number}", containers=asking(cpu=f"{milli}m"))
        made = decide(newcomer, cluster(nodes, running), RULES, SCORES, lambda: chance)
        used = {
            name: sum(asked[int(p.metadata.name[1:])] for p in running if p.spec.node_name == name) for name in nodes
        }
        if isinstance(made, Chosen):
            assert used[made.node] + milli <= sizes[int(made.node[1:])]
            running.append(pod(f"p{number}", made.node, containers=asking(cpu=f"{milli}m")))
        else:
            room = [size - used[f"n{place}"] for place, size in enumerate(sizes)]
            counts = [sum(p.spec.node_name == f"n{place}" for p in running) for place in range(len(sizes))]
            assert all(left < milli or count >= 10 for left, count in zip(room, counts, strict=True))
