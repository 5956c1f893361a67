"""ServiceAccount: every pod runs as one, and finds its token, the cluster's CA and its namespace mounted.

Source: kubernetes plugin/pkg/admission/serviceaccount/admission.go.
"""

from __future__ import annotations

from typing import Any

from edgekube.clock import Clock
from edgekube.errors import Forbidden
from edgekube.kinds.core import serviceaccount
from edgekube.kinds.core.container import VolumeMount
from edgekube.kinds.core.references import LocalObjectReference
from edgekube.kinds.core.volume import (
    ConfigMapProjection,
    DownwardAPIProjection,
    DownwardAPIVolumeFile,
    KeyToPath,
    ObjectFieldSelector,
    ProjectedVolumeSource,
    ServiceAccountTokenProjection,
    Volume,
    VolumeProjection,
)
from edgekube.server import answers
from edgekube.server.admission.interface import CREATE, Cluster, Review, Step

DEFAULT_ACCOUNT = "default"
MIRROR = "kubernetes.io/config.mirror"
ENFORCE_MOUNTABLE = "kubernetes.io/enforce-mountable-secrets"
MOUNT_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
VOLUME_PREFIX = "kube-api-access-"
TOKEN_EXPIRES_S = 60 * 60 + 7  # upstream's seven seconds tell this volume's requests from others
FILE_MODE = 0o644
ROOT_CA = "kube-root-ca.crt"


class ServiceAccount(Step):
    """Gives pods their account."""

    name = "ServiceAccount"

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    async def mutate(self, review: Review, cluster: Cluster) -> None:
        """Raises Forbidden when the account is missing or may not be used so."""
        if review.resource != "/pods" or review.operation != CREATE or review.subresource:
            return
        pod = review.item
        if MIRROR in pod.metadata.annotations:
            if problem := _mirror_problem(pod.spec):
                raise _forbidden(review, problem)
            return
        spec = pod.spec
        name = spec.service_account_name or spec.service_account or DEFAULT_ACCOUNT
        spec.service_account_name = spec.service_account = name
        account = cluster.find(serviceaccount.KIND, review.namespace, name)
        if account is None:
            place = f"{review.namespace}/{name}"
            raise _forbidden(review, f'error looking up service account {place}: serviceaccount "{name}" not found')
        if account.metadata.annotations.get(ENFORCE_MOUNTABLE) == "true" and (problem := _unlisted(account, spec)):
            raise _forbidden(review, problem)
        if _mounts_token(account, spec):
            self._mount(spec)
        if not spec.image_pull_secrets:
            spec.image_pull_secrets = [LocalObjectReference(name=one.name) for one in account.image_pull_secrets]

    def _mount(self, spec: Any) -> None:
        """Put the volume into every container that has nothing at its path."""
        volumes = {volume.name for volume in spec.volumes}
        present = next((volume for volume in volumes if volume.startswith(VOLUME_PREFIX)), None)
        name = present or ""
        while not name or (not present and name in volumes):
            name = VOLUME_PREFIX + self._clock.suffix()
        needed = False
        for container in (*spec.init_containers, *(spec.containers or ())):
            if all(mount.mount_path != MOUNT_PATH for mount in container.volume_mounts):
                mount = VolumeMount(name=name, read_only=True, mount_path=MOUNT_PATH)
                container.volume_mounts = [*container.volume_mounts, mount]
                needed = True
        if needed and not present:
            spec.volumes = [*spec.volumes, token_volume(name)]


def token_volume(name: str) -> Volume:
    """The projected volume with token, CA and namespace."""
    namespace = DownwardAPIVolumeFile(
        path="namespace", field_ref=ObjectFieldSelector(api_version="v1", field_path="metadata.namespace")
    )
    sources = [
        VolumeProjection(
            service_account_token=ServiceAccountTokenProjection(path="token", expiration_seconds=TOKEN_EXPIRES_S)
        ),
        VolumeProjection(config_map=ConfigMapProjection(name=ROOT_CA, items=[KeyToPath(key="ca.crt", path="ca.crt")])),
        VolumeProjection(downward_api=DownwardAPIProjection(items=[namespace])),
    ]
    return Volume(name=name, projected=ProjectedVolumeSource(sources=sources, default_mode=FILE_MODE))


def _forbidden(review: Review, why: str) -> Forbidden:
    return answers.forbidden(review.kind, review.name, why)


def _mounts_token(account: Any, spec: Any) -> bool:
    if spec.automount_service_account_token is not None:
        return bool(spec.automount_service_account_token)
    if account.automount_service_account_token is not None:
        return bool(account.automount_service_account_token)
    return True


def _mirror_problem(spec: Any) -> str:
    """Pods that only mirror a file on a node may use nothing that the API holds."""
    if spec.service_account_name:
        return "a mirror pod may not reference service accounts"
    for volume in spec.volumes:
        if volume.secret is not None:
            return "a mirror pod may not reference secrets"
        for source in (volume.projected.sources or ()) if volume.projected is not None else ():
            if source.service_account_token is not None:
                return "a mirror pod may not use service account token volume projections"
    return ""


def _unlisted(account: Any, spec: Any) -> str:
    """The first secret a pod uses that its account does not list."""
    known = {secret.name for secret in account.secrets}
    ending = f"is not allowed because service account {account.metadata.name} does not reference that secret"
    for volume in spec.volumes:
        if volume.secret is not None and volume.secret.secret_name not in known:
            return f'volume with secret.secretName="{volume.secret.secret_name}" {ending}'
    for kind, containers in (("init container", spec.init_containers), ("container", spec.containers or ())):
        for container in containers:
            for variable in container.env:
                source = variable.value_from.secret_key_ref if variable.value_from is not None else None
                if source is not None and source.name not in known:
                    return f'{kind} {container.name} with envVar {variable.name} referencing secret.secretName="{source.name}" {ending}'
            for source in container.env_from:
                if source.secret_ref is not None and source.secret_ref.name not in known:
                    return f'{kind} {container.name} with envFrom referencing secret.secretName="{source.secret_ref.name}" {ending}'
    pulls = {secret.name for secret in account.image_pull_secrets}
    for position, secret in enumerate(spec.image_pull_secrets):
        if secret.name not in pulls:
            what = f'imagePullSecrets[{position}].name="{secret.name}"'
            return f"{what} is not allowed because service account {account.metadata.name} does not reference that imagePullSecret"
    return ""
