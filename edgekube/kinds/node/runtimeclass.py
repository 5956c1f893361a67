"""node.k8s.io/v1 RuntimeClass: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Column, Kind, Scope
from edgekube.api.meta import Object, Quantity, Struct, list_atomic, struct_atomic, zero
from edgekube.kinds.columns import AGE, NAME, described
from edgekube.kinds.core.podspec import Toleration


class Overhead(Struct):
    pod_fixed: dict[str, Quantity] = {}


class Scheduling(Struct):
    node_selector: Annotated[dict[str, str], struct_atomic()] = {}
    tolerations: Annotated[list[Toleration], list_atomic()] = []


class RuntimeClass(Object):
    handler: str = zero(str)
    overhead: Overhead | None = None
    scheduling: Scheduling | None = None


KIND = Kind(
    type=RuntimeClass,
    group="node.k8s.io",
    version="v1",
    name="RuntimeClass",
    plural="runtimeclasses",
    singular="runtimeclass",
    scope=Scope.CLUSTER,
    generation=False,
    allow_unconditional_update=False,
    columns=described("runtimeclasses", NAME, Column("Handler", "string", lambda item, _: item.handler), AGE),
)
