"""secret volumes: keys of a Secret as files in memory, following its changes."""

from __future__ import annotations

from collections.abc import Sequence

from edgekube.kinds.core import secret
from edgekube.kinds.core.volume import KeyToPath, SecretVolumeSource
from edgekube.node.volumes.config_map import DEFAULT_MODE, chosen
from edgekube.node.volumes.payload import PayloadFile, in_memory, project
from edgekube.node.volumes.volume import Mounted, Place, VolumeTrouble, VolumeType


async def secret_files(
    place: Place, name: str, items: Sequence[KeyToPath], mode: int, *, optional: bool
) -> dict[str, PayloadFile]:
    """The files of a Secret. Raises VolumeTrouble when it must exist and does not."""
    found = await place.objects.need(secret.KIND, place.pod.metadata.namespace, name)
    if found is None:
        if optional:
            return {}
        raise VolumeTrouble(f'secret "{name}" not found')
    missing = f"references non-existent secret key: {next((i.key for i in items if i.key not in found.data), '')}"
    return chosen(found.data, items, mode, optional=optional, missing=missing)


async def _files(place: Place) -> dict[str, PayloadFile]:
    source = place.volume.secret or SecretVolumeSource()
    mode = DEFAULT_MODE if source.default_mode is None else source.default_mode
    return await secret_files(place, source.secret_name, source.items, mode, optional=bool(source.optional))


async def mount(place: Place) -> Mounted:
    """Write the files on a tmpfs."""
    return in_memory(place, await _files(place))


async def refresh(place: Place, mounted: Mounted) -> None:
    """Swap in new content."""
    project(mounted.path, await _files(place), place.group)


TYPE = VolumeType("kubernetes.io~secret", lambda volume: volume.secret, mount, refresh)
