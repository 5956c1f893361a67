"""configMap volumes: keys of a ConfigMap as files, following its changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgekube.kinds.core import configmap
from edgekube.kinds.core.volume import ConfigMapVolumeSource, KeyToPath
from edgekube.node.volumes.payload import PayloadFile, on_disk, project
from edgekube.node.volumes.volume import Mounted, Place, VolumeTrouble, VolumeType

DEFAULT_MODE = 0o644


def chosen(
    pairs: Mapping[str, bytes], items: Sequence[KeyToPath], mode: int, *, optional: bool, missing: str
) -> dict[str, PayloadFile]:
    """All pairs, or those `items` names under the paths it gives. Raises VolumeTrouble for a key that is not there."""
    if not items:
        return {key: PayloadFile(value, mode) for key, value in pairs.items()}
    made = {}
    for item in items:
        if item.key not in pairs:
            if optional:
                continue
            raise VolumeTrouble(missing)
        made[item.path] = PayloadFile(pairs[item.key], mode if item.mode is None else item.mode)
    return made


async def config_map_files(
    place: Place, name: str, items: Sequence[KeyToPath], mode: int, *, optional: bool
) -> dict[str, PayloadFile]:
    """The files of a ConfigMap. Raises VolumeTrouble when it must exist and does not."""
    namespace = place.pod.metadata.namespace
    found = await place.objects.need(configmap.KIND, namespace, name)
    if found is None:
        if optional:
            return {}
        raise VolumeTrouble(f'configmap "{name}" not found')
    pairs = {key: text.encode() for key, text in found.data.items()} | dict(found.binary_data)
    missing = f"configmap references non-existent config key: {next((i.key for i in items if i.key not in pairs), '')}"
    return chosen(pairs, items, mode, optional=optional, missing=missing)


async def _files(place: Place) -> dict[str, PayloadFile]:
    source = place.volume.config_map or ConfigMapVolumeSource()
    mode = DEFAULT_MODE if source.default_mode is None else source.default_mode
    return await config_map_files(place, source.name, source.items, mode, optional=bool(source.optional))


async def mount(place: Place) -> Mounted:
    """Write the files."""
    return on_disk(place, await _files(place))


async def refresh(place: Place, mounted: Mounted) -> None:
    """Swap in new content."""
    project(mounted.path, await _files(place), place.group)


TYPE = VolumeType("kubernetes.io~configmap", lambda volume: volume.config_map, mount, refresh)
