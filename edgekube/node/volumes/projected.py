"""projected volumes: several sources in one directory, among them ServiceAccount tokens that renew themselves."""

from __future__ import annotations

from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.volume import ProjectedVolumeSource, ServiceAccountTokenProjection
from edgekube.node.volumes.config_map import DEFAULT_MODE, config_map_files
from edgekube.node.volumes.downward_api import downward_files
from edgekube.node.volumes.payload import PayloadFile, in_memory, project
from edgekube.node.volumes.secret import secret_files
from edgekube.node.volumes.volume import Mounted, Place, VolumeTrouble, VolumeType

DEFAULT_EXPIRATION_S = 3600


def common_user(pod: Pod) -> int | None:
    """The user all containers run as, where they agree on one."""
    shared = pod.spec.security_context.run_as_user if pod.spec.security_context else None
    users = set()
    for container in [*(pod.spec.containers or []), *pod.spec.init_containers]:
        own = container.security_context.run_as_user if container.security_context else None
        users.add(shared if own is None else own)
    return users.pop() if len(users) == 1 else None


async def _token(place: Place, source: ServiceAccountTokenProjection, mode: int) -> PayloadFile:
    expiration_s = source.expiration_seconds or DEFAULT_EXPIRATION_S
    token = await place.tokens.token(place.pod, source.audience, expiration_s)
    user = common_user(place.pod)
    if user is not None or place.group is not None:
        mode = 0o600
    return PayloadFile(token.encode(), mode, user)


async def _files(place: Place) -> dict[str, PayloadFile]:
    source = place.volume.projected or ProjectedVolumeSource()
    mode = DEFAULT_MODE if source.default_mode is None else source.default_mode
    made: dict[str, PayloadFile] = {}
    for part in source.sources or []:
        if (sealed := part.secret) is not None:
            made |= await secret_files(place, sealed.name, sealed.items, mode, optional=bool(sealed.optional))
        elif (plain := part.config_map) is not None:
            made |= await config_map_files(place, plain.name, plain.items, mode, optional=bool(plain.optional))
        elif part.downward_api is not None:
            made |= downward_files(place, part.downward_api.items, mode)
        elif part.service_account_token is not None:
            made[part.service_account_token.path] = await _token(place, part.service_account_token, mode)
        elif part.cluster_trust_bundle is not None and not part.cluster_trust_bundle.optional:
            raise VolumeTrouble("clusterTrustBundle projection is not supported")
        elif part.pod_certificate is not None:
            raise VolumeTrouble("podCertificate projection is not supported")
    return made


async def mount(place: Place) -> Mounted:
    """Write the files on a tmpfs."""
    return in_memory(place, await _files(place))


async def refresh(place: Place, mounted: Mounted) -> None:
    """Swap in new content, renewed tokens included."""
    project(mounted.path, await _files(place), place.group)


TYPE = VolumeType("kubernetes.io~projected", lambda volume: volume.projected, mount, refresh)
