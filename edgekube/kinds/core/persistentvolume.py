"""v1 PersistentVolume: a piece of storage, apart from who uses it."""

from __future__ import annotations

from posixpath import normpath
from typing import Annotated

from msgspec import field
from msgspec.structs import replace

from edgekube.api import names, rules
from edgekube.api.kind import Column, FieldError, Kind, Scope
from edgekube.api.meta import Int32, Object, Quantity, Struct, Time, granular, list_atomic, null, zero
from edgekube.kinds.core import claim_rules, internal_form, resource_rules, scheduling_rules, volume_rules
from edgekube.kinds.core.printing import AGE, NAME, UNSET, described
from edgekube.kinds.core.quantities import is_fraction, round_up_all
from edgekube.kinds.core.references import NodeSelector, ObjectReference, SecretReference
from edgekube.kinds.core.storage_printing import access_modes, old_annotations, storage_class
from edgekube.kinds.core.volume import (
    AWSElasticBlockStoreVolumeSource,
    AzureDiskVolumeSource,
    FCVolumeSource,
    FlockerVolumeSource,
    GCEPersistentDiskVolumeSource,
    HostPathVolumeSource,
    NFSVolumeSource,
    PhotonPersistentDiskVolumeSource,
    PortworxVolumeSource,
    QuobyteVolumeSource,
    VsphereVirtualDiskVolumeSource,
)


class AzureFilePersistentVolumeSource(Struct):
    """An Azure file share."""

    secret_name: str = zero(str)
    share_name: str = zero(str)
    read_only: bool = False
    secret_namespace: str | None = null()


class CSIPersistentVolumeSource(Struct):
    """A volume of a CSI driver."""

    driver: str = zero(str)
    volume_handle: str = zero(str)
    read_only: bool = False
    fs_type: str = ""
    volume_attributes: dict[str, str] = {}
    controller_publish_secret_ref: SecretReference | None = None
    node_stage_secret_ref: SecretReference | None = None
    node_publish_secret_ref: SecretReference | None = None
    controller_expand_secret_ref: SecretReference | None = None
    node_expand_secret_ref: SecretReference | None = None


class CephFSPersistentVolumeSource(Struct):
    """A CephFS tree."""

    monitors: Annotated[list[str] | None, list_atomic()] = null()
    path: str = ""
    user: str = ""
    secret_file: str = ""
    secret_ref: SecretReference | None = None
    read_only: bool = False


class CinderPersistentVolumeSource(Struct):
    """An OpenStack volume."""

    volume_id: str = field(name="volumeID", default_factory=str)
    fs_type: str = ""
    read_only: bool = False
    secret_ref: SecretReference | None = None


class FlexPersistentVolumeSource(Struct):
    """A volume of an exec-based driver."""

    driver: str = zero(str)
    fs_type: str = ""
    secret_ref: SecretReference | None = None
    read_only: bool = False
    options: dict[str, str] = {}


class GlusterfsPersistentVolumeSource(Struct):
    """A Gluster volume."""

    endpoints: str = zero(str)
    path: str = zero(str)
    read_only: bool = False
    endpoints_namespace: str | None = None


class ISCSIPersistentVolumeSource(Struct):
    """An iSCSI disk."""

    target_portal: str = zero(str)
    iqn: str = zero(str)
    lun: Int32 = zero(int)
    iscsi_interface: str = ""
    fs_type: str = ""
    read_only: bool = False
    portals: Annotated[list[str], list_atomic()] = []
    chap_auth_discovery: bool = False
    chap_auth_session: bool = False
    secret_ref: SecretReference | None = None
    initiator_name: str | None = None


class LocalVolumeSource(Struct):
    """A disk or directory of one machine."""

    path: str = zero(str)
    fs_type: str | None = None


class RBDPersistentVolumeSource(Struct):
    """A Ceph block device."""

    monitors: Annotated[list[str] | None, list_atomic()] = null()
    image: str = zero(str)
    fs_type: str = ""
    pool: str = ""
    user: str = ""
    keyring: str = ""
    secret_ref: SecretReference | None = None
    read_only: bool = False


