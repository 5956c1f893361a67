"""flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration: its types and rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from edgekube.api import rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
from edgekube.api.meta import Int32, Object, Struct, Time, list_map, null, zero
from edgekube.kinds.columns import AGE, NAME, NONE, described


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
    last_transition_time: Time | None = null()
    reason: str = ""
    message: str = ""


class PriorityLevelConfigurationStatus(Struct):
    conditions: Annotated[list[PriorityLevelConfigurationCondition], list_map("type")] = []


class PriorityLevelConfiguration(Object):
    spec: PriorityLevelConfigurationSpec = zero(PriorityLevelConfigurationSpec)
    status: PriorityLevelConfigurationStatus = zero(PriorityLevelConfigurationStatus)


DEFAULT_SHARES = 30
DEFAULT_QUEUES, DEFAULT_HAND_SIZE, DEFAULT_QUEUE_LENGTH = 64, 8, 50


def default(level: PriorityLevelConfiguration) -> None:
    """Shares, lending and the shape of the queues."""
    limited, exempt = level.spec.limited, level.spec.exempt
    if exempt is not None:
        exempt.nominal_concurrency_shares = exempt.nominal_concurrency_shares or 0
        exempt.lendable_percent = exempt.lendable_percent or 0
    if limited is None:
        return
    if limited.nominal_concurrency_shares is None:
        limited.nominal_concurrency_shares = DEFAULT_SHARES
    limited.lendable_percent = limited.lendable_percent or 0
    if (queuing := limited.limit_response.queuing) is not None:
        queuing.queues = queuing.queues or DEFAULT_QUEUES
        queuing.hand_size = queuing.hand_size or DEFAULT_HAND_SIZE
        queuing.queue_length_limit = queuing.queue_length_limit or DEFAULT_QUEUE_LENGTH


def _shares(level: PriorityLevelConfiguration, _now: str) -> int | str:
    limited = level.spec.limited
    return NONE if limited is None else limited.nominal_concurrency_shares or 0


def _of_queues(member: str) -> Callable[[PriorityLevelConfiguration, str], int | str]:
    def value(level: PriorityLevelConfiguration, _now: str) -> int | str:
        queuing = None if level.spec.limited is None else level.spec.limited.limit_response.queuing
        return NONE if queuing is None else int(getattr(queuing, member))

    return value


TYPES = ("Exempt", "Limited")
RESPONSES = ("Queue", "Reject")


def _limited_rules(limited: LimitedPriorityLevelConfiguration) -> list[FieldError]:
    path = "spec.limited"
    broken: list[FieldError] = []
    if limited.nominal_concurrency_shares is not None and limited.nominal_concurrency_shares < 0:
        words = "must be a non-negative integer"
        broken.append(rules.invalid(f"{path}.nominalConcurrencyShares", limited.nominal_concurrency_shares, words))
    if limited.lendable_percent is not None and not 0 <= limited.lendable_percent <= 100:
        words = "must be between 0 and 100, inclusive"
        broken.append(rules.invalid(f"{path}.lendablePercent", limited.lendable_percent, words))
    response = limited.limit_response
    at = f"{path}.limitResponse"
    broken += rules.one_of(f"{at}.type", response.type, RESPONSES, empty="unsupported")
    if response.type == "Reject" and response.queuing is not None:
        broken.append(rules.forbidden(f"{at}.queuing", "must be nil if limited.limitResponse.type is not Limited"))
    if response.type == "Queue":
        if response.queuing is None:
            words = "must not be empty if limited.limitResponse.type is Limited"
            return [*broken, rules.required(f"{at}.queuing", words)]
        queuing = response.queuing
        for member, value in (("queueLengthLimit", queuing.queue_length_limit), ("queues", queuing.queues)):
            if value <= 0:
                broken.append(rules.invalid(f"{at}.queuing.{member}", value, "must be positive"))
        if queuing.hand_size <= 0:
            broken.append(rules.invalid(f"{at}.queuing.handSize", queuing.hand_size, "must be positive"))
        elif queuing.hand_size > queuing.queues:
            words = f"should not be greater than queues ({queuing.queues})"
            broken.append(rules.invalid(f"{at}.queuing.handSize", queuing.hand_size, words))
    return broken


def level_rules(level: PriorityLevelConfiguration) -> list[FieldError]:
    """Limited or exempt, each with its own members."""
    spec = level.spec
    broken = rules.one_of("spec.type", spec.type, TYPES, empty="unsupported")
    if spec.type == "Exempt" and spec.limited is not None:
        broken.append(rules.forbidden("spec.limited", "must be nil if the type is not Limited"))
    if spec.type == "Limited":
        if spec.exempt is not None:
            broken.append(rules.forbidden("spec.exempt", "must be nil if the type is Limited"))
        if spec.limited is None:
            broken.append(rules.required("spec.limited", "must not be empty when type is Limited"))
        else:
            broken += _limited_rules(spec.limited)
    return broken


KIND = Kind(
    type=PriorityLevelConfiguration,
    group="flowcontrol.apiserver.k8s.io",
    version="v1",
    name="PriorityLevelConfiguration",
    plural="prioritylevelconfigurations",
    singular="prioritylevelconfiguration",
    scope=Scope.CLUSTER,
    has_status=True,
    default=default,
    columns=described(
        "prioritylevelconfigurations",
        NAME,
        Column("Type", "string", lambda item, _: item.spec.type),
        Column("NominalConcurrencyShares", "string", _shares),
        Column("Queues", "string", _of_queues("queues")),
        Column("HandSize", "string", _of_queues("hand_size")),
        Column("QueueLengthLimit", "string", _of_queues("queue_length_limit")),
        AGE,
    ),
    rules=level_rules,
)
