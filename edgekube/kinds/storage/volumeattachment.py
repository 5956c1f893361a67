"""storage.k8s.io/v1 VolumeAttachment: its types and rules."""

from __future__ import annotations

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
from edgekube.api.meta import Int32, Object, Struct, Time, null, zero
from edgekube.kinds.columns import AGE, NAME, described
from edgekube.kinds.core.persistentvolume import PersistentVolumeSpec
from edgekube.kinds.storage.csidriver import driver_name


class VolumeAttachmentSource(Struct):
    persistent_volume_name: str | None = None
    inline_volume_spec: PersistentVolumeSpec | None = None


class VolumeAttachmentSpec(Struct):
    attacher: str = zero(str)
    source: VolumeAttachmentSource = zero(VolumeAttachmentSource)
    node_name: str = zero(str)


class VolumeError(Struct):
    time: Time | None = null()
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


def attachment_rules(attachment: VolumeAttachment) -> list[FieldError]:
    """Which volume, by whom, to which node."""
    spec = attachment.spec
    broken = driver_name("spec.attacher", spec.attacher)
    by_name, inline = spec.source.persistent_volume_name, spec.source.inline_volume_spec
    if (by_name is None) is (inline is None):
        words = "must specify exactly one of inlineVolumeSpec and persistentVolumeName"
        broken.append(rules.required("spec.source", words))
    elif by_name == "":
        words = "must specify non empty persistentVolumeName"
        broken.append(rules.required("spec.source.persistentVolumeName", words))
    return broken + rules.each("spec.nodeName", spec.node_name, names.dns_subdomain(spec.node_name))


def attachment_update_rules(new: VolumeAttachment, old: VolumeAttachment) -> list[FieldError]:
    """Another attachment is another object."""
    return rules.same("spec", new.spec, old.spec)


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
    rules=attachment_rules,
    update_rules=attachment_update_rules,
)
