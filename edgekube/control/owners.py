"""Who belongs to whom: controller references, adopting what fits, releasing what does not, and the pod made from a template.

Pure; what has to be written comes back as actions.
Source: k8s.io/kubernetes pkg/controller/controller_ref_manager.go, controller_utils.go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from edgekube.api.kind import Kind
from edgekube.api.meta import Object, ObjectMeta, OwnerReference
from edgekube.api.selectors import LabelQuery
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.podtemplate import PodTemplateSpec
from edgekube.reconcile.drive import Caches, CacheView, Change, Key
from edgekube.reconcile.plan import Action, Patch

T = TypeVar("T", bound=Object)

STRATEGIC = "application/strategic-merge-patch+json"
LONGEST_PREFIX = 63 - 5  # a generated name must stay a DNS label


def controller_of(item: Object) -> OwnerReference | None:
    """The reference of the one owner that manages this object."""
    for reference in item.metadata.owner_references:
        if reference.controller:
            return reference
    return None


def controller_uid(item: Object) -> str:
    """The uid of the managing owner, "" when there is none."""
    reference = controller_of(item)
    return reference.uid if reference is not None else ""


def reference_to(kind: Kind[Any], owner: Object) -> OwnerReference:
    """The controller reference a dependent of `owner` carries."""
    return OwnerReference(
        api_version=kind.api_version,
        kind=kind.name,
        name=owner.metadata.name,
        uid=owner.metadata.uid,
        controller=True,
        block_owner_deletion=True,
    )


def is_owned_by(reference: OwnerReference | None, kind: Kind[Any]) -> bool:
    """Whether a reference points at this kind (any version of its group)."""
    return (
        reference is not None and reference.kind == kind.name and reference.api_version.rpartition("/")[0] == kind.group
    )


def claim(
    kind: Kind[T],
    items: Iterable[T],
    owner_kind: Kind[Any],
    owner: Object,
    query: LabelQuery,
    *,
    may_adopt: Callable[[T], bool] = lambda _: True,
    patch_more: Mapping[str, Any] | None = None,
) -> tuple[list[T], list[Action]]:
    """What is `owner`'s among `items`, and the patches that adopt matching orphans and release what no longer matches.

    An adopted object counts as owned at once. An owner being deleted neither adopts nor releases.
    """
    mine: list[T] = []
    patches: list[Action] = []
    dying = owner.metadata.deletion_timestamp is not None
    for item in items:
        reference = controller_of(item)
        matches = query.matches(item.metadata.labels)
        if reference is not None:
            if reference.uid != owner.metadata.uid:
                continue
            if matches:
                mine.append(item)
            elif not dying:
                patches.append(_release(kind, item, owner))
        elif matches and not dying and item.metadata.deletion_timestamp is None and may_adopt(item):
            patches.append(_adopt(kind, item, owner_kind, owner))
            mine.append(item)
    return mine, patches


def _adopt(kind: Kind[Any], item: Object, owner_kind: Kind[Any], owner: Object) -> Patch:
    reference = {
        "apiVersion": owner_kind.api_version,
        "kind": owner_kind.name,
        "name": owner.metadata.name,
        "uid": owner.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }
    patch = {"metadata": {"ownerReferences": [reference], "uid": item.metadata.uid}}
    return Patch(
        kind=kind, namespace=item.metadata.namespace, name=item.metadata.name, patch=patch, content_type=STRATEGIC
    )


def _release(kind: Kind[Any], item: Object, owner: Object) -> Patch:
    gone = {"$patch": "delete", "uid": owner.metadata.uid}
    patch = {"metadata": {"ownerReferences": [gone], "uid": item.metadata.uid}}
    return Patch(
        kind=kind, namespace=item.metadata.namespace, name=item.metadata.name, patch=patch, content_type=STRATEGIC
    )


def pod_from(template: PodTemplateSpec, owner_kind: Kind[Any], owner: Object, *, name: str = "") -> Pod:
    """A pod as a controller makes it: labels, annotations and finalizers of the template, a generated name, one owner."""
    prefix = "" if name else f"{owner.metadata.name}-"
    return Pod(
        metadata=ObjectMeta(
            name=name,
            generate_name=prefix,
            namespace=owner.metadata.namespace,
            labels=dict(template.metadata.labels),
            annotations=dict(template.metadata.annotations),
            finalizers=list(template.metadata.finalizers),
            owner_references=[reference_to(owner_kind, owner)],
        ),
        spec=template.spec,
    )


def keys_of_owner(owner_kind: Kind[Any], *, orphans: Callable[[Caches, Any], Iterable[Key]] | None = None) -> Change:
    """Changes of a dependent point at its owner of this kind (the previous one too); an orphan at whoever might adopt it."""

    def keys(caches: Caches, item: Object, previous: Object | None = None) -> Iterable[Key]:
        now, before = controller_of(item), controller_of(previous) if previous is not None else None
        if before is not None and (now is None or now.uid != before.uid) and is_owned_by(before, owner_kind):
            yield Key(item.metadata.namespace, before.name)
        if now is not None:
            if is_owned_by(now, owner_kind):
                yield Key(item.metadata.namespace, now.name)
        elif orphans is not None and item.metadata.deletion_timestamp is None:
            yield from orphans(caches, item)

    return keys


def those_selecting(
    owner_kind: Kind[T], query_of: Callable[[T], LabelQuery]
) -> Callable[[Caches, Object], Iterable[Key]]:
    """Owners in the object's namespace whose selector matches it (empty selectors never adopt)."""

    def keys(caches: Caches, item: Object) -> Iterable[Key]:
        if not item.metadata.labels:
            return
        for owner in caches.of(owner_kind).list(item.metadata.namespace):
            query = query_of(owner)
            if not query.everything and query.matches(item.metadata.labels):
                yield Key(owner.metadata.namespace, owner.metadata.name)

    return keys


def owned(items: Sequence[T], owner: Object) -> list[T]:
    """Those of `items` managed by `owner`."""
    return [item for item in items if controller_uid(item) == owner.metadata.uid]


def owner_index(item: Object) -> list[str]:
    """The values of the "owner" index: the controller's uid, or "orphan:<namespace>" for what nobody manages."""
    return [controller_uid(item) or f"orphan:{item.metadata.namespace}"]


def candidates(cache: CacheView[T], owner: Object) -> list[T]:
    """What is or might become `owner`'s: its dependents and the orphans of its namespace."""
    metadata = owner.metadata
    return [*cache.by("owner", metadata.uid), *cache.by("owner", f"orphan:{metadata.namespace}")]
