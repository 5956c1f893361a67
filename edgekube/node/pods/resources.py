"""What a pod asks of CPU and memory, as the kernel is told: QoS class, cgroup names, shares, quotas, oom scores. Pure.

Source: kubelet pkg/kubelet/cm/helpers_linux.go, qos/policy.go, apis/core/v1/helper/qos (behaviour).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from edgekube.api.quantity import milli, whole
from edgekube.kinds.core.container import ResourceRequirements
from edgekube.kinds.core.pod import Pod
from edgekube.node.pods.seen import AnyContainer, is_sidecar, regular

SHARES_PER_CPU = 1024
LEAST_SHARES = 2
MOST_SHARES = 262144
PERIOD_US = 100_000
LEAST_QUOTA_US = 1_000
GUARANTEED_OOM_SCORE = -997
BEST_EFFORT_OOM_SCORE = 1000
CGROUP_ROOT = "/kubepods"


def qos_class(pod: Pod) -> str:
    """Guaranteed, Burstable or BestEffort, by CPU and memory of init and main containers."""
    requests: dict[str, int] = {}
    limits: dict[str, int] = {}
    guaranteed = True
    pod_level = pod.spec.resources
    holders: Iterable[ResourceRequirements] = (
        [pod_level]
        if pod_level is not None and (pod_level.requests or pod_level.limits)
        else [container.resources for container in [*regular(pod), *pod.spec.init_containers]]
    )
    for resources in holders:
        limited = set()
        for name in ("cpu", "memory"):
            if (amount := resources.requests.get(name)) and milli(amount) > 0:
                requests[name] = requests.get(name, 0) + milli(amount)
            if (amount := resources.limits.get(name)) and milli(amount) > 0:
                limits[name] = limits.get(name, 0) + milli(amount)
                limited.add(name)
        guaranteed = guaranteed and len(limited) == 2
    if not requests and not limits:
        return "BestEffort"
    same = all(limits.get(name) == amount for name, amount in requests.items())
    return "Guaranteed" if guaranteed and same and len(requests) == len(limits) else "Burstable"


def cgroup_parent(pod: Pod) -> str:
    """The pod's cgroup, under the class's."""
    name = f"pod{pod.metadata.uid}"
    quality = pod.status.qos_class or qos_class(pod)
    return f"{CGROUP_ROOT}/{name}" if quality == "Guaranteed" else f"{CGROUP_ROOT}/{quality.lower()}/{name}"


def shares(cpu_milli: int) -> int:
    """cpu.shares of an amount of CPU."""
    return min(MOST_SHARES, max(LEAST_SHARES, cpu_milli * SHARES_PER_CPU // 1000)) if cpu_milli else LEAST_SHARES


def quota_us(cpu_milli: int) -> int:
    """CFS quota per PERIOD_US, 0 = none."""
    return max(LEAST_QUOTA_US, cpu_milli * PERIOD_US // 1000) if cpu_milli else 0


def oom_score(pod: Pod, container: AnyContainer, memory_capacity: int) -> int:
    """oom_score_adj: who dies first when memory runs out. The less of its request a container can be blamed for, the later."""
    if pod.spec.priority is not None and pod.spec.priority >= 2_000_000_000:
        return GUARANTEED_OOM_SCORE
    quality = pod.status.qos_class or qos_class(pod)
    if quality == "Guaranteed":
        return GUARANTEED_OOM_SCORE
    if quality == "BestEffort" or memory_capacity <= 0:
        return BEST_EFFORT_OOM_SCORE
    requested = whole(container.resources.requests.get("memory", container.resources.limits.get("memory", "0")))
    score = 1000 - 1000 * requested // memory_capacity
    return min(999, max(1000 + GUARANTEED_OOM_SCORE, score))


def linux_resources(pod: Pod, container: AnyContainer, *, memory_capacity: int, cgroup_v2: bool) -> dict[str, Any]:
    """The CRI's LinuxContainerResources of one container."""
    limits, requests = container.resources.limits, container.resources.requests
    cpu_limit = milli(limits.get("cpu", "0"))
    cpu_request = milli(requests["cpu"]) if "cpu" in requests else cpu_limit
    made: dict[str, Any] = {
        "cpu_shares": shares(cpu_request),
        "cpu_period": PERIOD_US,
        "cpu_quota": quota_us(cpu_limit),
        "memory_limit_in_bytes": whole(limits.get("memory", "0")),
        "oom_score_adj": oom_score(pod, container, memory_capacity),
    }
    pages = [
        {"page_size": f"{name[len('hugepages-') :].removesuffix('i')}B", "limit": whole(amount)}
        for name, amount in sorted(limits.items())
        if name.startswith("hugepages-")
    ]
    if pages:
        made["hugepage_limits"] = pages
    if cgroup_v2:
        made["unified"] = {"memory.oom.group": "1"}  # all of a container dies, or none of it
    return made


def pod_resources(pod: Pod) -> dict[str, int]:
    """What the pod's own cgroup is bounded to: {"cpu_shares", "cpu_quota", "memory"}; members absent where unbounded.

    A bound holds for the pod only when every container (and sidecar) has it.
    """
    cpu_request = memory_limit = cpu_limit = 0
    all_memory = all_cpu = True
    running: list[AnyContainer] = [*regular(pod), *(c for c in pod.spec.init_containers if is_sidecar(c))]
    for container in running:
        limits, requests = container.resources.limits, container.resources.requests
        cpu_request += milli(requests.get("cpu", limits.get("cpu", "0")))
        memory_limit += whole(limits.get("memory", "0"))
        cpu_limit += milli(limits.get("cpu", "0"))
        all_memory = all_memory and bool(whole(limits.get("memory", "0")))
        all_cpu = all_cpu and bool(milli(limits.get("cpu", "0")))
    for container in pod.spec.init_containers:
        memory_limit = max(memory_limit, whole(container.resources.limits.get("memory", "0")))
        cpu_limit = max(cpu_limit, milli(container.resources.limits.get("cpu", "0")))
        all_memory = all_memory and bool(whole(container.resources.limits.get("memory", "0")))
        all_cpu = all_cpu and bool(milli(container.resources.limits.get("cpu", "0")))
    made = {"cpu_shares": shares(cpu_request)}
    if all_cpu and cpu_limit:
        made["cpu_quota"] = quota_us(cpu_limit)
    if all_memory and memory_limit:
        made["memory"] = memory_limit
    return made


def resource_value(container: AnyContainer, resource: str, divisor: str, allocatable: Mapping[str, str]) -> str:
    """The text of a resourceFieldRef: limits.cpu, requests.memory, ... A missing limit is the node's allocatable amount."""
    kind, _, name = resource.partition(".")
    limits, requests = container.resources.limits, container.resources.requests
    fallback = allocatable.get(name, "0")
    amount = limits.get(name, fallback) if kind == "limits" else requests.get(name, limits.get(name, "0"))
    step = milli(divisor or "0") or 1000
    if name == "cpu":
        return str(-(-milli(amount) // step))
    return str(-(-whole(amount) // (whole(divisor or "0") or 1)))
