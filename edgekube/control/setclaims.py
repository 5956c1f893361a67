"""The pod and the claims of one number of a StatefulSet, and who owns those claims.

Pure. Source: k8s.io/kubernetes pkg/controller/statefulset/stateful_set_utils.go.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from edgekube.api.meta import ObjectMeta
from edgekube.control import owners, revisions
from edgekube.kinds.apps import statefulset as set_kind
from edgekube.kinds.apps.statefulset import StatefulSet
from edgekube.kinds.core import persistentvolumeclaim as claim_kind
from edgekube.kinds.core.persistentvolumeclaim import PersistentVolumeClaim
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podtemplate import PodTemplateSpec
from edgekube.kinds.core.volume import PersistentVolumeClaimVolumeSource, Volume
from edgekube.reconcile.plan import Action, Patch

KIND = set_kind.KIND
POD_NAME = "statefulset.kubernetes.io/pod-name"
POD_INDEX = "apps.kubernetes.io/pod-index"


def pod_for(owner: StatefulSet, template: PodTemplateSpec, number: int, revision: str) -> Pod:
    """The pod of one number: its name is its identity, its volumes are its own claims."""
    name = f"{owner.metadata.name}-{number}"
    pod = owners.pod_from(template, KIND, owner, name=name)
    pod.metadata.labels.update({POD_NAME: name, POD_INDEX: str(number), revisions.LABEL: revision})
    claims = {
        claim.metadata.name: Volume(
            name=claim.metadata.name,
            persistent_volume_claim=PersistentVolumeClaimVolumeSource(claim_name=claim_name(owner, claim, number)),
        )
        for claim in owner.spec.volume_claim_templates
    }
    volumes = [*claims.values(), *(volume for volume in pod.spec.volumes if volume.name not in claims)]
    pod.spec = msgspec.structs.replace(pod.spec, volumes=volumes, hostname=name, subdomain=owner.spec.service_name)
    return pod


def claim_name(owner: StatefulSet, template: PersistentVolumeClaim, number: int) -> str:
    """The name of a number's claim."""
    return f"{template.metadata.name}-{owner.metadata.name}-{number}"


def claims_of(owner: StatefulSet, number: int) -> list[PersistentVolumeClaim]:
    """The claims of one number, as they are created."""
    labels = dict(owner.spec.selector.match_labels) if owner.spec.selector is not None else {}
    return [
        PersistentVolumeClaim(
            metadata=ObjectMeta(
                name=claim_name(owner, template, number),
                namespace=owner.metadata.namespace,
                labels={**template.metadata.labels, **labels},
                annotations=dict(template.metadata.annotations),
                owner_references=[owners.reference_to(KIND, owner)] if _goes_with(owner, "when_deleted") else [],
            ),
            spec=template.spec,
        )
        for template in owner.spec.volume_claim_templates
    ]


def _goes_with(owner: StatefulSet, event: str) -> bool:
    policy = owner.spec.persistent_volume_claim_retention_policy
    return policy is not None and getattr(policy, event) == "Delete"


def owner_changes(
    owner: StatefulSet, pod: Pod, number: int, claims: Mapping[str, PersistentVolumeClaim], *, condemned: bool
) -> list[Action]:
    """Patches that give a number's claims the owners their retention policy asks for."""
    wanted: list[dict[str, Any]] = []
    if condemned and _goes_with(owner, "when_scaled"):
        wanted = [_wire("v1", "Pod", pod.metadata)]
    elif _goes_with(owner, "when_deleted"):
        wanted = [
            {**_wire(KIND.api_version, KIND.name, owner.metadata), "controller": True, "blockOwnerDeletion": True}
        ]
    names = {entry["uid"] for entry in wanted}
    actions: list[Action] = []
    for template in owner.spec.volume_claim_templates:
        claim = claims.get(claim_name(owner, template, number))
        if claim is None:
            continue
        ours = {owner.metadata.uid, pod.metadata.uid}
        now = {reference.uid for reference in claim.metadata.owner_references if reference.uid in ours}
        stale = [
            reference.uid
            for reference in claim.metadata.owner_references
            if reference.kind == "Pod" and reference.name == pod.metadata.name and reference.uid != pod.metadata.uid
        ]
        if now == names and not stale:
            continue
        gone = [{"$patch": "delete", "uid": uid} for uid in [*(now - names), *stale]]
        patch = {"metadata": {"uid": claim.metadata.uid, "ownerReferences": [*gone, *wanted]}}
        actions.append(
            Patch(
                kind=claim_kind.KIND,
                namespace=claim.metadata.namespace,
                name=claim.metadata.name,
                patch=patch,
                content_type=owners.STRATEGIC,
            )
        )
    return actions


def _wire(api_version: str, kind: str, metadata: ObjectMeta) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": kind, "name": metadata.name, "uid": metadata.uid}
