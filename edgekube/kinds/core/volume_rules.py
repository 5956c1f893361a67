"""Rules of volumes: what each source must say, in pods and in PersistentVolumes.

Sources whose drivers left Kubernetes long ago are checked for their required members only.
Source: validateVolumeSource and ValidatePersistentVolumeSpec in upstream's core validation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from edgekube.api import names, rules
from edgekube.api.kind import FieldError
from edgekube.api.quantity import amount
from edgekube.kinds.core import claim_rules, meta_rules, path_rules
from edgekube.kinds.core.env_rules import field_reference, resource_reference
from edgekube.kinds.core.volume import (
    DownwardAPIVolumeFile,
    KeyToPath,
    ProjectedVolumeSource,
    ServiceAccountTokenProjection,
    Volume,
    VolumeProjection,
)

TOO_MANY_SOURCES = "may not specify more than 1 volume type"
DUPLICATE_PATHS = "conflicting duplicate paths"
TOKEN_LIFE_MIN_S, TOKEN_LIFE_MAX_S = 600, 1 << 32
HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)
VOLUME_FIELD_PATHS = (
    "metadata.annotations",
    "metadata.labels",
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
)
_INITIATOR = re.compile(r"iqn\.\d{4}-\d{2}\.[\w\-.]+(:[^,;*&$|\s]+)|eui\.\w{16}|naa\.\w{32}", re.ASCII)
_RESERVED_OPTION = re.compile(r"(^|\.)(kubernetes|k8s)\.io$", re.IGNORECASE)

SourceRule = Callable[[str, Any], list[FieldError]]


def _needs(*members: str) -> SourceRule:
    return lambda path, source: meta_rules.required_members(path, source, members)


def _empty_dir(path: str, source: Any) -> list[FieldError]:
    if source.size_limit is not None and amount(source.size_limit) < 0:
        return [rules.forbidden(f"{path}.sizeLimit", "SizeLimit field must be a valid resource quantity")]
    return []


def host_path(path: str, source: Any) -> list[FieldError]:
    """A path on the machine."""
    if not source.path:
        return [rules.required(f"{path}.path")]
    broken = path_rules.no_steps_back(f"{path}.path", source.path)
    if source.type is not None and source.type not in HOST_PATH_TYPES:
        broken.append(rules.not_supported(f"{path}.type", source.type, HOST_PATH_TYPES))
    return broken


def local(path: str, source: Any) -> list[FieldError]:
    """A local disk of one machine."""
    if not source.path:
        return [rules.required(f"{path}.path")]
    return path_rules.no_steps_back(f"{path}.path", source.path)


def _git_repo(path: str, source: Any) -> list[FieldError]:
    broken = meta_rules.required_members(path, source, ("repository",))
    return broken + path_rules.descending(f"{path}.directory", source.directory)


def _nfs(path: str, source: Any) -> list[FieldError]:
    broken = meta_rules.required_members(path, source, ("server", "path"))
    if not source.path.startswith("/"):
        broken.append(rules.invalid(f"{path}.path", source.path, "must be an absolute path"))
    return broken


def _iscsi(path: str, source: Any) -> list[FieldError]:
    broken = meta_rules.required_members(path, source, ("target_portal", "iqn"))
    if source.iqn and not _INITIATOR.fullmatch(source.iqn):
        known = source.iqn.startswith(("iqn", "eui", "naa"))
        words = "must be valid format" if known else "must be valid format starting with iqn, eui, or naa"
        broken.append(rules.invalid(f"{path}.iqn", source.iqn, words))
    broken += rules.each(f"{path}.lun", source.lun, names.in_range(source.lun, 0, 255))
    if (source.chap_auth_discovery or source.chap_auth_session) and source.secret_ref is None:
        broken.append(rules.required(f"{path}.secretRef"))
    return broken


def _fc(path: str, source: Any) -> list[FieldError]:
    if not source.target_ww_ns and not source.wwids:
        words = "must specify either targetWWNs or wwids, but not both"
        return [rules.required(f"{path}.targetWWNs", words)]
    if source.target_ww_ns and source.wwids:
        words = "targetWWNs and wwids can not be specified simultaneously"
        return [rules.invalid(f"{path}.targetWWNs", source.target_ww_ns, words)]
    if source.target_ww_ns and source.lun is None:
        return [rules.required(f"{path}.lun", "lun is required if targetWWNs is specified")]
    return []


def _disk(member: str) -> SourceRule:
    def check(path: str, source: Any) -> list[FieldError]:
        broken = meta_rules.required_members(path, source, (member,))
        if not 0 <= source.partition <= 255:
            broken.append(rules.invalid(f"{path}.partition", source.partition, "must be between 1 and 255, inclusive"))
        return broken

    return check


def _key_paths(path: str, items: list[KeyToPath]) -> list[FieldError]:
    broken: list[FieldError] = []
    for position, item in enumerate(items):
        at = f"{path}.items[{position}]"
        broken += meta_rules.required_members(at, item, ("key", "path"))
        broken += path_rules.not_reserved(f"{at}.path", item.path)
        broken += path_rules.file_mode(f"{at}.mode", item.mode)
    return broken


def _secret(path: str, source: Any) -> list[FieldError]:
    broken = meta_rules.required_members(path, source, ("secret_name",))
    broken += path_rules.file_mode(f"{path}.defaultMode", source.default_mode)
    return broken + _key_paths(path, source.items)


def _config_map(path: str, source: Any) -> list[FieldError]:
    broken = meta_rules.required_members(path, source, ("name",))
    broken += path_rules.file_mode(f"{path}.defaultMode", source.default_mode)
    return broken + _key_paths(path, source.items)


def _downward_file(path: str, file: DownwardAPIVolumeFile) -> list[FieldError]:
    broken = meta_rules.required_members(path, file, ("path",))
    broken += path_rules.not_reserved(f"{path}.path", file.path)
    if file.field_ref is not None:
        broken += field_reference(f"{path}.fieldRef", file.field_ref, VOLUME_FIELD_PATHS)
        if file.resource_field_ref is not None:
            words = "fieldRef and resourceFieldRef can not be specified simultaneously"
            broken.append(rules.invalid(path, "resource", words))
    elif file.resource_field_ref is not None:
        broken += resource_reference(f"{path}.resourceFieldRef", file.resource_field_ref, in_volume=True)
    else:
        broken.append(rules.required(path, "one of fieldRef and resourceFieldRef is required"))
    return broken + path_rules.file_mode(f"{path}.mode", file.mode)


def _downward(path: str, source: Any) -> list[FieldError]:
    broken = path_rules.file_mode(f"{path}.defaultMode", source.default_mode)
    for file in source.items:
        broken += _downward_file(path, file)  # upstream names the volume, not the item
    return broken


def _csi(path: str, source: Any) -> list[FieldError]:
    broken = csi_driver(f"{path}.driver", source.driver)
    if source.node_publish_secret_ref is not None:
        name = source.node_publish_secret_ref.name
        if not name:
            broken.append(rules.required(f"{path}.nodePublishSecretRef.name"))
        else:
            broken += rules.each(f"{path}.name", name, names.dns_subdomain(name))
    return broken


def csi_driver(path: str, name: str) -> list[FieldError]:
    """The name of a storage driver."""
    broken = [] if name else [rules.required(path)]
    if len(name) > names.DNS_LABEL_MAX:
        broken.append(rules.too_long(path, names.DNS_LABEL_MAX))
    return broken + rules.each(path, name, names.dns_subdomain(name.lower()))


def _csi_persistent(path: str, source: Any) -> list[FieldError]:
    broken = csi_driver(f"{path}.driver", source.driver)
    broken += meta_rules.required_members(path, source, ("volume_handle",))
    for member, secret in (
        ("controllerPublishSecretRef", source.controller_publish_secret_ref),
        ("controllerExpandSecretRef", source.controller_expand_secret_ref),
        ("nodePublishSecretRef", source.node_publish_secret_ref),
        ("nodeExpandSecretRef", source.node_expand_secret_ref),
    ):
        if secret is not None:
            at = f"{path}.{member}"
            broken += meta_rules.required_members(at, secret, ("name",)) or rules.each(
                f"{at}.name", secret.name, names.dns_subdomain(secret.name)
            )
            broken += meta_rules.required_members(at, secret, ("namespace",)) or rules.each(
                f"{at}.namespace", secret.namespace, names.dns_label(secret.namespace)
            )
    return broken


def _flex(path: str, source: Any) -> list[FieldError]:
    broken = meta_rules.required_members(path, source, ("driver",))
    for key in source.options:
        if _RESERVED_OPTION.search(key.partition("/")[0]):
            words = "kubernetes.io and k8s.io namespaces are reserved"
            broken.append(rules.invalid(f"{path}.options[{key}]", key, words))
    return broken


def _ephemeral(path: str, source: Any) -> list[FieldError]:
    template = source.volume_claim_template
    if template is None:
        return [rules.required(f"{path}.volumeClaimTemplate")]
    at = f"{path}.volumeClaimTemplate"
    broken = meta_rules.annotation_keys(f"{at}.metadata.annotations", template.metadata.annotations)
    broken += meta_rules.labels(f"{at}.metadata.labels", template.metadata.labels)
    for member in ("name", "generate_name", "namespace", "finalizers", "owner_references"):
        if getattr(template.metadata, member):
            wire = dict(
                zip(template.metadata.__struct_fields__, template.metadata.__struct_encode_fields__, strict=True)
            )
            broken.append(rules.forbidden(f"{at}.metadata.{wire[member]}", "cannot be set"))
    return broken + claim_rules.claim_spec(f"{at}.spec", template.spec)


def _image(path: str, source: Any) -> list[FieldError]:
    broken = meta_rules.required_members(path, source, ("reference",))
    return broken + rules.one_of(f"{path}.pullPolicy", source.pull_policy, ("Always", "IfNotPresent", "Never"))


def _token(path: str, at: str, source: ServiceAccountTokenProjection) -> list[FieldError]:
    broken: list[FieldError] = []
    life_s = source.expiration_seconds or 0
    if life_s < TOKEN_LIFE_MIN_S:
        words = "may not specify a duration less than 10 minutes"
        broken.append(rules.invalid(f"{at}.expirationSeconds", life_s, words))
    if life_s > TOKEN_LIFE_MAX_S:
        words = "may not specify a duration larger than 2^32 seconds"
        broken.append(rules.invalid(f"{at}.expirationSeconds", life_s, words))
    if not source.path:
        return [*broken, rules.required(f"{path}.path")]
    return broken + path_rules.not_reserved(f"{path}.path", source.path)


def _trust_bundle(at: str, bundle: Any) -> list[FieldError]:
    broken: list[FieldError] = []
    if bundle.name is not None and bundle.signer_name is not None:
        broken.append(rules.invalid(at, bundle, "only one of name and signerName may be used"))
    elif bundle.name is None and bundle.signer_name is None:
        broken.append(rules.required(at, "either name or signerName must be specified"))
    elif bundle.name == "":
        broken.append(rules.required(f"{at}.name", "must be a valid object name"))
    elif bundle.signer_name == "":
        broken.append(rules.required(f"{at}.signerName", "must be a valid signer name"))
    broken += meta_rules.required_members(at, bundle, ("path",))
    return broken + path_rules.not_reserved(f"{at}.path", bundle.path)


def _projection(path: str, at: str, source: VolumeProjection, taken: set[str]) -> list[FieldError]:
    broken: list[FieldError] = []

    def claim_path(text: str, shown: str) -> None:
        if text and text in taken:
            broken.append(rules.invalid(path, shown, DUPLICATE_PATHS))
        taken.add(text)

    for member, keyed in (("secret", source.secret), ("configMap", source.config_map)):
        if keyed is not None:
            broken += meta_rules.required_members(f"{at}.{member}", keyed, ("name",))
            broken += _key_paths(f"{at}.{member}", keyed.items)
            for item in keyed.items:
                claim_path(item.path, keyed.name)
    for file in source.downward_api.items if source.downward_api is not None else ():
        broken += _downward_file(f"{at}.downwardAPI", file)
        claim_path(file.path, file.path)
    if source.service_account_token is not None:
        broken += _token(path, f"{at}.serviceAccountToken", source.service_account_token)
    if source.cluster_trust_bundle is not None:
        broken += _trust_bundle(f"{at}.clusterTrustBundle", source.cluster_trust_bundle)
        claim_path(source.cluster_trust_bundle.path, source.cluster_trust_bundle.path)
    given = [getattr(source, name) for name in source.__struct_fields__ if getattr(source, name) is not None]
    if len(given) > 1:
        broken.append(rules.forbidden(at, "may not specify more than 1 volume type per source"))
    return broken


def _projected(path: str, source: ProjectedVolumeSource) -> list[FieldError]:
    broken = path_rules.file_mode(f"{path}.defaultMode", source.default_mode)
    taken: set[str] = set()
    for position, one in enumerate(source.sources or ()):
        broken += _projection(path, f"{path}.sources[{position}]", one, taken)
    return broken


# In the order upstream looks at them: the second one found is refused.
POD_SOURCES: dict[str, SourceRule] = {
    "empty_dir": _empty_dir,
    "host_path": host_path,
    "git_repo": _git_repo,
    "gce_persistent_disk": _disk("pd_name"),
    "aws_elastic_block_store": _disk("volume_id"),
    "secret": _secret,
    "nfs": _nfs,
    "iscsi": _iscsi,
    "glusterfs": _needs("endpoints", "path"),
    "flocker": _needs(),
    "persistent_volume_claim": _needs("claim_name"),
    "rbd": _needs("monitors", "image"),
    "cinder": _needs("volume_id"),
    "cephfs": _needs("monitors"),
    "quobyte": _needs("registry", "volume"),
    "downward_api": _downward,
    "fc": _fc,
    "flex_volume": _flex,
    "config_map": _config_map,
    "azure_file": _needs("secret_name", "share_name"),
    "vsphere_volume": _needs("volume_path"),
    "photon_persistent_disk": _needs("pd_id"),
    "portworx_volume": _needs("volume_id"),
    "azure_disk": _needs("disk_name", "disk_uri"),
    "storageos": _needs("volume_name"),
    "projected": _projected,
    "scale_io": _needs("gateway", "system", "volume_name"),
    "csi": _csi,
    "ephemeral": _ephemeral,
    "image": _image,
}
PERSISTENT_SOURCES: dict[str, SourceRule] = {
    name: POD_SOURCES[name]
    for name in (
        "host_path",
        "gce_persistent_disk",
        "aws_elastic_block_store",
        "glusterfs",
        "flocker",
        "nfs",
        "rbd",
        "quobyte",
        "cephfs",
        "iscsi",
        "cinder",
        "fc",
        "flex_volume",
        "azure_file",
        "vsphere_volume",
        "photon_persistent_disk",
        "portworx_volume",
        "azure_disk",
        "scale_io",
    )
} | {"local": local, "storageos": _needs("volume_name"), "csi": _csi_persistent}
_CHECKED_AS = {"gcePersistentDisk": "persistentDisk"}  # upstream checks this source under another name


def sources(path: str, holder: Any, known: Mapping[str, SourceRule]) -> list[FieldError]:
    """Exactly one source, and that one's own rules."""
    wire = dict(zip(type(holder).__struct_fields__, type(holder).__struct_encode_fields__, strict=True))
    broken: list[FieldError] = []
    found = False
    for member, rule in known.items():
        source = getattr(holder, member)
        if source is None:
            continue
        if found:
            broken.append(rules.forbidden(f"{path}.{wire[member]}", TOO_MANY_SOURCES))
        else:
            broken += rule(f"{path}.{_CHECKED_AS.get(wire[member], wire[member])}", source)
        found = True
    if not found:
        broken.append(rules.required(path, "must specify a volume type"))
    return broken


