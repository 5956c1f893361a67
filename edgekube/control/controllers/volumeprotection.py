"""A claim in use by a pod, and a volume bound to a claim, are not deleted under them: a finalizer holds them.

Source: k8s.io/kubernetes pkg/controller/volume/pvcprotection and pvprotection. The finalizers are put on by admission upstream;
here a missing one is put on as well.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from edgekube.api.kind import Kind
from edgekube.api.meta import Object
from edgekube.control import pods
from edgekube.control.config import Config
from edgekube.control.scheduler.rules.volumebinding import claim_names
from edgekube.kinds.core import persistentvolume as volume_kind
from edgekube.kinds.core import persistentvolumeclaim as claim_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.pod import Pod
from edgekube.reconcile.drive import Caches, Controller, Key, Watch, own_key
from edgekube.reconcile.plan import NOTHING, Patch, Plan

CLAIM_FINALIZER, VOLUME_FINALIZER = "kubernetes.io/pvc-protection", "kubernetes.io/pv-protection"


@dataclass(frozen=True, slots=True)
class Seen:
    """A claim or a volume, and whether something needs it."""

    kind: Kind[Any]
    item: Object
    finalizer: str
    in_use: bool


def reconcile(seen: Seen) -> Plan:
    """On while it lives, off once it is to go and nobody needs it."""
    metadata = seen.item.metadata
    held, going = seen.finalizer in metadata.finalizers, metadata.deletion_timestamp is not None
    if going == held and not (going and seen.in_use):
        left = [name for name in metadata.finalizers if name != seen.finalizer]
        wanted = left if going else [*left, seen.finalizer]
        if wanted == metadata.finalizers:
            return NOTHING
        patch = {"metadata": {"resourceVersion": metadata.resource_version, "finalizers": wanted or None}}
        return Plan([Patch(kind=seen.kind, namespace=metadata.namespace, name=metadata.name, patch=patch)])
    return NOTHING


def observe(caches: Caches, key: Key, _: datetime) -> Seen | None:
    """A claim by namespace and name, a volume by name alone."""
    if not key.namespace:
        volume = caches.of(volume_kind.KIND).get("", key.name)
        if volume is None:
            return None
        return Seen(volume_kind.KIND, volume, VOLUME_FINALIZER, volume.status.phase == "Bound")
    claim = caches.of(claim_kind.KIND).get(*key)
    if claim is None:
        return None
    using = caches.of(pod_kind.KIND).list(key.namespace) if claim.metadata.deletion_timestamp is not None else ()
    in_use = any(not pods.is_terminal(pod) and key.name in claim_names(pod) for pod in using)
    return Seen(claim_kind.KIND, claim, CLAIM_FINALIZER, in_use)


def of_pod(caches: Caches, pod: Pod, _: Pod | None = None) -> Iterable[Key]:
    """A pod that finished or is gone lets go of its claims."""
    if (
        pods.is_terminal(pod)
        or pod.metadata.deletion_timestamp is not None
        or caches.of(pod_kind.KIND).get(pod.metadata.namespace, pod.metadata.name) is None
    ):
        for name in claim_names(pod):
            yield Key(pod.metadata.namespace, name)


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="persistentvolume-protection-controller",
        watches=(Watch(claim_kind.KIND, own_key), Watch(volume_kind.KIND, own_key), Watch(pod_kind.KIND, of_pod)),
        observe=observe,
        reconcile=reconcile,
    )
