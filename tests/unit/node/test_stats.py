"""The node's figures in both short forms: for our own server, and for Prometheus as a kubelet gives them."""

from __future__ import annotations

from typing import Any

import pytest

from edgekube.kinds.core.pod import KIND as POD
from edgekube.node import stats
from edgekube.node.runtime.cri import POD_UID, Usage

AT = 1_767_225_600_000_000_000


def usage(uid: str, name: str, cpu_ns: int | None, working_set: int | None, timestamp: int = AT) -> Usage:
    nothing: dict[str, Any] = dict.fromkeys(
        ("memory_usage", "rss", "page_faults", "major_page_faults", "disk_used", "inodes_used")
    )
    return Usage(
        container_id=f"{uid}-{name}", labels={POD_UID: uid}, name=name, timestamp=timestamp, cpu_ns=cpu_ns,
        working_set=working_set, **nothing,
    )  # fmt: skip


@pytest.fixture
def pods() -> list[Any]:
    return [
        POD.from_dict({"metadata": {"name": name, "namespace": "default", "uid": f"u-{name}"}, "spec": {}})
        for name in ("a", "b")
    ]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "memory_figures", lambda: {"MemTotal": 8 << 30, "MemAvailable": 5 << 30})
    monkeypatch.setattr(stats, "_processor_ns", lambda: 90 * 10**9)


def test_readings_hold_what_is_known_of_pods_that_are_here(pods: list[Any]) -> None:
    usages = [
        usage("u-a", "app", 5, 7),
        usage("u-a", "side", 6, 8, timestamp=0),
        usage("u-b", "new", None, 9),
        usage("u-gone", "app", 1, 1),
    ]
    assert stats.readings(pods, usages, AT + 1) == {
        "node": (AT + 1, 90 * 10**9, 3 << 30),
        "pods": {"default/a": {"app": (AT, 5, 7), "side": (AT + 1, 6, 8)}},
    }


def test_resource_metrics_are_a_kubelets(pods: list[Any]) -> None:
    page = stats.resource_metrics(pods, [usage("u-a", "app", 1_500_000_000, 4096)], AT)
    assert [line for line in page.splitlines() if not line.startswith("#")] == [
        'container_cpu_usage_seconds_total{container="app",namespace="default",pod="a"} 1.5 1767225600000',
        'container_memory_working_set_bytes{container="app",namespace="default",pod="a"} 4096 1767225600000',
        "node_cpu_usage_seconds_total 90.0 1767225600000",
        f"node_memory_working_set_bytes {3 << 30} 1767225600000",
        'pod_cpu_usage_seconds_total{namespace="default",pod="a"} 1.5 1767225600000',
        'pod_memory_working_set_bytes{namespace="default",pod="a"} 4096 1767225600000',
        "resource_scrape_error 0",
    ]
    assert "# TYPE container_cpu_usage_seconds_total counter" in page.splitlines()
    assert page.endswith("\n")
