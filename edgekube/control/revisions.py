"""ControllerRevisions: the history of a DaemonSet's or StatefulSet's template.

Pure. Source: k8s.io/kubernetes pkg/controller/history, and the getPatch functions of both controllers.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from edgekube.api.kind import ENCODER, Kind
from edgekube.api.meta import ObjectMeta, decode_scalar
from edgekube.control import owners
from edgekube.control.hashing import hash_of
from edgekube.kinds.apps import controllerrevision
from edgekube.kinds.apps.controllerrevision import ControllerRevision
from edgekube.kinds.core.podtemplate import PodTemplateSpec
from edgekube.reconcile.plan import Action, Create, Delete, Update

KIND = controllerrevision.KIND
LABEL = "controller-revision-hash"
CHANGE_CAUSE = "kubernetes.io/change-cause"


@dataclass(frozen=True, slots=True)
class History:
    """The revisions of an owner, oldest first, the one of its template now, and what must be written for it to exist."""

    revisions: Sequence[ControllerRevision]
    now: ControllerRevision
    writes: Sequence[Action]


def data_of(template: PodTemplateSpec) -> dict[str, Any]:
    """The template as the strategic merge patch that would restore it."""
    document: dict[str, Any] = msgspec.json.decode(ENCODER.encode(template))
    return {"spec": {"template": {**document, "$patch": "replace"}}}


def template_of(revision: ControllerRevision) -> PodTemplateSpec:
    """The template a revision remembers."""
    document = ((revision.data or {}).get("spec") or {}).get("template") or {}
    return msgspec.convert(document, PodTemplateSpec, dec_hook=decode_scalar)


def history(
    kind: Kind[Any],
    owner: Any,
    revisions: Sequence[ControllerRevision],
    labels: dict[str, str],
    collisions: int | None,
) -> History:
    """Find the owner's template among its revisions; an old one that is wanted again becomes the newest."""
    ordered = sorted(revisions, key=lambda item: (item.revision, item.metadata.creation_timestamp or ""))
    data = data_of(owner.spec.template)
    newest = ordered[-1].revision if ordered else 0
    equal = [item for item in ordered if item.data == data]
    if equal:
        found = equal[-1]
        if found.revision == newest:
            return History(ordered, found, ())
        raised = msgspec.structs.replace(found, revision=newest + 1)
        return History(ordered, raised, [Update(kind=KIND, item=raised)])
    short = hash_of(data, collisions)
    annotations = {key: value for key, value in owner.metadata.annotations.items() if key == CHANGE_CAUSE}
    made = ControllerRevision(
        metadata=ObjectMeta(
            name=f"{owner.metadata.name}-{short}",
            namespace=owner.metadata.namespace,
            labels={**labels, LABEL: short},
            annotations=annotations,
            owner_references=[owners.reference_to(kind, owner)],
        ),
        data=data,
        revision=newest + 1,
    )
    return History(ordered, made, [Create(kind=KIND, item=made)])


def surplus(found: History, live: Collection[str], limit: int | None) -> list[Action]:
    """Deletions of the oldest revisions beyond the limit that no pod and no status names."""
    if limit is None:
        return []
    spare = [item for item in found.revisions if item.metadata.name not in live and item.data != found.now.data]
    return [
        Delete(kind=KIND, namespace=item.metadata.namespace, name=item.metadata.name, uid=item.metadata.uid)
        for item in spare[: max(0, len(spare) - limit)]
    ]
