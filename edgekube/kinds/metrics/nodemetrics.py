"""metrics.k8s.io/v1beta1 NodeMetrics: what a node uses. Read only, made up on the spot.

Columns as metrics-server gives them (sigs.k8s.io/metrics-server pkg/api/table.go).
"""

from __future__ import annotations

from edgekube.api.kind import Column, Kind, Scope
from edgekube.api.meta import Object, Quantity, Time, zero
from edgekube.kinds.columns import NAME


class NodeMetrics(Object):
    """CPU is the average over `window` before `timestamp`, memory the working set at that moment."""

    timestamp: Time | None = None
    window: str = zero(str)
    usage: dict[str, Quantity] = zero(dict)


KIND = Kind(
    type=NodeMetrics,
    group="metrics.k8s.io",
    version="v1beta1",
    name="NodeMetrics",
    plural="nodes",
    scope=Scope.CLUSTER,
    verbs=("get", "list"),
    generation=False,
    columns=(
        NAME,
        Column("cpu", "string", lambda item, _: item.usage.get("cpu", "")),
        Column("memory", "string", lambda item, _: item.usage.get("memory", "")),
        Column("Window", "string", lambda item, _: item.window),
    ),
)
