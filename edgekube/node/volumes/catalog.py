"""Every volume type this node can mount, one line each."""

from __future__ import annotations

from edgekube.kinds.core.volume import Volume
from edgekube.node.volumes import claim, config_map, downward_api, empty_dir, host_path, projected, secret
from edgekube.node.volumes.volume import VolumeTrouble, VolumeType

TYPES: tuple[VolumeType, ...] = (
    empty_dir.TYPE,
    host_path.TYPE,
    config_map.TYPE,
    secret.TYPE,
    projected.TYPE,
    downward_api.TYPE,
    claim.TYPE,
)


def type_of(volume: Volume) -> VolumeType:
    """The type of a volume; one without a source is an emptyDir. Raises VolumeTrouble for a type not known here."""
    for kind in TYPES:
        if kind.source(volume) is not None:
            return kind
    others = [name for name in volume.__struct_fields__ if name != "name" and getattr(volume, name) is not None]
    if not others:
        return empty_dir.TYPE
    raise VolumeTrouble(f"no volume plugin matched: {others[0]}")
