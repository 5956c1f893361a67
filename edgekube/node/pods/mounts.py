"""What a container sees of its pod's volumes: CRI mounts, sub-paths, /etc/hosts and the termination log.

Touches the pod's directory only; volumes themselves are put in place by `volumes.keeper`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgekube.kinds.core.container import VolumeMount
from edgekube.kinds.core.pod import Pod
from edgekube.node import mounting
from edgekube.node.pods.fields import Unresolved, expand
from edgekube.node.pods.seen import AnyContainer
from edgekube.node.volumes.volume import Mounted

PRIVATE, HOST_TO_CONTAINER, BIDIRECTIONAL = 0, 1, 2
PROPAGATION = {"": PRIVATE, "None": PRIVATE, "HostToContainer": HOST_TO_CONTAINER, "Bidirectional": BIDIRECTIONAL}
TERMINATION_LOG_LIMIT_BYTES = 4096
HOSTS_PATH = "/etc/hosts"


def hosts_path(root: Path) -> Path:
    """Where the pod's /etc/hosts lies."""
    return root / "etc-hosts"


def termination_log(root: Path, container: str, restart_count: int) -> Path:
    """Where one life of a container leaves its last words."""
    return root / "containers" / container / f"{restart_count}.termination-log"


def container_mounts(
    pod: Pod,
    container: AnyContainer,
    root: Path,
    mounted: Mapping[str, Mounted],
    environment: Mapping[str, str],
    restart_count: int,
) -> list[dict[str, Any]]:
    """The mounts of one life of a container. Raises Unresolved in the kubelet's words."""
    made = []
    has_hosts = False
    for position, mount in enumerate(container.volume_mounts):
        volume = mounted.get(mount.name)
        if volume is None:
            raise Unresolved(f"cannot find volume {mount.name!r} to mount into container {container.name!r}")
        has_hosts = has_hosts or mount.mount_path == HOSTS_PATH
        made.append(_one(pod, container, root, mount, volume, environment, position))
    if not has_hosts and hosts_path(root).exists():
        made.append({"container_path": HOSTS_PATH, "host_path": str(hosts_path(root))})
    if container.termination_message_path:
        log = termination_log(root, container.name, restart_count)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.touch()
        log.chmod(0o666)  # whoever the container runs as writes it
        made.append({"container_path": container.termination_message_path, "host_path": str(log)})
    return made


def _one(
    pod: Pod,
    container: AnyContainer,
    root: Path,
    mount: VolumeMount,
    volume: Mounted,
    environment: Mapping[str, str],
    position: int,
) -> dict[str, Any]:
    host_path = volume.path
    relative = mount.sub_path
    if mount.sub_path_expr:
        missing: list[str] = []

        def lookup(name: str) -> str | None:
            if name not in environment:
                missing.append(name)
            return environment.get(name)

        relative = expand(mount.sub_path_expr, lookup)
        if missing:
            raise Unresolved(f"failed to expand subPathExpr {mount.sub_path_expr!r}: missing value for {missing[0]!r}")
    if relative:
        host_path = root / "volume-subpaths" / mount.name / container.name / str(position)
        try:
            descriptor = mounting.open_inside(volume.path, relative, create_mode=0o755)
            try:
                mounting.unmount(host_path)
                mounting.bind_descriptor(descriptor, host_path)
            finally:
                os.close(descriptor)
        except (mounting.EscapesVolume, OSError) as error:
            raise Unresolved(
                f'failed to prepare subPath for volumeMount "{mount.name}" of container "{container.name}": {error}'
            ) from None
    path = mount.mount_path if mount.mount_path.startswith("/") else f"/{mount.mount_path}"
    return {
        "container_path": path,
        "host_path": str(host_path),
        "readonly": mount.read_only or volume.read_only,
        "propagation": PROPAGATION.get(mount.mount_propagation or "", PRIVATE),
    }
