"""Subresources with a way of their own, one file each, and the list of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekube.server.context import Authorizer
from edgekube.server.resources import ANY_SCALE, Subresource

if TYPE_CHECKING:
    from edgekube.server.registry import Registry

SCALED = ("apps/deployments", "apps/replicasets", "apps/statefulsets", "/replicationcontrollers")


def built_in(registry: Registry, authorizer: Authorizer) -> dict[str, Subresource]:
    """Handlers by "group/plural/subresource" (or "group/plural" for what can only be created)."""
    from edgekube.server.subresources.binding import Binding
    from edgekube.server.subresources.eviction import Eviction
    from edgekube.server.subresources.scale import Scale

    binding = Binding(registry)
    return {
        **{f"{resource}/scale": Scale(registry) for resource in SCALED},
        ANY_SCALE: Scale(registry),
        "/pods/binding": binding,
        "/bindings": binding,
        "/pods/eviction": Eviction(registry),
    }
