"""Starting one container: image, configuration, create, start, postStart; and the words for each step that fails.

Source: kubelet kuberuntime_container.go startContainer (order, reasons, events).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import trio

from edgekube.errors import EdgekubeError
from edgekube.kinds.core import configmap, secret
from edgekube.kinds.core.configmap import ConfigMap
from edgekube.kinds.core.pod import Pod
from edgekube.kinds.core.secret import Secret
from edgekube.net.grpc import RpcFailed
from edgekube.node.images import ImageTrouble
from edgekube.node.objects import PodObjects
from edgekube.node.pods.configs import container_config
from edgekube.node.pods.environment import Surroundings, environment, referred
from edgekube.node.pods.fields import Unresolved
from edgekube.node.pods.hooks import run_hook
from edgekube.node.pods.mounts import container_mounts, hosts_path, termination_log
from edgekube.node.pods.names import hosts_file
from edgekube.node.pods.resources import linux_resources
from edgekube.node.pods.security import container_security
from edgekube.node.pods.seen import AnyContainer
from edgekube.node.pods.tools import Tools
from edgekube.node.runtime.cri import Image
from edgekube.node.volumes.volume import Mounted


class CannotStart(EdgekubeError):
    """A container could not be started. `reason` and `message` are its waiting state."""

    def __init__(self, reason: str, message: str, *, again_s: float | None = None) -> None:
        super().__init__(f"{reason}: {message}")
        self.reason, self.message, self.again_s = reason, message, again_s


@dataclass(frozen=True, slots=True)
class Birth:
    """What one container is started with."""

    pod: Pod
    container: AnyContainer
    restart_count: int
    sandbox_id: str
    sandbox: Mapping[str, Any]
    root: Path
    mounted: Mapping[str, Mounted]
    target_id: str = ""


async def pull_secrets(tools: Tools, pod: Pod) -> list[Secret]:
    """The pod's imagePullSecrets that exist."""
    objects = PodObjects(tools.objects, pod.metadata.uid)
    found = []
    for reference in pod.spec.image_pull_secrets:
        item = await objects.need(secret.KIND, pod.metadata.namespace, reference.name)
        if item is None:
            tools.tell(
                pod,
                "Warning",
                "FailedToRetrieveImagePullSecret",
                f"Unable to retrieve some image pull secrets ({reference.name}); attempting to pull the image may not succeed.",
            )
        else:
            found.append(item)
    return found


async def surroundings(tools: Tools, pod: Pod) -> Surroundings:
    """Everything a pod's environment refers to."""
    objects = PodObjects(tools.objects, pod.metadata.uid)
    namespace = pod.metadata.namespace
    map_names, secret_names = referred(pod)
    maps: dict[str, ConfigMap | None] = {n: await objects.need(configmap.KIND, namespace, n) for n in sorted(map_names)}
    secrets: dict[str, Secret | None] = {n: await objects.need(secret.KIND, namespace, n) for n in sorted(secret_names)}
    return Surroundings(
        config_maps=maps,
        secrets=secrets,
        services=tools.services(),
        allocatable=tools.allocatable,
        node_name=tools.config.node_name,
        host_ips=(tools.config.address,),
    )


async def create(tools: Tools, birth: Birth) -> str:
    """Pull and create; the container's id. Raises CannotStart."""
    pod, container = birth.pod, birth.container

    def tell(type_: str, reason: str, message: str) -> None:
        tools.tell_container(pod, container, type_, reason, message)

    try:
        image = await tools.images.ensure(
            pod.metadata.uid, container.image, container.image_pull_policy, await pull_secrets(tools, pod), tell
        )
    except ImageTrouble as trouble:
        tell("Warning", "Failed", f"Error: {trouble.reason}")
        raise CannotStart(trouble.reason, trouble.message, again_s=trouble.again_s) from None
    try:
        config = await _configure(tools, birth, image)
    except (Unresolved, OSError) as error:
        tell("Warning", "Failed", f"Error: {error}")
        raise CannotStart("CreateContainerConfigError", str(error)) from None
    try:
        container_id = await tools.runtime.create_container(birth.sandbox_id, config, birth.sandbox)
    except RpcFailed as failed:
        tell("Warning", "Failed", f"Error: {failed.message}")
        raise CannotStart("CreateContainerError", failed.message) from None
    tell("Normal", "Created", "Container created")
    return container_id


async def start(tools: Tools, birth: Birth, container_id: str) -> None:
    """Start a created container. Raises CannotStart."""
    try:
        await tools.runtime.start_container(container_id)
    except RpcFailed as failed:
        tools.tell_container(birth.pod, birth.container, "Warning", "Failed", f"Error: {failed.message}")
        raise CannotStart("RunContainerError", failed.message) from None
    tools.tell_container(birth.pod, birth.container, "Normal", "Started", "Container started")


async def post_start(tools: Tools, birth: Birth, container_id: str, ip: str) -> None:
    """The postStart hook, if there is one. Raises CannotStart when it failed; the caller stops the container."""
    lifecycle = birth.container.lifecycle
    if lifecycle is None or lifecycle.post_start is None:
        return
    why = await run_hook(tools.runtime, birth.container, container_id, lifecycle.post_start, ip)
    if why:
        tools.tell_container(birth.pod, birth.container, "Warning", "FailedPostStartHook", "PostStartHook failed")
        raise CannotStart("PostStartHookError", why)


async def _configure(tools: Tools, birth: Birth, image: Image) -> dict[str, Any]:
    pod, container = birth.pod, birth.container
    around = await surroundings(tools, pod)
    variables = environment(pod, container, around)
    mounts = container_mounts(pod, container, birth.root, birth.mounted, variables, birth.restart_count)
    message_file = ""
    if container.termination_message_path:
        message_file = str(termination_log(birth.root, container.name, birth.restart_count))
    return container_config(
        pod,
        container,
        birth.restart_count,
        image_ref=image.id,
        environment=variables,
        mounts=mounts,
        resources=linux_resources(pod, container, memory_capacity=tools.memory_capacity, cgroup_v2=tools.cgroup_v2),
        security=container_security(pod, container, image, target_id=birth.target_id),
        message_file=message_file,
    )


async def write_hosts(tools: Tools, pod: Pod, root: Path, ips: Sequence[str]) -> None:
    """The pod's /etc/hosts, once its address is known."""
    try:
        host_file = await trio.Path("/etc/hosts").read_text()
    except OSError:
        host_file = ""
    path = trio.Path(hosts_path(root))
    await path.write_text(hosts_file(pod, ips, tools.config.cluster_domain, host_file))
    await path.chmod(0o644)