class ScaleIOPersistentVolumeSource(Struct):
    """A ScaleIO volume."""

    gateway: str = zero(str)
    system: str = zero(str)
    secret_ref: SecretReference | None = None
    ssl_enabled: bool = False
    protection_domain: str = ""
    storage_pool: str = ""
    storage_mode: str = ""
    volume_name: str = ""
    fs_type: str = ""
    read_only: bool = False


class StorageOSPersistentVolumeSource(Struct):
    """A StorageOS volume."""

    volume_name: str = ""
    volume_namespace: str = ""
    fs_type: str = ""
    read_only: bool = False
    secret_ref: ObjectReference | None = None


class VolumeNodeAffinity(Struct):
    """From which nodes a volume can be used."""

    required: NodeSelector | None = None


class PersistentVolumeSpec(Struct):
    """Size, access, source and fate of a volume."""

    capacity: dict[str, Quantity] = {}
    gce_persistent_disk: GCEPersistentDiskVolumeSource | None = None
    aws_elastic_block_store: AWSElasticBlockStoreVolumeSource | None = None
    host_path: HostPathVolumeSource | None = None
    glusterfs: GlusterfsPersistentVolumeSource | None = None
    nfs: NFSVolumeSource | None = None
    rbd: RBDPersistentVolumeSource | None = None
    iscsi: ISCSIPersistentVolumeSource | None = None
    cinder: CinderPersistentVolumeSource | None = None
    cephfs: CephFSPersistentVolumeSource | None = None
    fc: FCVolumeSource | None = None
    flocker: FlockerVolumeSource | None = None
    flex_volume: FlexPersistentVolumeSource | None = None
    azure_file: AzureFilePersistentVolumeSource | None = None
    vsphere_volume: VsphereVirtualDiskVolumeSource | None = None
    quobyte: QuobyteVolumeSource | None = None
    azure_disk: AzureDiskVolumeSource | None = None
    photon_persistent_disk: PhotonPersistentDiskVolumeSource | None = None
    portworx_volume: PortworxVolumeSource | None = None
    scale_io: ScaleIOPersistentVolumeSource | None = field(name="scaleIO", default=None)
    local: LocalVolumeSource | None = None
    storageos: StorageOSPersistentVolumeSource | None = None
    csi: CSIPersistentVolumeSource | None = None
    access_modes: Annotated[list[str], list_atomic()] = []
    claim_ref: Annotated[ObjectReference | None, granular()] = None
    persistent_volume_reclaim_policy: str = ""
    storage_class_name: str = ""
    mount_options: Annotated[list[str], list_atomic()] = []
    volume_mode: str | None = None
    node_affinity: VolumeNodeAffinity | None = None
    volume_attributes_class_name: str | None = None


class PersistentVolumeStatus(Struct):
    """Whether a volume is bound, free or failed."""

    phase: str = ""
    message: str = ""
    reason: str = ""
    last_phase_transition_time: Time | None = None


class PersistentVolume(Object):
    """A piece of storage."""

    spec: PersistentVolumeSpec = zero(PersistentVolumeSpec)
    status: PersistentVolumeStatus = zero(PersistentVolumeStatus)


