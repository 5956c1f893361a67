"""flowcontrol.apiserver.k8s.io/v1 PriorityLevelConfiguration: its types and rules."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, log2
from typing import Annotated

from edgekube.api import rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
from edgekube.api.meta import Int32, Object, Struct, Time, list_map, null, zero
from edgekube.kinds.columns import AGE, NAME, NONE, described
from edgekube.kinds.flowcontrol.flowschema import condition_rules


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
QUEUES_MOST, HASH_BITS = 10_000_000, 60
#: Every server has this level as it is; who may change the shares of "exempt" may do so.
CATCH_ALL_SPEC = PriorityLevelConfigurationSpec(
    type="Limited",
    limited=LimitedPriorityLevelConfiguration(
        nominal_concurrency_shares=5, lendable_percent=0, limit_response=LimitResponse(type="Reject")
    ),
)
RESPONSES = ("Queue", "Reject")


def _limited_rules(limited: LimitedPriorityLevelConfiguration) -> list[FieldError]:
    path = "spec.limited"
    broken = _share_rules(path, limited.nominal_concurrency_shares, limited.lendable_percent)
    if limited.borrowing_limit_percent is not None and limited.borrowing_limit_percent < 0:
        words = "if specified, must be a non-negative integer"
        broken.append(rules.invalid(f"{path}.borrowingLimitPercent", limited.borrowing_limit_percent, words))
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
        if queuing.queues > QUEUES_MOST:
            words = f"must not be greater than {QUEUES_MOST}"
            broken.append(rules.invalid(f"{at}.queuing.queues", queuing.queues, words))
        if queuing.hand_size <= 0:
            broken.append(rules.invalid(f"{at}.queuing.handSize", queuing.hand_size, "must be positive"))
        elif queuing.hand_size > queuing.queues:
            words = f"should not be greater than queues ({queuing.queues})"
            broken.append(rules.invalid(f"{at}.queuing.handSize", queuing.hand_size, words))
        elif _entropy_bits(queuing.queues, queuing.hand_size) > HASH_BITS:
            words = (
                f"required entropy bits of deckSize {queuing.queues} and handSize {queuing.hand_size}"
                f" should not be greater than {HASH_BITS}"
            )
            broken.append(rules.invalid(f"{at}.queuing.handSize", queuing.hand_size, words))
    return broken


def _entropy_bits(deck: int, hand: int) -> int:
    """How many bits of a hash dealing a hand from a deck takes. Source: apiserver pkg/util/shufflesharding."""
    return ceil(log2(deck) * hand)


def _share_rules(path: str, shares: int | None, percent: int | None) -> list[FieldError]:
    broken: list[FieldError] = []
    if shares is not None and shares < 0:
        broken.append(rules.invalid(f"{path}.nominalConcurrencyShares", shares, "must be a non-negative integer"))
    if percent is not None and not 0 <= percent <= 100:
        broken.append(rules.invalid(f"{path}.lendablePercent", percent, "must be between 0 and 100, inclusive"))
    return broken


def level_rules(level: PriorityLevelConfiguration) -> list[FieldError]:
    """Limited or exempt, each with its own members."""
    spec, name = level.spec, level.metadata.name
    broken: list[FieldError] = []
    if (name == "exempt") is not (spec.type == "Exempt"):
        broken.append(rules.invalid("spec.type", spec.type, "type must be 'Exempt' if and only if name is 'exempt'"))
    broken += rules.one_of("spec.type", spec.type, TYPES, empty="unsupported")
    if spec.type == "Exempt":
        if spec.limited is not None:
            broken.append(rules.forbidden("spec.limited", "must be nil if the type is not Limited"))
        if spec.exempt is not None:
            exempt = spec.exempt
            broken += _share_rules("spec.exempt", exempt.nominal_concurrency_shares, exempt.lendable_percent)
    if spec.type == "Limited":
        if spec.exempt is not None:
            broken.append(rules.forbidden("spec.exempt", "must be nil if the type is Limited"))
        if spec.limited is None:
            broken.append(rules.required("spec.limited", "must not be empty when type is Limited"))
        else:
            broken += _limited_rules(spec.limited)
    if name == "catch-all" and spec != CATCH_ALL_SPEC:
        broken.append(rules.invalid("spec", spec, "spec of 'catch-all' must equal the fixed value"))
    return broken + condition_rules(level.status.conditions)


def status_rules(new: PriorityLevelConfiguration, _old: PriorityLevelConfiguration) -> list[FieldError]:
    """See `condition_rules`."""
    return condition_rules(new.status.conditions)


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
    status_rules=status_rules,
)