def volumes(path: str, given: list[Volume], pod_name: str) -> tuple[dict[str, Volume], list[FieldError]]:
    """(the sound volumes by name, what is wrong). `pod_name` is "" for templates."""
    made_claims = {f"{pod_name}-{one.name}" for one in given if one.ephemeral is not None} if pod_name else set()
    sound: dict[str, Volume] = {}
    broken: list[FieldError] = []
    for position, volume in enumerate(given):
        at = f"{path}[{position}]"
        own = sources(at, volume, POD_SOURCES)
        if volume.ephemeral is not None and pod_name and volume.name:
            claim = f"{pod_name}-{volume.name}"
            problems = [f"PVC name {rules.quoted(claim)}: {words}" for words in names.dns_subdomain(claim)]
            own += rules.each(f"{at}.name", volume.name, problems)
        if not volume.name:
            own.append(rules.required(f"{at}.name"))
        else:
            own += rules.each(f"{at}.name", volume.name, names.dns_label(volume.name))
        if volume.name in sound:
            own.append(rules.duplicate(f"{at}.name", volume.name))
        if not own:
            sound[volume.name] = volume
        broken += own
        claim_source = volume.persistent_volume_claim
        if claim_source is not None and claim_source.claim_name in made_claims:
            words = "must not reference a PVC that gets created for an ephemeral volume"
            broken.append(rules.invalid(f"{at}.persistentVolumeClaim.claimName", claim_source.claim_name, words))
    return sound, broken
