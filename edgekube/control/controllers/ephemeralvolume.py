"""Claims for the ephemeral volumes of pods: made for the pod, named after it, and gone with it.

Source: k8s.io/kubernetes pkg/controller/volume/ephemeral.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from edgekube.api.meta import ObjectMeta
from edgekube.control import owners, pods
from edgekube.control.config import Config
from edgekube.kinds.core import persistentvolumeclaim as claim_kind
from edgekube.kinds.core import pod as pod_kind
from edgekube.kinds.core.persistentvolumeclaim import PersistentVolumeClaim
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.volume import Volume
from edgekube.reconcile.drive import Caches, Controller, Key, Watch
from edgekube.reconcile.plan import Action, Create, Note, Plan, Tell, about


@dataclass(frozen=True, slots=True)
class Seen:
    """A pod, its ephemeral volumes that have no claim yet, and the names that are taken by claims of others."""

    pod: Pod
    missing: Sequence[Volume]
    foreign: Sequence[str]


def claim_name(pod: Pod, volume: Volume) -> str:
    """The name of a volume's claim."""
    return f"{pod.metadata.name}-{volume.name}"


def reconcile(seen: Seen) -> Plan:
    """Make what is missing; a name that is taken is a person's to resolve."""
    reference = about(pod_kind.KIND, seen.pod)
    actions: list[Action] = [
        Tell(
            Note(
                reference,
                "Warning",
                "FailedBinding",
                f'PVC "{name}" was not created for pod "{seen.pod.metadata.name}"',
            )
        )
        for name in seen.foreign
    ]
    for volume in seen.missing:
        failed = Note(reference, "Warning", "FailedCreate", "PVC: {error}")
        actions.append(Create(kind=claim_kind.KIND, item=_claim(seen.pod, volume), failed=failed))
    return Plan(actions)


def _claim(pod: Pod, volume: Volume) -> PersistentVolumeClaim:
    template = volume.ephemeral.volume_claim_template if volume.ephemeral is not None else None
    assert template is not None, "only ephemeral volumes with a template are looked at"
    return PersistentVolumeClaim(
        metadata=ObjectMeta(
            name=claim_name(pod, volume),
            namespace=pod.metadata.namespace,
            labels=dict(template.metadata.labels),
            annotations=dict(template.metadata.annotations),
            owner_references=[owners.reference_to(pod_kind.KIND, pod)],
        ),
        spec=template.spec,
    )


def _volumes(pod: Pod) -> list[Volume]:
    return [v for v in pod.spec.volumes if v.ephemeral is not None and v.ephemeral.volume_claim_template is not None]


def observe(caches: Caches, key: Key, _: datetime) -> Seen | None:
    """Pods that are not on their way out."""
    pod = caches.of(pod_kind.KIND).get(*key)
    if pod is None or not pods.is_active(pod) or not _volumes(pod):
        return None
    cache = caches.of(claim_kind.KIND)
    claims = {volume.name: cache.get(key.namespace, claim_name(pod, volume)) for volume in _volumes(pod)}
    missing = [volume for volume in _volumes(pod) if claims[volume.name] is None]
    found = [claim for claim in claims.values() if claim is not None]
    foreign = [c.metadata.name for c in found if owners.controller_uid(c) != pod.metadata.uid]
    return Seen(pod, missing, foreign)


def of_pod(_: Caches, pod: Pod, __: Pod | None = None) -> Iterable[Key]:
    """Pods with ephemeral volumes."""
    if _volumes(pod):
        yield Key(pod.metadata.namespace, pod.metadata.name)


def controller(_: Config) -> Controller[Seen]:
    """The loop."""
    return Controller(
        name="ephemeral-volume-controller",
        watches=(
            Watch(pod_kind.KIND, of_pod),
            Watch(claim_kind.KIND, owners.keys_of_owner(pod_kind.KIND)),
        ),
        observe=observe,
        reconcile=reconcile,
    )