def default(volume: PersistentVolume) -> None:
    """Volumes are file systems, and kept when their claim goes."""
    spec = volume.spec
    round_up_all(spec.capacity)
    volume.status.phase = volume.status.phase or "Pending"
    spec.persistent_volume_reclaim_policy = spec.persistent_volume_reclaim_policy or "Retain"
    spec.volume_mode = spec.volume_mode or "Filesystem"
    if spec.host_path is not None and spec.host_path.type is None:
        spec.host_path.type = ""
    if spec.iscsi is not None:
        spec.iscsi.iscsi_interface = spec.iscsi.iscsi_interface or "default"
    if spec.rbd is not None:
        spec.rbd.pool = spec.rbd.pool or "rbd"
        spec.rbd.user = spec.rbd.user or "admin"
        spec.rbd.keyring = spec.rbd.keyring or "/etc/ceph/keyring"
    if spec.scale_io is not None:
        spec.scale_io.storage_mode = spec.scale_io.storage_mode or "ThinProvisioned"
        spec.scale_io.fs_type = spec.scale_io.fs_type or "xfs"
    if spec.azure_disk is not None:
        spec.azure_disk.caching_mode = spec.azure_disk.caching_mode or "ReadWrite"
        spec.azure_disk.kind = spec.azure_disk.kind or "Shared"
        spec.azure_disk.fs_type = spec.azure_disk.fs_type or "ext4"
        spec.azure_disk.read_only = bool(spec.azure_disk.read_only)


def prepare_create(volume: PersistentVolume) -> None:
    """A new volume is pending since its creation."""
    volume.status = PersistentVolumeStatus(
        phase="Pending", last_phase_transition_time=volume.metadata.creation_timestamp
    )


def prepare_update(volume: PersistentVolume, old: PersistentVolume) -> None:
    """Status is the binder's."""
    volume.status = old.status


def prepare_status(volume: PersistentVolume, old: PersistentVolume) -> None:
    """A status write leaves the rest alone."""
    volume.spec = old.spec


def _claim(volume: PersistentVolume, _now: str) -> str:
    claim = volume.spec.claim_ref
    return f"{claim.namespace}/{claim.name}" if claim else ""


def _phase(volume: PersistentVolume, _now: str) -> str:
    return "Terminating" if volume.metadata.deletion_timestamp else volume.status.phase


RECLAIM_POLICIES = ("Delete", "Recycle", "Retain")
_SOURCES = tuple(name for name in PersistentVolumeSpec.__struct_fields__ if name in volume_rules.PERSISTENT_SOURCES)


def broken_rules(volume: PersistentVolume) -> list[FieldError]:
    """Size, access, where it can be used from, and exactly one source."""
    spec = volume.spec
    broken = [] if spec.access_modes else [rules.required("spec.accessModes")]
    broken += claim_rules.access_modes("spec.accessModes", spec.access_modes)
    broken += _capacity(spec)
    policy, at = spec.persistent_volume_reclaim_policy, "spec.persistentVolumeReclaimPolicy"
    if policy and policy not in RECLAIM_POLICIES:
        broken.append(rules.not_supported(at, policy, RECLAIM_POLICIES))
    broken += _affinity(spec.node_affinity)
    broken += volume_rules.sources("spec", spec, volume_rules.PERSISTENT_SOURCES)
    if spec.local is not None and spec.node_affinity is None:
        broken.append(rules.required("spec.nodeAffinity", "Local volume requires node affinity"))
    if spec.host_path is not None and policy == "Recycle" and normpath(spec.host_path.path) in ("/", "//"):
        broken.append(rules.forbidden(at, "may not be 'recycle' for a hostPath mount of '/'"))
    if spec.storage_class_name:
        name = spec.storage_class_name
        broken += rules.each("spec.storageClassName", name, names.dns_subdomain(name))
    if spec.volume_mode is not None and spec.volume_mode not in claim_rules.VOLUME_MODES:
        broken.append(rules.not_supported("spec.volumeMode", spec.volume_mode, claim_rules.VOLUME_MODES))
    return broken + _attributes_class(spec)


def _capacity(spec: PersistentVolumeSpec) -> list[FieldError]:
    broken = [] if spec.capacity else [rules.required("spec.capacity")]
    if set(spec.capacity) != {"storage"}:
        broken.append(rules.not_supported("spec.capacity", spec.capacity or None, ("storage",)))
    for name, value in spec.capacity.items():
        broken += resource_rules.basic(f"spec.capacity[{name}]", value)
        broken += resource_rules.positive(f"spec.capacity[{name}]", value)
    return broken


