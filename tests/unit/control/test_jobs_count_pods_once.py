"""Jobs end to end over an API in memory, and the arithmetic of indexes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekube.control.jobs import format_indexes, parse_indexes
from edgekube.errors import NotFound


def job(**spec: Any) -> dict[str, Any]:
    template = {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}
    return {"metadata": {"name": "j"}, "spec": {"template": template, **spec}}


async def pods_of(cluster: Any, number: int) -> list[Any]:
    async def there() -> Any:
        found = [
            pod
            for pod in await cluster.list("pods", labels="job-name=j")
            if pod.status.phase not in ("Succeeded", "Failed")
        ]
        return (found or True) if len(found) == number else None

    found = await cluster.until(there)
    return found if number else []


async def end(cluster: Any, pod: Any, phase: str, code: int = 0) -> None:
    now = cluster.clock.now().strftime("%Y-%m-%dT%H:%M:%SZ")
    terminated = {"exitCode": code, "finishedAt": now}
    status = {
        "name": "c",
        "image": "i",
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": terminated},
    }
    patch = {"status": {"phase": phase, "containerStatuses": [status]}}
    await cluster.patch("pods", pod.metadata.name, patch, subresource="status")


async def ended(cluster: Any, type_: str, within_s: float = 120) -> Any:
    async def there() -> Any:
        found = await cluster.get("jobs", "j")
        return found if any(c.type == type_ and c.status == "True" for c in found.status.conditions) else None

    return await cluster.until(there, within_s)


async def test_a_job_completes_and_its_pod_is_let_go(autojump_clock: Any, cluster: Any) -> None:
    await cluster.create("jobs", job())
    (pod,) = await pods_of(cluster, 1)
    assert pod.metadata.finalizers == ["batch.kubernetes.io/job-tracking"]
    await end(cluster, pod, "Succeeded")
    done = await ended(cluster, "Complete")
    assert (done.status.succeeded, done.status.active, done.status.ready, done.status.terminating) == (1, 0, 0, 0)
    assert [(c.type, c.reason) for c in done.status.conditions] == [
        ("SuccessCriteriaMet", "CompletionsReached"),
        ("Complete", "CompletionsReached"),
    ]
    assert done.status.completion_time
    assert (await cluster.get("pods", pod.metadata.name)).metadata.finalizers == []


async def test_completions_are_reached_with_bounded_parallelism(autojump_clock: Any, cluster: Any) -> None:
    await cluster.create("jobs", job(completions=5, parallelism=2))
    for left in (2, 2, 2, 2, 1):
        found = await pods_of(cluster, left)
        await end(cluster, found[0], "Succeeded")
    done = await ended(cluster, "Complete")
    assert done.status.succeeded == 5


async def test_failures_are_retried_with_growing_pauses_until_the_limit(autojump_clock: Any, cluster: Any) -> None:
    await cluster.create("jobs", job(backoffLimit=2))
    begun = cluster.clock.monotonic()
    for _ in range(3):
        (pod,) = await pods_of(cluster, 1)
        await end(cluster, pod, "Failed", 1)
    done = await ended(cluster, "Failed")
    assert cluster.clock.monotonic() - begun > 10 + 20 - 2
    assert done.status.failed == 3
    assert {c.reason for c in done.status.conditions} == {"BackoffLimitExceeded"}


async def test_an_indexed_job_gives_each_pod_its_number(autojump_clock: Any, cluster: Any) -> None:
    await cluster.create("jobs", job(completions=3, parallelism=3, completionMode="Indexed"))
    found = await pods_of(cluster, 3)
    indexes = {pod.metadata.annotations["batch.kubernetes.io/job-completion-index"] for pod in found}
    assert indexes == {"0", "1", "2"}
    assert {pod.spec.hostname for pod in found} == {"j-0", "j-1", "j-2"}
    assert found[0].spec.containers[0].env[0].name == "JOB_COMPLETION_INDEX"
    for pod in found:
        await end(cluster, pod, "Succeeded")
    assert (await ended(cluster, "Complete")).status.completed_indexes == "0-2"


async def test_a_deadline_ends_the_job_and_its_pods(autojump_clock: Any, cluster: Any) -> None:
    await cluster.create("jobs", job(activeDeadlineSeconds=30))
    await pods_of(cluster, 1)
    done = await ended(cluster, "Failed")
    assert {c.reason for c in done.status.conditions} == {"DeadlineExceeded"}
    assert (done.status.failed, done.status.active) == (1, 0)
    assert await cluster.list("pods") == []


async def test_a_failure_policy_names_pod_and_rule(autojump_clock: Any, cluster: Any) -> None:
    rule = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [42]}}
    await cluster.create("jobs", job(podFailurePolicy={"rules": [rule]}))
    (pod,) = await pods_of(cluster, 1)
    await end(cluster, pod, "Failed", 42)
    done = await ended(cluster, "Failed")
    name = pod.metadata.name
    message = f"Container c for pod default/{name} failed with exit code 42 matching FailJob rule at index 0"
    assert {c.message for c in done.status.conditions} == {message}


async def test_suspending_takes_the_pods_and_resuming_brings_new_ones(autojump_clock: Any, cluster: Any) -> None:
    await cluster.create("jobs", job())
    (first,) = await pods_of(cluster, 1)
    await cluster.patch("jobs", "j", {"spec": {"suspend": True}})
    await ended(cluster, "Suspended")
    await pods_of(cluster, 0)
    await cluster.patch("jobs", "j", {"spec": {"suspend": False}})
    (second,) = await pods_of(cluster, 1)
    assert first.metadata.uid != second.metadata.uid


async def test_a_finished_job_with_a_time_to_live_goes_with_its_pods(autojump_clock: Any, cluster: Any) -> None:
    await cluster.create("jobs", job(ttlSecondsAfterFinished=60))
    (pod,) = await pods_of(cluster, 1)
    await end(cluster, pod, "Succeeded")
    await ended(cluster, "Complete")

    async def gone() -> Any:
        try:
            await cluster.get("jobs", "j")
        except NotFound:
            return not await cluster.list("pods")
        return False

    assert await cluster.until(gone, 90)


async def test_orphaned_pods_lose_the_finalizer(autojump_clock: Any, cluster: Any) -> None:
    await cluster.create("jobs", job())
    (pod,) = await pods_of(cluster, 1)
    await cluster.delete("jobs", "j", propagation="Orphan")

    async def free() -> Any:
        found = await cluster.get("pods", pod.metadata.name)
        return not found.metadata.finalizers and not found.metadata.owner_references

    assert await cluster.until(free)


@pytest.mark.parametrize(("text", "indexes"), [("", set()), ("0,2-4", {0, 2, 3, 4}), ("1,2", {1, 2})])
def test_indexes_are_written_as_ranges(text: str, indexes: set[int]) -> None:
    assert parse_indexes(text) == indexes
    assert format_indexes(indexes) == text


@given(st.sets(st.integers(0, 200)))
def test_any_set_of_indexes_comes_back_from_its_text(indexes: set[int]) -> None:
    assert parse_indexes(format_indexes(indexes)) == indexes


async def test_a_job_completes_though_the_clock_was_set_back(autojump_clock: Any, cluster: Any) -> None:
    made = await cluster.create("jobs", job())
    (pod,) = await pods_of(cluster, 1)
    cluster.clock.jump(-3600)
    await end(cluster, pod, "Succeeded")
    done = await ended(cluster, "Complete")
    assert done.status.completion_time == done.status.start_time
    assert made.metadata.creation_timestamp <= done.status.start_time


async def test_a_failed_pod_is_replaced_though_the_clock_was_set_back(autojump_clock: Any, cluster: Any) -> None:
    await cluster.create("jobs", job())
    (pod,) = await pods_of(cluster, 1)
    await end(cluster, pod, "Failed", 1)
    cluster.clock.jump(-3600)
    (other,) = await pods_of(cluster, 1)
    await end(cluster, other, "Succeeded")
    await ended(cluster, "Complete")
