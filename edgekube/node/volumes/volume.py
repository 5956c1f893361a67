"""What a volume type is: how it is told from others, put in place, refreshed and taken away.

A type knows its own source and the `Place` it is given, nothing of containers or runtimes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from edgekube.api.kind import Kind
from edgekube.api.meta import Object
from edgekube.errors import EdgekubeError
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.volume import Volume

T = TypeVar("T", bound=Object)


class VolumeTrouble(EdgekubeError):
    """A volume cannot be made ready now; the message is the FailedMount event's. Tried again."""


class Objects(Protocol):
    """API objects a pod refers to, by name; None when there is no such object."""

    async def need(self, kind: Kind[T], namespace: str, name: str) -> T | None: ...


class Tokens(Protocol):
    """ServiceAccount tokens bound to a pod, renewed before they run out."""

    async def token(self, pod: Pod, audience: str, expiration_s: int) -> str: ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where one volume of one pod goes, and what it may ask of the node."""

    pod: Pod
    volume: Volume
    directory: Path  # .../pods/<uid>/volumes/<type>/<name>; not made yet
    objects: Objects
    tokens: Tokens
    allocatable: Mapping[str, str]
    node_name: str
    local_volumes: Path = Path("/nonexistent")  # what our own provisioner's volumes are directories of

    @property
    def group(self) -> int | None:
        """The pod's fsGroup."""
        context = self.pod.spec.security_context
        return context.fs_group if context else None


@dataclass(frozen=True, slots=True)
class Mounted:
    """A volume in place: what to bind into containers."""

    path: Path
    read_only: bool = False


async def keep(place: Place, mounted: Mounted) -> None:
    """For types whose content does not follow anything."""


@dataclass(frozen=True, slots=True)
class VolumeType:
    """One type. `mount` puts it in place (repeatable, also after a restart); `refresh` brings content up to date."""

    name: str  # directory name, as the kubelet has it: "kubernetes.io~empty-dir"
    source: Callable[[Volume], Any]  # the member of Volume it reads, or None
    mount: Callable[[Place], Awaitable[Mounted]]
    refresh: Callable[[Place, Mounted], Awaitable[None]] = keep
