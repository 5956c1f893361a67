"""Cron schedules as text and as moments; CronJobs and budgets over an API in memory."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekube.kinds.batch.schedule import parse

NOW = datetime(2026, 1, 1, 12, 30, 15, tzinfo=UTC)  # a Thursday


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [
        ("* * * * *", "2026-01-01T12:31"),
        ("*/15 * * * *", "2026-01-01T12:45"),
        ("0 0 * * *", "2026-01-02T00:00"),
        ("30 12 * * *", "2026-01-02T12:30"),
        ("0 9 * * mon-fri", "2026-01-02T09:00"),
        ("0 9 * * MON", "2026-01-05T09:00"),
        ("0 0 29 2 *", "2028-02-29T00:00"),
        ("0 0 13 * 5", "2026-01-02T00:00"),  # both day fields given: either is enough
        ("5,10 1-3 * jan,mar *", "2026-01-02T01:05"),
        ("@hourly", "2026-01-01T13:00"),
        ("@yearly", "2027-01-01T00:00"),
    ],
)
def test_the_next_moment_of_a_schedule(schedule: str, expected: str) -> None:
    found = parse(schedule).next_after(NOW.astimezone(UTC))
    assert found is not None
    assert found.strftime("%Y-%m-%dT%H:%M") == expected


@pytest.mark.parametrize("broken", ["", "* * * *", "60 * * * *", "* * 0 * *", "a * * * *", "*/0 * * * *", "@every x"])
def test_broken_schedules_are_refused(broken: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        parse(broken)


def test_a_day_that_never_comes_is_never_due() -> None:
    assert parse("0 0 30 2 *").next_after(NOW.astimezone(UTC)) is None


def test_a_zone_moves_the_moment() -> None:
    found = parse("0 9 * * *").next_after(NOW.astimezone(ZoneInfo("America/New_York")))
    assert found == datetime(2026, 1, 1, 14, 0, tzinfo=UTC)


@given(st.integers(0, 60 * 24 * 400), st.sampled_from(["* * * * *", "7 */3 * * *", "0 0 1 * *", "30 4 * * sun"]))
def test_the_next_moment_is_later_and_nothing_due_lies_between(minutes: int, text: str) -> None:
    schedule, start = parse(text), NOW + timedelta(minutes=minutes)
    first = schedule.next_after(start.astimezone(UTC))
    assert first is not None
    assert first > start
    assert schedule.next_after((first - timedelta(seconds=1)).astimezone(UTC)) == first


async def test_a_cron_job_starts_a_job_each_minute_and_keeps_three(autojump_clock: Any, cluster: Any) -> None:
    template = {"spec": {"containers": [{"name": "c", "image": "i"}], "restartPolicy": "Never"}}
    spec = {
        "schedule": "* * * * *",
        "jobTemplate": {"metadata": {"labels": {"from": "cj"}}, "spec": {"template": template}},
    }
    await cluster.create("cronjobs", {"metadata": {"name": "cj"}, "spec": spec})

    async def active() -> Any:
        found = await cluster.get("cronjobs", "cj")
        return found if found.status.active else None

    found = await cluster.until(active)
    (job,) = await cluster.list("jobs")
    assert job.metadata.name == f"cj-{int(cluster.clock.now().timestamp()) // 60}"
    assert job.metadata.labels["from"] == "cj"
    assert (
        job.metadata.annotations["batch.kubernetes.io/cronjob-scheduled-timestamp"] == found.status.last_schedule_time
    )
    seen: set[str] = set()

    async def many() -> Any:
        for pod in await cluster.list("pods"):
            if pod.status.phase == "Pending":
                await cluster.patch("pods", pod.metadata.name, {"status": {"phase": "Succeeded"}}, subresource="status")
        seen.update(item.metadata.name for item in await cluster.list("jobs"))
        return len(seen) >= 6

    await cluster.until(many, 600)
    assert len(await cluster.list("jobs")) <= 5
    assert (await cluster.get("cronjobs", "cj")).status.last_successful_time


async def test_a_budget_allows_what_the_scale_leaves(autojump_clock: Any, cluster: Any) -> None:
    template = {"metadata": {"labels": {"app": "w"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    spec = {"replicas": 4, "selector": {"matchLabels": {"app": "w"}}, "template": template}
    await cluster.create("replicasets", {"metadata": {"name": "w"}, "spec": spec})
    selector = {"selector": {"matchLabels": {"app": "w"}}, "minAvailable": "50%"}
    await cluster.create("poddisruptionbudgets", {"metadata": {"name": "b"}, "spec": selector})

    async def allowed() -> Any:
        for pod in await cluster.list("pods"):
            if pod.status.phase != "Running":
                await cluster.run_pod(pod)
        status = (await cluster.get("poddisruptionbudgets", "b")).status
        return status if status.disruptions_allowed == 2 else None

    status = await cluster.until(allowed)
    assert (status.current_healthy, status.desired_healthy, status.expected_pods) == (4, 2, 4)
    assert [(c.type, c.status, c.reason) for c in status.conditions] == [
        ("DisruptionAllowed", "True", "SufficientPods")
    ]
