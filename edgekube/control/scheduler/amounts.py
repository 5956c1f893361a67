"""How much of each resource a pod asks for and a node has, as integers (CPU in thousandths, all else whole units).

Pure. Source: k8s.io/component-helpers resource/helpers.go (PodRequests), pkg/scheduler/framework/types.go.
"""

from __future__ import annotations

from collections.abc import Mapping

from edgekube.api.quantity import milli, whole
from edgekube.kinds.core.container import Container
from edgekube.kinds.core.node import Node
from edgekube.kinds.core.pod import Pod

Amounts = Mapping[str, int]

DEFAULT_MILLI_CPU = 100  # what a container that asks for nothing counts as when nodes are compared
DEFAULT_MEMORY = 200 * 1024 * 1024
POD_LEVEL = ("cpu", "memory")


def number(name: str, quantity: str) -> int:
    """A quantity as the integer it is compared as."""
    return milli(quantity) if name == "cpu" else whole(quantity)


def numbers(quantities: Mapping[str, str]) -> dict[str, int]:
    """All quantities of a list."""
    return {name: number(name, quantity) for name, quantity in quantities.items()}


def of_container(container: Container, *, floor: bool) -> dict[str, int]:
    """What one container requests; with `floor` at least the defaults for CPU and memory."""
    made = numbers(container.resources.requests)
    if floor:
        made.setdefault("cpu", DEFAULT_MILLI_CPU)
        made.setdefault("memory", DEFAULT_MEMORY)
    return made


def of_pod(pod: Pod, *, floor: bool = False) -> dict[str, int]:
    """What a pod requests: its containers and sidecars together, or its largest start-up step if that is more, plus overhead."""
    total: dict[str, int] = {}
    for container in pod.spec.containers or []:
        _add(total, of_container(container, floor=floor))
    sidecars: dict[str, int] = {}
    largest: dict[str, int] = {}
    for container in pod.spec.init_containers:
        asked = of_container(container, floor=floor)
        if container.restart_policy == "Always":
            _add(total, asked)
            _add(sidecars, asked)
            step = dict(sidecars)
        else:
            step = dict(asked)
            _add(step, sidecars)
        _raise(largest, step)
    _raise(total, largest)
    if pod.spec.resources is not None:
        total.update({key: value for key, value in numbers(pod.spec.resources.requests).items() if key in POD_LEVEL})
    _add(total, numbers(pod.spec.overhead))
    return total


def of_node(node: Node) -> dict[str, int]:
    """What a node has to give."""
    return numbers(node.status.allocatable)


def _add(total: dict[str, int], more: Amounts) -> None:
    for name, value in more.items():
        total[name] = total.get(name, 0) + value


def _raise(total: dict[str, int], least: Amounts) -> None:
    for name, value in least.items():
        total[name] = max(total.get(name, 0), value)
