"""What a write through a resource or one of its subresources may change: the new object cut back to that.

Pure functions from (submitted, present) to the object that will be stored. The main resource changes everything but status,
`status` nothing but status and metadata, and a few subresources have shapes of their own.
Source: the strategies under kubernetes pkg/registry.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from edgekube.api.kind import Kind
from edgekube.server.customkinds import CustomObject

Shape = Callable[[Any, Any], Any]

# Kinds whose status writes leave labels as they are.
LABELS_FIXED_IN_STATUS = frozenset({"apps/deployments", "apiregistration.k8s.io/apiservices"})


def reset_for_create(kind: Kind[Any], item: Any) -> Any:
    """The submitted object without a status, where that has its own subresource."""
    if not kind.has_status or kind.keeps_status_on_create:
        return item
    return replace(item, status=type(item)().status)


def _main(kind: Kind[Any]) -> Shape:
    def shape(new: Any, old: Any) -> Any:
        return replace(new, status=old.status) if kind.has_status else new

    return shape


def _status(kind: Kind[Any]) -> Shape:
    def shape(new: Any, old: Any) -> Any:
        meta = new.metadata
        if isinstance(new, CustomObject):
            meta = replace(old.metadata, managed_fields=meta.managed_fields)
        if kind.resource == "/pods":
            meta = replace(meta, owner_references=old.metadata.owner_references)
        if kind.resource in LABELS_FIXED_IN_STATUS:
            meta = replace(meta, labels=old.metadata.labels)
        return replace(old, metadata=meta, status=new.status)

    return shape


def _ephemeral_containers(new: Any, old: Any) -> Any:
    spec = replace(old.spec, ephemeral_containers=new.spec.ephemeral_containers)
    return replace(old, metadata=replace(old.metadata, managed_fields=new.metadata.managed_fields), spec=spec)


def _resize(new: Any, old: Any) -> Any:
    def resized(submitted: list[Any] | None, present: list[Any] | None) -> list[Any]:
        wanted = {container.name: container for container in submitted or ()}
        return [
            replace(one, resources=wanted[one.name].resources, resize_policy=wanted[one.name].resize_policy)
            if one.name in wanted
            else one
            for one in present or ()
        ]

    spec = replace(
        old.spec,
        containers=resized(new.spec.containers, old.spec.containers),
        init_containers=resized(new.spec.init_containers, old.spec.init_containers),
    )
    return replace(old, metadata=replace(old.metadata, managed_fields=new.metadata.managed_fields), spec=spec)


def _finalize(new: Any, old: Any) -> Any:
    return replace(old, metadata=new.metadata, spec=replace(old.spec, finalizers=new.spec.finalizers))


def _approval(new: Any, old: Any) -> Any:
    status = replace(old.status, conditions=new.status.conditions)
    return replace(old, metadata=new.metadata, status=status)


SHAPES: dict[str, Shape] = {
    "ephemeralcontainers": _ephemeral_containers,
    "resize": _resize,
    "finalize": _finalize,
    "approval": _approval,
}


def shape_of(kind: Kind[Any], subresource: str) -> Shape:
    """How a write through `subresource` ("" for the resource itself) is cut back."""
    if not subresource:
        return _main(kind)
    if subresource == "status":
        return _status(kind)
    return SHAPES[subresource]
