"""storage.k8s.io/v1 VolumeAttachment: its types and rules."""

from __future__ import annotations

from edgekube.api.kind import Column, Kind, Scope
from edgekube.api.meta import Int32, Object, Struct, Time, zero
from edgekube.kinds.columns import AGE, NAME, described
from edgekube.kinds.core.persistentvolume import PersistentVolumeSpec


class VolumeAttachmentSource(Struct):
    persistent_volume_name: str | None = None
    inline_volume_spec: PersistentVolumeSpec | None = None


class VolumeAttachmentSpec(Struct):
    attacher: str = zero(str)
    source: VolumeAttachmentSource = zero(VolumeAttachmentSource)
    node_name: str = zero(str)


class VolumeError(Struct):
    time: Time | None = None
    message: str = ""
    error_code: Int32 | None = None


class VolumeAttachmentStatus(Struct):
    attached: bool = zero(bool)
    attachment_metadata: dict[str, str] = {}
    attach_error: VolumeError | None = None
    detach_error: VolumeError | None = None


class VolumeAttachment(Object):
    spec: VolumeAttachmentSpec = zero(VolumeAttachmentSpec)
    status: VolumeAttachmentStatus = zero(VolumeAttachmentStatus)


KIND = Kind(
    type=VolumeAttachment,
    group="storage.k8s.io",
    version="v1",
    name="VolumeAttachment",
    plural="volumeattachments",
    singular="volumeattachment",
    scope=Scope.CLUSTER,
    has_status=True,
    generation=False,
    allow_unconditional_update=False,
    columns=described(
        "volumeattachments",
        NAME,
        Column("Attacher", "string", lambda item, _: item.spec.attacher, format="name"),
        Column("PV", "string", lambda item, _: item.spec.source.persistent_volume_name or ""),
        Column("Node", "string", lambda item, _: item.spec.node_name),
        Column("Attached", "boolean", lambda item, _: item.status.attached),
        AGE,
    ),
)
