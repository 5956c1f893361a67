"""Types shared by several kinds: AWSElasticBlockStoreVolumeSource, AzureDiskVolumeSource, AzureFileVolumeSource, CSIVolumeSource, CephFSVolumeSource, CinderVolumeSource and what they hold."""

from __future__ import annotations

from typing import Annotated, ClassVar

from msgspec import field

from edgekube.api.meta import Int32, LabelSelector, ObjectMeta, Quantity, Struct, list_atomic, zero
from edgekube.kinds.core.claimspec import PersistentVolumeClaimSpec
from edgekube.kinds.core.references import LocalObjectReference


class AWSElasticBlockStoreVolumeSource(Struct):
    volume_id: str = field(name="volumeID", default_factory=str)
    fs_type: str = ""
    partition: Int32 = 0
    read_only: bool = False


class AzureDiskVolumeSource(Struct):
    disk_name: str = zero(str)
    disk_uri: str = field(name="diskURI", default_factory=str)
    caching_mode: str | None = None
    fs_type: str | None = None
    read_only: bool | None = None
    kind: str | None = None


class AzureFileVolumeSource(Struct):
    secret_name: str = zero(str)
    share_name: str = zero(str)
    read_only: bool = False


class CSIVolumeSource(Struct):
    driver: str = zero(str)
    read_only: bool | None = None
    fs_type: str | None = None
    volume_attributes: dict[str, str] = {}
    node_publish_secret_ref: LocalObjectReference | None = None


class CephFSVolumeSource(Struct):
    monitors: Annotated[list[str] | None, list_atomic()] = None
    path: str = ""
    user: str = ""
    secret_file: str = ""
    secret_ref: LocalObjectReference | None = None
    read_only: bool = False


class CinderVolumeSource(Struct):
    volume_id: str = field(name="volumeID", default_factory=str)
    fs_type: str = ""
    read_only: bool = False
    secret_ref: LocalObjectReference | None = None


class KeyToPath(Struct):
    key: str = zero(str)
    path: str = zero(str)
    mode: Int32 | None = None


class ConfigMapVolumeSource(Struct):
    name: str = ""
    items: Annotated[list[KeyToPath], list_atomic()] = []
    default_mode: Int32 | None = None
    optional: bool | None = None


class ObjectFieldSelector(Struct):
    ATOMIC: ClassVar[bool] = True
    api_version: str = ""
    field_path: str = zero(str)


class ResourceFieldSelector(Struct):
    ATOMIC: ClassVar[bool] = True
    container_name: str = ""
    resource: str = zero(str)
    divisor: Quantity | None = None


class DownwardAPIVolumeFile(Struct):
    path: str = zero(str)
    field_ref: ObjectFieldSelector | None = None
    resource_field_ref: ResourceFieldSelector | None = None
    mode: Int32 | None = None


class DownwardAPIVolumeSource(Struct):
    items: Annotated[list[DownwardAPIVolumeFile], list_atomic()] = []
    default_mode: Int32 | None = None


class EmptyDirVolumeSource(Struct):
    medium: str = ""
    size_limit: Quantity | None = None


class PersistentVolumeClaimTemplate(Struct):
    metadata: ObjectMeta = zero(ObjectMeta)
    spec: PersistentVolumeClaimSpec = zero(PersistentVolumeClaimSpec)


class EphemeralVolumeSource(Struct):
    volume_claim_template: PersistentVolumeClaimTemplate | None = None


class FCVolumeSource(Struct):
    target_ww_ns: Annotated[list[str], list_atomic()] = field(name="targetWWNs", default_factory=list)
    lun: Int32 | None = None
    fs_type: str = ""
    read_only: bool = False
    wwids: Annotated[list[str], list_atomic()] = []


class FlexVolumeSource(Struct):
    driver: str = zero(str)
    fs_type: str = ""
    secret_ref: LocalObjectReference | None = None
    read_only: bool = False
    options: dict[str, str] = {}


class FlockerVolumeSource(Struct):
    dataset_name: str = ""
    dataset_uuid: str = field(name="datasetUUID", default="")


