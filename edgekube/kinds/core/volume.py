"""What pods can mount: one struct per source of files, long-gone drivers included (their objects must still be readable)."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import field

from edgekube.api.meta import Int32, LabelSelector, ObjectMeta, Quantity, Struct, list_atomic, null, zero
from edgekube.kinds.core.claimspec import PersistentVolumeClaimSpec
from edgekube.kinds.core.references import LocalObjectReference


class AWSElasticBlockStoreVolumeSource(Struct):
    """An AWS disk."""

    volume_id: str = field(name="volumeID", default_factory=str)
    fs_type: str = ""
    partition: Int32 = 0
    read_only: bool = False


class AzureDiskVolumeSource(Struct):
    """An Azure disk."""

    disk_name: str = zero(str)
    disk_uri: str = field(name="diskURI", default_factory=str)
    caching_mode: str | None = None
    fs_type: str | None = None
    read_only: bool | None = None
    kind: str | None = None


class AzureFileVolumeSource(Struct):
    """An Azure file share."""

    secret_name: str = zero(str)
    share_name: str = zero(str)
    read_only: bool = False


class CSIVolumeSource(Struct):
    """A volume a CSI driver makes for this pod alone."""

    driver: str = zero(str)
    read_only: bool | None = None
    fs_type: str | None = None
    volume_attributes: dict[str, str] = {}
    node_publish_secret_ref: LocalObjectReference | None = None


class CephFSVolumeSource(Struct):
    """A CephFS tree."""

    monitors: Annotated[list[str] | None, list_atomic()] = null()
    path: str = ""
    user: str = ""
    secret_file: str = ""
    secret_ref: LocalObjectReference | None = None
    read_only: bool = False


class CinderVolumeSource(Struct):
    """An OpenStack volume."""

    volume_id: str = field(name="volumeID", default_factory=str)
    fs_type: str = ""
    read_only: bool = False
    secret_ref: LocalObjectReference | None = None


class KeyToPath(Struct):
    """An entry, and the file it becomes."""

    key: str = zero(str)
    path: str = zero(str)
    mode: Int32 | None = None


class ConfigMapVolumeSource(Struct):
    """The entries of a ConfigMap as files."""

    name: str = ""
    items: Annotated[list[KeyToPath], list_atomic()] = []
    default_mode: Int32 | None = None
    optional: bool | None = None


class ObjectFieldSelector(Struct):
    """A field of the pod itself."""

    ATOMIC: ClassVar[bool] = True
    api_version: str = ""
    field_path: str = zero(str)


class ResourceFieldSelector(Struct):
    """A request or limit of one of the pod's containers."""

    ATOMIC: ClassVar[bool] = True
    container_name: str = ""
    resource: str = zero(str)
    divisor: Quantity | None = None


class DownwardAPIVolumeFile(Struct):
    """A fact about the pod, and the file it becomes."""

    path: str = zero(str)
    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    mode: Int32 | None = None


class DownwardAPIVolumeSource(Struct):
    """Facts about the pod as files."""

    items: Annotated[list[DownwardAPIVolumeFile], list_atomic()] = []
    default_mode: Int32 | None = None


class EmptyDirVolumeSource(Struct):
    """An empty directory that lives as long as the pod."""

    medium: str = ""
    size_limit: Quantity | None = None


class PersistentVolumeClaimTemplate(Struct):
    """A claim to be."""

    metadata: ObjectMeta = zero(ObjectMeta)
    spec: PersistentVolumeClaimSpec = zero(PersistentVolumeClaimSpec)


class EphemeralVolumeSource(Struct):
    """A claim made for this pod and gone with it."""

    volume_claim_template: PersistentVolumeClaimTemplate | None = None


class FCVolumeSource(Struct):
    """A Fibre Channel disk."""

    target_ww_ns: Annotated[list[str], list_atomic()] = field(name="targetWWNs", default_factory=list)
    lun: Int32 | None = None
    fs_type: str = ""
    read_only: bool = False
    wwids: Annotated[list[str], list_atomic()] = []


class FlexVolumeSource(Struct):
    """A volume of an exec-based driver."""

    driver: str = zero(str)
    fs_type: str = ""
    secret_ref: LocalObjectReference | None = None
    read_only: bool = False
    options: dict[str, str] = {}


class FlockerVolumeSource(Struct):
    """A Flocker data set."""

    dataset_name: str = ""
    dataset_uuid: str = field(name="datasetUUID", default="")


class GCEPersistentDiskVolumeSource(Struct):
    """A Google disk."""

    pd_name: str = zero(str)
    fs_type: str = ""
    partition: Int32 = 0
    read_only: bool = False


class GitRepoVolumeSource(Struct):
    """A checkout of a repository."""

    repository: str = zero(str)
    revision: str = ""
    directory: str = ""


class GlusterfsVolumeSource(Struct):
    """A Gluster volume."""

    endpoints: str = zero(str)
    path: str = zero(str)
    read_only: bool = False


class HostPathVolumeSource(Struct):
    """A path of the machine."""

    path: str = zero(str)
    type: str | None = None


class ISCSIVolumeSource(Struct):
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
    secret_ref: LocalObjectReference | None = None
    initiator_name: str | None = None


class ImageVolumeSource(Struct):
    """The files of an image."""

    reference: str = ""
    pull_policy: str = ""


class NFSVolumeSource(Struct):
    """An NFS export."""

    server: str = zero(str)
    path: str = zero(str)
    read_only: bool = False


class PersistentVolumeClaimVolumeSource(Struct):
    """The volume behind a claim."""

    claim_name: str = zero(str)
    read_only: bool = False


class PhotonPersistentDiskVolumeSource(Struct):
    """A Photon disk."""

    pd_id: str = field(name="pdID", default_factory=str)
    fs_type: str = ""


