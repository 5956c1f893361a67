"""downwardAPI volumes: what a pod may know about itself, as files that follow its labels and annotations."""

from __future__ import annotations

from collections.abc import Sequence

from edgekube.kinds.core.volume import DownwardAPIVolumeFile, DownwardAPIVolumeSource
from edgekube.node.pods.fields import Unresolved, field_value
from edgekube.node.pods.resources import resource_value
from edgekube.node.pods.seen import find_container
from edgekube.node.volumes.config_map import DEFAULT_MODE
from edgekube.node.volumes.payload import PayloadFile, in_memory, project
from edgekube.node.volumes.volume import Mounted, Place, VolumeTrouble, VolumeType


def downward_files(place: Place, items: Sequence[DownwardAPIVolumeFile], mode: int) -> dict[str, PayloadFile]:
    """The files of downward items."""
    made = {}
    for item in items:
        if item.field_ref is not None:
            try:
                text = field_value(place.pod, item.field_ref.field_path, node_name=place.node_name)
            except Unresolved as error:
                raise VolumeTrouble(str(error)) from None
        elif (wanted := item.resource_field_ref) is not None:
            container = find_container(place.pod, wanted.container_name)
            if container is None:
                raise VolumeTrouble(f"container {wanted.container_name} not found")
            text = resource_value(container, wanted.resource, wanted.divisor or "", place.allocatable)
        else:
            continue
        made[item.path] = PayloadFile(text.encode(), mode if item.mode is None else item.mode)
    return made


def _files(place: Place) -> dict[str, PayloadFile]:
    source = place.volume.downward_api or DownwardAPIVolumeSource()
    return downward_files(place, source.items, DEFAULT_MODE if source.default_mode is None else source.default_mode)


async def mount(place: Place) -> Mounted:
    """Write the files."""
    return in_memory(place, _files(place))


async def refresh(place: Place, mounted: Mounted) -> None:
    """Swap in new content."""
    project(mounted.path, _files(place), place.group)


TYPE = VolumeType("kubernetes.io~downward-api", lambda volume: volume.downward_api, mount, refresh)
