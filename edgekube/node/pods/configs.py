"""What the runtime is asked for: sandbox and container configurations as the CRI has them. Pure, apart from paths handed in.

Source: kubelet kuberuntime_sandbox.go and kuberuntime_container.go (behaviour; labels and annotations keep the kubelet's names,
so that crictl and friends understand our containers).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekube.kinds.core.pod import Pod
from edgekube.node.pods.fields import expand
from edgekube.node.pods.marks import (
    HASH,
    MESSAGE_FILE,
    MESSAGE_PATH,
    MESSAGE_POLICY,
    POD_GRACE,
    RESOURCES,
    RESTART_COUNT,
    resources_text,
)
from edgekube.node.pods.names import Dns, kernel_hostname
from edgekube.node.pods.plan import container_hash
from edgekube.node.pods.resources import cgroup_parent
from edgekube.node.pods.security import sandbox_security
from edgekube.node.pods.seen import AnyContainer, regular
from edgekube.node.runtime.cri import CONTAINER_NAME, POD_NAME, POD_NAMESPACE, POD_UID

PROTOCOLS = {"TCP": 0, "UDP": 1, "SCTP": 2}


@dataclass(frozen=True, slots=True)
class Around:
    """The node, as far as configurations need it."""

    log_root: Path
    cluster_domain: str
    dns: Dns


def log_directory(log_root: Path, namespace: str, name: str, uid: str) -> Path:
    """Where a pod's containers log."""
    return log_root / f"{namespace}_{name}_{uid}"


def log_path(container: str, restart_count: int) -> str:
    """A container's log below the pod's."""
    return f"{container}/{restart_count}.log"


def pod_labels(pod: Pod) -> dict[str, str]:
    """What names the pod on sandboxes and containers."""
    meta = pod.metadata
    return {POD_NAME: meta.name, POD_NAMESPACE: meta.namespace, POD_UID: meta.uid}


def sandbox_config(pod: Pod, attempt: int, around: Around) -> dict[str, Any]:
    """PodSandboxConfig."""
    meta = pod.metadata
    made: dict[str, Any] = {
        "metadata": {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid, "attempt": attempt},
        "log_directory": str(log_directory(around.log_root, meta.namespace, meta.name, meta.uid)),
        "labels": dict(meta.labels) | pod_labels(pod),
        "annotations": dict(meta.annotations),
        "dns_config": {
            "servers": list(around.dns.servers),
            "searches": list(around.dns.searches),
            "options": list(around.dns.options),
        },
        "linux": {"cgroup_parent": cgroup_parent(pod), "security_context": sandbox_security(pod)},
    }
    if not pod.spec.host_network:
        made["hostname"] = kernel_hostname(pod, around.cluster_domain)
        made["port_mappings"] = [
            {
                "container_port": port.container_port,
                "host_port": port.host_port,
                "protocol": PROTOCOLS.get(port.protocol, 0),
                "host_ip": port.host_ip,
            }
            for container in [*regular(pod), *pod.spec.init_containers]
            for port in container.ports
            if port.host_port
        ]
    if pod.spec.security_context is not None and pod.spec.security_context.sysctls:
        made["linux"]["sysctls"] = {item.name: item.value for item in pod.spec.security_context.sysctls}
    return made


def container_config(
    pod: Pod,
    container: AnyContainer,
    restart_count: int,
    *,
    image_ref: str,
    environment: Mapping[str, str],
    mounts: Sequence[Mapping[str, Any]],
    resources: Mapping[str, Any],
    security: Mapping[str, Any],
    message_file: str,
) -> dict[str, Any]:
    """ContainerConfig."""

    def expanded(words: Sequence[str]) -> list[str]:
        return [expand(word, environment.get) for word in words]

    return {
        "metadata": {"name": container.name, "attempt": restart_count},
        "image": {"image": image_ref, "user_specified_image": container.image},
        "command": expanded(container.command),
        "args": expanded(container.args),
        "working_dir": container.working_dir,
        "envs": [{"key": key, "value": value.encode(errors="surrogateescape")} for key, value in environment.items()],
        "mounts": [dict(mount) for mount in mounts],
        "labels": pod_labels(pod) | {CONTAINER_NAME: container.name},
        "annotations": {
            HASH: container_hash(container),
            RESTART_COUNT: str(restart_count),
            MESSAGE_PATH: container.termination_message_path,
            MESSAGE_POLICY: container.termination_message_policy,
            MESSAGE_FILE: message_file,
            RESOURCES: resources_text(container),
            POD_GRACE: str(pod.spec.termination_grace_period_seconds or 0),
        },
        "log_path": log_path(container.name, restart_count),
        "stdin": container.stdin,
        "stdin_once": container.stdin_once,
        "tty": container.tty,
        "linux": {"resources": dict(resources), "security_context": dict(security)},
    }


def port_number(container: AnyContainer, port: int | str) -> int:
    """A probe's or hook's port, by number or by name. Raises ValueError."""
    if isinstance(port, int):
        return port
    if port.isdigit():
        return int(port)
    for named in container.ports:
        if named.name == port:
            return named.container_port
    raise ValueError(f"couldn't find port: {port!r} in container {container.name!r}")
