"""coordination.k8s.io/v1 Lease: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Column, Keeping, Kind
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
)
