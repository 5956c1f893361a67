"""The scheduler over an API in memory."""

from __future__ import annotations

from typing import Any


def node(name: str, cpu: str = "2", **metadata: Any) -> dict[str, Any]:
    amounts = {"cpu": cpu, "memory": "1Gi", "pods": "10"}
    return {"metadata": {"name": name, **metadata}, "status": {"allocatable": amounts, "capacity": amounts}}


def pod(name: str, cpu: str = "1", **spec: Any) -> dict[str, Any]:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    return {"metadata": {"name": name, "labels": {"app": "w"}}, "spec": {"containers": [container], **spec}}


async def ready_node(cluster: Any, document: dict[str, Any]) -> None:
    made = await cluster.create("nodes", document)
    conditions = [{"type": "Ready", "status": "True", "reason": "KubeletReady"}]
    status = {**document["status"], "conditions": conditions}
    await cluster.patch("nodes", made.metadata.name, {"status": status}, subresource="status")
    await cluster.patch("nodes", made.metadata.name, {"spec": {"taints": None}})


async def placed(cluster: Any, name: str) -> Any:
    return (await cluster.get("pods", name)).spec.node_name


async def test_a_pod_goes_to_the_node_with_room_and_an_event_says_so(autojump_clock: Any, scheduled: Any) -> None:
    await ready_node(scheduled, node("small", cpu="500m"))
    await ready_node(scheduled, node("large"))
    await scheduled.create("pods", pod("p"))
    assert await scheduled.until(lambda: placed(scheduled, "p")) == "large"

    async def told() -> Any:
        return [e for e in await scheduled.list("events") if e.reason == "Scheduled"]

    (event,) = await scheduled.until(told)
    assert event.message == "Successfully assigned default/p to large"
    assert (event.reporting_component, event.type) == ("default-scheduler", "Normal")


async def test_a_pod_without_room_waits_says_why_and_goes_when_room_appears(
    autojump_clock: Any, scheduled: Any
) -> None:
    await ready_node(scheduled, node("n"))
    await scheduled.create("pods", pod("first", cpu="1500m"))
    await scheduled.until(lambda: placed(scheduled, "first"))
    await scheduled.create("pods", pod("second"))

    async def refused() -> Any:
        conditions = (await scheduled.get("pods", "second")).status.conditions
        return [c for c in conditions if c.type == "PodScheduled"]

    (condition,) = await scheduled.until(refused)
    assert (condition.status, condition.reason) == ("False", "Unschedulable")
    assert condition.message == (
        "0/1 nodes are available: 1 Insufficient cpu. preemption: 0/1 nodes are available: "
        "1 No preemption victims found for incoming pod."
    )
    await scheduled.delete("pods", "first", grace_s=0)
    assert await scheduled.until(lambda: placed(scheduled, "second"), 20) == "n"


async def test_without_nodes_a_pod_waits_for_the_first(autojump_clock: Any, scheduled: Any) -> None:
    await scheduled.create("pods", pod("p"))

    async def refused() -> Any:
        return (await scheduled.get("pods", "p")).status.conditions

    assert (await scheduled.until(refused))[0].message == "no nodes available to schedule pods"
    await ready_node(scheduled, node("n"))
    assert await scheduled.until(lambda: placed(scheduled, "p"), 20) == "n"


async def test_gated_pods_wait_for_their_gates(autojump_clock: Any, scheduled: Any) -> None:
    await ready_node(scheduled, node("n"))
    await scheduled.create("pods", pod("p", schedulingGates=[{"name": "example.org/wait"}]))
    await scheduled.create("pods", pod("free"))
    await scheduled.until(lambda: placed(scheduled, "free"))
    assert await placed(scheduled, "p") == ""
    await scheduled.patch("pods", "p", {"spec": {"schedulingGates": None}})
    assert await scheduled.until(lambda: placed(scheduled, "p"), 20) == "n"


async def test_many_pods_never_overfill_a_node(autojump_clock: Any, scheduled: Any) -> None:
    for name in ("a", "b"):
        await ready_node(scheduled, node(name, cpu="2"))
    for number in range(6):
        await scheduled.create("pods", pod(f"p{number}", cpu="900m"))

    async def four() -> Any:
        nodes = [entry.spec.node_name for entry in await scheduled.list("pods")]
        return nodes if sum(map(bool, nodes)) == 4 else None

    nodes = await scheduled.until(four)
    assert (nodes.count("a"), nodes.count("b"), nodes.count("")) == (2, 2, 2)


async def test_a_pod_that_waits_long_is_told_of_in_one_event_with_a_count(autojump_clock: Any, scheduled: Any) -> None:
    await ready_node(scheduled, node("n", cpu="1"))
    await scheduled.create("pods", pod("p", cpu="4", tolerations=[{"operator": "Exists"}]))

    async def counted() -> Any:
        events = [e for e in await scheduled.list("events") if e.reason == "FailedScheduling"]
        return events if events and events[0].series is not None and events[0].series.count >= 3 else None

    (event,) = await scheduled.until(counted, 1000)
    assert event.message.startswith("0/1 nodes are available: 1 Insufficient cpu.")
    assert event.type == "Warning"