class PortworxVolumeSource(Struct):
    """A Portworx volume."""

    volume_id: str = field(name="volumeID", default_factory=str)
    fs_type: str = ""
    read_only: bool = False


class ClusterTrustBundleProjection(Struct):
    """Trusted certificates as a file."""

    name: str | None = None
    signer_name: str | None = None
    label_selector: LabelSelector | None = None
    optional: bool | None = None
    path: str = zero(str)


class ConfigMapProjection(Struct):
    """Entries of a ConfigMap among other files."""

    name: str = ""
    items: Annotated[list[KeyToPath], list_atomic()] = []
    optional: bool | None = None


class DownwardAPIProjection(Struct):
    """Facts about the pod among other files."""

    items: Annotated[list[DownwardAPIVolumeFile], list_atomic()] = []


class PodCertificateProjection(Struct):
    """A certificate made for the pod, and its key."""

    signer_name: str = ""
    key_type: str = ""
    max_expiration_seconds: Int32 | None = None
    credential_bundle_path: str = ""
    key_path: str = ""
    certificate_chain_path: str = ""
    user_annotations: dict[str, str] = {}


class SecretProjection(Struct):
    """Entries of a Secret among other files."""

    name: str = ""
    items: Annotated[list[KeyToPath], list_atomic()] = []
    optional: bool | None = None


class ServiceAccountTokenProjection(Struct):
    """A token of the pod's identity, renewed before it expires."""

    audience: str = ""
    expiration_seconds: int | None = None
    path: str = zero(str)


class VolumeProjection(Struct):
    """One source of a projected volume."""

    secret: SecretProjection | None = None
    downward_api: DownwardAPIProjection | None = field(name="downwardAPI", default=None)
    config_map: ConfigMapProjection | None = None
    service_account_token: ServiceAccountTokenProjection | None = None
    cluster_trust_bundle: ClusterTrustBundleProjection | None = None
    pod_certificate: PodCertificateProjection | None = None


class ProjectedVolumeSource(Struct):
    """Files of several sources in one directory."""

    sources: Annotated[list[VolumeProjection] | None, list_atomic()] = null()
    default_mode: Int32 | None = None


class QuobyteVolumeSource(Struct):
    """A Quobyte volume."""

    registry: str = zero(str)
    volume: str = zero(str)
    read_only: bool = False
    user: str = ""
    group: str = ""
    tenant: str = ""


class RBDVolumeSource(Struct):
    """A Ceph block device."""

    monitors: Annotated[list[str] | None, list_atomic()] = null()
    image: str = zero(str)
    fs_type: str = ""
    pool: str = ""
    user: str = ""
    keyring: str = ""
    secret_ref: LocalObjectReference | None = None
    read_only: bool = False


class ScaleIOVolumeSource(Struct):
    """A ScaleIO volume."""

    gateway: str = zero(str)
    system: str = zero(str)
    secret_ref: LocalObjectReference | None = None
    ssl_enabled: bool = False
    protection_domain: str = ""
    storage_pool: str = ""
    storage_mode: str = ""
    volume_name: str = ""
    fs_type: str = ""
    read_only: bool = False


class SecretVolumeSource(Struct):
    """The entries of a Secret as files."""

    secret_name: str = ""
    items: Annotated[list[KeyToPath], list_atomic()] = []
    default_mode: Int32 | None = None
    optional: bool | None = None


class StorageOSVolumeSource(Struct):
    """A StorageOS volume."""

    volume_name: str = ""
    volume_namespace: str = ""
    fs_type: str = ""
    read_only: bool = False
    secret_ref: LocalObjectReference | None = None


class VsphereVirtualDiskVolumeSource(Struct):
    """A vSphere disk."""

    volume_path: str = zero(str)
    fs_type: str = ""
    storage_policy_name: str = ""
    storage_policy_id: str = field(name="storagePolicyID", default="")


class Volume(Struct):
    """A named volume: exactly one of its sources."""

    name: str = zero(str)
    host_path: HostPathVolumeSource | None = None
    empty_dir: EmptyDirVolumeSource | None = None
    gce_persistent_disk: GCEPersistentDiskVolumeSource | None = None
    aws_elastic_block_store: AWSElasticBlockStoreVolumeSource | None = None
    git_repo: GitRepoVolumeSource | None = None
    secret: SecretVolumeSource | None = None
    nfs: NFSVolumeSource | None = None
    iscsi: ISCSIVolumeSource | None = None
    glusterfs: GlusterfsVolumeSource | None = None
    persistent_volume_claim: PersistentVolumeClaimVolumeSource | None = None
    rbd: RBDVolumeSource | None = None
    flex_volume: FlexVolumeSource | None = None
    cinder: CinderVolumeSource | None = None
    cephfs: CephFSVolumeSource | None = None
    flocker: FlockerVolumeSource | None = None
    downward_api: DownwardAPIVolumeSource | None = field(name="downwardAPI", default=None)
    fc: FCVolumeSource | None = None
    azure_file: AzureFileVolumeSource | None = None
    config_map: ConfigMapVolumeSource | None = None
    vsphere_volume: VsphereVirtualDiskVolumeSource | None = None
    quobyte: QuobyteVolumeSource | None = None
    azure_disk: AzureDiskVolumeSource | None = None
    photon_persistent_disk: PhotonPersistentDiskVolumeSource | None = None
    projected: ProjectedVolumeSource | None = None
    portworx_volume: PortworxVolumeSource | None = None
    scale_io: ScaleIOVolumeSource | None = field(name="scaleIO", default=None)
    storageos: StorageOSVolumeSource | None = None
    csi: CSIVolumeSource | None = None
    ephemeral: EphemeralVolumeSource | None = None
    image: ImageVolumeSource | None = None
