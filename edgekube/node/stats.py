"""/stats/summary: what node, pods and containers use, in the kubelet's shape (what metrics-server and dashboards read).

Source: kubelet pkg/apis/stats/v1alpha1 (names and nesting).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgekube.api.meta import format_time
from edgekube.kinds.core.pod import Pod
from edgekube.node.machine import disk_figures, memory_figures
from edgekube.node.runtime.cri import POD_UID, Usage


def _present(**members: Any) -> dict[str, Any]:
    return {key: value for key, value in members.items() if value is not None}


def _container(usage: Usage, pod: Pod, now: str) -> dict[str, Any]:
    at = str(format_time(datetime.fromtimestamp(usage.timestamp / 1e9, UTC))) if usage.timestamp else now
    started = next(
        (s.state.running.started_at for s in pod.status.container_statuses if s.name == usage.name and s.state.running),
        None,
    )
    return _present(
        name=usage.name,
        startTime=str(started) if started else None,
        cpu=_present(time=at, usageCoreNanoSeconds=usage.cpu_ns),
        memory=_present(
            time=at,
            workingSetBytes=usage.working_set,
            usageBytes=usage.memory_usage,
            rssBytes=usage.rss,
            pageFaults=usage.page_faults,
            majorPageFaults=usage.major_page_faults,
        ),
        rootfs=_present(time=at, usedBytes=usage.disk_used, inodesUsed=usage.inodes_used),
    )


def summary(
    node_name: str, data_dir: Path, pods: Sequence[Pod], usages: Sequence[Usage], now: datetime
) -> dict[str, Any]:
    """The document."""
    at = str(format_time(now))
    memory = memory_figures()
    total, available = memory.get("MemTotal", 0), memory.get("MemAvailable", 0)
    size, free, inodes, inodes_free = disk_figures(data_dir)
    by_uid: dict[str, list[Usage]] = {}
    for usage in usages:
        by_uid.setdefault(usage.labels.get(POD_UID, ""), []).append(usage)
    shown = []
    for pod in pods:
        mine = by_uid.get(pod.metadata.uid, [])
        containers = [_container(usage, pod, at) for usage in mine]
        meta = pod.metadata
        shown.append(
            {
                "podRef": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid},
                "startTime": str(pod.status.start_time or at),
                "containers": containers,
                "cpu": {"time": at, "usageCoreNanoSeconds": sum(u.cpu_ns or 0 for u in mine)},
                "memory": {"time": at, "workingSetBytes": sum(u.working_set or 0 for u in mine)},
            }
        )
    return {
        "node": {
            "nodeName": node_name,
            "cpu": {"time": at, "usageCoreNanoSeconds": _processor_ns()},
            "memory": {
                "time": at,
                "availableBytes": available,
                "usageBytes": total - memory.get("MemFree", 0),
                "workingSetBytes": total - available,
            },
            "fs": {
                "time": at,
                "availableBytes": free,
                "capacityBytes": size,
                "usedBytes": size - free,
                "inodes": inodes,
                "inodesFree": inodes_free,
                "inodesUsed": inodes - inodes_free,
            },
        },
        "pods": shown,
    }


def readings(pods: Sequence[Pod], usages: Sequence[Usage], at_ns: int) -> dict[str, Any]:
    """The same in few bytes, for the server to make figures from: (when, CPU so far, working set) of the node and each container."""
    memory = memory_figures()
    names = {pod.metadata.uid: f"{pod.metadata.namespace}/{pod.metadata.name}" for pod in pods}
    found: dict[str, dict[str, tuple[int, int, int]]] = {}
    for usage in usages:
        pod = names.get(usage.labels.get(POD_UID, ""))
        if pod is not None and usage.cpu_ns is not None and usage.working_set is not None:
            found.setdefault(pod, {})[usage.name] = (usage.timestamp or at_ns, usage.cpu_ns, usage.working_set)
    node = (at_ns, _processor_ns(), memory.get("MemTotal", 0) - memory.get("MemAvailable", 0))
    return {"node": node, "pods": found}


def resource_metrics(pods: Sequence[Pod], usages: Sequence[Usage], at_ns: int) -> str:
    """/metrics/resource in Prometheus' text format. Source: kubelet pkg/kubelet/metrics/collectors/resource_metrics.go."""
    told = readings(pods, usages, at_ns)
    when, cpu, memory = told["node"]
    families: dict[str, tuple[str, str, list[str]]] = {
        name: (kind, words, [])
        for name, kind, words in (
            (
                "container_cpu_usage_seconds_total",
                "counter",
                "Cumulative cpu time consumed by the container in core-seconds",
            ),
            ("container_memory_working_set_bytes", "gauge", "Current working set of the container in bytes"),
            ("node_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the node in core-seconds"),
            ("node_memory_working_set_bytes", "gauge", "Current working set of the node in bytes"),
            ("pod_cpu_usage_seconds_total", "counter", "Cumulative cpu time consumed by the pod in core-seconds"),
            ("pod_memory_working_set_bytes", "gauge", "Current working set of the pod in bytes"),
            ("resource_scrape_error", "gauge", "1 if there was an error while getting container metrics, 0 otherwise"),
        )
    }

    def say(name: str, labels: str, value: float, at: int) -> None:
        families[name][2].append(f"{name}{labels} {value!r} {at // 1_000_000}")

    for pod, containers in sorted(told["pods"].items()):
        namespace, _, name = pod.partition("/")
        for container, (at, used, held) in sorted(containers.items()):
            labels = f'{{container="{container}",namespace="{namespace}",pod="{name}"}}'
            say("container_cpu_usage_seconds_total", labels, used / 1e9, at)
            say("container_memory_working_set_bytes", labels, held, at)
        labels, latest = f'{{namespace="{namespace}",pod="{name}"}}', max(at for at, _, _ in containers.values())
        say("pod_cpu_usage_seconds_total", labels, sum(used for _, used, _ in containers.values()) / 1e9, latest)
        say("pod_memory_working_set_bytes", labels, sum(held for _, _, held in containers.values()), latest)
    say("node_cpu_usage_seconds_total", "", cpu / 1e9, when)
    say("node_memory_working_set_bytes", "", memory, when)
    families["resource_scrape_error"][2].append("resource_scrape_error 0")
    lines: list[str] = []
    for name, (kind, words, samples) in families.items():
        if samples:
            lines += [f"# HELP {name} [STABLE] {words}", f"# TYPE {name} {kind}", *samples]
    return "\n".join(lines) + "\n"


def _processor_ns() -> int:
    """CPU time used since boot, all processors together."""
    with open("/proc/stat") as file:
        user, nice, system, _idle, _wait, irq, soft = (int(word) for word in file.readline().split()[1:8])
    return (user + nice + system + irq + soft) * 10_000_000  # ticks of 10 ms