class GCEPersistentDiskVolumeSource(Struct):
    pd_name: str = zero(str)
    fs_type: str = ""
    partition: Int32 = 0
    read_only: bool = False


class GitRepoVolumeSource(Struct):
    repository: str = zero(str)
    revision: str = ""
    directory: str = ""


class GlusterfsVolumeSource(Struct):
    endpoints: str = zero(str)
    path: str = zero(str)
    read_only: bool = False


class HostPathVolumeSource(Struct):
    path: str = zero(str)
    type: str | None = None


class ISCSIVolumeSource(Struct):
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
    reference: str = ""
    pull_policy: str = ""


class NFSVolumeSource(Struct):
    server: str = zero(str)
    path: str = zero(str)
    read_only: bool = False


class PersistentVolumeClaimVolumeSource(Struct):
    claim_name: str = zero(str)
    read_only: bool = False


class PhotonPersistentDiskVolumeSource(Struct):
    pd_id: str = field(name="pdID", default_factory=str)
    fs_type: str = ""


class PortworxVolumeSource(Struct):
    volume_id: str = field(name="volumeID", default_factory=str)
    fs_type: str = ""
    read_only: bool = False


class ClusterTrustBundleProjection(Struct):
    name: str | None = None
    signer_name: str | None = None
    label_selector: LabelSelector | None = None
    optional: bool | None = None
    path: str = zero(str)


class ConfigMapProjection(Struct):
    name: str = ""
    items: Annotated[list[KeyToPath], list_atomic()] = []
    optional: bool | None = None


class DownwardAPIProjection(Struct):
    items: Annotated[list[DownwardAPIVolumeFile], list_atomic()] = []


class PodCertificateProjection(Struct):
    signer_name: str = ""
    key_type: str = ""
    max_expiration_seconds: Int32 | None = None
    credential_bundle_path: str = ""
    key_path: str = ""
    certificate_chain_path: str = ""
    user_annotations: dict[str, str] = {}


class SecretProjection(Struct):
    name: str = ""
    items: Annotated[list[KeyToPath], list_atomic()] = []
    optional: bool | None = None


class ServiceAccountTokenProjection(Struct):
    audience: str = ""
    expiration_seconds: int | None = None
    path: str = zero(str)


class VolumeProjection(Struct):
    secret: SecretProjection | None = None
    downward_api: DownwardAPIProjection | None = field(name="downwardAPI", default=None)
    config_map: ConfigMapProjection | None = None
    service_account_token: ServiceAccountTokenProjection | None = None
    cluster_trust_bundle: ClusterTrustBundleProjection | None = None
    pod_certificate: PodCertificateProjection | None = None


class ProjectedVolumeSource(Struct):
    sources: Annotated[list[VolumeProjection] | None, list_atomic()] = None
    default_mode: Int32 | None = None


class QuobyteVolumeSource(Struct):
    registry: str = zero(str)
    volume: str = zero(str)
    read_only: bool = False
    user: str = ""
    group: str = ""
    tenant: str = ""


class RBDVolumeSource(Struct):
    monitors: Annotated[list[str] | None, list_atomic()] = None
    image: str = zero(str)
    fs_type: str = ""
    pool: str = ""
    user: str = ""
    keyring: str = ""
    secret_ref: LocalObjectReference | None = None
    read_only: bool = False


class ScaleIOVolumeSource(Struct):
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
    secret_name: str = ""
    items: Annotated[list[KeyToPath], list_atomic()] = []
    default_mode: Int32 | None = None
    optional: bool | None = None


class StorageOSVolumeSource(Struct):
    volume_name: str = ""
    volume_namespace: str = ""
    fs_type: str = ""
    read_only: bool = False
    secret_ref: LocalObjectReference | None = None


class VsphereVirtualDiskVolumeSource(Struct):
    volume_path: str = zero(str)
    fs_type: str = ""
    storage_policy_name: str = ""
    storage_policy_id: str = field(name="storagePolicyID", default="")


class Volume(Struct):
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
