"""CSR cleaning: requests that were answered, refused or forgotten go after a while, and those whose certificate has expired.

Source: k8s.io/kubernetes pkg/controller/certificates/cleaner (the times).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from edgekube.api.certificates import APPROVED, DENIED, FAILED, ends_at
from edgekube.api.meta import parse_time
from edgekube.control.config import Config
from edgekube.kinds.certificates import certificatesigningrequest
from edgekube.kinds.certificates.certificatesigningrequest import CertificateSigningRequest
from edgekube.reconcile.drive import Caches, Controller, Key, Watch
from edgekube.reconcile.plan import Delete, Plan

KIND = certificatesigningrequest.KIND
DECIDED_KEPT = timedelta(hours=1)
PENDING_KEPT = timedelta(hours=24)
LOOK_S = 3600.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A request and the time."""

    request: CertificateSigningRequest
    now: datetime


def reconcile(seen: Seen) -> Plan:
    """Delete it, or look again when it may be due."""
    request = seen.request
    ends = due(request)
    if ends is not None and seen.now > ends:
        metadata = request.metadata
        return Plan([Delete(kind=KIND, namespace="", name=metadata.name, uid=metadata.uid)])
    left = LOOK_S if ends is None else (ends - seen.now).total_seconds() + 1
    return Plan(look_again_s=min(LOOK_S, left))


def due(request: CertificateSigningRequest) -> datetime | None:
    """When a request may go; None: not as it is now."""
    if not request.status.conditions:
        return _moment(request.metadata.creation_timestamp, PENDING_KEPT)
    ends: list[datetime] = []
    for condition in request.status.conditions:
        if condition.type in (DENIED, FAILED) or (condition.type == APPROVED and request.status.certificate):
            moment = _moment(condition.last_update_time, DECIDED_KEPT)
            if moment is not None:
                ends.append(moment)
            if condition.type == APPROVED and (expiry := _expiry(request.status.certificate)) is not None:
                ends.append(expiry)
    return min(ends, default=None)


def _moment(text: str | None, kept: timedelta) -> datetime | None:
    return parse_time(text) + kept if text else None


def _expiry(certificate: bytes) -> datetime | None:
    try:
        return ends_at(certificate)
    except ValueError:
        return None


def observe(caches: Caches, key: Key, now: datetime) -> Seen | None:
    """Every request."""
    request = caches.of(KIND).get("", key.name)
    return None if request is None else Seen(request, now)


def of_request(_: Caches, item: CertificateSigningRequest, __: object = None) -> Iterable[Key]:
    """The request itself."""
    yield Key("", item.metadata.name)


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="certificatesigningrequest-cleaner-controller",
        watches=(Watch(KIND, of_request),),
        observe=observe,
        reconcile=reconcile,
    )