def _affinity(affinity: VolumeNodeAffinity | None) -> list[FieldError]:
    if affinity is None:
        return []
    if affinity.required is None:
        return [rules.required("spec.nodeAffinity.required", "must specify required node constraints")]
    return scheduling_rules.node_selector("spec.nodeAffinity.required", affinity.required)


def _attributes_class(spec: PersistentVolumeSpec) -> list[FieldError]:
    name, at = spec.volume_attributes_class_name, "spec.volumeAttributesClassName"
    if name is None:
        return []
    broken = rules.each(at, name, names.dns_subdomain(name)) if name else []
    if not name:
        broken.append(rules.required(at, "an empty string is disallowed"))
    if spec.csi is None:
        broken.append(rules.required("spec.csi", "has to be specified when using volumeAttributesClassName"))
    return broken


def update_rules(new: PersistentVolume, old: PersistentVolume) -> list[FieldError]:
    """The source stays, but for a secret that was not there before."""
    broken: list[FieldError] = []
    csi, before = new.spec.csi, old.spec.csi
    if csi is not None and before is not None and before.controller_expand_secret_ref is None:
        csi = replace(csi, controller_expand_secret_ref=None)
    sources = [csi if name == "csi" else getattr(new.spec, name) for name in _SOURCES]
    if sources != [getattr(old.spec, name) for name in _SOURCES]:
        how = internal_form.difference(
            internal_form.members(old.spec, _SOURCES), internal_form.members(new.spec, _SOURCES)
        )
        words = f"spec.persistentvolumesource is immutable after creation{how}"
        broken.append(rules.forbidden("spec.persistentvolumesource", words))
    broken += rules.same("volumeMode", new.spec.volume_mode, old.spec.volume_mode)
    if old.spec.node_affinity is not None:
        broken += rules.same("nodeAffinity", new.spec.node_affinity, old.spec.node_affinity)
    if old.spec.volume_attributes_class_name is not None and new.spec.volume_attributes_class_name is None:
        words = "update from non-nil value to nil is forbidden"
        broken.append(rules.forbidden("spec.volumeAttributesClassName", words))
    return broken


def warnings(volume: PersistentVolume, _old: PersistentVolume | None) -> list[str]:
    """What is on its way out."""
    found = old_annotations(volume.metadata.annotations)
    if volume.spec.persistent_volume_reclaim_policy == "Recycle":
        found.append(
            "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. "
            "Instead, the recommended approach is to use dynamic provisioning."
        )
    storage = volume.spec.capacity.get("storage")
    if storage is not None and is_fraction(storage):
        found.append(f'spec.capacity[storage]: fractional byte value "{storage}" is invalid, must be an integer')
    return found


KIND = Kind(
    type=PersistentVolume,
    group="",
    version="v1",
    name="PersistentVolume",
    plural="persistentvolumes",
    singular="persistentvolume",
    short=("pv",),
    scope=Scope.CLUSTER,
    has_status=True,
    generation=False,
    default=default,
    prepare_create=prepare_create,
    prepare_update=prepare_update,
    prepare_status=prepare_status,
    columns=described(
        "persistentvolumes",
        NAME,
        Column("Capacity", "string", lambda item, _: str(item.spec.capacity.get("storage", "0"))),
        Column("Access Modes", "string", lambda item, _: access_modes(item.spec.access_modes)),
        Column("Reclaim Policy", "string", lambda item, _: item.spec.persistent_volume_reclaim_policy),
        Column("Status", "string", _phase),
        Column("Claim", "string", _claim),
        Column("StorageClass", "string", lambda item, _: storage_class(item)),
        Column("VolumeAttributesClass", "string", lambda item, _: item.spec.volume_attributes_class_name or UNSET),
        Column("Reason", "string", lambda item, _: item.status.reason),
        AGE,
        Column("VolumeMode", "string", lambda item, _: item.spec.volume_mode or UNSET, priority=1),
    ),
    rules=broken_rules,
    update_rules=update_rules,
    warnings=warnings,
)
