"""The defaults of pods and pod templates, filled in place on fresh objects.

`pod_spec` is what every object holding a pod template gets; what only pods themselves get is in `pod.py`.
Source: upstream's pkg/apis/core/v1/defaults.go and the `+default` markers of k8s.io/api/core/v1.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import chain

from edgekube.api.meta import Quantity
from edgekube.kinds.core.container import (
    Container,
    ContainerPort,
    EnvVar,
    EphemeralContainer,
    LifecycleHandler,
    Probe,
)
from edgekube.kinds.core.podspec import PodSecurityContext, PodSpec
from edgekube.kinds.core.quantities import round_up_all
from edgekube.kinds.core.volume import (
    DownwardAPIVolumeFile,
    EmptyDirVolumeSource,
    ObjectFieldSelector,
    ProjectedVolumeSource,
    ResourceFieldSelector,
    Volume,
)

FILE_MODE = 0o644
TOKEN_LIFE_S = 3600
TERMINATION_GRACE_S = 30
_IMAGE = re.compile(
    r"(?:(?:[a-zA-Z0-9-]+(?:\.[a-zA-Z0-9-]+)*|\[[a-fA-F0-9:]+\])(?::\d+)?/)?[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*"
    r"(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*(?::(?P<tag>\w[\w.-]{0,127}))?(?P<digest>@[A-Za-z0-9_+.-]+:[0-9a-fA-F]{32,})?",
    re.ASCII,
)


def pull_policy(image: str) -> str:
    """Always for a tag of "latest" or none at all, else IfNotPresent; text that is no image reference has no tag."""
    found = _IMAGE.fullmatch(image)
    if found is None:
        return "IfNotPresent"
    tag = found["tag"] or ("" if found["digest"] else "latest")
    return "Always" if tag == "latest" else "IfNotPresent"


def all_containers(spec: PodSpec) -> Iterator[Container | EphemeralContainer]:
    """Init, plain and ephemeral containers."""
    return chain(spec.init_containers, spec.containers or (), spec.ephemeral_containers)


def pod_spec(spec: PodSpec) -> None:
    """Defaults of a pod's or a template's spec."""
    spec.dns_policy = spec.dns_policy or "ClusterFirst"
    spec.restart_policy = spec.restart_policy or "Always"
    spec.scheduler_name = spec.scheduler_name or "default-scheduler"
    if spec.termination_grace_period_seconds is None:
        spec.termination_grace_period_seconds = TERMINATION_GRACE_S
    if spec.security_context is None:
        spec.security_context = PodSecurityContext()
    account = spec.service_account_name or spec.service_account  # two names of one field; the old one follows
    spec.service_account_name = spec.service_account = account
    round_up_all(spec.overhead)
    if spec.resources is not None:
        round_up_all(spec.resources.limits)
        round_up_all(spec.resources.requests)
    for container in all_containers(spec):
        _container(container)
    for one in spec.volumes:
        _volume(one)


def host_ports(containers: Iterable[Container]) -> None:
    """On the host's network a container port is a host port."""
    for container in containers:
        for port in container.ports:
            port.host_port = port.host_port or port.container_port


def requests_from_limits(containers: Iterable[Container]) -> None:
    """A limit without a request is also the request."""
    for container in containers:
        requests = container.resources.requests
        for name, limit in container.resources.limits.items():
            requests.setdefault(name, limit)


def _container(container: Container | EphemeralContainer) -> None:
    container.image_pull_policy = container.image_pull_policy or pull_policy(container.image)
    container.termination_message_path = container.termination_message_path or "/dev/termination-log"
    container.termination_message_policy = container.termination_message_policy or "File"
    round_up_all(container.resources.limits)
    round_up_all(container.resources.requests)
    for port in container.ports:
        _port(port)
    for variable in container.env:
        _env(variable)
    for probe in (container.liveness_probe, container.readiness_probe, container.startup_probe):
        if probe is not None:
            _probe(probe)
    if container.lifecycle is not None:
        for handler in (container.lifecycle.post_start, container.lifecycle.pre_stop):
            if handler is not None:
                _http_get(handler)


def _port(port: ContainerPort) -> None:
    port.protocol = port.protocol or "TCP"


