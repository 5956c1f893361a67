"""metrics.k8s.io/v1beta1 PodMetrics: what the containers of a pod use. Read only, made up on the spot.

Columns as metrics-server gives them (sigs.k8s.io/metrics-server pkg/api/table.go): the sum over the containers.
"""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Column, Kind
from edgekube.api.meta import Object, Quantity, Struct, Time, list_map, zero
from edgekube.api.quantity import format_amount, milli, whole
from edgekube.kinds.columns import NAME


class ContainerMetrics(Struct):
    """One container's part."""

    name: str = zero(str)
    usage: dict[str, Quantity] = zero(dict)


class PodMetrics(Object):
    """CPU is the average over `window` before `timestamp`, memory the working set at that moment."""

    timestamp: Time | None = None
    window: str = zero(str)
    containers: Annotated[list[ContainerMetrics], list_map("name")] = zero(list)


def _cpu(item: PodMetrics) -> str:
    return f"{sum(milli(one.usage.get('cpu', '0')) for one in item.containers)}m"


def _memory(item: PodMetrics) -> str:
    return f"{format_amount(sum(whole(one.usage.get('memory', '0')) for one in item.containers) // 1024)}Ki"


KIND = Kind(
    type=PodMetrics,
    group="metrics.k8s.io",
    version="v1beta1",
    name="PodMetrics",
    plural="pods",
    verbs=("get", "list"),
    generation=False,
    columns=(
        NAME,
        Column("cpu", "string", lambda item, _: _cpu(item)),
        Column("memory", "string", lambda item, _: _memory(item)),
        Column("Window", "string", lambda item, _: item.window),
    ),
)
