"""coordination.k8s.io/v1 Lease: its types and rules."""

from __future__ import annotations

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Keeping, Kind
from edgekube.api.meta import Int32, MicroTime, Object, Struct, zero
from edgekube.kinds.columns import AGE, NAME, described


class LeaseSpec(Struct):
    holder_identity: str | None = None
    lease_duration_seconds: Int32 | None = None
    acquire_time: MicroTime | None = None
    renew_time: MicroTime | None = None
    lease_transitions: Int32 | None = None
    strategy: str | None = None
    preferred_holder: str | None = None


class Lease(Object):
    spec: LeaseSpec = zero(LeaseSpec)


POSITIVE = "must be greater than 0"


STRATEGIES = ("OldestEmulationVersion",)


def lease_rules(lease: Lease) -> list[FieldError]:
    """Durations and counts are what they say."""
    spec = lease.spec
    broken: list[FieldError] = []
    if spec.lease_duration_seconds is not None and spec.lease_duration_seconds <= 0:
        broken.append(rules.invalid("spec.leaseDurationSeconds", spec.lease_duration_seconds, POSITIVE))
    if spec.lease_transitions is not None:
        broken += rules.not_negative("spec.leaseTransitions", spec.lease_transitions)
    if spec.strategy is not None and "/" in spec.strategy:
        broken += rules.each("spec.strategy.strategy", spec.strategy, names.qualified_name(spec.strategy))
    elif spec.strategy is not None and spec.strategy not in STRATEGIES:
        broken.append(rules.not_supported("spec.strategy.strategy", spec.strategy, STRATEGIES))
    if spec.preferred_holder and not spec.strategy:
        broken.append(rules.forbidden("spec.preferredHolder", "may only be specified if `strategy` is defined"))
    return broken


KIND = Kind(
    type=Lease,
    group="coordination.k8s.io",
    version="v1",
    name="Lease",
    plural="leases",
    singular="lease",
    keeping=Keeping.MEMORY,
    generation=False,
    allow_create_on_update=True,
    allow_unconditional_update=False,
    columns=described("leases", NAME, Column("Holder", "string", lambda item, _: item.spec.holder_identity or ""), AGE),
    rules=lease_rules,
)