def _env(variable: EnvVar) -> None:
    source = variable.value_from
    if source is None:
        return
    if source.field_ref is not None:
        _field_reference(source.field_ref)
    if source.resource_field_ref is not None:
        _resource_reference(source.resource_field_ref)
    if source.file_key_ref is not None and source.file_key_ref.optional is None:
        source.file_key_ref.optional = False


def _field_reference(reference: ObjectFieldSelector) -> None:
    reference.api_version = reference.api_version or "v1"


def _resource_reference(reference: ResourceFieldSelector) -> None:
    if reference.divisor is None:
        reference.divisor = Quantity("0")  # not a pointer upstream, so always on the wire


def _http_get(handler: LifecycleHandler | Probe) -> None:
    if handler.http_get is not None:
        handler.http_get.path = handler.http_get.path or "/"
        handler.http_get.scheme = handler.http_get.scheme or "HTTP"


def _probe(probe: Probe) -> None:
    probe.timeout_seconds = probe.timeout_seconds or 1
    probe.period_seconds = probe.period_seconds or 10
    probe.success_threshold = probe.success_threshold or 1
    probe.failure_threshold = probe.failure_threshold or 3
    _http_get(probe)
    if probe.grpc is not None and probe.grpc.service is None:
        probe.grpc.service = ""


def has_source(volume: Volume) -> bool:
    """Whether a volume says where it comes from."""
    return any(getattr(volume, name) is not None for name in Volume.__struct_fields__ if name != "name")


def _volume(volume: Volume) -> None:
    if not has_source(volume):
        volume.empty_dir = EmptyDirVolumeSource()
    for source in (volume.secret, volume.config_map, volume.downward_api, volume.projected):
        if source is not None and source.default_mode is None:
            source.default_mode = FILE_MODE
    if volume.downward_api is not None:
        _downward_files(volume.downward_api.items)
    if volume.projected is not None:
        _projected(volume.projected)
    if volume.host_path is not None and volume.host_path.type is None:
        volume.host_path.type = ""
    if volume.image is not None:
        volume.image.pull_policy = volume.image.pull_policy or pull_policy(volume.image.reference)
    if volume.ephemeral is not None and volume.ephemeral.volume_claim_template is not None:
        claim = volume.ephemeral.volume_claim_template.spec
        claim.volume_mode = claim.volume_mode or "Filesystem"
        round_up_all(claim.resources.limits)
        round_up_all(claim.resources.requests)
    _network_volume(volume)


def _network_volume(volume: Volume) -> None:
    if volume.iscsi is not None:
        volume.iscsi.iscsi_interface = volume.iscsi.iscsi_interface or "default"
    if volume.rbd is not None:
        volume.rbd.pool = volume.rbd.pool or "rbd"
        volume.rbd.user = volume.rbd.user or "admin"
        volume.rbd.keyring = volume.rbd.keyring or "/etc/ceph/keyring"
    if volume.scale_io is not None:
        volume.scale_io.storage_mode = volume.scale_io.storage_mode or "ThinProvisioned"
        volume.scale_io.fs_type = volume.scale_io.fs_type or "xfs"
    if volume.azure_disk is not None:
        disk = volume.azure_disk
        disk.caching_mode = disk.caching_mode or "ReadWrite"
        disk.kind = disk.kind or "Shared"
        disk.fs_type = disk.fs_type or "ext4"
        disk.read_only = bool(disk.read_only)


def _projected(projected: ProjectedVolumeSource) -> None:
    for source in projected.sources or ():
        if source.service_account_token is not None and source.service_account_token.expiration_seconds is None:
            source.service_account_token.expiration_seconds = TOKEN_LIFE_S
        if source.downward_api is not None:
            _downward_files(source.downward_api.items)
        if source.pod_certificate is not None and source.pod_certificate.max_expiration_seconds is None:
            source.pod_certificate.max_expiration_seconds = 86400


def _downward_files(files: list[DownwardAPIVolumeFile]) -> None:
    for file in files:
        if file.field_ref is not None:
            _field_reference(file.field_ref)
        if file.resource_field_ref is not None:
            _resource_reference(file.resource_field_ref)
