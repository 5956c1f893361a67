"""v1 PersistentVolume: its types and rules."""

from __future__ import annotations

from typing import Annotated

from msgspec import field

from edgekube.api.kind import Kind, Scope
from edgekube.api.meta import Int32, Object, Quantity, Struct, Time, list_atomic, zero
from edgekube.kinds.core.references import NodeSelector, ObjectReference, SecretReference
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
    secret_name: str = zero(str)
    share_name: str = zero(str)
    read_only: bool = False
    secret_namespace: str | None = None


class CSIPersistentVolumeSource(Struct):
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
    monitors: Annotated[list[str] | None, list_atomic()] = None
    path: str = ""
    user: str = ""
    secret_file: str = ""
    secret_ref: SecretReference | None = None
    read_only: bool = False


class CinderPersistentVolumeSource(Struct):
    volume_id: str = field(name="volumeID", default_factory=str)
    fs_type: str = ""
    read_only: bool = False
    secret_ref: SecretReference | None = None


class FlexPersistentVolumeSource(Struct):
    driver: str = zero(str)
    fs_type: str = ""
    secret_ref: SecretReference | None = None
    read_only: bool = False
    options: dict[str, str] = {}


class GlusterfsPersistentVolumeSource(Struct):
    endpoints: str = zero(str)
    path: str = zero(str)
    read_only: bool = False
    endpoints_namespace: str | None = None


class ISCSIPersistentVolumeSource(Struct):
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
    path: str = zero(str)
    fs_type: str | None = None


class RBDPersistentVolumeSource(Struct):
    monitors: Annotated[list[str] | None, list_atomic()] = None
    image: str = zero(str)
    fs_type: str = ""
    pool: str = ""
    user: str = ""
    keyring: str = ""
    secret_ref: SecretReference | None = None
    read_only: bool = False


class ScaleIOPersistentVolumeSource(Struct):
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
    volume_name: str = ""
    volume_namespace: str = ""
    fs_type: str = ""
    read_only: bool = False
    secret_ref: ObjectReference | None = None


class VolumeNodeAffinity(Struct):
    required: NodeSelector | None = None


class PersistentVolumeSpec(Struct):
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
    claim_ref: ObjectReference | None = None
    persistent_volume_reclaim_policy: str = ""
    storage_class_name: str = ""
    mount_options: Annotated[list[str], list_atomic()] = []
    volume_mode: str | None = None
    node_affinity: VolumeNodeAffinity | None = None
    volume_attributes_class_name: str | None = None


class PersistentVolumeStatus(Struct):
    phase: str = ""
    message: str = ""
    reason: str = ""
    last_phase_transition_time: Time | None = None


class PersistentVolume(Object):
    spec: PersistentVolumeSpec = zero(PersistentVolumeSpec)
    status: PersistentVolumeStatus = zero(PersistentVolumeStatus)


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
)
