"""What a fresh server has before anybody asks: system namespaces, priority classes, the `kubernetes` service and the like.

Everything is created where it is missing and left alone where it is there. Default cluster roles are the authoriser's.
Source: kubernetes pkg/controlplane (controller/, instance.go) and pkg/registry/*/rest (post-start hooks).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekube.server.registry import Registry

if TYPE_CHECKING:
    from edgekube.server.apiserver import Settings


async def ensure(registry: Registry, settings: Settings) -> None:
    """Create what is missing."""
