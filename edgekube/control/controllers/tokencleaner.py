"""Bootstrap tokens go when their time is over. Source: k8s.io/kubernetes pkg/controller/bootstrap/tokencleaner.go."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from edgekube.control import tokens
from edgekube.control.config import Config
from edgekube.kinds.core import secret as secret_kind
from edgekube.kinds.core.secret import Secret
from edgekube.reconcile.drive import Caches, Controller, Key, Watch
from edgekube.reconcile.plan import NOTHING, Delete, Plan

KIND = secret_kind.KIND


@dataclass(frozen=True, slots=True)
class Seen:
    """A token and the time."""

    token: Secret
    now: datetime


def reconcile(seen: Seen) -> Plan:
    """Delete it, or look again when its time is over."""
    ends = tokens.expires_at(seen.token)
    if ends is None:
        return NOTHING
    left_s = (ends - seen.now).total_seconds()
    if left_s > 0:
        return Plan(look_again_s=left_s + 0.5)
    metadata = seen.token.metadata
    return Plan([Delete(kind=KIND, namespace=metadata.namespace, name=metadata.name, uid=metadata.uid)])


def observe(caches: Caches, key: Key, now: datetime) -> Seen | None:
    """Only tokens."""
    token = caches.of(KIND).get(key.namespace, key.name)
    return None if token is None or token.type != tokens.TYPE else Seen(token, now)


def of_secret(_: Caches, item: Secret, __: Secret | None = None) -> Iterable[Key]:
    """The token itself."""
    if item.type == tokens.TYPE and item.metadata.namespace == tokens.NAMESPACE:
        yield Key(item.metadata.namespace, item.metadata.name)


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="token-cleaner-controller",
        watches=(Watch(KIND, of_secret),),
        observe=observe,
        reconcile=reconcile,
    )
