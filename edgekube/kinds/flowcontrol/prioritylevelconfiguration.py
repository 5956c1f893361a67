"""flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration: its types and rules."""

from __future__ import annotations

from typing import Annotated

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Int32, Object, Struct, Time, list_map, zero


class ExemptPriorityLevelConfiguration(Struct):
    nominal_concurrency_shares: Int32 | None = None
    lendable_percent: Int32 | None = None


class QueuingConfiguration(Struct):
    queues: Int32 = zero(int)
    hand_size: Int32 = zero(int)
    queue_length_limit: Int32 = zero(int)


class LimitResponse(Struct):
    type: str = zero(str)
    queuing: QueuingConfiguration | None = None


class LimitedPriorityLevelConfiguration(Struct):
    nominal_concurrency_shares: Int32 | None = None
    limit_response: LimitResponse = zero(LimitResponse)
    lendable_percent: Int32 | None = None
    borrowing_limit_percent: Int32 | None = None


class PriorityLevelConfigurationSpec(Struct):
    type: str = zero(str)
    limited: LimitedPriorityLevelConfiguration | None = None
    exempt: ExemptPriorityLevelConfiguration | None = None


class PriorityLevelConfigurationCondition(Struct):
    type: str = ""
    status: str = ""
    last_transition_time: Time | None = None
    reason: str = ""
    message: str = ""


class PriorityLevelConfigurationStatus(Struct):
    conditions: Annotated[list[PriorityLevelConfigurationCondition], list_map("type")] = []


class PriorityLevelConfiguration(Object):
    spec: PriorityLevelConfigurationSpec = zero(PriorityLevelConfigurationSpec)
    status: PriorityLevelConfigurationStatus = zero(PriorityLevelConfigurationStatus)


KIND = Kind(
    type=PriorityLevelConfiguration,
    group="flowcontrol.apiserver.k8s.io",
    version="v1",
    name="PriorityLevelConfiguration",
    plural="prioritylevelconfigurations",
    singular="prioritylevelconfiguration",
    scope=Scope.CLUSTER,
    has_status=True,
)
